//! Webhooks: changes are posted to the address of the settings, up to 100 of an account at a time, with HubSpot's
//! signature (version 3), with up to ten requests per account in parallel, and retried if they are not accepted.

mod events;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};

pub(crate) use self::events::What;
use crate::{Shared, apps::CLIENT_SECRET, clock, event::Event, lock};

/// The most events in one request.
const MAX_EVENTS_PER_REQUEST: usize = 100;

/// The most parallel requests of one account.
const MAX_PARALLEL_REQUESTS: usize = 10;

/// The interval at which new events are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How many times a request is retried: if the connection fails, if there is no response in time, and after a 4xx or
/// 5xx.
const MAX_RETRIES: u32 = 10;

/// Posts changes as long as the future is polled.
pub(crate) async fn deliver_pending(world: Shared) {
    let client = Client::builder().dns_resolver(Localhost).timeout(REQUEST_TIMEOUT).build().unwrap_or_default();
    let mut turns: HashMap<u64, Arc<Semaphore>> = HashMap::new();
    let mut deliveries = JoinSet::new();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        while deliveries.try_join_next().is_some() {}
        let (url, pending_events) = {
            let mut world = lock(&world);
            (world.settings.webhook_url.clone(), std::mem::take(&mut world.pending_events))
        };
        let Some(url) = url else { continue };
        let mut of_hubs: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
        for event in pending_events {
            of_hubs.entry(event.hub_id).or_default().push(event);
        }
        for (hub_id, events) in of_hubs {
            let turns = turns.entry(hub_id).or_insert_with(|| Arc::new(Semaphore::new(MAX_PARALLEL_REQUESTS)));
            for events in events.chunks(MAX_EVENTS_PER_REQUEST) {
                let events = events.to_vec();
                deliveries.spawn(deliver(world.clone(), client.clone(), url.clone(), turns.clone(), events));
            }
        }
    }
}

/// Posts some events until they are accepted, or until the last retry.
async fn deliver(world: Shared, client: Client, url: String, turns: Arc<Semaphore>, events: Vec<Event>) {
    for attempt in 0..=MAX_RETRIES {
        if attempt > 0 {
            let within = lock(&world).settings.webhook_retries_ms;
            tokio::time::sleep(pause(attempt, Duration::from_millis(within))).await;
        }
        let body: Vec<Value> = events.iter().map(|event| event.to_json(attempt)).collect();
        let sent = {
            // A delivery that waits for its retry does not occupy a place.
            let Ok(_turn) = turns.acquire().await else { return };
            send(&client, &url, &json!(body).to_string()).await
        };
        let status = sent.map_or_else(|error| error.without_url().to_string(), |status| status.as_u16().to_string());
        *lock(&world).requests.entry(format!("webhook {status}")).or_default() += 1;
        if status.starts_with('2') {
            return;
        }
    }
}

/// Returns the pause before a retry, which is numbered from 1. HubSpot documents that ten of them are spread over a
/// day, with varying pauses. Here the pauses grow.
fn pause(retry: u32, within: Duration) -> Duration {
    within * retry / (MAX_RETRIES * (MAX_RETRIES + 1) / 2)
}

async fn send(client: &Client, url: &str, body: &str) -> reqwest::Result<StatusCode> {
    let sent_at = clock::now().to_string();
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("x-hubspot-signature-v3", signature(CLIENT_SECRET, url, body, &sent_at))
        .header("x-hubspot-request-timestamp", sent_at)
        .body(body.to_owned());
    Ok(request.send().await?.status())
}

/// Returns version 3 of HubSpot's request signature, for a POST.
pub fn signature(secret: &str, url: &str, body: &str, sent_at: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, format!("POST{url}{body}{sent_at}").as_bytes()))
}

/// Resolves every name below `localhost` to this machine (RFC 6761), which not every system's resolver does.
#[derive(Clone, Copy, Debug)]
pub struct Localhost;

impl Resolve for Localhost {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            if name.as_str() == "localhost" || name.as_str().ends_with(".localhost") {
                let here: Addrs = Box::new(std::iter::once(SocketAddr::from(([127, 0, 0, 1], 0))));
                return Ok(here);
            }
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use axum::{Json, Router, extract::State, routing::post};
    use tokio::{net::TcpListener, sync::watch};

    use super::*;
    use crate::{Object, Settings, Simulator};

