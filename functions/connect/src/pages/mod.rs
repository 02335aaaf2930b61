//! The pages: server-rendered, without anything from elsewhere, and of use without a script.

mod account;
mod layout;
mod list;
mod words;

use axum::{
    Form,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use common::account::AccountKey;
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{
    Connect,
    accounts::Sought,
    operate::{Ids, Operation, Pressed, no_account},
    pages::layout::{live_page, page},
    session::Session,
    web::{Refusal, from_root, trouble_page},
};

/// How many accounts a page shows.
const PAGE: usize = 50;

/// The path of an account's page.
pub(crate) fn account_path(account: &AccountKey) -> String {
    let domain = utf8_percent_encode(account.domain_id.as_str(), NON_ALPHANUMERIC);
    format!("/accounts/{domain}/{}", account.hub_id)
}

/// A page that says something.
pub(crate) fn message(title: &str, words: &str) -> Markup {
    page(title, None, html! { p { (words) } })
}

/// What a customer sees who has opened a link: who will see the data, and the way on to HubSpot.
pub(crate) fn install(company: &str, on: &str) -> Markup {
    let body = html! {
        p { "HubSpot will ask you to let this service read the companies and contacts of an account. "
            strong { (company) } " will see them, for as long as the account is connected." }
        p { a class="button" href=(on) { "Go on to HubSpot" } }
        p class="quiet" { "If you do not work with " (company) ", close this page: nothing is connected yet." }
    };
    page(&format!("Connect a HubSpot account to {company}"), None, body)
}

/// What a customer sees who has connected an account.
pub(crate) fn connected(portal: &str, company: &str) -> Markup {
    let body = html! {
        p { "The HubSpot account " strong { (portal) } " is connected to " strong { (company) }
            ", who sees its companies and contacts from now on." }
        p { "To undo this, uninstall the app in HubSpot (Settings, Integrations, Connected Apps), or ask " (company) "." }
        p { "You can close this page." }
    };
    page("Connected", None, body)
}

/// `GET /sign-in`
pub(crate) async fn login() -> Markup {
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

/// `GET /`: all accounts.
pub(crate) async fn list(
    session: Session,
    State(connect): State<Connect>,
    Query(sought): Query<Sought>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let found = connect.find(&sought, PAGE).await.map_err(trouble_page)?;
    Ok(live_page(&headers, "Accounts", &session.form_token(&connect.keys), list::body(&sought, &found)))
}

#[derive(Deserialize)]
pub(crate) struct Done {
    #[serde(default)]
    done: String,
}

/// `GET /accounts/{domain}/{hub}`: one account.
pub(crate) async fn account(
    session: Session,
    State(connect): State<Connect>,
    Path(ids): Path<Ids>,
    Query(Done { done }): Query<Done>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let account = ids.key().ok_or_else(no_account)?;
    let status = connect.find_one(&account).await.map_err(trouble_page)?.ok_or_else(no_account)?;
    let timeline = connect.timeline(&status).await.map_err(trouble_page)?;
    let token = session.form_token(&connect.keys);
    let body = account::body(&status, &timeline, session.may_operate().then_some(&token), words::done(&done));
    Ok(live_page(&headers, status.name(), &token, body))
}

/// `POST /accounts/{domain}/{hub}/link`: makes a link by which the customer connects this account again.
pub(crate) async fn link(
    session: Session,
    State(connect): State<Connect>,
    Path(ids): Path<Ids>,
    headers: HeaderMap,
    Form(pressed): Form<Pressed>,
) -> Result<Markup, Refusal> {
    session.check_form(&connect.keys, &pressed.token)?;
    let actor = session.operator()?;
    let key = ids.key().ok_or_else(no_account)?;
    let status = connect.find_one(&key).await.map_err(trouble_page)?.ok_or_else(no_account)?;
    let base = connect.base(&headers)?;
    let made = connect.make_link(&base, &key.domain_id, Some(&key.hub_id), actor).await;
    let (url, ends) = made.map_err(trouble_page)?;
    let token = session.form_token(&connect.keys);
    Ok(page("A link for the customer", Some(&token), account::link(&status, url.as_str(), ends)))
}

/// `GET /accounts/{domain}/{hub}/{operation}`: asks whether somebody is sure.
pub(crate) async fn confirm(
    session: Session,
    State(connect): State<Connect>,
    Path((domain, hub, operation)): Path<(String, String, Operation)>,
) -> Result<Markup, Refusal> {
    session.operator()?;
    let account = Ids { domain, hub }.key().ok_or_else(no_account)?;
    let status = connect.find_one(&account).await.map_err(trouble_page)?.ok_or_else(no_account)?;
    let token = session.form_token(&connect.keys);
    Ok(page(words::button(operation), Some(&token), account::confirmation(&status, operation, &token)))
}

/// `GET /style.css`
pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../assets/style.css"))
}

/// `GET /live.js`
pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../../assets/live.js"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=300")], text).into_response()
}
