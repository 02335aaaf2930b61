//! The health of all accounts at a glance: in a sentence, in numbers by state, and in plots of the last 24 hours.

use maud::{Markup, html};

use super::{labels, list::address, plot};
use crate::{
    accounts::{AccountFilter, AccountPage},
    status::State,
};

/// Returns a sentence that says how many accounts need somebody.
pub(super) fn verdict(found: &AccountPage) -> Markup {
    let all = found.counts.iter().map(|(_, count)| count).sum();
    let needing = found.counts.iter().filter(|(state, _)| state.needs_somebody()).map(|(_, count)| count).sum();
    let (class, sign, text) = match (all, needing) {
        (0, _) => ("quiet", "–", "No account is connected yet.".to_owned()),
        (_, 0) => ("good", "✓", "Everybody is all right.".to_owned()),
        (_, 1) => ("bad", "!", "One account needs somebody.".to_owned()),
        (_, needing) => ("bad", "!", format!("{} accounts need somebody.", number(needing))),
    };
    html! {
        p class={ "verdict " (class) } {
            span class="sign" aria-hidden="true" { (sign) }
            span class="said" {
                strong { (text) } " "
                @if all > 0 { span class="quiet" { (labels::count(signed(all), "account")) " in all" } }
            }
        }
    }
}

/// Returns how many accounts are in each state. Each number links to them.
pub(super) fn tiles(sought: &AccountFilter, found: &AccountPage) -> Markup {
    html! {
        nav aria-label="Accounts by state" {
            ul class="tiles" {
                @for state in State::ALL {
                    @let count = found.counts.iter().find(|(of, _)| *of == state).map_or(0, |(_, count)| *count);
                    @let current = (state.name() == sought.state).then_some("page");
                    li {
                        a class={ "tile " (state.name()) @if count == 0 { " none" } } href=(address(sought, state.name(), 0))
                            aria-current=[current] {
                            strong { (number(count)) } " "
                            span { (labels::state(state)) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the plots of all accounts.
pub(super) fn plots(found: &AccountPage) -> Markup {
    let changes: Vec<_> = found.hours.iter().map(|(hour, all)| (hour.clone(), all.map(|all| all.actions))).collect();
    let freshness: Vec<_> =
        found.hours.iter().map(|(hour, all)| (hour.clone(), all.and_then(|all| all.freshness))).collect();
    html! {
        section aria-label="The last 24 hours" {
            div class="plots" {
                (plot::changes(&changes))
                (plot::freshness(&freshness, found.behind_after))
            }
            @if let Some(at) = found.noted_at { p class="quiet" { "As of the schedule's last tick, " (labels::ago(at)) "." } }
        }
    }
}

fn number(count: usize) -> String {
    labels::number(signed(count))
}

fn signed(count: usize) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
