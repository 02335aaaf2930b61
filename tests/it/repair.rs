//! What whoever is on call does by hand.

use anyhow::{Context as _, Result};
use common::{
    object::ObjectType,
    store::{Resync, collection},
    time::DateTime,
};
use mongodb::bson::{Document, doc};
use serde_json::json;
use stack::dead_letters::{Chosen, DeadLetterQueue, DeadLetters};
use tests::world::{DOMAIN, HUB, World, lambda, queue};

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
async fn five_hundred_messages_are_sent_back_and_stored_once() -> Result<()> {
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
async fn a_dead_letter_says_why_it_is_one() -> Result<()> {
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
    let exported: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
    assert_eq!(exported["messageId"], json!(id));
    std::fs::remove_file(file)?;
    assert_eq!(letters.list().await?.len(), 1, "what is listed and exported stays");
    Ok(())
}

#[tokio::test]
async fn what_mongodb_lost_is_read_again() -> Result<()> {
    let world = World::new("resync").await?;
    world.hubspot.world().seed(HUB, 5, 250, 1);
    let (account, beginning) = (world.account()?, DateTime::from_millis(0));
    assert_eq!(world.store.resync(&account, ObjectType::Contacts, beginning).await?, Resync::New);
    world.run().await?;
    world.hubspot.world().make_changes(HUB, 60, 2);
    world.run().await?;
    let before = world.all(collection::ACTIONS).await?;
    // The latest actions of changed contacts.
    let latest = |state: &Document| {
        let at = state.get_datetime("updatedAt").ok()?.timestamp_millis();
        Some(format!("{}:{at}", state.get_str("_id").ok()?))
    };
    let latest: Vec<String> = world.all("contacts").await?.iter().filter_map(latest).collect();
    let lost = doc! { "_id": { "$in": latest }, "actionName": "Contact Updated" };
    let lost = world.store.database().collection::<Document>(collection::ACTIONS).delete_many(lost).await?;
    assert!(lost.deleted_count > 10);
    // Twice is the same as once.
    for _ in 0..2 {
        assert_eq!(world.store.resync(&account, ObjectType::Contacts, beginning).await?, Resync::Due);
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
    assert_eq!(world.store.resync(&account, ObjectType::Contacts, beginning).await?, Resync::Busy);
    Ok(())
}

#[tokio::test]
async fn a_paused_account_is_left_alone_until_it_is_resumed() -> Result<()> {
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
