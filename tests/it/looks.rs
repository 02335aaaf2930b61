//! How often an account is looked at: a quiet one less often, and soon again if anything happens to it.

use anyhow::{Context, Result};
use harness::world::{HUB, World, lambda};
use hubspot_sim::Object;
use model::{
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::bson::{Document, doc};
use scheduler::{FanOut, Tick};
use serde_json::{Value, json};
use std::time::Duration;
use store::{Resync, collection};

const HOUR: u64 = 3600;

/// A world with an account that is caught up, and in which nothing has changed for so long.
async fn quiet_for(name: &str, seconds: u64) -> Result<World> {
    let mut world = World::new(name).await?;
    world.config.quiet = Duration::from_secs(900);
    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.run().await?;
    // The history is counted once more.
    world.time_passes().await?;
    world.run().await?;
    changed(&world, seconds).await?;
    Ok(world)
}

/// Moves the account's last change into the past.
async fn changed(world: &World, seconds_ago: u64) -> Result<()> {
    let at = time::before(DateTime::now(), Duration::from_secs(seconds_ago));
    let changed = doc! { "$set": { "changedAt": { "companies": at, "contacts": at } } };
    world.store.database().collection::<Document>(collection::CHECKPOINTS).update_one(doc! {}, changed).await?;
    Ok(())
}

/// Returns how long the account is left alone from now on. `None` if each tick looks at it.
async fn rests_for(world: &World) -> Result<Option<u64>> {
    let checkpoint = world.checkpoint().await?;
    let Ok(next) = checkpoint.get_document("nextLook") else { return Ok(None) };
    Ok(Some(time::between(DateTime::now(), *next.get_datetime("at")?).as_secs()))
}

/// Returns how many messages a tick sends, and how many accounts it leaves alone. Takes the messages.
async fn tick(world: &World) -> Result<(usize, usize)> {
    let mut event = lambda(Tick::default());
    event.context.deadline = u64::try_from(DateTime::now().timestamp_millis() + 300_000)?;
    let scheduler = world.scheduler().await?;
    let fanned_out = scheduler::handler(&scheduler, event).await;
    let FanOut { sent, resting, .. } = fanned_out.map_err(|error| anyhow::anyhow!(error.error_message))?;
    assert_eq!(world.take(&world.sync_queue).await?.len(), sent);
    Ok((sent, resting))
}

fn notified(world: &World) -> Value {
    let mut message = world.tick();
    message["notified"] = json!("changes");
    message
}

#[tokio::test]
async fn quiet_account_rests_until_its_time_or_until_something_happens_to_it() -> Result<()> {
    let world = quiet_for("rests", 10 * HOUR).await?;
    let (sent, resting) = ((1, 0), (0, 1));
    assert_eq!(tick(&world).await?, sent, "it has been looked at for changes lately, and found some");
    let sync = world.sync().await?;
    let rest = async || {
        world.slice(&sync, &world.tick()).await.map_err(|error| anyhow::anyhow!(error.error_message))?;
        anyhow::Ok(rests_for(&world).await?.context("it rests")?)
    };
    assert!((600..=840).contains(&rest().await?));
    assert_eq!(tick(&world).await?, resting);

    world.change_entry("properties", vec!["contacts:phone"].into()).await?;
    assert_eq!(tick(&world).await?, sent, "its entry chooses otherwise");
    rest().await?;
    assert_eq!(tick(&world).await?, resting);

    let account = world.account()?;
    let from = DateTime::now();
    assert_eq!(world.store.resync(&account, ObjectType::CONTACTS, from).await?, Resync::Due);
    assert_eq!(tick(&world).await?, sent, "a lane is to be read again");
    world.run().await?;
    changed(&world, 10 * HOUR).await?;
    rest().await?;

    world.store.pause(&account, true).await?;
    world.store.pause(&account, false).await?;
    assert_eq!(tick(&world).await?, sent, "it was paused");
    rest().await?;

    let over = doc! { "$set": { "nextLook.at": time::before(DateTime::now(), Duration::from_secs(1)) } };
    world.store.database().collection::<Document>(collection::CHECKPOINTS).update_one(doc! {}, over).await?;
    assert_eq!(tick(&world).await?, sent, "its time has come");
    world.end().await
}

#[tokio::test]
async fn change_makes_quiet_account_lively() -> Result<()> {
    let world = quiet_for("lively", 10 * HOUR).await?;
    world.run().await?;
    assert!(rests_for(&world).await?.is_some());
    let at = world.hubspot.world().now();
    world.hubspot.world().create(HUB, Object::CONTACTS, at, Default::default());
    world.run().await?;
    assert_eq!(rests_for(&world).await?, None);
    assert_eq!(tick(&world).await?, (1, 0));
    world.end().await
}

#[tokio::test]
async fn webhooks_that_tell_of_every_change_are_enough_and_others_are_not() -> Result<()> {
    let world = quiet_for("told", HOUR).await?;
    let sync = world.sync().await?;
    let slice = async |message: Value| {
        world.slice(&sync, &message).await.map_err(|error| anyhow::anyhow!(error.error_message))?;
        rests_for(&world).await
    };
    let alone = slice(world.tick()).await?.context("it rests")?;
    assert!((100..=240).contains(&alone), "a twelfth of an hour, less a minute: {alone}");
    let told = slice(notified(&world)).await?.context("it rests")?;
    assert!((600..=840).contains(&told), "{told}");

    // A look finds a change of which no webhook told. The last one came long ago.
    let long_ago = time::before(DateTime::now(), Duration::from_secs(HOUR));
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, doc! { "$set": { "notifiedAt": long_ago } }).await?;
    let at = world.hubspot.world().now();
    world.hubspot.world().create(HUB, Object::CONTACTS, at, Default::default());
    world.run().await?;
    assert!(world.checkpoint().await?.get_datetime("unannouncedAt").is_ok());
    changed(&world, HOUR).await?;
    let alone = slice(world.tick()).await?.context("it rests")?;
    assert!((100..=240).contains(&alone), "{alone}");

    // Its webhook was only late.
    slice(notified(&world)).await?;
    assert!(world.checkpoint().await?.get_datetime("unannouncedAt").is_err());
    world.end().await
}

#[tokio::test]
async fn entry_may_set_the_pause_and_the_alarm_bounds_it() -> Result<()> {
    let world = quiet_for("wanted", 0).await?;
    for (wanted, rests) in [(600, 400..=540), (86_400, 600..=840)] {
        world.change_entry("lookEverySeconds", wanted.into()).await?;
        world.run().await?;
        let pause = rests_for(&world).await?.context("it rests")?;
        assert!(rests.contains(&pause), "{pause} s if the entry asks for {wanted}");
    }
    world.change_entry("lookEverySeconds", 0.into()).await?;
    changed(&world, 10 * HOUR).await?;
    world.run().await?;
    assert_eq!(rests_for(&world).await?, None);
    world.end().await
}

#[tokio::test]
async fn account_with_something_left_over_does_not_rest() -> Result<()> {
    let world = quiet_for("left_over", 10 * HOUR).await?;
    world.run().await?;
    assert!(rests_for(&world).await?.is_some());
    let due = time::after(DateTime::now(), Duration::from_secs(HOUR));
    let left = doc! { "$set": { "kept.contacts.setAsideUntil": due } };
    world.store.database().collection::<Document>(collection::CHECKPOINTS).update_one(doc! {}, left).await?;
    world.run().await?;
    assert_eq!(rests_for(&world).await?, None);
    world.end().await
}
