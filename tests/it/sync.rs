//! The sync against a real MongoDB, real queues, and the simulator over HTTP.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hubspot_sim::{FaultKind, IdOrder, Object};
use mongodb::bson::{Document, doc};
use serde_json::json;
use store::collection;

use harness::{
    rows::{ASSOCIATIONS, LANES, LINKED, ROWS, SEARCH},
    world::{HUB, World, assert_accepted},
};

fn answer(status: u16) -> FaultKind {
    FaultKind::Answer { status, body: None, retry_after: None }
}

/// The account is being moved to another data centre.
fn moving(seconds: u64) -> FaultKind {
    FaultKind::Answer { status: 477, body: None, retry_after: Some(seconds) }
}

#[tokio::test]
async fn backfill_stores_each_record_once_as_created() -> Result<()> {
    let mut world = World::new("backfill").await?;
    world.config.settle = Duration::from_secs(3600);
    world.config.limits.search_rps = std::num::NonZeroU32::new(5).context("it is not zero")?;
    // Each page is one search.
    world.config.search_only = true;
    world.hubspot.world().seed(HUB, 130, 1_250, 1);
    let slices = world.run().await? as u64;
    let proof = world.proof().await?;
    assert_eq!((proof.actions, proof.records), (1_380, 1_380));
    // One search for each 200 records, and a few more: records without a time are asked for, the history is counted when it
    // was read, and where a slow machine lets windows be read side by side, each division is; a slice that was cut asks again. One
    // association call a page.
    let (searches, associations) = (world.requests("search 200"), world.requests("associations 207"));
    assert!(
        (7 + 1 + 2 + 1..=16 + 4 * slices).contains(&searches) && (7..searches).contains(&associations),
        "{searches}, {associations}"
    );
    assert_eq!(world.requests("oauth 200"), 1);
    Ok(())
}

#[tokio::test]
async fn next_tick_stores_exactly_what_changed() -> Result<()> {
    let world = World::new("changes").await?;
    world.hubspot.world().seed(HUB, 100, 900, 1);
    world.run().await?;
    // Several pages of them, within the very second in which the tick comes.
    let changed = world.hubspot.world().make_changes(HUB, 700, 2);
    world.run().await?;
    let proof = world.proof().await?;
    assert_eq!(proof.actions, 1_000 + changed.created + changed.updated);
    world.run().await?;
    assert_eq!(world.proof().await?.actions, proof.actions, "a tick without changes adds nothing");
    Ok(())
}

#[tokio::test]
async fn contacts_list_their_companies_with_primary_first() -> Result<()> {
    let world = World::new("associations").await?;
    let (contact, lonely, companies) = {
        let mut hubspot = world.hubspot.world();
        hubspot.settings.association_page = 2;
        let now = hubspot.now() - 7_200_000;
        let companies: Vec<u64> =
            (0..5).map(|_| hubspot.create(HUB, Object::COMPANIES, now, BTreeMap::new())).collect();
        let contact = hubspot.create(
            HUB,
            Object::CONTACTS,
            now,
            BTreeMap::from([("email".to_owned(), "ana@firm.example".to_owned())]),
        );
        let lonely = hubspot.create(HUB, Object::CONTACTS, now, BTreeMap::new());
        hubspot.associate(HUB, contact, companies.clone());
        (contact, lonely, companies)
    };
    world.run().await?;
    world.proof().await?;
    let states = world.store.database().collection::<Document>("contacts");
    let state = states.find_one(doc! { "recordId": contact.to_string() }).await?.unwrap_or_default();
    let mut found: Vec<String> =
        state.get_array("companyIds")?.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    assert_eq!(found[0], companies[0].to_string(), "the primary company comes first");
    found.sort();
    let mut expected: Vec<String> = companies.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(found, expected);
    let actions = world.store.database().collection::<Document>(collection::ACTIONS);
    let action = actions.find_one(doc! { "recordId": contact.to_string() }).await?.unwrap_or_default();
    assert_eq!(action.get_str("identity")?, "ana@firm.example");
    assert_eq!(action.get_document("userProperties")?.get_str("company_id")?, companies[0].to_string());
    let bare = actions.find_one(doc! { "recordId": lonely.to_string() }).await?.unwrap_or_default();
    assert!(bare.get("identity").is_none());
    assert_eq!(bare.get_document("userProperties")?, &doc! { "contact_score": 0_i64 });
    Ok(())
}

