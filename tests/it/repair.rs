//! What whoever is on call does by hand.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, Result};
use harness::{
    extent::Extent,
    front::Front,
    gate::Gate,
    proxy::mongodb::MongoProxy,
    rows::{LANES, ROWS, label_of},
    world::{DOMAIN, HUB, World, lambda, queue},
};
use hubspot_sim::{FaultKind, Object};
use model::{account::Unusable, object::ObjectType, time::DateTime};
use mongodb::bson::{Bson, Document, doc};
use ops::dead_letters::{Chosen, DeadLetterQueue, DeadLetters};
use serde_json::json;
use store::{Connected, MongoConfig, Resync, SealedTokens, Store, collection};

const ACCOUNTS: &str = "integrations.hubspot.accounts";

async fn dead_letters(world: &World, name: &str) -> Result<(DeadLetters, String)> {
    let url = queue(&world.sqs, name).await?;
    let letters = DeadLetterQueue { name: "actions", url: url.clone(), source: Some(world.actions_queue.clone()) };
    Ok((DeadLetters::new(world.sqs.clone(), world.store.clone(), vec![letters]), url))
}

fn message(record: usize) -> String {
    let at = "2026-01-01T00:00:00Z";
    let action = json!({"object": "contacts", "recordId": record.to_string(), "actionName": "Contact Created",
        "actionDate": at, "recordUpdatedAt": at, "includeInAnalytics": 0,
        "record": {"createdAt": at, "properties": {}, "companyIds": []}});
    json!({"type": "actions.v1", "domainId": DOMAIN, "hubId": HUB.to_string(), "actions": [action]}).to_string()
}

#[tokio::test]
async fn dead_letters_are_sent_back_and_stored_once() -> Result<()> {
    let world = World::new("redrive").await?;
    let (letters, url) = dead_letters(&world, "redrive").await?;
    for record in 1..=500 {
        world.sqs.send_message().queue_url(&url).message_body(message(record)).send().await?;
    }
    let listed = letters.list().await?;
    assert_eq!(listed.len(), 500);
    assert_eq!(listed[0].account.as_deref(), Some("acme:7000001"));
    // Some of them by name, twice.
    let some = Chosen::Ids(listed[..3].iter().map(|letter| letter.message_id.clone()).collect());
    assert_eq!(letters.send_back(&some).await?, 3);
    assert_eq!(letters.send_back(&some).await?, 0);
    assert_eq!(letters.send_back(&Chosen::All).await?, 497);
    assert_eq!(letters.list().await?.len(), 0);
    world.drain().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 500);
    Ok(())
}

#[tokio::test]
async fn dead_letter_is_listed_with_its_reason_and_exported_privately() -> Result<()> {
    let world = World::new("reasons").await?;
    let (letters, url) = dead_letters(&world, "reasons").await?;
    let sent = world.sqs.send_message().queue_url(&url).message_body("{\"type\": \"actions.v9\"}").send().await?;
    let id = sent.message_id.context("a message has an id")?;
    let event = json!({"Records": [{"messageId": id, "body": "{\"type\": \"actions.v9\"}"}, {"messageId": "good", "body": message(1)}]});
    let response = actions::handler(&world.actions().await?, lambda(serde_json::from_value(event)?)).await;
    let response = response.map_err(|error| anyhow::anyhow!(error.error_message))?;
    assert_eq!(response.batch_item_failures.len(), 1);
    let listed = letters.list().await?;
    assert!(listed[0].reason.starts_with("the message cannot be read: Data error"), "{}", listed[0].reason);
    let file = std::env::temp_dir().join(format!("dead-letters-{}.jsonl", std::process::id()));
    assert_eq!(letters.export(&file).await?, 1);
    assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600, "others can read what is exported");
    let exported: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    assert_eq!(exported["messageId"], json!(id));
    std::fs::remove_file(file)?;
    assert_eq!(letters.list().await?.len(), 1, "what is listed and exported stays");
    Ok(())
}

