//! One account: how it is doing, what happened to it, and what can be done.

use maud::{Markup, html};
use model::{
    checkpoint::LastRun,
    time::{self, DateTime},
};
use store::Event;

use super::{
    account_path,
    list::{looked_at, spark_line, state},
    words,
};
use crate::{
    address::from_root,
    operation::Operation,
    status::{State, Status},
};

/// `token` is that of the forms; there is none for somebody who may not change anything.
pub(crate) fn body(account: &Status, timeline: &[Event], token: Option<&String>, done: Option<&str>) -> Markup {
    html! {
        @if let Some(done) = done { p role="status" class="done" { (done) } }
        dl {
            dt { "State" } dd { (state(account)) @if let Some(reason) = &account.reason { div { (reason) } } }
            @if let Some(since) = account.since { dt { "Since" } dd { (words::time(since)) } }
            dt { "Domain" } dd { (account.key.domain_id) }
            dt { "HubSpot account" } dd { (account.key.hub_id) " " (account.hub_domain.as_deref().unwrap_or_default()) }
            dt { "Last checked for changes" } dd { (looked_at(account)) }
            @if let Some(at) = account.last_success_at { dt { "Last caught up" } dd { (words::time(at)) } }
            dt { "Last 24 hours" }
            dd {
                (spark_line(&account.hours)) " "
                (words::number(account.day.created)) " created, "
                (words::number(account.day.updated)) " updated, "
                (words::number(account.day.deleted)) " deleted"
            }
            @if let Some(run) = &account.last_run { dt { "Last run" } dd { (last_run(run)) } }
        }
        @if !account.problems.is_empty() {
            h2 { "Problems" }
            ul {
                @for problem in &account.problems {
                    li {
                        strong { (problem.part) ": " } (problem.reason)
                        " (" (words::count(problem.attempts.into(), "attempt"))
                        @if let Some(at) = problem.retry_at { ", tried again at " (words::time(at)) } ")"
                    }
                }
            }
        }
        @if let Some(token) = token {
            h2 { "What you can do" }
            div class="buttons" { (buttons(account, token)) }
        }
        h2 { "Timeline" }
        @if timeline.is_empty() { p { "Nothing was noted in the last thirty days." } } @else {
            ol class="timeline" {
                @for event in timeline {
                    li {
                        (words::time(event.at)) " " (words::event(event.what))
                        @if let Some(detail) = &event.detail { ": " (detail) }
                        @if let Some(by) = &event.by { " (by " (by) ")" }
                    }
                }
            }
        }
    }
}

fn last_run(run: &LastRun) -> Markup {
    let figures = &run.figures;
    html! {
        (words::time(run.started_at)) ", "
        (words::duration(time::since(run.started_at, run.ended_at)))
        @if !run.is_over { " so far" } ": "
        (words::count(figures.records, "record")) " read, " (words::count(figures.actions, "change")) ", "
        (words::count(figures.requests, "request")) " to HubSpot, " (words::number(figures.rate_limited)) " refused, "
        (words::count(figures.slices, "slice"))
    }
}

fn buttons(account: &Status, token: &str) -> Markup {
    let offered: &[Operation] = match account.state {
        State::Disconnected => &[],
        State::Paused => &[Operation::Resume, Operation::Disconnect],
        State::Reauthorize => &[Operation::Disconnect],
        _ => &[Operation::Sync, Operation::Pause, Operation::Resync, Operation::Disconnect],
    };
    html! {
        @for operation in offered.iter().copied() {
            @match operation {
                Operation::Resync | Operation::Disconnect => {
                    a class="button" href=(from_root(&format!("{}/{}", account_path(&account.key), operation.name()))) {
                        (words::button(operation)) "…"
                    }
                }
                _ => (form(account, operation, token)),
            }
        }
        @if account.state != State::Paused {
            (button(account, "link", "Make a link for the customer", token))
        }
    }
}

fn form(account: &Status, operation: Operation, token: &str) -> Markup {
    button(account, operation.name(), words::button(operation), token)
}

fn button(account: &Status, path: &str, text: &str, token: &str) -> Markup {
    html! {
        form method="post" action=(from_root(&format!("{}/{path}", account_path(&account.key)))) {
            input type="hidden" name="token" value=(token);
            button { (text) }
        }
    }
}

/// Shows a link that was made.
pub(crate) fn link(account: &Status, url: &str, ends: DateTime) -> Markup {
    html! {
        p {
            label for="link" {
                "Whoever has this link can connect the HubSpot account " (account.key.hub_id) " to " (account.name())
                " until " (words::time(ends))
            }
            input type="text" id="link" readonly value=(url);
        }
        p { a class="button" href=(from_root(&account_path(&account.key))) { "Back to the account" } }
    }
}

/// Asks whether somebody is sure.
pub(crate) fn confirmation(account: &Status, operation: Operation, token: &str) -> Markup {
    html! {
        p { strong { (account.name()) } ", HubSpot account " (account.key.hub_id) ": " (words::meaning(operation)) }
        div class="buttons" {
            (form(account, operation, token))
            a class="button" href=(from_root(&account_path(&account.key))) { "Cancel" }
        }
    }
}
