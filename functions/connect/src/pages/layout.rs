//! What all pages have in common.

use maud::{DOCTYPE, Markup, html};

use crate::web::from_root;

/// A page. `form_token` is that of a session, where there is one; a `live` page shows by itself what has changed.
pub(super) fn page(title: &str, form_token: Option<&str>, live: bool, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · HubSpot sync" }
                link rel="stylesheet" href=(from_root("/style.css"));
                @if live { script src=(from_root("/live.js")) defer {} }
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                header {
                    @if let Some(token) = form_token {
                        nav aria-label="Main" {
                            a href=(from_root("/")) { "HubSpot sync" }
                            form method="post" action=(from_root("/sign-out")) {
                                input type="hidden" name="token" value=(token);
                                button class="plain" { "Sign out" }
                            }
                        }
                    } @else {
                        span { "HubSpot sync" }
                    }
                }
                main id="main" {
                    h1 { (title) }
                    @if live {
                        p class="quiet live-switch" hidden {
                            label { input type="checkbox" id="live-on" checked; " Show changes as they happen" }
                        }
                        div id="live" { (body) }
                    } @else {
                        (body)
                    }
                }
            }
        }
    }
}