#[tokio::test]
async fn resync_restores_actions_lost_in_mongodb() -> Result<()> {
    let world = World::of("resync", &ROWS).await?;
    world.fill(5, &ROWS, 60, 1);
    let (account, beginning) = (world.account()?, DateTime::from_millis(0));
    let types = ROWS.iter().map(|object| ObjectType::parse(object.name())).collect::<Result<Vec<_>, _>>()?;
    for object in &types {
        assert_eq!(world.store.resync(&account, *object, beginning).await?, Resync::New);
    }
    world.run().await?;
    for object in ROWS {
        world.hubspot.world().change_objects(HUB, object, 40, 2);
    }
    world.run().await?;
    let before = world.all(collection::ACTIONS).await?;
    // The latest actions of changed records.
    let latest = |state: &Document| {
        let at = state.get_datetime("updatedAt").ok()?.timestamp_millis();
        Some(format!("{}:{at}", state.get_str("_id").ok()?))
    };
    for object in ROWS {
        let latest: Vec<String> = world.states_of(object).await?.iter().filter_map(latest).collect();
        let lost = doc! { "_id": { "$in": latest }, "actionName": format!("{} Updated", label_of(object)?) };
        let lost = world.store.database().collection::<Document>(collection::ACTIONS).delete_many(lost).await?;
        assert!(lost.deleted_count > 10, "{object:?}");
    }
    // Twice is the same as once.
    for object in [types.as_slice(), &types].concat() {
        assert_eq!(world.store.resync(&account, object, beginning).await?, Resync::Due);
    }
    world.run().await?;
    world.proof().await?;
    let without_time = |mut actions: Vec<Document>| {
        actions.iter_mut().for_each(|action| drop(action.remove("storedAt")));
        actions
    };
    assert_eq!(without_time(world.all(collection::ACTIONS).await?), without_time(before));
    let lease = world.store.lease(&account, std::time::Duration::from_secs(20)).await?;
    assert!(lease.is_some());
    assert_eq!(world.store.resync(&account, types[0], beginning).await?, Resync::Busy);
    Ok(())
}

/// A lease is for thirty seconds, and a lane may have millions of records.
#[tokio::test]
async fn resync_of_a_large_lane_renews_its_lease() -> Result<()> {
    const RECORDS: usize = 25_000;
    let world = World::new("resync_large").await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let (account, at) = (world.account()?, DateTime::now());
    let entry = |id: usize| doc! { "_id": format!("{account}:contacts:{}", 1_000_000 + id), "at": at };
    let ledger = world.store.database().collection::<Document>(collection::SEEN);
    ledger.insert_many((0..RECORDS).map(entry)).await?;
    let gate = Gate::default();
    let proxy = MongoProxy::start(world.mongodb_address()?, gate.clone()).await?;
    let mongo = MongoConfig { uri: proxy.uri().into(), database: world.config.mongo.database.clone() };
    let store = Store::connect(&mongo).await?;
    let resynced = store.resync(&account, ObjectType::CONTACTS, DateTime::from_millis(0)).await?;
    assert_eq!(resynced, Resync::Due);
    let effects = gate.effects();
    let saves = effects.iter().filter(|effect| *effect == "mongodb update checkpoints").count();
    assert_eq!(saves, 4, "two renewals, the lane and the release: {effects:?}");
    let marked = doc! { "_id": { "$regex": ":contacts:" }, "at": { "$gte": at } };
    assert_eq!(ledger.count_documents(marked).await?, 0);
    world.end().await
}

#[tokio::test]
async fn paused_account_is_skipped_until_it_is_resumed() -> Result<()> {
    let world = World::new("pause").await?;
    world.hubspot.world().seed(HUB, 5, 20, 1);
    let account = world.account()?;
    assert!(world.store.pause(&account, true).await?);
    assert!(!world.store.pause(&account, true).await?);
    // A message that is under way finds it paused, and so does the fan-out.
    world.deliver(&world.sync().await?, &world.tick()).await?;
    assert_eq!(world.requests("search 200"), 0);
    let fan_out = scheduler::handler(&world.scheduler().await?, lambda(scheduler::Tick { time: None })).await;
    let fan_out = fan_out.map_err(|error| anyhow::anyhow!(error.error_message))?;
    assert_eq!((fan_out.sent, fan_out.skipped), (0, 1));
    assert!(world.store.pause(&account, false).await?);
    assert!(!world.store.pause(&account, false).await?);
    world.run().await?;
    world.proof().await?;
    Ok(())
}

