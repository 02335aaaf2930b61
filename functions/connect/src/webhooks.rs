//! HubSpot's webhooks: they start a sync at once, so the schedule is only the safety net. Only whoever has the app's
//! secret can send them. Their contents are not stored: a sync of the account reads the changes from HubSpot. Only ids are
//! that no sync would find: of contacts whose associations changed, and of records that were deleted for privacy.
//!
//! HubSpot sends up to 100 events at a time, in no order, some twice. It sends them again for a day if it gets no
//! answer (developers.hubspot.com, "Webhooks API").

mod associations;
mod erasures;

use std::{collections::BTreeMap, time::Duration};

use aws_lc_rs::hmac;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::future::join_all;
use model::{
    account::AccountKey,
    ids::HubId,
    message::{Notified, SyncMessage, SyncRequest},
    object::ObjectType,
    time::{self, DateTime},
};
use queue::{MAX_BATCH_ENTRIES, QueueError};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{
    AppState, Connect,
    address::below,
    auth::Source,
    metrics::Refused,
    web::{AppError, internal_error},
};

/// The timeout for queueing. HubSpot waits for five seconds.
const QUEUEING_TIMEOUT: Duration = Duration::from_secs(3);

/// The oldest request that is accepted. HubSpot says to reject older ones.
const MAX_AGE: Duration = Duration::from_secs(300);

/// `POST /hubspot/webhooks`: requests a sync of each account that the events concern, and erases what was deleted for
/// privacy. Answers 401 if HubSpot did not sign the request, and 503 if a sync could not be queued or an erasure could not be
/// recorded.
pub(crate) async fn take(
    State(connect): State<Connect>,
    source: Source,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, AppError> {
    let (began, app) = (Instant::now(), connect.app()?);
    let mut url = below(&connect.base(&headers)?, uri.path());
    url.set_query(uri.query());
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (signature, sent_at) = (header("x-hubspot-signature-v3"), header("x-hubspot-request-timestamp"));
    if let Err(reason) = verify(&app.client_secret, &url, &body, signature, sent_at, DateTime::now()) {
        tracing::warn!(reason, source.ip = source.0, "a webhook was refused");
        Refused { webhooks_refused: 1, ..Refused::default() }.emit();
        return Err(AppError::json(StatusCode::UNAUTHORIZED, reason));
    }
    let events: Vec<Value> = serde_json::from_slice(&body)
        .map_err(|_| AppError::json(StatusCode::BAD_REQUEST, "the body is no list of events"))?;
    let erasures = connect.request_erasures(&events).await?;
    let told = told(&events);
    let accounts = connect.store.accounts_of_portals(&told.keys().collect()).await.map_err(internal_error)?;
    let of = |account: AccountKey| told.get(&account.hub_id).map(|told| (account.clone(), *told));
    let told: Vec<(AccountKey, Notified)> = accounts.into_iter().filter_map(of).collect();
    // Before a sync is requested, which looks for them.
    let associated = associations::associated_contacts(&events);
    for (account, _) in &told {
        let contacts = associated.get(&account.hub_id).into_iter().flatten().cloned();
        connect
            .store
            .request_association_checks(account, ObjectType::CONTACTS, contacts)
            .await
            .map_err(internal_error)?;
    }
    let delays = connect.store.record_notifications(&told).await.map_err(internal_error)?;
    let (mut messages, mut failed) = (Vec::new(), 0);
    for ((account, told), delays) in told.into_iter().zip(delays) {
        let Some(delays) = delays else {
            tracing::error!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
                "MongoDB does not take note of what HubSpot told");
            failed += 1;
            continue;
        };
        tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
            messages = delays.len(), "HubSpot told of changes");
        let request = SyncRequest::notified(account.clone(), told);
        let (group, body) =
            (account.to_string(), serde_json::to_string(&SyncMessage::V1(request)).map_err(internal_error)?);
        messages.extend(delays.into_iter().map(|delay| (group.clone(), body.clone(), delay)));
    }
    failed += connect.queue_all(&messages).await;
    connect.erase(&erasures, began).await;
    match failed {
        0 => Ok(StatusCode::NO_CONTENT),
        // HubSpot sends all events again. Syncs that were queued already are known, and cost nothing.
        failed => {
            Err(internal_error(format!("{failed} of the looks that HubSpot's webhooks ask for could not be queued")))
        }
    }
}

