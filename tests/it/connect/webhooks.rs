//! What HubSpot tells of by webhook is looked at at once.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use hubspot_sim::{CLIENT_SECRET, FaultKind, Object, WebhookForm};
use model::message::Notified;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stack::process::wait_until;
use store::collection;

use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    front::{Front, request_event},
    gate::{Verdict, When},
    world::{HUB, World},
};

fn event(hub: u64, kind: &str) -> String {
    json!([{"portalId": hub, "objectId": 1, "subscriptionType": kind, "occurredAt": 1}]).to_string()
}

#[tokio::test]
async fn webhook_burst_queues_only_a_few_sync_messages() -> Result<()> {
    let mut world = World::new("webhooks_many").await?;
    let front = Front::start(&mut world).await?;
    let body = event(HUB, "contact.propertyChange");
    let began = Instant::now();
    let sent = try_join_all((0..30).map(|_| front.webhook(&body).send())).await?;
    assert!(sent.iter().all(|answer| answer.status() == StatusCode::NO_CONTENT), "{sent:?}");
    // At once, once more for those that came a moment later, and once for a search index that is behind; and every two seconds, on
    // a machine that takes so long.
    let most = 4 + usize::try_from(began.elapsed().as_secs())?;
    let mut messages = Vec::new();
    loop {
        let more = world.receive_within(&world.sync_queue, Duration::from_secs(60)).await?;
        if more.is_empty() {
            break;
        }
        messages.extend(more);
    }
    assert!((2..=most).contains(&messages.len()), "{messages:?}");
    for message in messages {
        let message: Value = serde_json::from_str(&message)?;
        assert_eq!((&message["notified"], &message["hubId"]), (&json!("changes"), &json!(HUB.to_string())));
    }
    world.end().await
}

#[tokio::test]
async fn notification_after_quiet_time_is_queued_at_once_and_later_ones_are_coalesced() -> Result<()> {
    let world = World::new("webhooks_delays").await?;
    let (account, told) = (world.account()?, Notified::Changes);
    assert_eq!(world.store.record_notification(&account, told).await?, [Duration::ZERO, Duration::from_secs(20)]);
    assert_eq!(world.store.record_notification(&account, told).await?, [Duration::from_secs(2)], "not so soon again");
    assert!(world.store.record_notification(&account, told).await?.is_empty(), "those that come will do");
    assert_eq!(
        world.store.record_notification(&account, Notified::Deletions).await?.len(),
        2,
        "that is something else"
    );
    let notifications = world.store.database().collection::<mongodb::bson::Document>(collection::NOTIFICATIONS);
    let past = mongodb::bson::DateTime::from_millis(mongodb::bson::DateTime::now().timestamp_millis() - 15_000);
    let old = mongodb::bson::doc! { "$set": { "soon": past, "again": past } };
    notifications.update_many(mongodb::bson::doc! {}, old).await?;
    assert_eq!(world.store.record_notification(&account, told).await?, [Duration::ZERO, Duration::from_secs(20)]);
    world.end().await
}

#[tokio::test]
async fn webhook_for_unknown_or_paused_account_queues_nothing() -> Result<()> {
    let mut world = World::new("webhooks_unknown").await?;
    let front = Front::start(&mut world).await?;
    for body in [event(HUB + 9, "contact.creation"), "[]".to_owned(), r#"[{"portalId":"x"}]"#.to_owned()] {
        assert_eq!(front.webhook(&body).send().await?.status(), StatusCode::NO_CONTENT, "{body}");
    }
    world.store.pause(&world.account()?, true).await?;
    assert_eq!(front.webhook(&event(HUB, "contact.creation")).send().await?.status(), StatusCode::NO_CONTENT);
    assert!(world.receive(&world.sync_queue).await?.is_empty(), "nor is one that is paused");
    world.end().await
}

/// What happens to some contacts at a time, and what HubSpot tells of it.
type Happens = (&'static str, fn(&mut hubspot_sim::World, &[u64], i64), &'static str);

const CHANGES: &str = "changes";
const DELETIONS: &str = "deletions";
const CONTACTS: Object = Object::CONTACTS;

const HAPPENS: [Happens; 8] = [
    (
        "creation",
        |hubspot, _, at| {
            hubspot.create(HUB, CONTACTS, at, BTreeMap::new());
        },
        CHANGES,
    ),
    (
        "propertyChange",
        |hubspot, ids, at| assert!(hubspot.update(HUB, CONTACTS, ids[0], at, &[("email", "a@firm.example")])),
        CHANGES,
    ),
    (
        "associationChange",
        |hubspot, ids, _| {
            let company = hubspot.ids(HUB, Object::COMPANIES)[0];
            hubspot.associate(HUB, ids[0], vec![company]);
        },
        CHANGES,
    ),
    ("deletion", |hubspot, ids, at| assert!(hubspot.archive(HUB, CONTACTS, ids[3], at)), DELETIONS),
    (
        "restore",
        |hubspot, _, at| {
            let gone = hubspot.archived(HUB, CONTACTS)[0];
            assert!(hubspot.restore(HUB, CONTACTS, gone, at));
        },
        CHANGES,
    ),
    (
        "merge",
        |hubspot, ids, at| assert!(hubspot.merge(HUB, CONTACTS, (ids[0], ids[1]), at, false).is_some()),
        DELETIONS,
    ),
    (
        "merge into a new record",
        |hubspot, ids, at| assert!(hubspot.merge(HUB, CONTACTS, (ids[0], ids[1]), at, true).is_some()),
        DELETIONS,
    ),
    ("privacyDeletion", |hubspot, ids, at| assert!(hubspot.forget(HUB, ids[0], at)), DELETIONS),
];