#[tokio::test]
async fn ids_in_text_order_short_pages_and_index_lag_lose_nothing() -> Result<()> {
    let world = World::of("hostile", &ROWS).await?;
    {
        let settings = &mut world.hubspot.world().settings;
        settings.id_order = IdOrder::Lexical;
        settings.short_pages = true;
    }
    world.fill(60, &ROWS, 375, 3);
    world.run().await?;
    world.proof().await?;
    {
        let mut hubspot = world.hubspot.world();
        (hubspot.settings.index_lag_min_ms, hubspot.settings.index_lag_max_ms) = (0, 4_000);
        for object in ROWS {
            hubspot.change_objects(HUB, object, 25, 4);
        }
    }
    // What the index does not show yet is found by the overlap, or at the latest by the settled pass.
    let began = tokio::time::Instant::now();
    while world.proof().await.is_err() {
        assert!(began.elapsed().as_secs() < 300, "{:?}", world.proof().await);
        world.run().await?;
    }
    Ok(())
}

#[tokio::test]
async fn taken_over_account_starts_at_its_dates_and_stores_old_records_as_updated() -> Result<()> {
    let world = World::new("takeover").await?;
    let (old, new, start) = {
        let mut hubspot = world.hubspot.world();
        let start = hubspot.now() - 86_400_000;
        hubspot.create(HUB, Object::CONTACTS, start - 5_000, BTreeMap::new());
        let old = hubspot.create(HUB, Object::CONTACTS, start - 4_000, BTreeMap::new());
        hubspot.update(HUB, Object::CONTACTS, old, start + 1_000, &[("jobtitle", "CTO")]);
        let new = hubspot.create(HUB, Object::CONTACTS, start + 2_000, BTreeMap::new());
        (old, new, mongodb::bson::DateTime::from_millis(start))
    };
    world.set_pulled_until(start).await?;
    world.run().await?;
    let mut actions = Vec::new();
    for action in world.all(collection::ACTIONS).await? {
        actions.push((action.get_str("recordId")?.to_owned(), action.get_str("actionName")?.to_owned()));
    }
    actions.sort();
    assert_eq!(
        actions,
        [(old.to_string(), "Contact Updated".to_owned()), (new.to_string(), "Contact Created".to_owned())]
    );
    let written_back = world.entry().await?;
    let written_back = written_back.get_document("lastPulledDates")?;
    assert!(written_back.get_datetime("contacts")? > &start && written_back.get_datetime("companies")? > &start);
    Ok(())
}

#[tokio::test]
async fn transient_hubspot_faults_are_survived_within_the_run() -> Result<()> {
    let world = World::of("trouble", &ROWS).await?;
    world.fill(50, &ROWS, 175, 1);
    world.fault("/search", 2, answer(502));
    world.fault_each(SEARCH, &ROWS, 3, &answer(429));
    let html = FaultKind::Answer { status: 503, body: Some("<html>".to_owned()), retry_after: None };
    world.fault_each(ASSOCIATIONS, &LINKED, 1, &html);
    world.run().await?;
    assert_eq!(world.proof().await?.actions, 750);
    Ok(())
}

#[tokio::test]
async fn long_wait_ends_slice_and_delays_its_continuation() -> Result<()> {
    let world = World::of("wait", &ROWS).await?;
    world.fill(2, &ROWS, 2, 1);
    const WAIT: u64 = 6;
    world.fault("/search", u32::MAX, moving(WAIT));
    let sync = world.sync().await?;
    let began = Instant::now();
    world.deliver(&sync, &world.tick()).await?;
    // A slice that waited would take longer than it may, and its message would be delivered again.
    world.hubspot.world().faults.clear();
    let next = world.receive(&world.sync_queue).await?;
    assert!(began.elapsed() + Duration::from_secs(1) >= Duration::from_secs(WAIT), "the message was not delayed");
    let next: serde_json::Value = serde_json::from_str(next.first().context("a continuation")?)?;
    assert!(next["attempt"].as_u64().is_some_and(|attempt| attempt >= 1), "{next}");
    world.deliver(&sync, &next).await?;
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 10);
    Ok(())
}