impl AppState {
    /// Queues requests to sync accounts, many at the same time. Returns how many could not be queued.
    async fn queue_all(&self, messages: &[(String, String, Duration)]) -> usize {
        let batches = messages.chunks(MAX_BATCH_ENTRIES).map(async |batch| {
            match timeout(QUEUEING_TIMEOUT, self.queue.send_batch_later(batch)).await {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    tracing::error!(error = %error, "requests to sync accounts cannot be queued");
                    if let QueueError::Entries(refused) = error { refused } else { batch.len() }
                }
                Err(_) => {
                    tracing::error!("requests to sync accounts cannot be queued in time");
                    batch.len()
                }
            }
        });
        join_all(batches).await.into_iter().sum()
    }
}

/// Returns the portals of the events, and if one of each portal's events is a deletion. An event that cannot be read is
/// skipped.
fn told(events: &[Value]) -> BTreeMap<HubId, Notified> {
    let mut told = BTreeMap::new();
    for event in events {
        let Ok(portal) = HubId::from_json(&event["portalId"]) else { continue };
        // HubSpot sends `subscriptionType`; some of its pages name it `eventType`.
        let mut kinds = ["subscriptionType", "eventType"].iter().filter_map(|name| event[name].as_str());
        let is_deletion = kinds.any(|kind| kind.ends_with(".deletion") || kind.ends_with(".privacyDeletion"));
        let kind = told.entry(portal).or_insert(Notified::Changes);
        if is_deletion {
            *kind = Notified::Deletions;
        }
    }
    told
}

/// Verifies HubSpot's request signature, version 3. It covers the method, the address, the body and the time. Fails
/// with the reason if the signature is wrong, or the time is too far from now.
fn verify(
    secret: &SecretString,
    url: &Url,
    body: &[u8],
    signature: &str,
    sent_at: &str,
    now: DateTime,
) -> Result<(), &'static str> {
    let at: i64 = sent_at.parse().map_err(|_| "the request names no time")?;
    let at = DateTime::from_millis(at);
    if time::between(at, now) > MAX_AGE || time::between(now, at) > MAX_AGE {
        return Err("the request is too old");
    }
    let signature = STANDARD.decode(signature).map_err(|_| "the signature cannot be read")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let message = [b"POST", decoded(url.as_str()).as_bytes(), body, sent_at.as_bytes()].concat();
    hmac::verify(&key, &message, &signature).map_err(|_| "the signature is not HubSpot's")
}

