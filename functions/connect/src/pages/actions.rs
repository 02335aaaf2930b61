//! The operations on an account: buttons, destructive ones apart, and their pages.

use maud::{Markup, html};
use model::time::DateTime;

use super::{account_path, labels};
use crate::{
    address::from_root,
    operation::Operation,
    status::{State, Status},
};

/// Returns the operations offered in a state: the usual ones, and the destructive ones.
fn offered(state: State) -> (&'static [Operation], &'static [Operation]) {
    match state {
        State::Disconnected => (&[], &[]),
        State::Paused => (&[Operation::Resume], &[Operation::Disconnect]),
        State::Reauthorize => (&[], &[Operation::Disconnect]),
        _ => (&[Operation::Sync, Operation::Pause], &[Operation::Resync, Operation::Disconnect]),
    }
}

/// Returns the buttons of the usual operations.
pub(super) fn buttons(account: &Status, token: &str) -> Markup {
    let (usual, _) = offered(account.state);
    // The customer has to use a link before anything else helps.
    let is_link_first = matches!(account.state, State::Reauthorize | State::Disconnected);
    html! {
        @if account.state != State::Paused || !usual.is_empty() {
            h2 { "What you can do" }
            div class="buttons" {
                @for operation in usual.iter().copied() { (form(account, operation, "", token)) }
                @if account.state != State::Paused {
                    (button(account, "link", "Make a link for the customer", if is_link_first { "" } else { "second" }, token))
                }
            }
        }
    }
}

/// Returns the links to the destructive operations. Each leads to a confirmation.
pub(super) fn danger(account: &Status) -> Markup {
    let (_, apart) = offered(account.state);
    html! {
        @if !apart.is_empty() {
            section class="careful" aria-labelledby="careful" {
                h2 id="careful" { "Think twice" }
                @for operation in apart.iter().copied() {
                    div class="choice" {
                        p { (labels::meaning(operation)) }
                        a class="button danger" href=(from_root(&format!("{}/{}", account_path(&account.key), operation.name()))) {
                            (labels::button(operation)) "…"
                        }
                    }
                }
            }
        }
    }
}

fn form(account: &Status, operation: Operation, class: &str, token: &str) -> Markup {
    button(account, operation.name(), labels::button(operation), class, token)
}

fn button(account: &Status, path: &str, text: &str, class: &str, token: &str) -> Markup {
    html! {
        form method="post" action=(from_root(&format!("{}/{path}", account_path(&account.key)))) {
            input type="hidden" name="token" value=(token);
            button class=[(!class.is_empty()).then_some(class)] { (text) }
        }
    }
}

/// Returns the page's body with a new link. Without a script, it has no button that copies the link.
pub(crate) fn link(account: &Status, url: &str, ends: DateTime) -> Markup {
    html! {
        p {
            "Send it to the customer. Whoever has it can connect the HubSpot account " (account.key.hub_id) " to "
            strong { (account.name()) } " until " (labels::time(ends)) "."
        }
        div class="copy" {
            label for="link" { "The link" }
            input type="text" id="link" readonly value=(url);
            button id="copy" hidden { "Copy" }
        }
        p id="copied" role="status" class="quiet" {}
        p { a class="button second" href=(from_root(&account_path(&account.key))) { "Back to the account" } }
    }
}

/// Returns the body of a confirmation page.
pub(crate) fn confirmation(account: &Status, operation: Operation, token: &str) -> Markup {
    html! {
        p { strong { (account.name()) } ", HubSpot account " (account.key.hub_id) ": " (labels::meaning(operation)) }
        div class="buttons" {
            (form(account, operation, "danger", token))
            a class="button second" href=(from_root(&account_path(&account.key))) { "Cancel" }
        }
    }
}