#[tokio::test]
async fn hanging_search_ends_slice_within_budget_and_run_continues() -> Result<()> {
    let world = World::of("hang", &ROWS).await?;
    world.fill(2, &ROWS, 2, 1);
    world.fault("/search", u32::MAX, FaultKind::Delay { millis: 30_000 });
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    assert!(!world.receive(&world.sync_queue).await?.is_empty(), "the run goes on");
    Ok(())
}

#[tokio::test]
async fn expired_token_is_refreshed_and_revoked_grant_marks_account() -> Result<()> {
    let world = World::new("tokens").await?;
    world.hubspot.world().seed(HUB, 5, 20, 1);
    world.run().await?;
    let first = world.entry().await?;
    assert!(first.get_datetime("expiresAt")?.timestamp_millis() > mongodb::bson::DateTime::now().timestamp_millis());
    // HubSpot may let a token expire before its time.
    world.hubspot.world().expire_tokens(HUB);
    world.hubspot.world().make_changes(HUB, 5, 2);
    world.run().await?;
    world.proof().await?;
    assert_ne!(world.entry().await?.get_str("accessToken")?, first.get_str("accessToken")?);

    world.hubspot.world().revoke(HUB);
    world.run().await?;
    let entry = world.entry().await?;
    assert_eq!(entry.get_str("state")?, "reauthorize");
    assert!(entry.get_str("stateReason")?.contains("refresh token"));
    assert!(entry.get_datetime("stateAt").is_ok());
    assert!(world.checkpoint().await?.get("run").is_some_and(|run| run.as_null().is_some()));
    Ok(())
}

#[tokio::test]
async fn transient_token_endpoint_fault_never_marks_account() -> Result<()> {
    let world = World::new("token_trouble").await?;
    world.hubspot.world().seed(HUB, 5, 5, 1);
    let migration = FaultKind::Answer {
        status: 400,
        body: Some(r#"{"message":"Migration in progress"}"#.to_owned()),
        retry_after: None,
    };
    for kind in [answer(429), answer(503), migration] {
        world.fault("/oauth/", 1, kind);
    }
    let slices = world.run().await?;
    assert!(slices >= 4);
    assert!(world.entry().await?.get("state").is_none());
    assert_eq!(world.proof().await?.actions, 10);
    Ok(())
}

#[tokio::test]
async fn tokens_of_another_account_are_never_used() -> Result<()> {
    let world = World::new("other_account").await?;
    world.hubspot.world().seed(HUB + 1, 5, 5, 1);
    let stolen = world.hubspot.world().portal(HUB + 1).refresh_token.clone();
    let swap = doc! { "$set": { "integrations.hubspot.accounts.0.refreshToken": stolen } };
    world.store.database().collection::<Document>(collection::DOMAINS).update_one(doc! {}, swap).await?;
    world.run().await?;
    assert_eq!(world.entry().await?.get_str("state")?, "reauthorize");
    assert_eq!(world.requests("search 200"), 0);
    assert!(world.all(collection::ACTIONS).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn duplicate_messages_never_start_second_run() -> Result<()> {
    let world = World::of("copies", &ROWS).await?;
    world.fill(2, &ROWS, 2, 1);
    world.fault("/search", LANES, moving(3));
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    let next = world.receive(&world.sync_queue).await?;
    assert_eq!(next.len(), 1);
    // Another tick, and another copy of the first one, find a live run.
    world.deliver(&sync, &world.tick()).await?;
    let due = serde_json::from_str(&next[0])?;
    world.deliver(&sync, &due).await?;
    world.deliver(&sync, &due).await?;
    assert!(world.receive(&world.sync_queue).await?.is_empty());
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 10);
    Ok(())
}

#[tokio::test]
async fn lost_continuation_is_sent_again() -> Result<()> {
    let world = World::of("lost", &ROWS).await?;
    world.fill(2, &ROWS, 2, 1);
    world.fault("/search", LANES, moving(3));
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    assert_eq!(world.receive(&world.sync_queue).await?.len(), 1);
    // As if the function had been killed between the checkpoint and the message.
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, doc! { "$set": { "run.sent": false } }).await?;
    world.deliver(&sync, &world.tick()).await?;
    assert_eq!(world.receive(&world.sync_queue).await?.len(), 1);
    // As if its message had been lost on the way, and the run had died.
    let long_ago = mongodb::bson::DateTime::from_millis(0);
    checkpoints.update_one(doc! {}, doc! { "$set": { "run.dueAt": long_ago } }).await?;
    world.time_passes().await?;
    world.deliver(&sync, &world.tick()).await?;
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 10);
    Ok(())
}

