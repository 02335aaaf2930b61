//! The plot of how long ago accounts were checked for changes, as lines. Minutes and days share the axis, so it is
//! logarithmic.

use std::time::Duration;

use maud::{Markup, html};
use store::Freshness;

use super::{LEFT, Plot, RIGHT, Tick, WIDTH, across, height, of_date};
use crate::pages::labels;

/// The possible marks of the axis, in seconds.
const MARKS: [(i64, &str); 9] = [
    (10, "10 s"),
    (60, "1 min"),
    (300, "5 min"),
    (1800, "30 min"),
    (7200, "2 h"),
    (43_200, "12 h"),
    (259_200, "3 days"),
    (1_209_600, "14 days"),
    (7_776_000, "90 days"),
];

/// A line: its class, its name, and its value.
type Series = (&'static str, &'static str, fn(Freshness) -> i64);

const SERIES: [Series; 2] = [
    ("most", "95 of 100 accounts", |freshness| freshness.most),
    ("oldest", "the furthest behind", |freshness| freshness.oldest),
];

/// Returns the plot of the oldest check in each hour, with the limit from which an account is behind.
pub(in crate::pages) fn freshness(hours: &[(String, Option<Freshness>)], behind_after: Duration) -> Markup {
    let limit = i64::try_from(behind_after.as_secs()).unwrap_or(i64::MAX);
    let axis = Axis::of(hours.iter().filter_map(|(_, freshness)| *freshness), limit);
    let row = |(hour, freshness): &(String, Option<Freshness>)| {
        let values = SERIES.iter().map(|(.., of)| freshness.map_or(labels::UNKNOWN.to_owned(), |all| said(of(all))));
        std::iter::once(of_date(hour)).chain(values).collect()
    };
    let marks = html! {
        line class="limit" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(axis.height(limit)) y2=(axis.height(limit)) {}
        @for (class, _, of) in SERIES { (line(class, hours, &axis, of)) }
    };
    Plot {
        id: "freshness",
        title: "Time since the last check",
        summary: &summary(hours),
        unit: "longest time",
        hours: hours.iter().map(|(hour, _)| hour.as_str()).collect(),
        ticks: axis.ticks(),
        keys: &[(SERIES[0].0, SERIES[0].1), (SERIES[1].0, SERIES[1].1), ("limit", &format!("limit ({})", said(limit)))],
        marks,
        columns: &["Hour (UTC)", "95 of 100 accounts", "The furthest behind"],
        rows: hours.iter().rev().map(row).collect(),
    }
    .draw()
}

/// Returns a line with a point for each hour. It has gaps where nothing is known.
fn line(class: &str, hours: &[(String, Option<Freshness>)], axis: &Axis, of: fn(Freshness) -> i64) -> Markup {
    let point = |place: usize, all: Freshness| (across(place, hours.len()), axis.height(of(all)));
    let points: Vec<Option<(f64, f64)>> =
        hours.iter().enumerate().map(|(place, (_, freshness))| Some(point(place, (*freshness)?))).collect();
    let mut path = String::new();
    for (place, (x, y)) in points.iter().enumerate().filter_map(|(place, point)| Some((place, (*point)?))) {
        let follows = place > 0 && points[place - 1].is_some();
        path.push_str(&format!("{}{x} {y}", if follows { 'L' } else { 'M' }));
    }
    html! {
        path class=(class) d=(path) {}
        @for (place, (hour, freshness)) in hours.iter().enumerate() {
            @if let Some(all) = freshness {
                @let (x, y) = point(place, *all);
                circle class=(class) cx=(x) cy=(y) r="2.5" { title { (of_date(hour)) ": " (said(of(*all))) } }
            }
        }
    }
}

fn summary(hours: &[(String, Option<Freshness>)]) -> String {
    let known = hours.iter().filter_map(|(_, freshness)| *freshness);
    match known.max_by_key(|freshness| freshness.oldest) {
        None => "No tick of the schedule has noted it yet.".to_owned(),
        Some(worst) => format!("At worst {} in the last 24 hours.", said(worst.oldest)),
    }
}

fn said(seconds: i64) -> String {
    labels::duration(Duration::from_secs(seconds.try_into().unwrap_or_default()))
}

/// The vertical axis: the first and the last of its marks.
struct Axis {
    first: usize,
    last: usize,
}

impl Axis {
    /// Returns the shortest axis that shows these values and the limit.
    fn of(values: impl Iterator<Item = Freshness>, limit: i64) -> Self {
        let all = values.flat_map(|all| [all.most, all.oldest]).chain([limit]);
        let (least, most) = all.fold((limit, limit), |(least, most), value| (least.min(value), most.max(value)));
        let first = MARKS.iter().rposition(|(mark, _)| *mark <= least).unwrap_or(0).min(MARKS.len() - 2);
        let last = MARKS.iter().position(|(mark, _)| *mark > most).unwrap_or(MARKS.len() - 1);
        Self { first, last: last.max(first + 1) }
    }

    fn height(&self, seconds: i64) -> f64 {
        height(self.part(seconds))
    }

    fn part(&self, seconds: i64) -> f64 {
        let [bottom, top, value] = [MARKS[self.first].0, MARKS[self.last].0, seconds.max(1)].map(|it| (it as f64).ln());
        ((value - bottom) / (top - bottom)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<Tick> {
        let tick = |(seconds, label): &(i64, &str)| Tick { height: self.part(*seconds), label: (*label).to_owned() };
        MARKS[self.first..=self.last].iter().map(tick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(values: &[Option<(i64, i64)>]) -> Vec<(String, Option<Freshness>)> {
        let of = |(most, oldest)| Freshness { oldest, most };
        values.iter().enumerate().map(|(hour, value)| (format!("2026-12-01T{hour:02}"), value.map(of))).collect()
    }

    #[test]
    fn an_axis_reaches_from_below_the_freshest_to_above_the_limit_and_the_oldest() {
        let labels = |values: &[(i64, i64)], limit| {
            let axis = Axis::of(values.iter().map(|(most, oldest)| Freshness { oldest: *oldest, most: *most }), limit);
            axis.ticks().into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(labels(&[(200, 280)], 1800), "1 min, 5 min, 30 min, 2 h");
        assert_eq!(labels(&[(0, 300_000)], 1800), "10 s, 1 min, 5 min, 30 min, 2 h, 12 h, 3 days, 14 days");
        assert_eq!(labels(&[], 1800), "30 min, 2 h");
        assert_eq!(labels(&[(i64::MAX, i64::MAX)], i64::MAX), "14 days, 90 days");
    }

    #[test]
    fn a_line_has_a_gap_where_no_tick_was() {
        let drawn =
            freshness(&hours(&[Some((60, 90)), Some((60, 90)), None, Some((60, 90))]), Duration::from_secs(1800));
        let drawn = drawn.into_string();
        let path = drawn.split("<path class=\"most\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
        assert!(drawn.contains("2026-12-01 02:00</th><td>–</td><td>–</td>"), "{drawn}");
        assert!(drawn.contains("At worst 90 s in the last 24 hours"), "{drawn}");
        let empty = freshness(&hours(&[None]), Duration::from_secs(1800)).into_string();
        assert!(empty.contains("No tick of the schedule") && !empty.contains("<circle"), "{empty}");
    }
}
