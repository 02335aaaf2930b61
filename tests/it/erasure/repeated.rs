//! An erasure that fails is carried out later, and one that is carried out is repeated.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function},
    gate::{Verdict, When},
    world::{World, message_event},
};
use model::{object::ObjectType, time};
use mongodb::bson::{DateTime, Document, doc};
use store::{Erasure, collection};
use tokio::{sync::Notify, time::Instant};

use super::{actions, contact, ensure_erased, ensure_without_person, erase, event, person, tick, webhook};

const CONTACTS: ObjectType = ObjectType::CONTACTS;

async fn erasure(world: &World) -> Result<Document> {
    world.all(collection::ERASURES).await?.pop().context("an erasure")
}

#[tokio::test]
async fn erasure_that_failed_without_mongodb_is_carried_out_by_the_tick() -> Result<()> {
    let (world, id) = person("erased_outage").await?;
    world.run().await?;
    let mut connect = Bootstrap::start(Function::Connect, &world).await?;
    // It is recorded; then MongoDB is away.
    connect.gate.set(|effect| match effect.name.as_str() {
        "mongodb update seen" | "mongodb update contacts" => Verdict::Lose,
        _ => Verdict::Pass,
    });
    assert_eq!(webhook(&mut connect, &event("contact.privacyDeletion", id)).await?, 204);
    ensure!(ensure_without_person(&world.everything().await?).is_err(), "it was erased without MongoDB");
    tick(&world).await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    world.end().await
}

#[tokio::test]
async fn erasure_that_cannot_be_recorded_is_sent_again_by_hubspot() -> Result<()> {
    let (world, id) = person("erased_refused").await?;
    world.run().await?;
    let mut connect = Bootstrap::start(Function::Connect, &world).await?;
    connect.gate.set(|effect| match effect.name.as_str() {
        "mongodb update erasures" => Verdict::Lose,
        _ => Verdict::Pass,
    });
    assert_eq!(webhook(&mut connect, &event("contact.privacyDeletion", id)).await?, 503);
    connect.gate.open();
    assert_eq!(webhook(&mut connect, &event("contact.privacyDeletion", id)).await?, 204);
    ensure_without_person(&world.everything().await?)?;
    world.end().await
}

#[tokio::test]
async fn erasure_is_repeated_for_an_hour_and_its_request_changes_nothing_then() -> Result<()> {
    let (world, id) = person("erased_hour").await?;
    world.run().await?;
    erase(&world, "contact.privacyDeletion", id).await?;
    let first = erasure(&world).await?;
    ensure!(first.contains_key("repeatAt") && first.contains_key("erasedAt"), "{first}");
    tick(&world).await?;
    let again = erasure(&world).await?;
    ensure!(again.contains_key("repeatAt") && !again.contains_key("doneAt"), "{again}");
    let hours_ago = time::before(DateTime::now(), Duration::from_secs(3601));
    let erasures = world.store.database().collection::<Document>(collection::ERASURES);
    erasures.update_one(doc! {}, doc! { "$set": { "requestedAt": hours_ago } }).await?;
    tick(&world).await?;
    let late = erasure(&world).await?;
    ensure!(!late.contains_key("doneAt"), "the hour begins when it is first carried out: {late}");
    erasures.update_one(doc! {}, doc! { "$set": { "erasedAt": hours_ago } }).await?;
    tick(&world).await?;
    let done = erasure(&world).await?;
    ensure!(done.contains_key("doneAt") && !done.contains_key("repeatAt"), "{done}");
    erase(&world, "contact.privacyDeletion", id).await?;
    assert_eq!(erasure(&world).await?, done);
    let report = world.store.finish_erasures(Instant::now() + Duration::from_secs(10)).await?;
    assert_eq!(report, store::ErasureReport::default(), "it is done");
    world.end().await
}

/// Drains messages. The contact is erased when the drain is about to have this effect.
async fn drain_while_erased(world: &World, queued: &[String], id: u64, effect_name: &'static str) -> Result<()> {
    let mut drain = Bootstrap::start(Function::Actions, world).await?;
    let (reached, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at, until) = (reached.clone(), released.clone());
    drain.gate.set(move |effect| match effect.name == effect_name && effect.when == When::Before {
        true => {
            at.notify_one();
            Verdict::Until(until.clone())
        }
        false => Verdict::Pass,
    });
    let event = message_event(queued);
    let erasing = async {
        reached.notified().await;
        let erased = erase(world, "contact.privacyDeletion", id).await;
        released.notify_one();
        erased
    };
    let (drained, erased) = tokio::join!(drain.invoke(&event), erasing);
    erased?;
    ensure!(drained?.0.is_success());
    Ok(())
}

/// The drain has written the state, and inserts its actions when they are already erased.
#[tokio::test]
async fn action_inserted_by_a_drain_under_way_is_erased_by_the_tick() -> Result<()> {
    let (world, id) = person("erased_drain").await?;
    world.deliver(&world.sync().await?, &world.tick()).await?;
    let queued = world.take(&world.actions_queue).await?;
    drain_while_erased(&world, &queued, id, "mongodb insert actions").await?;
    ensure!(ensure_without_person(&world.everything().await?).is_err(), "there was no race");
    tick(&world).await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    assert_eq!(actions(&world, CONTACTS, id).await?.len(), 2);
    world.end().await
}

/// A drain has read the state before it was erased: it does not replace the tombstone.
#[tokio::test]
async fn state_read_before_erasure_does_not_replace_tombstone() -> Result<()> {
    let (world, id) = person("erased_swap").await?;
    world.run().await?;
    super::rename(&world, id)?;
    world.deliver(&world.sync().await?, &world.tick()).await?;
    let queued = world.take(&world.actions_queue).await?;
    ensure!(!queued.is_empty(), "the change was not published");
    drain_while_erased(&world, &queued, id, "mongodb update contacts").await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    world.end().await
}

#[tokio::test]
async fn more_erasures_than_a_tick_has_time_for_are_left_to_the_next() -> Result<()> {
    let (world, id) = person("erased_many").await?;
    world.run().await?;
    let mut erasures: Vec<Erasure> = (900_001..=900_200).map(|id| contact(&world, id)).collect::<Result<_>>()?;
    erasures.push(contact(&world, id)?);
    world.store.request_erasures(&erasures).await?;
    let report = world.store.finish_erasures(Instant::now() + Duration::from_millis(20)).await;
    let (is_left, erased) = match &report {
        Ok(report) => (report.left > 0, report.erased),
        // Not even the list was read.
        Err(_) => (true, 0),
    };
    ensure!(is_left && erased < erasures.len(), "{report:?}");
    let report = world.store.finish_erasures(Instant::now() + Duration::from_secs(60)).await?;
    assert_eq!((report.left, report.failed), (0, 0));
    // MongoDB may have ended some that the first tick no longer waited for: neither tick counts them.
    let carried_out = world.all(collection::ERASURES).await?;
    assert_eq!(carried_out.iter().filter(|erasure| erasure.contains_key("erasedAt")).count(), erasures.len());
    ensure!(report.erased > 0, "{report:?}");
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    // Of records that nobody knew there are tombstones only.
    ensure!(world.all(collection::ACTIONS).await?.iter().filter(|action| action.contains_key("erased")).count() == 1);
    world.end().await
}