#[tokio::test]
async fn account_runs_one_slice_at_a_time() -> Result<()> {
    let world = World::of("lease", &ROWS).await?;
    world.fill(20, &ROWS, 25, 1);
    world.hubspot.world().settings.latency_ms = 50;
    let sync = world.sync().await?;
    let tick = world.tick();
    let slices = futures::future::join_all((0..5).map(|_| world.slice(&sync, &tick))).await;
    slices.into_iter().try_for_each(assert_accepted)?;
    assert_eq!(world.requests("oauth 200"), 1, "one slice worked, the others found its lease");
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 120);
    assert_eq!(world.checkpoint().await?.get_i64("fence")?, 1);
    Ok(())
}

#[tokio::test]
async fn batch_sent_but_not_recorded_in_ledger_is_stored_once() -> Result<()> {
    let world = World::of("repeat", &ROWS).await?;
    world.fill(30, &ROWS, 75, 1);
    world.run().await?;
    // As if the function had been killed after every send, before anything was remembered.
    world.store.database().collection::<Document>(collection::SEEN).drop().await?;
    world.store.database().collection::<Document>(collection::CHECKPOINTS).drop().await?;
    world.run().await?;
    assert_eq!(world.proof().await?.actions, 330);
    Ok(())
}

#[tokio::test]
async fn message_for_unknown_account_is_dropped_and_unknown_version_fails() -> Result<()> {
    let world = World::new("nobody").await?;
    let sync = world.sync().await?;
    for (domain, hub) in [("unknown", HUB), ("acme", 1)] {
        let message =
            json!({"type": "sync.v1", "domainId": domain, "hubId": hub.to_string(), "tick": "2026-11-24T08:00:00Z"});
        world.deliver(&sync, &message).await?;
    }
    assert!(world.receive(&world.sync_queue).await?.is_empty());
    assert!(world.slice(&sync, &json!({"type": "sync.v9"})).await.is_err());
    Ok(())
}

#[tokio::test]
async fn caught_up_lane_is_written_back_while_other_lane_waits() -> Result<()> {
    let world = World::of("one_lane", &ROWS).await?;
    world.fill(2, &ROWS, 2, 1);
    world.fault_each(SEARCH, &ROWS, 1, &moving(3));
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    let entry = world.entry().await?;
    let dates = entry.get_document("lastPulledDates")?;
    assert!(dates.get_datetime("companies").is_ok() && dates.len() == 1, "{dates}");
    let next = serde_json::from_str(&world.receive(&world.sync_queue).await?[0])?;
    world.deliver(&sync, &next).await?;
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 10);
    let entry = world.entry().await?;
    for object in ROWS {
        assert!(entry.get_document("lastPulledDates")?.get_datetime(object.name()).is_ok(), "{entry}");
    }
    Ok(())
}

/// After an outage, or while more accounts are due than can be served, ticks come late and many at once: the newest of them
/// does the work of all.
#[tokio::test]
async fn newest_of_waiting_ticks_begins_a_run_and_older_ones_end_at_once() -> Result<()> {
    let world = World::new("old_ticks").await?;
    world.hubspot.world().seed(HUB, 5, 20, 1);
    world.run().await?;
    let (waited, sync) = ((0..5).map(|_| world.tick()).collect::<Vec<_>>(), world.sync().await?);
    // In this order, the first one begins a run.
    world.deliver(&sync, &waited[4]).await?;
    let searches = world.requests("search 200");
    world.hubspot.world().make_changes(HUB, 5, 2);
    for tick in &waited[..4] {
        world.deliver(&sync, tick).await?;
    }
    assert_eq!(world.requests("search 200"), searches, "an old tick looked for changes");
    world.run().await?;
    world.proof().await?;
    Ok(())
}
