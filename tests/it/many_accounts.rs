//! Many accounts in one invocation: each with its own lease, position and outcome.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    neighbours::tick_of,
    queues::queue,
    service::{Delivery, INVOCATION_LIMIT, Message, Service},
    world::{HUB, World, message_event},
};
use hubspot_sim::FaultKind;
use model::{
    account::AccountKey,
    time::{self, DateTime},
};
use mongodb::bson::{Document, doc};
use serde_json::Value;
use store::collection;

use crate::crash::points::{at_each, nearly_all_met};

/// How many slices an account with three records takes at most.
const MAX_SLICES: usize = 20;

/// Returns an event with a tick for each of these accounts.
fn ticks(accounts: &[AccountKey]) -> Result<Value> {
    let bodies: Vec<String> = accounts.iter().map(tick_of).collect::<Result<_>>()?;
    Ok(message_event(&bodies))
}

/// Returns the number of an account's records that sync has published.
async fn published(world: &World, account: &AccountKey) -> Result<usize> {
    let seen = world.all(collection::SEEN).await?;
    let of = format!("{account}:");
    Ok(seen.iter().filter(|row| row.get_str("_id").is_ok_and(|id| id.starts_with(&of))).count())
}

/// Returns an account's checkpoint.
async fn checkpoint(world: &World, account: &AccountKey) -> Result<Document> {
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.find_one(doc! { "_id": account.to_string() }).await?.context("there is no checkpoint")
}

/// Returns true if an account is caught up, and nobody holds its lease.
async fn is_caught_up(world: &World, account: &AccountKey) -> Result<bool> {
    let checkpoint = checkpoint(world, account).await?;
    let is_absent = |field: &str| checkpoint.get(field).is_none_or(|value| value.as_null().is_some());
    Ok(is_absent("run") && is_absent("lease") && checkpoint.contains_key("lastSuccessAt"))
}

#[tokio::test]
async fn ten_accounts_are_looked_at_in_one_invocation_and_logged_in_one_line() -> Result<()> {
    let mut world = World::new("ten").await?;
    let log = std::env::temp_dir().join(format!("ten-{}.log", std::process::id()));
    world.log = Some(log.clone());
    world.config.sweep_every = None;
    world.hubspot.world().seed(HUB, 1, 2, 1);
    let accounts = world.add_accounts(9).await?;
    let mut sync = Bootstrap::start_ungated(Function::Sync, &world).await?;
    for _ in 0..2 {
        let (invoked, _) = sync.invoke(&ticks(&accounts)?).await?;
        assert!(invoked.is_success(), "{invoked:?}");
    }
    for account in &accounts {
        assert!(is_caught_up(&world, account).await?, "{account} is not caught up");
        assert_eq!(published(&world, account).await?, world.records_of(account), "{account}");
    }
    // Nothing has changed for an hour.
    let long_ago = time::before(DateTime::now(), Duration::from_secs(3600));
    let changed = doc! { "$set": { "changedAt": { "companies": long_ago, "contacts": long_ago } } };
    world.store.database().collection::<Document>(collection::CHECKPOINTS).update_many(doc! {}, changed).await?;
    world.time_passes().await?;
    sync.invoke(&ticks(&accounts)?).await?;
    std::fs::write(&log, "")?;
    let (invoked, _) = sync.invoke(&ticks(&accounts)?).await?;
    assert!(invoked.is_success(), "{invoked:?}");
    let text = std::fs::read_to_string(&log)?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!((lines[0]["Slices"].as_u64(), lines[0]["SlicesIdle"].as_u64()), (Some(10), Some(10)), "{text}");
    assert_eq!(lines[0]["HubSpotRequests"].as_u64(), Some(20), "one search a lane: {text}");
    assert!(lines[0].get("HubId").is_none(), "it is not of one account: {text}");
    std::fs::remove_file(log)?;
    world.end().await
}

#[tokio::test]
async fn an_idle_look_writes_mongodb_twice() -> Result<()> {
    let mut world = World::new("idle").await?;
    world.config.sweep_every = None;
    world.hubspot.world().seed(HUB, 1, 2, 1);
    let accounts = world.add_accounts(0).await?;
    let mut sync = Bootstrap::start(Function::Sync, &world).await?;
    for round in 0..4 {
        sync.gate.open();
        let (invoked, _) = sync.invoke(&ticks(&accounts)?).await?;
        assert!(invoked.is_success(), "{invoked:?}");
        let effects = sync.gate.effects();
        let is_write = |name: &&String| name.starts_with("mongodb") && !name.starts_with("mongodb find ");
        let writes: Vec<&String> = effects.iter().filter(is_write).collect();
        if round > 0 {
            assert_eq!(writes, ["mongodb findAndModify checkpoints", "mongodb update checkpoints"], "{effects:?}");
            assert!(is_caught_up(&world, &accounts[0]).await?);
        }
    }
    // The positions are stored nevertheless.
    let marks = |checkpoint: &Document| {
        let lanes = checkpoint.get_document("lanes").cloned().unwrap_or_default();
        ["companies", "contacts"]
            .map(|lane| lanes.get_document(lane).and_then(|lane| lane.get_document("fresh")).cloned())
    };
    let before = marks(&checkpoint(&world, &accounts[0]).await?);
    world.hubspot.world().settings.clock_offset_ms += 10_000;
    sync.invoke(&ticks(&accounts)?).await?;
    let after = marks(&checkpoint(&world, &accounts[0]).await?);
    for (before, after) in before.into_iter().zip(after) {
        let mark = |pass: Document| pass.get_datetime("mark").copied();
        assert!(mark(after?)? > mark(before?)?);
    }
    world.end().await
}

