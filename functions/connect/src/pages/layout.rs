//! The layout that all pages share.

use maud::{DOCTYPE, Markup, html};

use crate::address::from_root;

/// Returns a page. `form_token` is the session's, if there is one.
pub(crate) fn page(title: &str, form_token: Option<&str>, body: Markup) -> Markup {
    layout(title, form_token, None, None, body)
}

/// Returns a page that updates itself. `tag` identifies the body that it has.
pub(crate) fn live_page(title: &str, form_token: &str, tag: &str, body: Markup) -> Markup {
    layout(title, Some(form_token), Some("/live.js"), Some(tag), body)
}

/// Returns a page with a button that copies text.
pub(crate) fn copy_page(title: &str, form_token: &str, body: Markup) -> Markup {
    layout(title, Some(form_token), Some("/copy.js"), None, body)
}

fn layout(title: &str, form_token: Option<&str>, script: Option<&str>, tag: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · HubSpot sync" }
                link rel="stylesheet" href=(from_root("/style.css"));
                @if let Some(script) = script { script src=(from_root(script)) defer {} }
            }
            body {
                a class="skip" href="#main" { "Skip to the content" }
                header {
                    @if let Some(token) = form_token {
                        nav aria-label="Main" {
                            a class="brand" href=(from_root("/")) { "HubSpot sync" }
                            form method="post" action=(from_root("/sign-out")) {
                                input type="hidden" name="token" value=(token);
                                button class="plain" { "Sign out" }
                            }
                        }
                    } @else {
                        span class="brand" { "HubSpot sync" }
                    }
                }
                main id="main" {
                    div class="title" {
                        h1 { (title) }
                        @if tag.is_some() {
                            p class="quiet live-switch" hidden {
                                label { input type="checkbox" id="live-on" checked; " Show changes as they happen" }
                            }
                        }
                    }
                    @if let Some(tag) = tag {
                        div id="live" data-tag=(tag) { (body) }
                    } @else {
                        (body)
                    }
                }
            }
        }
    }
}
