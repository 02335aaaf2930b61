//! The page of an account: its status, its timeline, and the operations on it.

use maud::{Markup, html};
use model::{
    checkpoint::LastRun,
    time::{self},
};
use store::Event;

use super::{
    actions, labels,
    list::{checked, state, what_to_do},
    objects, plot,
};
use crate::status::{Problem, Status};

/// Returns the page's body. `token` is the token of its forms. It is `None` if the session may not change anything.
pub(crate) fn body(account: &Status, timeline: &[Event], token: Option<&String>, done: Option<&str>) -> Markup {
    let hours: Vec<_> = account.hours.iter().map(|(hour, actions)| (hour.clone(), Some(*actions))).collect();
    html! {
        @if let Some(done) = done { p role="status" class="done" { (done) } }
        div class="card now" {
            div {
                (state(account))
                @if let Some(since) = account.since { div class="quiet" { "since " (labels::time(since)) } }
                (what_to_do(account))
            }
            dl class="facts" {
                div { dt { "Last checked" } dd { (checked(account)) } }
                div { dt { "Last caught up" } dd { @match account.last_success_at {
                    Some(at) => (labels::ago(at)),
                    None => (labels::UNKNOWN),
                } } }
                div { dt { "Last 24 hours" } dd {
                    (labels::number(account.day.created)) " created, "
                    (labels::number(account.day.updated)) " updated, "
                    (labels::number(account.day.deleted)) " deleted"
                } }
            }
        }
        (objects::table(account))
        (problems(&account.problems))
        @if let Some(token) = token { (actions::buttons(account, token)) }
        h2 { "Activity" }
        div class="plots" { (plot::changes(&hours)) (details(account)) }
        @if token.is_some() { (actions::danger(account)) }
        h2 { "Timeline" }
        (events(timeline))
    }
}

fn details(account: &Status) -> Markup {
    html! {
        dl class="card" {
            dt { "Domain" } dd { (account.key.domain_id) }
            dt { "HubSpot account" } dd { (account.key.hub_id) " " (account.hub_domain.as_deref().unwrap_or_default()) }
            @if let Some(run) = &account.last_run {
                dt { "Last run" } dd { (labels::time(run.started_at)) ", " (took(run)) }
                dt { "Records read" } dd { (labels::count(run.figures.records, "record")) }
                dt { "Changes found" } dd { (labels::number(run.figures.actions)) }
                dt { "Requests to HubSpot" } dd {
                    (labels::number(run.figures.requests)) ", " (labels::number(run.figures.rate_limited)) " refused"
                }
                dt { "Slices" } dd { (labels::number(run.figures.slices)) }
            }
        }
    }
}

fn took(run: &LastRun) -> String {
    let took = labels::duration(time::between(run.started_at, run.ended_at));
    if run.is_over { took } else { format!("{took} so far") }
}

fn problems(problems: &[Problem]) -> Markup {
    html! {
        @if !problems.is_empty() {
            h2 { "Problems" }
            ul class="problems" {
                @for problem in problems {
                    li {
                        strong { (problem.part) ": " } (problem.reason)
                        " (" (labels::count(problem.attempts.into(), "attempt"))
                        @if let Some(at) = problem.retry_at { ", tried again at " (labels::time(at)) } ")"
                    }
                }
            }
        }
    }
}

fn events(timeline: &[Event]) -> Markup {
    html! {
        @if timeline.is_empty() { p { "Nothing was noted in the last thirty days." } } @else {
            ol class="timeline" {
                @for event in timeline {
                    li {
                        span class="quiet" { (labels::time(event.at)) } " " (labels::event(event.what))
                        @if let Some(detail) = &event.detail { ": " (detail) }
                        @if let Some(by) = &event.by { " (by " (by) ")" }
                    }
                }
            }
        }
    }
}