/// Returns the address as HubSpot signs it: with these characters decoded, and no others.
fn decoded(url: &str) -> String {
    let encoded = [
        ("%3A", ":"),
        ("%2F", "/"),
        ("%3F", "?"),
        ("%40", "@"),
        ("%21", "!"),
        ("%24", "$"),
        ("%27", "'"),
        ("%28", "("),
        ("%29", ")"),
        ("%2A", "*"),
        ("%2C", ","),
        ("%3B", ";"),
    ];
    encoded.iter().fold(url.to_owned(), |url, (code, character)| url.replace(code, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"[{"portalId":7}]"#;

    fn sign(secret: &str, message: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        STANDARD.encode(hmac::sign(&key, message.as_bytes()))
    }

    fn check(url: &str, body: &[u8], signature: &str, sent_at: &str) -> Result<(), &'static str> {
        let url = Url::parse(url).unwrap();
        verify(&"secret".into(), &url, body, signature, sent_at, DateTime::from_millis(1_000_000))
    }

    #[test]
    fn a_request_is_taken_as_it_was_signed_and_not_otherwise() {
        let url = "https://sync.example/hubspot/webhooks?a=%2Fb%20c";
        let body = std::str::from_utf8(BODY).unwrap();
        let signed = format!("POSThttps://sync.example/hubspot/webhooks?a=/b%20c{body}900000");
        let signature = sign("secret", &signed);
        assert_eq!(check(url, BODY, &signature, "900000"), Ok(()));
        assert!(check("https://other.example/hubspot/webhooks?a=%2Fb%20c", BODY, &signature, "900000").is_err());
        assert!(check(url, b"[]", &signature, "900000").is_err());
        assert!(check(url, BODY, &signature, "900001").is_err());
        assert!(check(url, BODY, &sign("another", &signed), "900000").is_err());
        assert!(check(url, BODY, "", "900000").is_err());
        assert!(check(url, BODY, &signature, "").is_err());
    }

    #[test]
    fn an_old_request_is_refused_also_with_its_signature() {
        let url = "https://sync.example/hubspot/webhooks";
        for (sent_at, taken) in [("700000", true), ("699999", false), ("1300000", true), ("1300001", false)] {
            let signature = sign("secret", &format!("POST{url}[]{sent_at}"));
            assert_eq!(check(url, b"[]", &signature, sent_at).is_ok(), taken, "{sent_at}");
        }
    }

    /// The vectors with which HubSpot's own clients are tested (HubSpot/hubspot-api-python and HubSpot/hubspot-api-ruby).
    #[test]
    fn the_test_vectors_of_hubspots_own_clients_are_taken() {
        let secret = SecretString::from("yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy");
        let url = Url::parse("https://www.example.com/webhook_uri").unwrap();
        let body = b"{'example_field':'example_value'}";
        let vectors = [
            ("1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
            ("1700000300000", "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw="),
        ];
        for (sent_at, signature) in vectors {
            let now = DateTime::from_millis(sent_at.parse().unwrap());
            assert_eq!(verify(&secret, &url, body, signature, sent_at, now), Ok(()), "{sent_at}");
        }
        // Each belongs to its own time.
        let [(sent_at, _), (_, of_another)] = vectors;
        let now = DateTime::from_millis(sent_at.parse().unwrap());
        assert!(verify(&secret, &url, body, of_another, sent_at, now).is_err());
    }

    #[test]
    fn events_become_one_request_for_each_portal() {
        let events = r#"[{"portalId":7,"subscriptionType":"contact.propertyChange"},
            {"portalId":"7","eventType":"contact.deletion"}, {"portalId":8}, {"portalId":7}, {"portalId":"x"}]"#;
        let events: Vec<Value> = serde_json::from_str(events).unwrap();
        let told: Vec<_> = told(&events).into_iter().map(|(portal, told)| (portal.to_string(), told)).collect();
        let expected = [("7", Notified::Deletions), ("8", Notified::Changes)];
        assert_eq!(told, expected.map(|(portal, told)| (portal.to_owned(), told)));
    }

    #[test]
    fn an_event_that_cannot_be_read_hides_no_other_one() {
        let events = r#"[7, null, [], {"subscriptionType":"contact.creation"}, {"portalId":1,"subscriptionType":[".deletion"]},
            {"portalId":2,"subscriptionType":"object.deletion","eventType":"object.deletion","objectTypeId":"0-1"},
            {"portalId":3,"subscriptionType":"contact.privacyDeletion"}]"#;
        let events: Vec<Value> = serde_json::from_str(events).unwrap();
        let told: Vec<_> = told(&events).into_iter().map(|(portal, told)| (portal.to_string(), told)).collect();
        let expected = [("1", Notified::Changes), ("2", Notified::Deletions), ("3", Notified::Deletions)];
        assert_eq!(told, expected.map(|(portal, told)| (portal.to_owned(), told)));
    }
}
