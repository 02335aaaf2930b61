//! The consent page, on which a customer chooses an account and allows the app to read it, or refuses.

use axum::{
    Form,
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use rand::{RngExt, distr::Alphanumeric};
use reqwest::Url;
use serde::Deserialize;

use crate::apps::{CLIENT_ID, OTHER_SCOPES, SCOPES};
use crate::{Shared, lock, world::Consent};

/// The parameters of the app's request.
#[derive(Clone, Deserialize)]
pub(crate) struct ConsentRequest {
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    scope: String,
    state: Option<String>,
    code_challenge: Option<String>,
}

impl ConsentRequest {
    /// Returns why the page is not shown. Returns `None` if the request is valid.
    fn problem(&self) -> Option<&'static str> {
        let is_known = |scope: &str| {
            let reads = ["crm.objects.", "crm.schemas."].iter().any(|begin| scope.starts_with(begin));
            SCOPES.contains(&scope) || OTHER_SCOPES.contains(&scope) || reads && scope.ends_with(".read")
        };
        if self.client_id != CLIENT_ID {
            Some("This app is not known: its client id is wrong.")
        } else if Url::parse(&self.redirect_uri).is_err() {
            Some("The app's redirect URL does not match.")
        } else if self.scope.is_empty() || !self.scope.split(' ').all(is_known) {
            Some("The app asks for scopes that it does not have.")
        } else {
            None
        }
    }
}

/// `GET /oauth/authorize`
pub(crate) async fn show(State(world): State<Shared>, Query(asked): Query<ConsentRequest>) -> Response {
    if let Some(problem) = asked.problem() {
        return (StatusCode::BAD_REQUEST, page(html! { p { (problem) } })).into_response();
    }
    let portals: Vec<u64> = lock(&world).portals.keys().copied().collect();
    let body = html! {
        p { "An app wants to read the contacts and companies of a HubSpot account. Which one?" }
        form method="post" action="/oauth/authorize" {
            @for (name, value) in [("client_id", &asked.client_id), ("redirect_uri", &asked.redirect_uri), ("scope", &asked.scope)] {
                input type="hidden" name=(name) value=(value);
            }
            @for (name, value) in [("state", &asked.state), ("code_challenge", &asked.code_challenge)] {
                @if let Some(value) = value { input type="hidden" name=(name) value=(value); }
            }
            @for portal in portals {
                p { button name="hub_id" value=(portal) { "Account " (portal) } }
            }
            p { button name="hub_id" value="0" id="deny" { "Do not allow" } }
        }
    };
    page(body).into_response()
}

#[derive(Deserialize)]
pub(crate) struct Decision {
    hub_id: u64,
    #[serde(flatten)]
    asked: ConsentRequest,
}

/// `POST /oauth/authorize`: redirects to the app, with a code for the chosen account, or with an error.
pub(crate) async fn decide(State(world): State<Shared>, Form(decision): Form<Decision>) -> Response {
    let Decision { hub_id, asked } = decision;
    let Some(mut back) = Url::parse(&asked.redirect_uri).ok().filter(|_| asked.problem().is_none()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut world = lock(&world);
    if world.portals.contains_key(&hub_id) {
        let code: String = (0..24).map(|_| char::from(world.random.sample(Alphanumeric))).collect();
        back.query_pairs_mut().append_pair("code", &code);
        let is_granted = |scope: &&str| !world.settings.withheld_scopes.iter().any(|withheld| withheld == scope);
        let scopes = asked.scope.split(' ').filter(is_granted).map(str::to_owned).collect();
        let consent = Consent { hub_id, redirect_uri: asked.redirect_uri, challenge: asked.code_challenge, scopes };
        world.codes.insert(code, consent);
    } else {
        back.query_pairs_mut()
            .append_pair("error", "access_denied")
            .append_pair("error_description", "The user did not allow it.");
    }
    if let Some(state) = &asked.state {
        back.query_pairs_mut().append_pair("state", state);
    }
    let location = HeaderValue::from_str(back.as_str()).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

fn page(body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "HubSpot, simulated" } }
            body { h1 { "HubSpot, simulated" } (body) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_may_ask_for_reading_any_object_type_and_for_nothing_else() {
        let problem = |scope: &str| {
            let request = ConsentRequest {
                client_id: CLIENT_ID.to_owned(),
                redirect_uri: "https://app.example/callback".to_owned(),
                scope: scope.to_owned(),
                state: None,
                code_challenge: None,
            };
            request.problem()
        };
        for scope in ["oauth crm.objects.contacts.read", "crm.objects.custom.read crm.schemas.custom.read", "tickets"] {
            assert_eq!(problem(scope), None, "{scope}");
        }
        for scope in ["", "oauth crm.objects.contacts.write", "automation"] {
            assert!(problem(scope).is_some(), "{scope}");
        }
    }
}
