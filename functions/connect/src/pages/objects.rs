//! The table of an account's object types.

use maud::{Markup, html};

use super::labels;
use crate::status::{ObjectStatus, Status};

/// Returns the table with a row for each object type.
pub(super) fn table(account: &Status) -> Markup {
    html! {
        h2 id="records" { "Records" }
        table class="rows" aria-labelledby="records" {
            thead { tr {
                th scope="col" { "Object type" }
                th scope="col" { "Records" }
                th scope="col" { "First load" }
                th scope="col" { "Last change" }
                th scope="col" { "Held" }
                th scope="col" { "Set aside" }
            } }
            tbody { @for object in &account.objects { (row(object)) } }
        }
        p class="quiet below" { "Records: as HubSpot counted them when their history was last read." }
    }
}

fn row(object: &ObjectStatus) -> Markup {
    let held = i64::try_from(object.held).unwrap_or(i64::MAX);
    let set_aside = i64::try_from(object.set_aside).unwrap_or(i64::MAX);
    html! {
        tr {
            th scope="row" { strong { (name(object)) } }
            td data-label="Records" { (object.records.map_or(labels::UNKNOWN.to_owned(), labels::number)) }
            td data-label="First load" { (first_load(object)) }
            td data-label="Last change" { @match object.changed_at {
                Some(at) => (labels::ago(at)),
                None => (labels::UNKNOWN),
            } }
            td data-label="Held" { (amount(held, &labels::count(held, "span") , "of time")) }
            td data-label="Set aside" { (amount(set_aside, &labels::count(set_aside, "record"), "")) }
        }
    }
}

/// Returns how many are held or set aside. A number other than 0 is marked as a warning.
fn amount(number: i64, count: &str, of: &str) -> Markup {
    html! { @if number == 0 { span class="quiet" { "none" } } @else { span class="warn" { (count) " " (of) } } }
}

/// Returns the progress of the backfill, and how long the rest takes.
fn first_load(object: &ObjectStatus) -> Markup {
    html! {
        @if object.is_left_out { span class="warn" { "No access" } }
        @else { @match (object.backfill, object.backfilled_at) {
            (Some(backfill), _) => {
                @let read = labels::number(backfill.read);
                @match backfill.total {
                    Some(total) => {
                        progress value=(backfill.read) max=(total.max(1)) aria-label={ (name(object)) " read" } {}
                        (read) " of " (labels::number(total))
                    }
                    None => { (read) " so far" }
                }
                @if let Some(left) = object.left { div class="quiet" { (labels::left(left)) } }
            }
            (None, Some(at)) => { "Done" div class="quiet" { (labels::time(at)) } }
            (None, None) => (labels::UNKNOWN),
        } }
    }
}

fn name(object: &ObjectStatus) -> String {
    let name = object.object.as_str().replace('_', " ");
    let (first, rest) = name.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}