/// What `make resync ... FROM=` asks for comes on top of the history that was not read yet.
#[tokio::test]
async fn resync_during_backfill_keeps_rest_of_the_history() -> Result<()> {
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        resync_during_backfill(object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn resync_during_backfill(object: Object) -> Result<()> {
    let mut world = World::of("resync_early", &[object]).await?;
    world.config.budget = Duration::from_millis(1_500);
    world.config.settle = Duration::from_secs(3600);
    world.fill(0, &[object], 3_000, 1);
    world.hubspot.world().settings.latency_ms = 200;
    let sync = world.sync().await?;
    let lane = async || {
        let lanes = world.checkpoint().await?.get_document("lanes")?.clone();
        anyhow::Ok(lanes.get_document(object.name()).cloned().unwrap_or_default())
    };
    world.deliver(&sync, &world.tick()).await?;
    // How much fits into a slice does not matter: the lane is met, and some of it is left.
    while lane().await?.get_datetime("firstSeen").is_err() {
        world.time_passes().await?;
        let message = world.due_message().await.unwrap_or_else(|_| world.tick());
        world.deliver(&sync, &message).await?;
    }
    world.drain().await?;
    let lane = lane().await?;
    assert!(!lane.get_document("backfill")?.get_array("windows")?.is_empty(), "all of the history was read: {lane}");
    world.hubspot.world().settings.latency_ms = 0;
    let now = world.hubspot.world().now();
    // The older the date, the more windows it cuts through; twice is the same as once.
    for ago in [60_000, 86_400_000, 86_400_000, 40 * 86_400_000_i64] {
        let from = DateTime::from_millis(now - ago);
        let object = ObjectType::parse(object.name())?;
        assert_eq!(world.store.resync(&world.account()?, object, from).await?, Resync::Due);
    }
    assert_eq!(world.run_until_proved().await?.actions, 3_000);
    Ok(())
}

/// A product that adds an entry for each connection, and leaves the former one as it is.
#[tokio::test]
async fn portal_with_several_entries_uses_the_working_one_everywhere() -> Result<()> {
    let mut world = World::new("twice_in_a_domain").await?;
    world.hubspot.world().seed(HUB, 2, 5, 1);
    let good = world.entry().await?;
    let mut gone = good.clone();
    gone.extend(doc! { "refreshToken": "revoked", "state": "reauthorize", "stateReason": "it was revoked" });
    let empty = doc! { "hubId": HUB.to_string() };
    let front = Front::start(&mut world).await?;
    for entries in [vec![&gone, &good], vec![&good, &gone], vec![&gone, &good, &empty]] {
        let entries: Vec<Bson> = entries.into_iter().cloned().map(Bson::from).collect();
        let domains = world.store.database().collection::<Document>(collection::DOMAINS);
        domains.update_one(doc! {}, doc! { "$set": { ACCOUNTS: &entries } }).await?;
        let fan_out = scheduler::handler(&world.scheduler().await?, lambda(scheduler::Tick { time: None })).await;
        let fan_out = fan_out.map_err(|error| anyhow::anyhow!(error.error_message))?;
        assert_eq!((fan_out.sent, fan_out.skipped), (1, entries.len() - 1), "{entries:?}");
        world.take(&world.sync_queue).await?;
        world.hubspot.world().make_changes(HUB, 3, 2);
        world.run().await?;
        world.proof().await?;
        let account = world.account()?;
        let status = world.store.status(&account).await?.context("the account has a status")?;
        assert_eq!((status.state, status.has_token), (None, true), "{entries:?}");
        let page = front.sign_in().await?.open(&front.at("/")?).await?.text().await?;
        assert_eq!(page.matches(&format!("/accounts/{DOMAIN}/{HUB}")).count(), 1, "{page}");
        // It is paused, whichever entry is looked at.
        assert!(world.store.pause(&account, true).await?);
        let stopped = world.store.account(&account).await?;
        assert!(matches!(stopped, Some(Err(Unusable::Paused))), "{entries:?}: {stopped:?}");
        assert!(world.store.pause(&account, false).await?);
    }
    Ok(())
}

/// Whoever connects HubSpot again does not wait for what went wrong before, also if a slice was killed meanwhile.
#[tokio::test]
async fn reconnect_ends_waits_of_lanes_whose_slice_was_killed() -> Result<()> {
    let world = World::of("retry_killed", &ROWS).await?;
    world.fill(2, &ROWS, 3, 1);
    let missing = FaultKind::Answer { status: 403, body: None, retry_after: None };
    world.fault("/search", LANES, missing);
    let account = world.account()?;
    world.deliver(&world.sync().await?, &world.tick()).await?;
    let waits = async || anyhow::Ok(world.pause().await?.is_some());
    assert!(waits().await?, "no lane waits");
    // The next slice is killed: nobody gives its lease back.
    assert!(world.store.lease(&account, Duration::from_secs(60)).await?.is_some());
    world.expire_lease().await?;
    let tokens = SealedTokens {
        access_token: "a".to_owned(),
        refresh_token: world.entry().await?.get_str("refreshToken")?.to_owned(),
        expires_at: DateTime::from_millis(0),
    };
    let connected = world.store.connect_account(&account, None, &tokens, hubspot_sim::CLIENT_ID).await?;
    assert_eq!(connected, Connected::Stored);
    assert!(!waits().await?, "the lanes still wait: {}", world.checkpoint().await?);
    Ok(())
}

#[tokio::test]
async fn mark_removed_by_hand_returns_only_for_dead_grant() -> Result<()> {
    let world = World::new("reconnect").await?;
    world.hubspot.world().seed(HUB, 5, 20, 1);
    let account = world.account()?;
    assert!(!ops::repair::unmark(&world.store, &account).await?, "it is not marked");
    let grant = world.hubspot.world().portal(HUB).refresh_token.take();
    world.deliver(&world.sync().await?, &world.tick()).await?;
    assert_eq!(world.entry().await?.get_str("state")?, "reauthorize");
    // HubSpot knows the grant again; nobody waits for hours.
    world.hubspot.world().portal(HUB).refresh_token = grant;
    assert!(ops::repair::unmark(&world.store, &account).await?);
    assert!(!ops::repair::unmark(&world.store, &account).await?);
    world.run().await?;
    world.proof().await?;
    // What is dead is marked again.
    world.hubspot.world().revoke(HUB);
    let gone = doc! { "$set": { "integrations.hubspot.accounts.0.expiresAt": DateTime::from_millis(0) } };
    world.store.database().collection::<Document>(collection::DOMAINS).update_one(doc! {}, gone).await?;
    for _ in 0..2 {
        world.deliver(&world.sync().await?, &world.tick()).await?;
        assert_eq!(world.entry().await?.get_str("state")?, "reauthorize");
        ops::repair::unmark(&world.store, &account).await?;
    }
    Ok(())
}

/// Domain ids may hold colons: the keys of one Domain's records may begin with those of another's account.
#[tokio::test]
async fn resync_touches_no_account_with_the_same_key_prefix() -> Result<()> {
    let world = World::new("colons").await?;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.run().await?;
    let own = world.all(collection::SEEN).await?;
    let seen = world.store.database().collection::<Document>(collection::SEEN);
    // The Domains `acme:<hub>` and `acme:<hub>:contacts`, with an account 9 each.
    let alike: Vec<Document> =
        [format!("{DOMAIN}:{HUB}:9:contacts:1"), format!("{DOMAIN}:{HUB}:contacts:9:contacts:1")]
            .map(|id| doc! { "_id": id, "at": DateTime::now(), "goneAt": DateTime::now() })
            .to_vec();
    seen.insert_many(&alike).await?;
    let theirs = async || -> Result<Vec<Document>> {
        Ok(world
            .all(collection::SEEN)
            .await?
            .into_iter()
            .filter(|entry| !own.iter().any(|one| one.get("_id") == entry.get("_id")))
            .collect())
    };
    let before = theirs().await?;
    assert_eq!(before.len(), 2);
    let resync = world.store.resync(&world.account()?, ObjectType::CONTACTS, DateTime::from_millis(0)).await?;
    assert_eq!(resync, Resync::Due);
    assert_eq!(theirs().await?, before);
    let changed =
        world.all(collection::SEEN).await?.into_iter().filter(|entry| own.iter().all(|one| one != entry)).count();
    assert_eq!(changed - before.len(), 3, "its own contacts are read again");
    stack::accounts::forget(world.store.database(), &world.account()?).await?;
    assert_eq!(world.all(collection::SEEN).await?, before);
    world.end().await
}
