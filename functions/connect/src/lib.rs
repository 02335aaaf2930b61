//! The connect function: a link by which a customer connects HubSpot, HubSpot's webhooks, and how every account is doing,
//! as JSON and as a page. It stands behind an API Gateway HTTP API.

mod accounts;
mod api;
mod auth;
mod config;
mod install;
mod operate;
mod pages;
mod signing;
mod status;
mod web;
mod webhooks;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::DefaultBodyLimit,
    middleware,
    response::Response,
    routing::{get, post},
};
use common::{hubspot::HubSpot, message::SyncMessage, message::SyncRequest, queue::Queue, store::Store, vault::Vault};
use lambda_http::Request;
use tower::ServiceExt;

use crate::{auth::Failures, signing::Keys};
pub use crate::{config::Config, signing::install_link};

/// The largest body that is read: HubSpot sends at most 100 events.
const MAX_BODY: usize = 1 << 20;

/// What the function holds on to between invocations.
#[derive(Clone, Debug)]
pub struct Connect(Arc<Held>);

/// See [`Connect`].
#[derive(Debug)]
pub struct Held {
    config: Config,
    store: Store,
    vault: Vault,
    hubspot: HubSpot,
    queue: Queue,
    keys: Keys,
    failures: Failures,
}

impl std::ops::Deref for Connect {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.0
    }
}

impl Connect {
    /// Sets up clients. Connections are made when they are first needed.
    ///
    /// # Errors
    /// The configuration names something that cannot be used.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        let store = Store::connect(&config.mongo).await?;
        Ok(Self(Arc::new(Held {
            vault: Vault::new(store.clone(), config.token_key.clone()).await,
            store,
            hubspot: HubSpot::new(&config.hubspot_base_url)?,
            queue: Queue::new(Queue::client().await, config.sync_queue_url.clone()),
            keys: Keys::new(&config.token),
            failures: Failures::default(),
            config,
        })))
    }
}

impl Held {
    /// Queues a request to sync an account.
    async fn ask(&self, request: SyncRequest, delay: std::time::Duration) -> Result<(), common::queue::QueueError> {
        let group = request.account.to_string();
        self.queue.send(&SyncMessage::V1(request), &group, delay).await
    }
}

/// Answers a request that came through API Gateway.
pub async fn respond(connect: &Connect, request: Request) -> Response {
    let request = request.map(|body| Body::from(body.to_vec()));
    // Without the query, which may hold a code or a signature.
    let (began, method, path) = (Instant::now(), request.method().clone(), request.uri().path().to_owned());
    let response = match router(connect.clone()).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(%method, path, status = response.status().as_u16(), duration_ms, "a request was answered");
    response
}

/// Everything that can be asked.
fn router(connect: Connect) -> Router {
    let hubspot = Router::new()
        .route("/hubspot/install", get(install::install))
        .route("/hubspot/callback", get(install::callback))
        .route("/hubspot/disconnect", post(operate::disconnect))
        .route("/hubspot/webhooks", post(webhooks::take));
    let api = Router::new()
        .route("/api/accounts", get(api::list))
        .route("/api/accounts/{domain}/{hub}", get(api::one))
        .route("/api/install-links", post(api::install_link))
        .route("/api/openapi.yaml", get(api::openapi));
    let pages = Router::new()
        .route("/", get(pages::list))
        .route("/sign-in", get(pages::login).post(auth::login))
        .route("/sign-out", post(auth::logout))
        .route("/accounts/{domain}/{hub}", get(pages::account))
        .route("/accounts/{domain}/{hub}/{operation}", get(pages::confirm).post(operate::press))
        .route("/style.css", get(pages::style))
        .route("/live.js", get(pages::script));
    hubspot
        .merge(api)
        .merge(pages)
        .fallback(web::not_found)
        .method_not_allowed_fallback(web::method_not_allowed)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(web::secure))
        .with_state(connect)
}
