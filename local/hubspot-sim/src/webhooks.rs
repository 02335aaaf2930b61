//! Webhooks: changes are told to the address of the settings, up to 100 at a time, with HubSpot's signature (version 3),
//! and told again where they are not taken.

use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
};
use serde_json::{Value, json};

use crate::{
    Shared, clock, lock,
    routes::CLIENT_SECRET,
    world::{Change, ChangeKind, Object},
};

/// The most events of one request.
const MOST: usize = 100;

/// How often it is looked whether there is anything to tell.
const PAUSE: Duration = Duration::from_millis(50);

/// After how long what was not taken is told again. HubSpot takes longer.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is told again.
const ATTEMPTS: u32 = 10;

/// Tells changes for as long as it is polled.
pub(crate) async fn tell(world: Shared) {
    let client = Client::builder().dns_resolver(Localhost).timeout(Duration::from_secs(5)).build().unwrap_or_default();
    loop {
        tokio::time::sleep(PAUSE).await;
        let (url, changes) = {
            let mut world = lock(&world);
            let most = world.untold.len().min(MOST);
            (world.settings.webhook_url.clone(), world.untold.drain(..most).collect::<Vec<_>>())
        };
        let Some(url) = url.filter(|_| !changes.is_empty()) else { continue };
        for attempt in 0..ATTEMPTS {
            let events: Vec<Value> = changes.iter().map(|change| event(change, attempt)).collect();
            let taken = send(&client, &url, &json!(events).to_string()).await;
            let status =
                taken.map_or_else(|error| error.without_url().to_string(), |status| status.as_u16().to_string());
            *lock(&world).requests.entry(format!("webhook {status}")).or_default() += 1;
            if status.starts_with('2') {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
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

/// Version 3 of HubSpot's request signature, of a POST.
pub fn signature(secret: &str, url: &str, body: &str, sent_at: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, format!("POST{url}{body}{sent_at}").as_bytes()))
}

fn event(change: &Change, attempt: u32) -> Value {
    let object = match change.object {
        Object::Companies => "company",
        Object::Contacts => "contact",
    };
    let kind = match change.kind {
        ChangeKind::Created => "creation",
        ChangeKind::Updated => "propertyChange",
        ChangeKind::Archived => "deletion",
        ChangeKind::Restored => "restore",
        ChangeKind::Merged => "merge",
    };
    json!({
        "eventId": change.id, "subscriptionId": 1, "appId": 1, "portalId": change.hub_id, "objectId": change.id,
        "occurredAt": change.at, "attemptNumber": attempt, "subscriptionType": format!("{object}.{kind}"),
    })
}

/// Every name below `localhost` is this machine (RFC 6761), which not every system's resolver knows.
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
