//! The state of every account, as JSON for programs. `assets/openapi.yaml` describes it.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use model::{
    checkpoint::{ActionCounts, RunStats},
    ids::{DomainId, HubId},
    time::DateTime,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Event, TimelineEvent};

use crate::{
    Connect,
    accounts::{AccountFilter, MAX_PAGE},
    auth::Bearer,
    links::Link,
    operation::Ids,
    status::{Backfill, Problem, State as AccountState, Status, rfc3339},
    tokens::Role,
    web::{AppError, bad_request_body, internal_error},
};

/// How many accounts a page has if the request has no `limit`.
const DEFAULT_PAGE_SIZE: usize = 50;

/// An account in the API's answers. It contains no token and no personal data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountResponse {
    domain: String,
    hub_id: String,
    company: Option<String>,
    hub_domain: Option<String>,
    state: AccountState,
    reason: Option<String>,
    #[serde(serialize_with = "rfc3339")]
    since: Option<DateTime>,
    #[serde(serialize_with = "rfc3339")]
    fresh_to: Option<DateTime>,
    freshness_seconds: Option<u64>,
    #[serde(serialize_with = "rfc3339")]
    last_success_at: Option<DateTime>,
    last_run: Option<RunResponse>,
    /// How many records of the history are still to be read, by HubSpot's count.
    backlog: Option<i64>,
    backfill: Option<Backfill>,
    problems: Vec<Problem>,
    last_day: ActionCounts,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunResponse {
    id: String,
    #[serde(serialize_with = "rfc3339")]
    started_at: Option<DateTime>,
    #[serde(serialize_with = "rfc3339")]
    ended_at: Option<DateTime>,
    is_over: bool,
    #[serde(flatten)]
    figures: RunStats,
}

impl From<Status> for AccountResponse {
    fn from(status: Status) -> Self {
        Self {
            domain: status.key.domain_id.to_string(),
            hub_id: status.key.hub_id.to_string(),
            company: status.company,
            hub_domain: status.hub_domain,
            state: status.state,
            reason: status.reason,
            since: status.since,
            fresh_to: status.fresh_to,
            freshness_seconds: status.behind.map(|behind| behind.as_secs()),
            last_success_at: status.last_success_at,
            last_run: status.last_run.map(|run| RunResponse {
                id: run.id,
                started_at: Some(run.started_at),
                ended_at: Some(run.ended_at),
                is_over: run.is_over,
                figures: run.figures,
            }),
            backlog: match status.backfill {
                None => Some(0).filter(|_| status.fresh_to.is_some()),
                Some(Backfill { read, total }) => total.map(|total| total - read),
            },
            backfill: status.backfill,
            problems: status.problems,
            last_day: status.day,
        }
    }
}

/// `GET /api/accounts`
pub(crate) async fn list(
    bearer: Bearer,
    State(connect): State<Connect>,
    sought: Result<Query<AccountFilter>, QueryRejection>,
) -> Result<Json<Value>, AppError> {
    bearer.may(Role::Read)?;
    let Query(sought) = sought.map_err(|refused| AppError::json(StatusCode::BAD_REQUEST, refused.body_text()))?;
    let limit = sought.limit.unwrap_or(DEFAULT_PAGE_SIZE);
    let known = sought.state.is_empty() || AccountState::ALL.iter().any(|state| state.name() == sought.state);
    if !known || !(1..=MAX_PAGE).contains(&limit) {
        return Err(AppError::json(
            StatusCode::BAD_REQUEST,
            format!("`state` must be a known state, and `limit` 1 to {MAX_PAGE}"),
        ));
    }
    let found = connect.find(&sought, limit).await.map_err(internal_error)?;
    let counts: serde_json::Map<String, Value> =
        found.counts.iter().map(|(state, count)| (state.name().to_owned(), json!(count))).collect();
    let accounts: Vec<AccountResponse> = found.accounts.into_iter().map(AccountResponse::from).collect();
    Ok(Json(json!({ "total": found.total, "offset": sought.offset, "counts": counts, "accounts": accounts })))
}

