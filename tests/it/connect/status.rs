//! How an account is doing, as the API tells it.

use anyhow::{Context, Result};
use hubspot_sim::FaultKind;
use model::object::ObjectType;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};
use store::{Resync, collection};

use harness::{
    front::{Front, TOKEN},
    world::{DOMAIN, HUB, World},
};

async fn get(front: &Front, path: &str) -> Result<Value> {
    Ok(front.get(path).bearer_auth(TOKEN).send().await?.error_for_status()?.json().await?)
}

#[tokio::test]
async fn account_status_reports_freshness_actions_and_run_after_first_run() -> Result<()> {
    let mut world = World::new("status_one").await?;
    let front = Front::start(&mut world).await?;
    let path = format!("/api/accounts/{DOMAIN}/{HUB}");
    let new = get(&front, &path).await?;
    assert_eq!((&new["state"], &new["freshnessSeconds"], &new["backlog"]), (&json!("new"), &Value::Null, &Value::Null));

    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.run().await?;
    world.hubspot.world().make_changes(HUB, 2, 3);
    world.run().await?;
    let fresh = get(&front, &path).await?;
    assert_eq!((&fresh["state"], &fresh["backlog"]), (&json!("fresh"), &json!(0)), "{fresh}");
    assert!(fresh["freshnessSeconds"].as_u64().is_some_and(|seconds| seconds < 60), "{fresh}");
    let day = &fresh["lastDay"];
    let total: i64 = ["created", "updated", "deleted"].iter().filter_map(|kind| day[kind].as_i64()).sum();
    assert_eq!(total, i64::try_from(world.all(collection::ACTIONS).await?.len())?, "{day}");
    let run = &fresh["lastRun"];
    assert_eq!((&run["isOver"], &run["actions"]), (&json!(true), &json!(2)), "{run}");
    assert!(run["requests"].as_i64() >= Some(2) && run["slices"].as_i64() >= Some(1), "{run}");
    assert!(
        fresh["timeline"].as_array().is_some_and(|events| events.iter().any(|event| event["what"] == "backfillDone"))
    );
    world.end().await
}

#[tokio::test]
async fn account_status_reports_failing_lane_and_rejected_grant() -> Result<()> {
    let mut world = World::new("status_wrong").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let path = format!("/api/accounts/{DOMAIN}/{HUB}");
    let sync = world.sync().await?;
    world.fault("contacts/search", 90, FaultKind::Answer { status: 403, body: None, retry_after: None });
    world.deliver(&sync, &world.tick()).await?;
    let failing = get(&front, &path).await?;
    let problem = &failing["problems"][0];
    assert_eq!(problem["part"], "contacts", "{failing}");
    assert!(problem["reason"].as_str().is_some_and(|reason| !reason.is_empty()) && !problem["retryAt"].is_null());
    assert!(failing["timeline"].as_array().is_some_and(|events| events.iter().any(|event| event["what"] == "failed")));

    world.hubspot.world().faults.clear();
    world.hubspot.world().revoke(HUB);
    let gone = DateTime::from_millis(1);
    let lanes = doc! { "lanes.contacts.lastError": null, "run": null };
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, doc! { "$set": lanes }).await?;
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.update_one(doc! {}, doc! { "$set": { "integrations.hubspot.accounts.0.expiresAt": gone } }).await?;
    world.deliver(&sync, &world.tick()).await?;
    let rejected = get(&front, &path).await?;
    assert_eq!(rejected["state"], "reauthorize", "{rejected}");
    assert!(rejected["reason"].as_str().is_some_and(|reason| reason.contains("rejects the refresh token")));
    assert!(rejected["timeline"].as_array().is_some_and(|events| events[0]["what"] == "rejected"), "{rejected}");
    world.end().await
}

/// A history of many slices: the share that was read is reported, and only grows.
#[tokio::test]
async fn backfill_progress_is_reported_and_only_grows() -> Result<()> {
    let mut world = World::new("status_backfill").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 0, 4000, 1);
    world.hubspot.world().settings.latency_ms = 1000;
    let (sync, path) = (world.sync().await?, format!("/api/accounts/{DOMAIN}/{HUB}"));
    let (mut message, mut seen) = (world.tick(), Vec::new());
    for _ in 0..100 {
        world.deliver(&sync, &message).await?;
        let told = get(&front, &path).await?;
        seen.push((told["backfill"]["read"].as_i64(), told["backfill"]["total"].as_i64(), told["backlog"].as_i64()));
        match world.receive(&world.sync_queue).await?.pop() {
            Some(next) => message = serde_json::from_str(&next)?,
            None => break,
        }
    }
    // A slice that had no processor when it was time may have read nothing yet, and not know of how much.
    let under_way: Vec<_> = seen.iter().filter(|(read, _, _)| read.is_some_and(|read| read > 0)).collect();
    assert!(under_way.len() >= 2, "{seen:?}");
    for (read, total, backlog) in &under_way {
        assert_eq!((*total, *backlog), (Some(4000), read.map(|read| 4000 - read)), "{seen:?}");
    }
    assert!(under_way.is_sorted_by_key(|(read, _, _)| *read), "{seen:?}");
    assert_eq!(seen.last(), Some(&(None, None, Some(0))), "{seen:?}");
    world.end().await
}

/// The slice that reads the last of it need not be the run's last.
#[tokio::test]
async fn timeline_reports_backfill_done_before_the_run_ends() -> Result<()> {
    let mut world = World::new("status_history").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    let (sync, path) = (world.sync().await?, format!("/api/accounts/{DOMAIN}/{HUB}"));
    let is_told = async || -> Result<bool> {
        let told = get(&front, &path).await?;
        let events = told["timeline"].as_array().context("a timeline")?;
        Ok(events.iter().filter(|event| event["what"] == "backfillDone").count() == 1)
    };
    world.run().await?;
    assert!(is_told().await?);
    for object in ObjectType::DEFAULT {
        let resync = world.store.resync(&world.account()?, object, DateTime::from_millis(0)).await?;
        assert_eq!(resync, Resync::Due);
    }
    assert!(!is_told().await?, "it is to be read again");
    // The recycle bin comes behind the history, and does not answer in time.
    world.fault("archived=true", u32::MAX, FaultKind::Delay { millis: 6000 });
    world.deliver(&sync, &world.tick()).await?;
    world.hubspot.world().faults.clear();
    assert!(world.checkpoint().await?.get_document("run").is_ok(), "the run goes on");
    assert!(is_told().await?);
    world.run_on().await?;
    assert!(is_told().await?);
    world.end().await
}
