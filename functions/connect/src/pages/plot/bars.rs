//! The plot of changes by hour, as bars.

use maud::{Markup, html};
use model::checkpoint::ActionCounts;

use super::{Plot, Tick, across, height, of_date, of_day, round, width};
use crate::pages::labels;

const KEYS: [(&str, &str); 3] = [("created", "created"), ("updated", "updated"), ("deleted", "deleted")];

/// Returns the plot of records created, updated and deleted by hour. Hours without data are not drawn.
pub(in crate::pages) fn changes(hours: &[(String, Option<ActionCounts>)]) -> Markup {
    let most = hours.iter().filter_map(|(_, actions)| *actions).map(ActionCounts::total).max().unwrap_or(0);
    let (top, ticks) = scale(most);
    let row = |(hour, actions): &(String, Option<ActionCounts>)| {
        let count =
            |of: fn(ActionCounts) -> i64| actions.map_or(labels::UNKNOWN.to_owned(), |all| labels::number(of(all)));
        vec![of_date(hour), count(|all| all.created), count(|all| all.updated), count(|all| all.deleted)]
    };
    let marks = html! {
        @for (place, (hour, actions)) in hours.iter().enumerate() {
            @if let Some(actions) = actions.filter(|actions| actions.total() > 0) {
                g { title { (told(hour, actions)) } (bar(across(place, hours.len()), width(hours.len()), top, actions)) }
            }
        }
    };
    Plot {
        id: "changes",
        title: "Changes an hour",
        summary: &summary(hours),
        unit: "changes",
        hours: hours.iter().map(|(hour, _)| hour.as_str()).collect(),
        ticks,
        keys: &KEYS,
        marks,
        columns: &["Hour (UTC)", "Created", "Updated", "Deleted"],
        rows: hours.iter().rev().map(row).collect(),
    }
    .draw()
}

/// Returns the parts of an hour's bar, stacked.
fn bar(middle: f64, width: f64, top: i64, actions: ActionCounts) -> Markup {
    let parts = [("created", actions.created), ("updated", actions.updated), ("deleted", actions.deleted)];
    let part = |count: i64| count as f64 / top as f64;
    let (mut below, across) = (0, round(width * 0.72));
    html! {
        @for (class, count) in parts {
            @if count > 0 {
                @let y = height(part(below + count));
                rect class=(class) x=(round(middle - across / 2.0)) width=(across) y=(y) height=(round(height(part(below)) - y)) {}
                ({ below += count; "" })
            }
        }
    }
}

fn told(hour: &str, actions: ActionCounts) -> String {
    let ActionCounts { created, updated, deleted } = actions;
    let [created, updated, deleted] = [created, updated, deleted].map(labels::number);
    format!("{}: {created} created, {updated} updated, {deleted} deleted", of_day(hour))
}

fn summary(hours: &[(String, Option<ActionCounts>)]) -> String {
    let known: Vec<i64> = hours.iter().filter_map(|(_, actions)| actions.map(ActionCounts::total)).collect();
    let all = labels::count(known.iter().sum(), "change");
    match known.iter().max() {
        None => "No tick of the schedule has noted any yet.".to_owned(),
        Some(0) => "None in the last 24 hours.".to_owned(),
        Some(most) => format!("{all} in the last 24 hours, at most {} an hour.", labels::number(*most)),
    }
}

/// Returns the top of the axis, a round number not below `most`, and the marks below it.
fn scale(most: i64) -> (i64, Vec<Tick>) {
    const MARKS: i64 = 5;
    let (mut step, mut factors) = (1, [2, 5, 10].into_iter().cycle());
    let mut base = 1;
    while step * MARKS < most {
        let factor = factors.next().unwrap_or(10);
        step = base * factor;
        if factor == 10 {
            base = step;
        }
    }
    let marks = (most.saturating_add(step - 1) / step).max(1);
    let top = marks * step;
    let tick = |mark: i64| Tick { height: mark as f64 / marks as f64, label: short(mark * step) };
    (top, (0..=marks).map(tick).collect())
}

/// Returns a short form of a number.
fn short(number: i64) -> String {
    match number {
        0..1000 => number.to_string(),
        1000..1_000_000 => format!("{}k", number as f64 / 1e3),
        _ => format!("{}M", number as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number_above_what_it_shows() {
        let labels = |most| scale(most).1.into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ");
        assert_eq!(labels(0), "0 1");
        assert_eq!(labels(4), "0 1 2 3 4");
        assert_eq!(labels(6), "0 2 4 6");
        assert_eq!(labels(101), "0 50 100 150");
        assert_eq!(labels(2100), "0 500 1k 1.5k 2k 2.5k");
        assert_eq!(labels(37_000), "0 10k 20k 30k 40k");
        assert_eq!(labels(5_100_000), "0 2M 4M 6M");
        for most in [1, 7, 99, 12_345, 999_999_999] {
            assert!(scale(most).0 >= most && scale(most).1.len() <= 6, "{most}");
        }
    }

    #[test]
    fn the_parts_of_a_bar_stand_on_each_other_and_fill_it() {
        let drawn = bar(100.0, 10.0, 10, ActionCounts { created: 5, updated: 0, deleted: 5 }).into_string();
        assert_eq!(drawn.matches("<rect").count(), 2, "{drawn}");
        assert!(drawn.contains("y=\"89\" height=\"65\"") && drawn.contains("y=\"24\" height=\"65\""), "{drawn}");
    }

    #[test]
    fn an_hour_of_which_nothing_is_known_is_a_dash_and_no_bar() {
        let hours = [("2026-12-01T07".to_owned(), None), ("2026-12-01T08".to_owned(), Some(ActionCounts::default()))];
        let drawn = changes(&hours).into_string();
        assert!(!drawn.contains("<rect") && drawn.contains("None in the last 24 hours"), "{drawn}");
        assert!(drawn.contains("2026-12-01 07:00</th><td>–</td>"), "{drawn}");
        assert!(drawn.contains("2026-12-01 08:00</th><td>0</td>"), "{drawn}");
        assert!(changes(&hours[..1]).into_string().contains("No tick of the schedule"));
    }
}
