//! All properties of an object type, also if they are more than a search can name.

use std::{num::NonZeroU32, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::{FaultKind, Object, Property};
use mongodb::bson::{Bson, DateTime, Document, doc};
use store::collection;

const DEALS: Object = Object::DEALS;
const STATES: &str = "hubspot_deals";
const LONG_AGO: DateTime = DateTime::from_millis(0);

/// A world that reads all properties of deals, of which there are `count` besides the usual ones.
async fn world(name: &str, count: usize) -> Result<World> {
    let mut world = World::new(name).await?;
    world.config.references_every = Some(Duration::from_secs(86_400));
    world.choose(&[DEALS]).await?;
    world.change_entry("properties", doc! { "deals": "*" }.into()).await?;
    let mut hubspot = world.hubspot.world();
    for index in 0..count {
        hubspot.define_property(HUB, DEALS, Property::new(&format!("a_property_of_deals_{index:03}"), "string"));
    }
    drop(hubspot);
    Ok(world)
}

/// Returns how many of the properties each state has.
async fn counts(world: &World) -> Result<Vec<usize>> {
    let states = world.all(STATES).await?;
    let count = |state: &Document| {
        let properties = state.get_document("properties").ok()?;
        Some(properties.keys().filter(|name| name.starts_with("a_property_of_deals")).count())
    };
    Ok(states.iter().filter_map(count).collect())
}

async fn make_due(world: &World, name: &str, field: &str) -> Result<()> {
    let collection = world.store.database().collection::<Document>(name);
    collection.update_many(doc! { field: { "$exists": true } }, doc! { "$set": { field: LONG_AGO } }).await?;
    Ok(())
}

/// HubSpot refuses a search of more than 3,000 characters.
#[tokio::test]
async fn more_properties_than_a_search_can_name_are_read_by_id() -> Result<()> {
    let world = world("all_long", 300).await?;
    world.hubspot.world().seed_objects(HUB, DEALS, 250, 1);
    world.run().await?;
    let counts = counts(&world).await?;
    ensure!(counts.len() == 250 && counts.iter().all(|count| *count == 300), "{counts:?}");
    ensure!(world.requests("search 400") == 0, "every search is one that HubSpot takes");
    world.proof().await?;
    {
        let mut hubspot = world.hubspot.world();
        let (ids, at) = (hubspot.ids(HUB, DEALS), hubspot.now());
        hubspot.change_objects(HUB, DEALS, 10, 2);
        hubspot.archive(HUB, DEALS, ids[3], at);
        hubspot.merge(HUB, DEALS, (ids[5], ids[6]), at, false);
    }
    world.run().await?;
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn few_properties_take_no_other_requests() -> Result<()> {
    let world = world("all_few", 20).await?;
    world.hubspot.world().seed_objects(HUB, DEALS, 30, 1);
    world.run().await?;
    let counts = counts(&world).await?;
    ensure!(counts.len() == 30 && counts.iter().all(|count| *count == 20), "{counts:?}");
    let requests = world.requests("other 200");
    ensure!(requests == 2, "pipelines and properties; owners are refused: {requests}");
    world.end().await
}

#[tokio::test]
async fn property_defined_later_is_read_after_the_next_list() -> Result<()> {
    let world = world("all_later", 0).await?;
    world.hubspot.world().seed_objects(HUB, DEALS, 5, 1);
    world.run().await?;
    let property = Property::new("a_property_of_deals", "string");
    world.hubspot.world().define_property(HUB, DEALS, property);
    make_due(&world, collection::CHECKPOINTS, "referencesDueAt").await?;
    make_due(&world, collection::REFERENCES, "dueAt").await?;
    world.run().await?;
    {
        let mut hubspot = world.hubspot.world();
        let (id, at) = (hubspot.ids(HUB, DEALS)[0], hubspot.now());
        hubspot.update(HUB, DEALS, id, at, &[("a_property_of_deals", "new")]);
    }
    world.run().await?;
    ensure!(counts(&world).await?.iter().sum::<usize>() == 1);
    world.proof().await?;
    world.end().await
}

/// A list of properties that fails keeps only its own records waiting. One that is refused does not even do that.
#[tokio::test]
async fn records_wait_for_the_list_of_their_properties_and_no_others_do() -> Result<()> {
    for status in [500, 403] {
        let mut world = world("all_unknown", 20).await?;
        world.choose(&[Object::CONTACTS, DEALS]).await?;
        world.hubspot.world().seed(HUB, 0, 5, 1);
        world.hubspot.world().seed_objects(HUB, DEALS, 5, 1);
        world.fault("/properties/2026-09/deals", 1, FaultKind::Answer { status, body: None, retry_after: None });
        world.slice(&world.sync().await?, &world.tick()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        world.drain().await?;
        ensure!(world.all("contacts").await?.len() == 5 && world.all(STATES).await?.is_empty(), "{status}");
        make_due(&world, collection::CHECKPOINTS, "referencesDueAt").await?;
        world.run_on().await?;
        let counts = counts(&world).await?;
        let expected = if status == 403 { 0 } else { 20 };
        ensure!(counts.len() == 5 && counts.iter().all(|count| *count == expected), "{status}: {counts:?}");
        world.config.references_every = None;
        world.end().await?;
    }
    Ok(())
}

/// A record that a search finds and that is not there when it is read is read once more, by itself.
#[tokio::test]
async fn record_that_is_left_out_is_set_aside_and_read_later() -> Result<()> {
    let world = world("all_left_out", 300).await?;
    world.hubspot.world().seed_objects(HUB, DEALS, 30, 1);
    let body = Some(r#"{"status":"COMPLETE","results":[]}"#.to_owned());
    world.fault("/deals/batch/read", 1, FaultKind::Answer { status: 200, body, retry_after: None });
    world.run().await?;
    let aside = world.all(collection::SET_ASIDE).await?;
    let reason = aside.first().context("records are set aside")?.get("reason").and_then(Bson::as_str);
    ensure!(aside.len() == 30 && reason == Some("HubSpot's answer leaves it out"), "{aside:?}");
    ensure!(counts(&world).await?.is_empty(), "no record is stored with a part of its properties");
    make_due(&world, collection::SET_ASIDE, "retryAt").await?;
    make_due(&world, collection::CHECKPOINTS, "kept.deals.setAsideUntil").await?;
    world.run_until_proved().await?;
    ensure!(counts(&world).await? == [300; 30]);
    world.end().await
}

/// Failures of the second request, and a limit that it uses up, lose nothing.
#[tokio::test]
async fn failing_and_limited_reads_lose_nothing() -> Result<()> {
    let mut world = world("all_failing", 300).await?;
    world.config.limits.per_10s = NonZeroU32::new(20).context("a limit")?;
    world.hubspot.world().seed_objects(HUB, DEALS, 250, 1);
    world.fault("/deals/batch/read", 6, FaultKind::Answer { status: 502, body: None, retry_after: None });
    world.run_until_proved().await?;
    let counts = counts(&world).await?;
    ensure!(counts.len() == 250 && counts.iter().all(|count| *count == 300), "{}", counts.len());
    world.end().await
}