/// `GET /api/accounts/{domain}/{hub}`
pub(crate) async fn one(
    bearer: Bearer,
    State(connect): State<Connect>,
    ids: Result<Path<Ids>, PathRejection>,
) -> Result<Json<Value>, AppError> {
    bearer.may(Role::Read)?;
    let missing = || AppError::json(StatusCode::NOT_FOUND, "there is no such account");
    let Path(ids) = ids.map_err(|_| missing())?;
    let account = ids.key().ok_or_else(missing)?;
    let status = connect.find_one(&account).await.map_err(internal_error)?.ok_or_else(missing)?;
    let timeline: Vec<Value> = connect.timeline(&status).await.map_err(internal_error)?.iter().map(event).collect();
    let (search, general) = status.shares;
    let mut response = json!(AccountResponse::from(status));
    response["timeline"] = json!(timeline);
    response["rateLimits"] = json!({ "searchShare": search, "generalShare": general });
    Ok(Json(response))
}

fn event(event: &Event) -> Value {
    let at = event.at.try_to_rfc3339_string().ok();
    json!({ "at": at, "what": event.what as TimelineEvent, "detail": event.detail, "by": event.by })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkWanted {
    domain: String,
    hub_id: Option<String>,
}

fn no_domain() -> AppError {
    AppError::json(StatusCode::NOT_FOUND, "there is no such Domain")
}

/// Returns the Domain of an id. Fails with 404 if there is none, and with 503 if MongoDB cannot be reached.
async fn domain(connect: &Connect, id: String) -> Result<DomainId, AppError> {
    let domain = DomainId::try_from(id).map_err(|_| no_domain())?;
    connect.store.domain_name(&domain).await.map_err(internal_error)?.ok_or_else(no_domain)?;
    Ok(domain)
}

/// `POST /api/install-links`: makes a link by which a customer connects HubSpot.
pub(crate) async fn install_link(
    bearer: Bearer,
    State(connect): State<Connect>,
    headers: HeaderMap,
    wanted: Result<Json<LinkWanted>, JsonRejection>,
) -> Result<Response, AppError> {
    let actor = bearer.may(Role::Link)?;
    let Json(wanted) = wanted.map_err(bad_request_body)?;
    let domain = domain(&connect, wanted.domain).await?;
    let hub = wanted.hub_id.map(HubId::try_from).transpose();
    let hub = hub.map_err(|_| AppError::json(StatusCode::BAD_REQUEST, "that is no HubSpot account's id"))?;
    let base = connect.base(&headers)?;
    let (url, ends) = connect.make_link(&base, &domain, hub.as_ref(), &actor).await.map_err(internal_error)?;
    let answer = json!({ "url": url.as_str(), "expiresAt": ends.try_to_rfc3339_string().ok() });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Unwanted {
    domain: String,
    /// The link. All links of the Domain if it is absent.
    url: Option<String>,
}

/// `POST /api/install-links/revoke`: revokes links. Fails with 404 if the link is not one of the Domain.
pub(crate) async fn revoke_links(
    bearer: Bearer,
    State(connect): State<Connect>,
    unwanted: Result<Json<Unwanted>, JsonRejection>,
) -> Result<StatusCode, AppError> {
    let actor = bearer.may(Role::Link)?;
    let Json(Unwanted { domain: id, url }) = unwanted.map_err(bad_request_body)?;
    let domain = domain(&connect, id).await?;
    let missing = || AppError::json(StatusCode::NOT_FOUND, "that is no link of this Domain");
    match url {
        None => connect.revoke_links(&domain, &actor).await.map_err(internal_error)?,
        Some(url) => {
            let link = Link::read(&url).filter(|link| link.domain == domain.as_str()).ok_or_else(missing)?;
            if !connect.revoke_link(&link, &actor).await.map_err(internal_error)? {
                return Err(missing());
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/openapi.yaml`
pub(crate) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml")], include_str!("../assets/openapi.yaml"))
}
