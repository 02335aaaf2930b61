//! The handlers of the status page.

use axum::{
    Form,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::Markup;
use serde::Deserialize;

use crate::{
    Connect,
    accounts::AccountFilter,
    operation::{Ids, Operation, Pressed},
    pages,
    session::{BY_ITSELF, Session},
    signing::hash,
    web::{AppError, internal_error_page, no_account},
};

/// `GET /sign-in`
pub(crate) async fn login() -> Markup {
    pages::login()
}

/// Answers a request for a live page. A browser gets the whole page. The page's script gets the body alone, or 304 if
/// it already has that body.
fn live(asked: &HeaderMap, title: &str, form_token: &str, body: Markup) -> Response {
    let tag = format!("\"{}\"", hash(&body.0));
    if !asked.contains_key(BY_ITSELF) {
        return pages::live_page(title, form_token, &tag, body).into_response();
    }
    let known = asked.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    // A proxy that compresses the answer marks the tag as weak.
    let is_known = known.is_some_and(|known| known.trim_start_matches("W/") == tag);
    let answer = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body.into_response() };
    ([(header::ETAG, tag)], answer).into_response()
}

/// `GET /`: all accounts.
pub(crate) async fn list(
    session: Session,
    State(connect): State<Connect>,
    Query(sought): Query<AccountFilter>,
    headers: HeaderMap,
) -> Result<Response, AppError> {
    let found = connect.find(&sought, pages::PAGE_SIZE).await.map_err(internal_error_page)?;
    Ok(live(&headers, "Accounts", &session.form_token(&connect.keys), pages::list::body(&sought, &found)))
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
) -> Result<Response, AppError> {
    let account = ids.key().ok_or_else(no_account)?;
    let status = connect.find_one(&account).await.map_err(internal_error_page)?.ok_or_else(no_account)?;
    let timeline = connect.timeline(&status).await.map_err(internal_error_page)?;
    let token = session.form_token(&connect.keys);
    let body =
        pages::account::body(&status, &timeline, session.may_operate().then_some(&token), pages::labels::done(&done));
    Ok(live(&headers, status.name(), &token, body))
}

/// `POST /accounts/{domain}/{hub}/link`: makes a link by which the customer connects this account again.
pub(crate) async fn link(
    session: Session,
    State(connect): State<Connect>,
    Path(ids): Path<Ids>,
    headers: HeaderMap,
    Form(pressed): Form<Pressed>,
) -> Result<Markup, AppError> {
    session.check_form(&connect.keys, &pressed.token)?;
    let actor = session.operator()?;
    let key = ids.key().ok_or_else(no_account)?;
    let status = connect.find_one(&key).await.map_err(internal_error_page)?.ok_or_else(no_account)?;
    let base = connect.base(&headers)?;
    let made = connect.make_link(&base, &key.domain_id, Some(&key.hub_id), actor).await;
    let (url, ends) = made.map_err(internal_error_page)?;
    let token = session.form_token(&connect.keys);
    Ok(pages::copy_page("A link for the customer", &token, pages::link(&status, url.as_str(), ends)))
}

/// `GET /accounts/{domain}/{hub}/{operation}`: asks for a confirmation.
pub(crate) async fn confirm(
    session: Session,
    State(connect): State<Connect>,
    Path((domain, hub, operation)): Path<(String, String, Operation)>,
) -> Result<Markup, AppError> {
    session.operator()?;
    let account = Ids { domain, hub }.key().ok_or_else(no_account)?;
    let status = connect.find_one(&account).await.map_err(internal_error_page)?.ok_or_else(no_account)?;
    let token = session.form_token(&connect.keys);
    Ok(pages::page(pages::labels::button(operation), Some(&token), pages::confirmation(&status, operation, &token)))
}

/// `GET /style.css`
pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../assets/style.css"))
}

/// `GET /live.js`
pub(crate) async fn live_script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../assets/live.js"))
}

/// `GET /copy.js`
pub(crate) async fn copy_script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../assets/copy.js"))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=300")], text).into_response()
}