#[tokio::test]
async fn every_webhook_event_is_accepted_in_both_subscription_forms() -> Result<()> {
    for form in [WebhookForm::Generic, WebhookForm::ByType] {
        let mut world = World::new("webhooks_forms").await?;
        let front = Front::start(&mut world).await?;
        {
            let mut hubspot = world.hubspot.world();
            hubspot.seed(HUB, 1, 5, 1);
            let contact = hubspot.ids(HUB, CONTACTS)[0];
            hubspot.associate(HUB, contact, Vec::new());
            hubspot.settings.webhook_url = Some(front.at("/hubspot/webhooks")?.to_string());
            hubspot.settings.webhook_form = form;
        }
        let notifications = world.store.database().collection::<Document>(collection::NOTIFICATIONS);
        for (taken, (what, happen, expected)) in (1..).zip(HAPPENS) {
            notifications.delete_many(doc! {}).await?;
            {
                let mut hubspot = world.hubspot.world();
                let (ids, at) = (hubspot.ids(HUB, CONTACTS), hubspot.now() + taken);
                happen(&mut hubspot, &ids, at);
            }
            let told = || {
                let mut told = world.hubspot.world().requests.clone();
                told.retain(|name, _| name.starts_with("webhook"));
                told
            };
            wait_until(what, Duration::from_secs(20), async || told().values().sum::<u64>() >= taken.unsigned_abs())
                .await?;
            let all_taken = BTreeMap::from([("webhook 204".to_owned(), taken.unsigned_abs())]);
            assert_eq!(told(), all_taken, "{what} as {form:?}");
            let noted = world.all(collection::NOTIFICATIONS).await?;
            let is_expected = |note: &Document| note.get_str("_id").is_ok_and(|id| id.ends_with(expected));
            assert!(noted.len() == 1 && noted.iter().all(is_expected), "{what} as {form:?}: {noted:?}");
            assert!(!world.take(&world.sync_queue).await?.is_empty(), "{what} as {form:?} leads to no look");
        }
        // The sync finds the change that the webhook was about.
        world.hubspot.world().settings.webhook_url = None;
        world.run_on().await?;
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}

/// An unreadable event must not make HubSpot send the others again for a day.
#[tokio::test]
async fn unreadable_webhook_event_hides_no_other_event() -> Result<()> {
    let mut world = World::new("webhooks_odd").await?;
    let front = Front::start(&mut world).await?;
    let body = json!([
        7,
        {"subscriptionType": "contact.creation"},
        {"portalId": HUB, "subscriptionType": "object.deletion", "eventType": "object.deletion", "objectTypeId": "0-1"},
    ]);
    assert_eq!(front.webhook(&body.to_string()).send().await?.status(), StatusCode::NO_CONTENT);
    let look: Value = serde_json::from_str(world.receive(&world.sync_queue).await?.first().context("a look")?)?;
    assert_eq!(look["notified"], "deletions");
    world.end().await
}

/// A look that is asked for while a slice is under way waits for it: that slice's own look may be over.
#[tokio::test]
async fn webhook_during_slice_triggers_another_pass() -> Result<()> {
    let world = World::new("webhooks_busy").await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let mut message = world.tick();
    message["notified"] = json!("changes");
    let leased = world.store.lease(&world.account()?, Duration::from_secs(20)).await?.context("a lease")?;
    let sync = world.sync().await?;
    world.deliver(&sync, &message).await?;
    let told = store::SliceReport::default();
    world.store.release(&leased, store::RunDisposition::Unchanged, told).await?;
    let again: Value = serde_json::from_str(world.receive(&world.sync_queue).await?.first().context("it waits")?)?;
    assert_eq!((&again["notified"], &again["attempt"]), (&json!("changes"), &json!(1)));
    world.hubspot.world().make_changes(HUB, 1, 2);
    world.deliver(&sync, &again).await?;
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 3);
    world.end().await
}

