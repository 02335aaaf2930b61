//! The fan-out against a real MongoDB and a real queue.

use std::collections::BTreeSet;

use anyhow::Result;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use scheduler::{FanOut, Tick};
use serde_json::Value;
use stack::accounts::{oauth, private_app, write_domain};
use store::collection;

use harness::world::{HUB, World, lambda};

async fn sent(world: &World) -> Result<BTreeSet<String>> {
    let mut accounts = BTreeSet::new();
    loop {
        let bodies = world.receive(&world.sync_queue).await?;
        if bodies.is_empty() {
            return Ok(accounts);
        }
        for body in bodies {
            let message: Value = serde_json::from_str(&body)?;
            assert_eq!(message["type"], "sync.v1");
            assert_eq!(message["tick"], "2026-11-24T08:00:00Z");
            let account = format!(
                "{}:{}",
                message["domainId"].as_str().unwrap_or_default(),
                message["hubId"].as_str().unwrap_or_default()
            );
            assert!(accounts.insert(account), "an account was sent twice");
        }
    }
}

async fn tick(world: &World, deadline_in_ms: i64) -> Result<FanOut> {
    let mut event = lambda(Tick { time: Some("2026-11-24T08:00:00Z".to_owned()) });
    event.context.deadline = u64::try_from(mongodb::bson::DateTime::now().timestamp_millis() + deadline_in_ms)?;
    let scheduler = world.scheduler().await?;
    scheduler::handler(&scheduler, event).await.map_err(|error| anyhow::anyhow!(error.error_message))
}

#[tokio::test]
async fn each_live_account_gets_one_message_and_the_others_are_skipped() -> Result<()> {
    let world = World::new("fan_out").await?;
    let database = world.store.database();
    let id = ObjectId::new();
    let mut reauthorize = oauth(3, "token");
    reauthorize.insert("state", "reauthorize");
    reauthorize.insert("stateAt", mongodb::bson::DateTime::now());
    let entries =
        vec![oauth(1, "token"), doc! { "hubId": "2" }, reauthorize, doc! { "name": "?" }, private_app(4, "token")];
    write_domain(database, id, "Many", entries).await?;
    write_domain(database, "off", "Off", vec![oauth(5, "token")]).await?;
    let domains = database.collection::<Document>(collection::DOMAINS);
    domains.update_one(doc! { "_id": "off" }, doc! { "$set": { "integrations.hubspot.status": false } }).await?;
    domains
        .insert_one(doc! { "_id": "strange", "integrations": { "hubspot": { "status": true, "accounts": "none" } } })
        .await?;
    let fan_out = tick(&world, 300_000).await?;
    assert_eq!(fan_out, FanOut { sent: 3, skipped: 4, resting: 0, complete: true });
    assert_eq!(sent(&world).await?, [format!("acme:{HUB}"), format!("{id}:1"), format!("{id}:4")].into());
    Ok(())
}

#[tokio::test]
async fn fan_out_short_of_time_continues_at_next_tick() -> Result<()> {
    let world = World::new("fan_out_time").await?;
    let database = world.store.database();
    let mut ids: Vec<Bson> = (0..20).map(|_| Bson::ObjectId(ObjectId::new())).collect();
    ids.extend((0..20).map(|number| Bson::from(format!("domain-{number:02}"))));
    for id in ids {
        write_domain(database, id, "Some", vec![oauth(1, "token")]).await?;
    }
    let mut all = BTreeSet::new();
    let mut ticks = 0;
    loop {
        // So little time that it stops behind the first Domain.
        let fan_out = tick(&world, 0).await?;
        let now = sent(&world).await?;
        assert_eq!(now.len(), fan_out.sent);
        assert!(now.iter().all(|account| all.insert(account.clone())), "an account was sent twice");
        ticks += 1;
        assert!(ticks <= 42);
        if fan_out.complete {
            break;
        }
    }
    assert_eq!(all.len(), 41);
    assert_eq!(tick(&world, 300_000).await?.sent, 41, "the next fan-out begins anew");
    Ok(())
}

#[tokio::test]
async fn fan_out_of_504_accounts_sends_one_message_each() -> Result<()> {
    let world = World::new("fan_out_many").await?;
    let entries: Vec<Document> = (1..=503).map(|hub| oauth(hub, "token")).collect();
    write_domain(world.store.database(), "many", "Many", entries).await?;
    assert_eq!(tick(&world, 300_000).await?.sent, 504);
    assert_eq!(sent(&world).await?.len(), 504);
    Ok(())
}