#[tokio::test]
async fn message_or_account_that_is_broken_fails_alone() -> Result<()> {
    let mut world = World::new("alone").await?;
    world.hubspot.world().seed(HUB, 1, 2, 1);
    let accounts = world.add_accounts(8).await?;
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.insert_one(doc! { "_id": accounts[4].to_string(), "lanes": "no lanes" }).await?;
    let mut bodies: Vec<String> = accounts.iter().map(tick_of).collect::<Result<_>>()?;
    bodies.push("no JSON".to_owned());
    let mut sync = Bootstrap::start_ungated(Function::Sync, &world).await?;
    let (invoked, _) = sync.invoke(&message_event(&bodies)).await?;
    assert_eq!(invoked.failures(), ["m4", "m9"], "{invoked:?}");
    for (index, account) in accounts.iter().enumerate().filter(|(index, _)| *index != 4) {
        assert_eq!(published(&world, account).await?, world.records_of(account), "account {index}");
    }
    world.end().await
}

#[tokio::test]
async fn slow_account_delays_nobody_beyond_the_budget_and_goes_on_alone() -> Result<()> {
    let mut world = World::new("slow").await?;
    world.config.continuation_queue_url = queue(&world.sqs, "slow-continuations").await?;
    world.hubspot.world().seed(HUB, 1, 2, 1);
    let accounts = world.add_accounts(9).await?;
    // One answer comes too late, for whichever account asks first.
    world.fault("/contacts/search", 1, FaultKind::Delay { millis: 20_000 });
    let mut sync = Bootstrap::start(Function::Sync, &world).await?;
    let (invoked, took) = sync.invoke(&ticks(&accounts)?).await?;
    assert!(matches!(invoked, Invoked::Answered(_)), "{invoked:?}");
    assert!(took.saturating_sub(sync.waited) < INVOCATION_LIMIT, "{took:?}");
    let mut slow = Vec::new();
    for account in &accounts {
        if !is_caught_up(&world, account).await? {
            slow.push(account);
        }
    }
    assert_eq!(slow.len(), 1, "{slow:?}");
    let (mut slices, mut continuations) = (0, Vec::new());
    while !is_caught_up(&world, slow[0]).await? && slices < MAX_SLICES {
        if continuations.is_empty() {
            continuations = world.receive(&world.config.continuation_queue_url).await?;
            assert_eq!(continuations.len(), 1, "{continuations:?}");
        }
        let (invoked, _) = sync.invoke(&message_event(&continuations)).await?;
        if invoked.is_success() {
            continuations.clear();
        } else {
            // A busy machine: SQS delivers the message again.
            world.expire_lease().await?;
        }
        slices += 1;
    }
    assert!(slices < MAX_SLICES);
    assert!(world.take(&world.sync_queue).await?.is_empty(), "it would be one of ten again");
    assert_eq!(published(&world, slow[0]).await?, world.records_of(slow[0]));
    world.end().await
}

/// An account with many contacts, and two others, in one invocation.
async fn three_accounts() -> Result<Service> {
    let mut world = World::new("crash_many").await?;
    world.hubspot.world().seed(HUB, 3, 120, 1);
    world.add_accounts(2).await?;
    Service::new(world, 1, 1).await
}

/// Delivers ticks for all accounts in one event. Returns true if sync was killed.
async fn deliver_together(service: &mut Service) -> Result<bool> {
    for account in service.world.accounts()? {
        service.sync_messages.push(Message { body: tick_of(&account)?, received: 0 });
    }
    let mut killed = false;
    while !service.sync_messages.is_empty() {
        let messages = service.sync_messages.drain(..).collect();
        let delivery = Delivery { worker: 0, messages, again: false };
        killed |= service.deliver_sync(vec![delivery]).await?.contains(&Invoked::Died);
        service.world.time_passes().await?;
    }
    Ok(killed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_while_working_for_many_accounts_loses_nothing_of_any() -> Result<()> {
    let mut service = three_accounts().await?;
    assert!(!deliver_together(&mut service).await?);
    let effects = service.sync[0].gate.effects();
    service.finish().await?;
    service.world.end().await?;
    let killed = at_each(&effects, |point| async move {
        let mut service = three_accounts().await?;
        point.kill(&service.sync[0].gate);
        let killed = deliver_together(&mut service).await?;
        service.finish().await?;
        service.world.end().await?;
        Ok(killed)
    });
    nearly_all_met(&killed.await?)
}
