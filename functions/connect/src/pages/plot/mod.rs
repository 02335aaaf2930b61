//! Plots of the last 24 hours. Each has axes, a description for those who do not see it, and a table with the same
//! values.

mod bars;
mod lines;

use maud::{Markup, html};

pub(super) use self::{bars::changes, lines::freshness};

/// The size of a drawing, and its margins for the axes.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 192.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 38.0;

/// The bottom of the plot.
const BASE: f64 = HEIGHT - BOTTOM;

/// A mark of the vertical axis.
struct Tick {
    /// 0 at the bottom, 1 at the top.
    height: f64,
    label: String,
}

/// A plot.
struct Plot<'a> {
    /// Unique on its page.
    id: &'a str,
    title: &'a str,
    /// A sentence that says what the plot shows.
    summary: &'a str,
    /// The unit of the vertical axis.
    unit: &'a str,
    /// The hours, the oldest first.
    hours: Vec<&'a str>,
    ticks: Vec<Tick>,
    /// The class and the name of each colour.
    keys: &'a [(&'a str, &'a str)],
    /// The drawing.
    marks: Markup,
    /// The head of the table, and its rows.
    columns: &'a [&'a str],
    rows: Vec<Vec<String>>,
}

impl Plot<'_> {
    fn draw(self) -> Markup {
        html! {
            figure class="plot" {
                figcaption {
                    strong { (self.title) }
                    span class="quiet" { (self.summary) }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby={ (self.id) "-title " (self.id) "-text" } {
                    title id={ (self.id) "-title" } { (self.title) }
                    desc id={ (self.id) "-text" } { (self.summary) }
                    (self.axes())
                    (self.marks)
                }
                ul class="keys" { @for (class, name) in self.keys { li class=(class) { (name) } } }
                details id={ (self.id) "-table" } {
                    summary { "Show as a table" }
                    (table(self.title, self.columns, &self.rows))
                }
            }
        }
    }

    fn axes(&self) -> Markup {
        let marked = self.hours.iter().enumerate().filter(|(_, hour)| clock(hour).is_some_and(|hour| hour % 6 == 0));
        html! {
            text class="unit" x="0" y="12" { (self.unit) }
            @for tick in &self.ticks {
                @let y = height(tick.height);
                line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y) y2=(y) {}
                text class="label" x=(LEFT - 6.0) y=(y) dy="4" text-anchor="end" { (tick.label) }
            }
            line class="axis" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(BASE) y2=(BASE) {}
            @for (place, hour) in marked {
                @let x = across(place, self.hours.len());
                line class="axis" x1=(x) x2=(x) y1=(BASE) y2=(BASE + 4.0) {}
                text class="label" x=(x) y=(BASE + 17.0) text-anchor="middle" { (of_day(hour)) }
            }
            text class="unit" x=(WIDTH - RIGHT) y=(HEIGHT - 3.0) text-anchor="end" { "hour, UTC" }
        }
    }
}

fn table(caption: &str, columns: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        table class="figures" {
            caption { (caption) }
            thead { tr { @for column in columns { th scope="col" { (column) } } } }
            tbody {
                @for row in rows {
                    tr { @for (place, cell) in row.iter().enumerate() {
                        @if place == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                    } }
                }
            }
        }
    }
}

/// Returns the middle of an hour, from the left.
fn across(place: usize, hours: usize) -> f64 {
    round(LEFT + (place as f64 + 0.5) * width(hours))
}

/// Returns the width of an hour.
fn width(hours: usize) -> f64 {
    (WIDTH - LEFT - RIGHT) / hours.max(1) as f64
}

/// Returns a height in the plot, from the top of the drawing.
fn height(part: f64) -> f64 {
    round(BASE - part * (BASE - TOP))
}

/// Rounds to a tenth of a pixel.
fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// Returns the hour of the day. Returns `None` if `hour` is not an hour.
fn clock(hour: &str) -> Option<u8> {
    hour.get("2026-11-24T".len()..)?.parse().ok()
}

/// Returns an hour as people write it.
fn of_day(hour: &str) -> String {
    format!("{:02}:00", clock(hour).unwrap_or_default())
}

/// Returns an hour as people write it, with its date.
fn of_date(hour: &str) -> String {
    let (date, _) = hour.split_once('T').unwrap_or((hour, ""));
    format!("{date} {}", of_day(hour))
}
