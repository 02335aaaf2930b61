//! Spans, exported over OTLP to a collector where one is named.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use axum::{Router, body::Bytes, extract::State, routing::post};
use hubspot_sim::CLIENT_ID;
use serde_json::json;
use tokio::net::TcpListener;

use harness::{
    bootstrap::{Bootstrap, Function},
    service::INVOCATION_LIMIT,
    world::{HUB, World, message_event},
};

type Spans = Arc<Mutex<Vec<u8>>>;

/// A collector: what was posted to it, and its address.
async fn collector() -> Result<(Spans, String)> {
    let spans = Spans::default();
    let take = async |State(spans): State<Spans>, body: Bytes| {
        spans.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&body);
    };
    let routes = Router::new().route("/v1/traces", post(take)).with_state(spans.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, routes).await });
    Ok((spans, url))
}

fn to(url: &str) -> [(&'static str, String); 1] {
    [("OTEL_EXPORTER_OTLP_ENDPOINT", url.to_owned())]
}

/// Protobuf has a string as its length and its bytes, so that names are found without the schema.
fn has(got: &[u8], text: &str) -> bool {
    let encoded = [&[u8::try_from(text.len()).unwrap_or_default()], text.as_bytes()].concat();
    got.windows(encoded.len()).any(|window| window == encoded)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_reach_collector_before_invocation_ends() -> Result<()> {
    let world = World::new("traces").await?;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    let (spans, url) = collector().await?;
    let actions = json!({"type": "actions.v1", "domainId": "acme", "hubId": "7000001", "actions": [{
        "object": "companies", "recordId": "1", "actionName": "Company Created", "includeInAnalytics": 0,
        "actionDate": "2026-01-01T00:00:00Z", "recordUpdatedAt": "2026-01-01T00:00:00Z"}]});
    let invocations = [
        (Function::Scheduler, json!({"time": "2026-11-24T08:00:00Z"}), vec!["tick", "send"]),
        (Function::Sync, message_event(&[world.tick().to_string()]), vec!["slice", "page", "associations", "send"]),
        (Function::Actions, message_event(&[actions.to_string()]), vec!["drain", "bulk"]),
    ];
    for (function, event, names) in invocations {
        let mut bootstrap = Bootstrap::start_with(function, &world, &to(&url)).await?;
        let (mut got, mut missing) = (Vec::new(), Vec::new());
        // A collector that takes too long, as on a busy machine, does not get all of them.
        for _ in 0..10 {
            let (invoked, _) = bootstrap.invoke(&event).await?;
            assert!(invoked.is_success(), "{invoked:?}");
            got.append(&mut spans.lock().unwrap_or_else(PoisonError::into_inner));
            missing.clone_from(&names);
            missing.extend(["invocation", "faas.invocation_id", "service.name", "test"]);
            missing.retain(|name| !has(&got, name));
            if missing.is_empty() {
                break;
            }
        }
        assert!(missing.is_empty(), "{function:?} exports no {missing:?}: {}", String::from_utf8_lossy(&got));
        for secret in ["mongodb://", CLIENT_ID, "Bearer"] {
            assert!(!String::from_utf8_lossy(&got).contains(secret), "{function:?} exports {secret}");
        }
    }
    world.end().await
}

#[tokio::test]
async fn silent_collector_does_not_delay_invocation() -> Result<()> {
    let world = World::new("traces_deaf").await?;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let url = to(&format!("http://{}", deaf.local_addr()?));
    let mut sync = Bootstrap::start_with(Function::Sync, &world, &url).await?;
    for _ in 0..2 {
        let (invoked, took) = sync.invoke(&message_event(&[world.tick().to_string()])).await?;
        assert!(invoked.is_success(), "{invoked:?}");
        assert!(took.saturating_sub(sync.waited) < INVOCATION_LIMIT, "{took:?}");
    }
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 5);
    world.end().await
}

#[tokio::test]
async fn no_spans_are_exported_when_traces_are_switched_off() -> Result<()> {
    let world = World::new("traces_off").await?;
    let (spans, url) = collector().await?;
    let [endpoint] = to(&url);
    for off in [("OTEL_SDK_DISABLED", "true".to_owned()), ("OTEL_TRACES_EXPORTER", "none".to_owned())] {
        let mut bootstrap = Bootstrap::start_with(Function::Scheduler, &world, &[endpoint.clone(), off]).await?;
        assert!(bootstrap.invoke(&json!({"time": "2026-11-24T08:00:00Z"})).await?.0.is_success());
    }
    assert!(spans.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    world.end().await
}
