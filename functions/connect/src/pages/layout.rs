//! What all pages have in common.

use maud::{DOCTYPE, Markup, html};

use crate::address::from_root;

/// A page. `form_token` is that of a session, if there is one.
pub(crate) fn page(title: &str, form_token: Option<&str>, body: Markup) -> Markup {
    layout(title, form_token, None, body)
}

/// A page that shows by itself what has changed; `tag` names the body that it has.
pub(crate) fn live_page(title: &str, form_token: &str, tag: &str, body: Markup) -> Markup {
    layout(title, Some(form_token), Some(tag), body)
}

fn layout(title: &str, form_token: Option<&str>, live_tag: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · HubSpot sync" }
                link rel="stylesheet" href=(from_root("/style.css"));
                @if live_tag.is_some() { script src=(from_root("/live.js")) defer {} }
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
                    @if let Some(tag) = live_tag {
                        p class="quiet live-switch" hidden {
                            label { input type="checkbox" id="live-on" checked; " Show changes as they happen" }
                        }
                        div id="live" data-tag=(tag) { (body) }
                    } @else {
                        (body)
                    }
                }
            }
        }
    }
}