/// A run that is live takes another look, though it has taken one.
#[tokio::test]
async fn webhook_during_run_is_noted_and_starts_no_second_run() -> Result<()> {
    let world = World::new("webhooks_live").await?;
    world.hubspot.world().seed(HUB, 2, 2, 1);
    let sync = world.sync().await?;
    // One lane waits a little, so that the run goes on.
    world.fault("/contacts/search", u32::MAX, FaultKind::Answer { status: 477, body: None, retry_after: Some(5) });
    world.deliver(&sync, &world.tick()).await?;
    world.hubspot.world().faults.clear();
    let next: Value =
        serde_json::from_str(world.receive(&world.sync_queue).await?.first().context("the run goes on")?)?;
    let mut told = world.tick();
    told["notified"] = json!("changes");
    world.deliver(&sync, &told).await?;
    assert!(world.receive(&world.sync_queue).await?.is_empty(), "no second run begins");
    let noted = world.checkpoint().await?;
    assert!(noted.get_datetime("notifiedAt").is_ok(), "{noted}");
    assert_eq!(next["run"].as_str().map(|run| run.ends_with("/1")), Some(true));
    world.end().await
}

#[tokio::test]
async fn deletion_webhook_sweeps_recycle_bin_before_its_time() -> Result<()> {
    let mut world = World::new("webhooks_deleted").await?;
    world.config.sweep_every = Some(Duration::from_secs(21_600));
    world.hubspot.world().seed(HUB, 0, 3, 1);
    let front = Front::start(&mut world).await?;
    world.run().await?;
    let gone = world.hubspot.world().ids(HUB, Object::CONTACTS)[0];
    let now = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, Object::CONTACTS, gone, now);
    world.run().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 3, "the next sweep is hours away");

    assert_eq!(front.webhook(&event(HUB, "contact.deletion")).send().await?.status(), StatusCode::NO_CONTENT);
    let message: Value = serde_json::from_str(world.receive(&world.sync_queue).await?.first().context("a look")?)?;
    let sync = world.sync().await?;
    world.deliver(&sync, &message).await?;
    world.drain().await?;
    let names: Vec<String> = world
        .all(collection::ACTIONS)
        .await?
        .iter()
        .filter_map(|action| action.get_str("actionName").ok().map(str::to_owned))
        .collect();
    assert!(names.contains(&"Contact Deleted".to_owned()), "{names:?}");
    world.end().await
}

/// A request of HubSpot's, signed.
fn request(body: &str) -> Value {
    let sent_at = DateTime::now().timestamp_millis().to_string();
    let signature = hubspot_sim::signature(CLIENT_SECRET, "http://localhost/hubspot/webhooks", body, &sent_at);
    let headers = [("x-hubspot-signature-v3", signature.as_str()), ("x-hubspot-request-timestamp", &sent_at)];
    request_event("POST", "/hubspot/webhooks", &headers, body)
}

/// HubSpot gives a request five seconds. What counts is how often others are asked, not how quick this machine is.
#[tokio::test]
async fn webhook_for_100_portals_takes_few_calls_and_survives_refused_entries() -> Result<()> {
    let world = World::new("webhooks_hundred").await?;
    let hubs = HUB + 1..=HUB + 100;
    let entries = hubs.clone().map(|hub| stack::accounts::oauth(hub, "token")).collect();
    stack::accounts::write_domain(world.store.database(), "many", "Many", entries).await?;
    let events: Vec<Value> = hubs.map(|hub| json!({"portalId": hub, "subscriptionType": "contact.creation"})).collect();
    let body = Value::from(events).to_string();
    let mut connect = Bootstrap::start(Function::Connect, &world).await?;
    // The last entry of each call is refused, also if it is sent again.
    connect.gate.set(|effect| match effect.name.starts_with("sqs SendMessageBatch") && effect.when == When::Before {
        true => Verdict::RefuseLast,
        false => Verdict::Pass,
    });
    let (answer, _) = connect.invoke(&request(&body)).await?;
    assert!(matches!(&answer, Invoked::Answered(answer) if answer["statusCode"] == 503), "{answer:?}");
    let sent = world.take(&world.sync_queue).await?;
    assert_eq!(sent.len(), 180, "the entries that were not refused");

    // HubSpot sends it again, some seconds later; once more if the queue did not take all of it in time.
    let notifications = world.store.database().collection::<Document>(collection::NOTIFICATIONS);
    let mut answer = Invoked::Died;
    for _ in 0..10 {
        world.take(&world.sync_queue).await?;
        notifications.delete_many(doc! {}).await?;
        connect.gate.open();
        answer = connect.invoke(&request(&body)).await?.0;
        if matches!(&answer, Invoked::Answered(answer) if answer["statusCode"] == 204) {
            break;
        }
    }
    assert!(matches!(&answer, Invoked::Answered(answer) if answer["statusCode"] == 204), "{answer:?}");
    let effects = connect.gate.effects();
    let calls = |name: &str| effects.iter().filter(|effect| effect.starts_with(name)).count();
    assert!(calls("mongodb") <= 5 && calls("sqs") == 20, "{effects:?}");
    assert_eq!(world.take(&world.sync_queue).await?.len(), 200, "a look at once and one more, for each");
    world.end().await
}
