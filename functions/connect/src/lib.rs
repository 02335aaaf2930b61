//! The connect function. It serves the links by which customers connect HubSpot, receives HubSpot's webhooks, and shows
//! the state of every account as JSON and as a page. An API Gateway HTTP API invokes it.

mod accounts;
mod address;
mod api;
mod auth;
mod config;
mod consent;
mod cookies;
mod install;
mod links;
mod malformed;
mod metrics;
mod operation;
mod operations;
mod overview;
mod pages;
mod screens;
mod session;
mod signing;
mod status;
mod tokens;
mod web;
mod webhooks;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hubspot::HubSpot;
use lambda_http::Request;
use model::{message::SyncMessage, message::SyncRequest};
use queue::Queue;
use store::Store;
use token_vault::Vault;
use tower::ServiceExt;

use crate::{
    auth::{Failures, Source},
    overview::OverviewCache,
    signing::Keys,
};
pub use crate::{
    config::Config,
    consent::OptionalScopes,
    links::install_link,
    malformed::{Answer, refused},
    tokens::{Role, Tokens},
};

/// The largest body that is read, in bytes. HubSpot sends at most 100 events.
const MAX_BODY_SIZE: usize = 1 << 20;

/// The most connections to MongoDB of one instance. There are as many instances as concurrent requests.
const MAX_CONNECTIONS: u32 = 2;

/// The function's state between invocations.
#[derive(Clone, Debug)]
pub struct Connect(Arc<AppState>);

/// See [`Connect`].
#[derive(Debug)]
pub struct AppState {
    config: Config,
    store: Store,
    vault: Vault,
    hubspot: HubSpot,
    queue: Queue,
    keys: Keys,
    failures: Failures,
    overview: OverviewCache,
}

impl std::ops::Deref for Connect {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.0
    }
}

impl Connect {
    /// Sets up the clients. Connections are made when they are first needed.
    ///
    /// # Errors
    /// MongoDB's connection string or HubSpot's address cannot be used.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        let store = Store::connect_with(&config.mongo, MAX_CONNECTIONS).await?;
        Ok(Self(Arc::new(AppState {
            vault: Vault::new(store.clone(), config.token_key.clone()).await.sealed_only(config.sealed_only),
            store,
            hubspot: HubSpot::new(&config.hubspot_base_url)?,
            queue: Queue::new(Queue::client().await, config.sync_queue_url.clone()),
            keys: Keys::new(config.tokens.admin()),
            failures: Failures::default(),
            overview: OverviewCache::default(),
            config,
        })))
    }
}

impl AppState {
    /// Queues a request to sync an account.
    async fn enqueue_sync(&self, request: SyncRequest, delay: std::time::Duration) -> Result<(), queue::QueueError> {
        let group = request.account.to_string();
        self.queue.send(&SyncMessage::V1(request), &group, delay).await
    }
}

/// Answers a request from API Gateway. Answers every request with 503 if `connect` is `None`: the secrets could not be
/// read, so no token can be trusted.
pub async fn respond(connect: Option<&Connect>, request: Request) -> Response {
    let Some(connect) = connect else {
        return web::secure(web::internal_error("the secrets cannot be read".to_owned()).into_response()).await;
    };
    let root = connect.config.public_url.as_ref().map(address::root).unwrap_or_default();
    let mut request = request.map(|body| Body::from(body.to_vec()));
    *request.uri_mut() = address::without_root(request.uri(), root);
    let source = Source::of(request.extensions());
    // Without the query, which may hold a code or a signature.
    let (began, method, path) = (Instant::now(), request.method().clone(), request.uri().path().to_owned());
    let response = match address::ROOT.scope(root.to_owned(), router(connect.clone()).oneshot(request)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(%method, path, status = response.status().as_u16(), duration_ms, source.ip = source.0,
        "a request was answered");
    response
}

/// Returns the routes.
fn router(connect: Connect) -> Router {
    let hubspot = Router::new()
        .route("/hubspot/install", get(install::install))
        .route("/hubspot/begin", get(install::begin))
        .route("/hubspot/callback", get(install::callback))
        .route("/hubspot/disconnect", post(operations::disconnect))
        .route("/hubspot/webhooks", post(webhooks::take));
    let api = Router::new()
        .route("/api/accounts", get(api::list))
        .route("/api/accounts/{domain}/{hub}", get(api::one))
        .route("/api/install-links", post(api::install_link))
        .route("/api/install-links/revoke", post(api::revoke_links))
        .route("/api/openapi.yaml", get(api::openapi));
    let pages = Router::new()
        .route("/", get(screens::list))
        .route("/sign-in", get(screens::login).post(session::login))
        .route("/sign-out", post(session::logout))
        .route("/accounts/{domain}/{hub}", get(screens::account))
        .route("/accounts/{domain}/{hub}/link", post(screens::link))
        .route("/accounts/{domain}/{hub}/{operation}", get(screens::confirm).post(operations::submit_operation))
        .route("/style.css", get(screens::style))
        .route("/live.js", get(screens::live_script))
        .route("/copy.js", get(screens::copy_script));
    hubspot
        .merge(api)
        .merge(pages)
        .fallback(web::not_found)
        .method_not_allowed_fallback(web::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_SIZE))
        .layer(middleware::map_response(web::secure))
        .with_state(connect)
}
