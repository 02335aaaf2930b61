//! All accounts, those that are furthest behind first.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{PAGE, account_path, words};
use crate::{
    accounts::{AccountFilter, AccountPage},
    address::from_root,
    status::{State, Status},
};

pub(crate) fn body(sought: &AccountFilter, found: &AccountPage) -> Markup {
    let all: usize = found.counts.iter().map(|(_, count)| count).sum();
    html! {
        ul class="counts" {
            li { (filter(sought, None, &format!("All {all}"))) }
            @for (state, count) in &found.counts {
                li { (filter(sought, Some(*state), &format!("{} {count}", words::state(*state)))) }
            }
        }
        form method="get" action=(from_root("/")) role="search" class="search" {
            label for="search" { "Search by company, domain, or id" }
            input type="search" id="search" name="search" value=(sought.search);
            @if !sought.state.is_empty() { input type="hidden" name="state" value=(sought.state); }
            button { "Search" }
        }
        @if found.accounts.is_empty() {
            p { "No account was found." }
        } @else {
            table {
                caption { (words::count(found.total.try_into().unwrap_or(i64::MAX), "account")) ", the furthest behind first" }
                thead { tr {
                    th scope="col" { "Account" }
                    th scope="col" { "State" }
                    th scope="col" { "Last checked" }
                    th scope="col" { "Last 24 hours" }
                } }
                tbody { @for account in &found.accounts { (row(account)) } }
            }
            (pager(sought, found.total))
        }
    }
}

fn row(account: &Status) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href=(from_root(&account_path(&account.key))) { (account.name()) }
                div class="quiet" { (account.hub_domain.as_deref().unwrap_or_default()) " " (account.key.hub_id) }
            }
            td { (state(account)) }
            td { (looked_at(account)) }
            td { (spark_line(&account.hours)) " " (words::count(account.day.total(), "change")) }
        }
    }
}

/// The state in words and colour, and how much of the history was read.
pub(super) fn state(account: &Status) -> Markup {
    html! {
        span class={ "state " (account.state.name()) } { (words::state(account.state)) }
        @if let Some(backfill) = account.backfill {
            @let read = words::number(backfill.read);
            @match backfill.total {
                Some(total) => {
                    progress value=(backfill.read) max=(total.max(1)) aria-label="History read" {}
                    span class="quiet" { (read) " of " (words::number(total)) " records" }
                }
                None => { " " span class="quiet" { (read) " records so far" } }
            }
        }
    }
}

pub(super) fn looked_at(account: &Status) -> Markup {
    html! {
        @match account.fresh_to {
            Some(fresh_to) => (words::ago(fresh_to)),
            None => "never",
        }
    }
}

/// The changes of each hour of the last day. What it shows is also said in numbers beside it.
pub(super) fn spark_line(hours: &[i64]) -> Markup {
    let most = hours.iter().copied().max().unwrap_or(0).max(1);
    let points: Vec<String> = hours
        .iter()
        .enumerate()
        .map(|(index, count)| format!("{},{}", index * 4 + 2, 19 - (count * 18) / most))
        .collect();
    html! {
        svg class="spark" viewBox="0 0 96 20" aria-hidden="true" focusable="false" {
            polyline points=(points.join(" ")) {}
        }
    }
}

fn filter(sought: &AccountFilter, state: Option<State>, text: &str) -> Markup {
    let name = state.map(State::name).unwrap_or_default();
    let current = (name == sought.state).then_some("page");
    html! { a href=(address(sought, name, 0)) aria-current=[current] { (text) } }
}

fn pager(sought: &AccountFilter, total: usize) -> Markup {
    let offset = usize::try_from(sought.offset).unwrap_or(usize::MAX);
    let next = offset.saturating_add(PAGE);
    html! {
        nav aria-label="Pages" class="pager" {
            @if offset > 0 {
                a rel="prev" href=(address(sought, &sought.state, offset.saturating_sub(PAGE))) { "Previous" }
            }
            span { (offset + 1) " to " (next.min(total)) " of " (total) }
            @if next < total { a rel="next" href=(address(sought, &sought.state, next)) { "Next" } }
        }
    }
}

fn address(sought: &AccountFilter, state: &str, offset: usize) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let values = [
        ("search", sought.search.is_empty(), encode(&sought.search)),
        ("state", state.is_empty(), encode(state)),
        ("offset", offset == 0, offset.to_string()),
    ];
    let given = values.iter().filter(|(_, is_empty, _)| !is_empty);
    let query: Vec<String> = given.map(|(name, _, value)| format!("{name}={value}")).collect();
    if query.is_empty() { from_root("/") } else { from_root(&format!("/?{}", query.join("&"))) }
}
