//! The list of all accounts. Those that need somebody come first. Each says what to do.

use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{PAGE_SIZE, account_path, labels, overview};
use crate::{
    accounts::{AccountFilter, AccountPage},
    address::from_root,
    status::{State, Status},
};

/// Returns the body of the list.
pub(crate) fn body(sought: &AccountFilter, found: &AccountPage) -> Markup {
    let is_of_all = sought.search.is_empty() && sought.state.is_empty();
    html! {
        (overview::verdict(found))
        (overview::tiles(sought, found))
        @if is_of_all && sought.offset == 0 { (overview::plots(found)) }
        form method="get" action=(from_root("/")) role="search" class="search" {
            label for="search" { "Search by company, domain, or id" }
            input type="search" id="search" name="search" value=(sought.search);
            @if !sought.state.is_empty() { input type="hidden" name="state" value=(sought.state); }
            button { "Search" }
            @if !is_of_all { a class="button second" href=(from_root("/")) { "Show all accounts" } }
        }
        @if found.accounts.is_empty() {
            p { "No account was found." }
        } @else {
            table class="rows" {
                caption { (caption(sought, found.total)) }
                thead { tr {
                    th scope="col" { "Account" }
                    th scope="col" { "State and what to do" }
                    th scope="col" { "Last checked" }
                    th scope="col" { "Last 24 hours" }
                } }
                tbody { @for account in &found.accounts { (row(account)) } }
            }
            (pager(sought, found.total))
        }
    }
}

fn caption(sought: &AccountFilter, total: usize) -> String {
    let count = labels::count(total.try_into().unwrap_or(i64::MAX), "account");
    match State::ALL.into_iter().find(|state| state.name() == sought.state) {
        None => format!("{count}, those that need somebody first"),
        Some(state) => format!("{count}: {}", labels::state(state)),
    }
}

fn row(account: &Status) -> Markup {
    html! {
        tr {
            th scope="row" {
                a href=(from_root(&account_path(&account.key))) { (account.name()) }
                div class="quiet" { (account.hub_domain.as_deref().unwrap_or_default()) " " (account.key.hub_id) }
            }
            td { (state(account)) @if account.state.needs_somebody() { (what_to_do(account)) } }
            td data-label="Last checked" { (checked(account)) }
            td data-label="Last 24 hours" class="of-day" {
                (spark_line(account)) " " (labels::count(account.day.total(), "change"))
            }
        }
    }
}

/// Returns the state in words and colour, with the progress of the backfill.
pub(super) fn state(account: &Status) -> Markup {
    html! {
        span class={ "state " (account.state.name()) } { (labels::state(account.state)) }
        @if let Some(backfill) = account.backfill {
            @let read = labels::number(backfill.read);
            @match backfill.total {
                Some(total) => {
                    progress value=(backfill.read) max=(total.max(1)) aria-label="History read" {}
                    span class="quiet" { (read) " of " (labels::number(total)) " records" }
                }
                None => { " " span class="quiet" { (read) " records so far" } }
            }
        }
    }
}

/// Returns why an account needs somebody, and what that person should do.
pub(super) fn what_to_do(account: &Status) -> Markup {
    let problem = account.problems.iter().find(|_| account.state == State::Failing);
    html! {
        @if let Some(reason) = &account.reason { div class="why" { (reason) } }
        @if let Some(problem) = problem { div class="why" { (problem.part) ": " (problem.reason) } }
        div class="advice" { (labels::advice(account)) }
    }
}

/// Returns how long ago the account was checked for changes.
pub(super) fn checked(account: &Status) -> Markup {
    html! {
        @match account.fresh_to {
            Some(fresh_to) => (labels::ago(fresh_to)),
            None => "never",
        }
    }
}

/// Returns a line of the changes in each of the last 24 hours. Their sum is also beside it as a number.
fn spark_line(account: &Status) -> Markup {
    let hours = account.hours.iter().map(|(_, actions)| actions.total());
    let most = hours.clone().max().unwrap_or(0).max(1);
    let points: Vec<String> =
        hours.enumerate().map(|(index, count)| format!("{},{}", index * 4 + 2, 19 - (count * 18) / most)).collect();
    html! {
        svg class="spark" viewBox="0 0 96 20" aria-hidden="true" focusable="false" {
            polyline points=(points.join(" ")) {}
        }
    }
}

fn pager(sought: &AccountFilter, total: usize) -> Markup {
    let offset = usize::try_from(sought.offset).unwrap_or(usize::MAX);
    let next = offset.saturating_add(PAGE_SIZE);
    html! {
        nav aria-label="Pages" class="pager" {
            @if offset > 0 {
                a rel="prev" href=(address(sought, &sought.state, offset.saturating_sub(PAGE_SIZE))) { "Previous" }
            }
            span { (offset + 1) " to " (next.min(total)) " of " (total) }
            @if next < total { a rel="next" href=(address(sought, &sought.state, next)) { "Next" } }
        }
    }
}

/// Returns the address of the list with this state and offset, and the same search.
pub(super) fn address(sought: &AccountFilter, state: &str, offset: usize) -> String {
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