    #[test]
    fn retries_are_spread_over_a_day() {
        let day = Duration::from_secs(86_400);
        let pauses: Vec<Duration> = (1..=MAX_RETRIES).map(|retry| pause(retry, day)).collect();
        assert!(pauses.is_sorted() && pauses[0] > Duration::from_secs(1_500));
        assert!(day - pauses.iter().sum::<Duration>() < Duration::from_secs(1));
    }

    /// An app that records the events it receives, and how many requests wait for it.
    struct App {
        waiting: watch::Sender<(usize, usize)>,
        gate: Semaphore,
        /// How many requests it still refuses.
        refuses: Mutex<usize>,
        received: Mutex<Vec<Vec<Value>>>,
    }

    async fn take(State(app): State<Arc<App>>, Json(events): Json<Vec<Value>>) -> StatusCode {
        app.waiting.send_modify(|(now, most)| (*now, *most) = (*now + 1, (*most).max(*now + 1)));
        app.gate.acquire().await.unwrap().forget();
        app.received.lock().unwrap_or_else(PoisonError::into_inner).push(events);
        app.waiting.send_modify(|(now, _)| *now -= 1);
        let mut refuses = app.refuses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_refused = *refuses > 0;
        *refuses = refuses.saturating_sub(1);
        if is_refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
    }

    /// Starts an app that accepts `open` requests at first and refuses `refuses` of them, and a simulator that posts to
    /// it.
    async fn app(open: usize, refuses: usize) -> (Arc<App>, Simulator, JoinSet<std::io::Result<()>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/hubspot", listener.local_addr().unwrap());
        let app = Arc::new(App {
            waiting: watch::Sender::new((0, 0)),
            gate: Semaphore::new(open),
            refuses: Mutex::new(refuses),
            received: Mutex::default(),
        });
        let router = Router::new().route("/hubspot", post(take)).with_state(app.clone());
        let mut server = JoinSet::new();
        server.spawn(axum::serve(listener, router).into_future());
        let settings = Settings { webhook_url: Some(url), webhook_retries_ms: 55, ..Settings::default() };
        (app, Simulator::start(0, settings).await.unwrap(), server)
    }

    /// Waits until that many requests were answered.
    async fn answered(app: &App, requests: usize) -> Vec<Vec<Value>> {
        let mut waiting = app.waiting.subscribe();
        let received = || app.received.lock().unwrap_or_else(PoisonError::into_inner).clone();
        while received().len() < requests {
            tokio::time::timeout(REQUEST_TIMEOUT, waiting.changed()).await.expect("a request arrives").unwrap();
        }
        received()
    }

    #[tokio::test]
    async fn ten_requests_of_an_account_are_made_at_once_and_no_more() {
        let (app, simulator, _server) = app(0, 0).await;
        simulator.world().seed(7, 0, 1_500, 1);
        let mut waiting = app.waiting.subscribe();
        tokio::time::timeout(REQUEST_TIMEOUT, waiting.wait_for(|(now, _)| *now == MAX_PARALLEL_REQUESTS))
            .await
            .unwrap()
            .unwrap();
        app.gate.add_permits(1_000);
        let requests = simulator.world().events.div_ceil(MAX_EVENTS_PER_REQUEST as u64);
        let received = answered(&app, usize::try_from(requests).unwrap()).await;
        assert!(
            received.len() > MAX_PARALLEL_REQUESTS
                && received.iter().all(|events| events.len() <= MAX_EVENTS_PER_REQUEST)
        );
        assert_eq!(app.waiting.borrow().1, MAX_PARALLEL_REQUESTS);
    }

    #[tokio::test]
    async fn what_is_not_taken_is_told_again_until_it_is() {
        let (app, simulator, _server) = app(1_000, 2).await;
        simulator.world().create(7, Object::COMPANIES, 1, BTreeMap::new());
        let received = answered(&app, 3).await;
        let attempts: Vec<_> = received.iter().map(|events| events[0]["attemptNumber"].as_u64()).collect();
        assert_eq!(attempts, [Some(0), Some(1), Some(2)]);
        assert!(received.iter().all(|events| events.len() == 1 && events[0]["eventId"] == 1));
    }

    #[tokio::test]
    async fn what_is_never_taken_is_told_ten_times_more() {
        let (app, simulator, _server) = app(1_000, 100).await;
        simulator.world().create(7, Object::COMPANIES, 1, BTreeMap::new());
        let received = answered(&app, 11).await;
        assert_eq!(received[10][0]["attemptNumber"], 10);
    }
}
