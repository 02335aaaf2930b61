//! The pages. They are rendered by the server, load nothing from other hosts, and work without scripts.

pub(crate) mod account;
mod actions;
pub(crate) mod labels;
mod layout;
pub(crate) mod list;
mod objects;
mod overview;
mod plot;

use maud::{Markup, html};
use model::account::AccountKey;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) use self::{
    actions::{confirmation, link},
    layout::{copy_page, live_page, page},
};
use crate::address::from_root;

/// How many accounts a page shows.
pub(crate) const PAGE_SIZE: usize = 50;

/// Returns the path of an account's page.
pub(crate) fn account_path(account: &AccountKey) -> String {
    let domain = utf8_percent_encode(account.domain_id.as_str(), NON_ALPHANUMERIC);
    format!("/accounts/{domain}/{}", account.hub_id)
}

/// Returns a page with a message.
pub(crate) fn message(title: &str, words: &str) -> Markup {
    page(title, None, html! { p { (words) } })
}

/// Returns the page that an install link opens: who will see the data, and the button that leads to HubSpot.
pub(crate) fn install(company: &str, on: &str) -> Markup {
    let body = html! {
        p { "HubSpot will ask you to let this service read the companies and contacts of an account, and what else it lists. "
            strong { (company) } " will see them, for as long as the account is connected." }
        p { a class="button" href=(on) { "Go on to HubSpot" } }
        p class="quiet" { "If you do not work with " (company) ", close this page: nothing is connected yet." }
    };
    page(&format!("Connect a HubSpot account to {company}"), None, body)
}

/// Returns the page that a customer sees after connecting an account.
pub(crate) fn connected(portal: &str, company: &str) -> Markup {
    let body = html! {
        p { "The HubSpot account " strong { (portal) } " is connected to " strong { (company) }
            ", who sees from now on what you have let this service read." }
        p { "To undo this, uninstall the app in HubSpot (Settings, Integrations, Connected Apps), or ask " (company) "." }
        p { "You can close this page." }
    };
    page("Connected", None, body)
}

/// Returns the sign-in page.
pub(crate) fn login() -> Markup {
    let body = html! {
        form method="post" action=(from_root("/sign-in")) class="login" {
            label for="token" { "Access token" }
            input type="password" id="token" name="token" autocomplete="current-password" required autofocus;
            button { "Sign in" }
        }
        p class="quiet" { "It is the secret that the stack's output ConnectSecretArn names." }
    };
    page("Sign in", None, body)
}
