//! What all pages have in common.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

use crate::{session::BY_ITSELF, signing::hash, web::from_root};

/// A page. `form_token` is that of a session, if there is one.
pub(super) fn page(title: &str, form_token: Option<&str>, body: Markup) -> Markup {
    layout(title, form_token, None, body)
}

/// Answers a request for a page that shows by itself what has changed: with the page, or if its script asks, with the body
/// alone, and nothing if the script has the same one.
pub(super) fn live_page(asked: &HeaderMap, title: &str, form_token: &str, body: Markup) -> Response {
    let tag = format!("\"{}\"", hash(&body.0));
    if !asked.contains_key(BY_ITSELF) {
        return layout(title, Some(form_token), Some(&tag), body).into_response();
    }
    let known = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    // Who compresses the answer on its way calls the tag a weak one.
    let is_known = known.is_some_and(|known| known.trim_start_matches("W/") == tag);
    let answer = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    ([(header::ETAG, tag)], answer).into_response()
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
