//! Custom objects that are chosen by their names, and the choice of everything.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::{Object, Property};
use model::choice::Choice;
use mongodb::bson::{Bson, DateTime, Document, doc};
use store::collection;

const CARS: &str = "2-7654321";
const STATES: &str = "hubspot_2-7654321";
const LONG_AGO: DateTime = DateTime::from_millis(0);

/// A world with five contacts, that reads reference data once a day, whose entry chooses these object types.
async fn world(name: &str, objects: &[&str]) -> Result<World> {
    let mut world = World::new(name).await?;
    world.config.references_every = Some(Duration::from_secs(86_400));
    world.hubspot.world().seed(HUB, 0, 5, 1);
    if !objects.is_empty() {
        world.change_entry("objects", objects.iter().copied().map(Bson::from).collect::<Vec<_>>().into()).await?;
    }
    Ok(world)
}

/// Makes `cars` a custom object of the account, with 130 records. Access to it is granted.
fn create_cars(world: &World) -> Result<()> {
    let mut hubspot = world.hubspot.world();
    let plate = Property::new("plate", "string");
    let cars = hubspot.create_schema(HUB, CARS, "cars", ("Car", "Cars"), vec![plate])?;
    hubspot.grant_reading(HUB, cars);
    hubspot.seed_objects(HUB, cars, 130, 2);
    let (id, at) = (hubspot.ids(HUB, cars)[0], hubspot.now());
    hubspot.update(HUB, cars, id, at, &[("plate", "S-AB 1")]);
    Ok(())
}

async fn a_day_passes(world: &World) -> Result<()> {
    for (name, field) in [(collection::CHECKPOINTS, "referencesDueAt"), (collection::REFERENCES, "dueAt")] {
        let collection = world.store.database().collection::<Document>(name);
        collection.update_many(doc! { field: { "$exists": true } }, doc! { "$set": { field: LONG_AGO } }).await?;
    }
    Ok(())
}

#[tokio::test]
async fn custom_object_is_read_by_its_name() -> Result<()> {
    for name in ["cars", "p7000001_cars"] {
        let world = world("custom_name", &["contacts", name]).await?;
        world.change_entry("properties", doc! { name: ["plate"] }.into()).await?;
        create_cars(&world)?;
        world.run().await?;
        ensure!(world.all("contacts").await?.len() == 5, "contacts do not wait for the names");
        world.run().await?;
        let states = world.all(STATES).await?;
        ensure!(states.len() == 130, "{name}: {} states, {}", states.len(), world.checkpoint().await?);
        let plates = states.iter().filter_map(|state| state.get_document("properties").ok()?.get_str("plate").ok());
        let plates: Vec<&str> = plates.collect();
        ensure!(plates.contains(&"S-AB 1"), "its properties are chosen by its name, too: {plates:?}");
        let found = world.all("hubspot_objects").await?.pop().context("it is stored")?;
        ensure!(found.get_str("id")? == CARS && found.get_str("fullyQualifiedName")? == "p7000001_cars", "{found}");
        ensure!(found.get_document("labels")?.get_str("plural")? == "Cars", "{found}");
        let objects: Vec<String> =
            world.checkpoint().await?.get_array("objects")?.iter().map(Bson::to_string).collect();
        ensure!(objects == [format!("{CARS:?}"), "\"contacts\"".to_owned()], "nothing else is read: {objects:?}");
        world.proof().await?;

        world.run().await?;
        let requests = world.requests("other 200");
        world.run().await?;
        ensure!(world.requests("other 200") == requests, "a look costs nothing more");
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn name_that_is_not_found_reads_nothing_and_is_tried_again() -> Result<()> {
    let world = world("custom_unknown", &["cars", "p7_cars"]).await?;
    for _ in 0..3 {
        world.run().await?;
    }
    let requests = world.requests("other 200");
    ensure!(requests == 1, "the list of custom objects is read once: {requests}");
    ensure!(world.checkpoint().await?.get_datetime("lastSuccessAt").is_ok());
    ensure!(world.all("contacts").await?.is_empty(), "the stack's choice does not hold instead");
    create_cars(&world)?;
    world.run().await?;
    ensure!(world.requests("other 200") == requests, "it waits");
    a_day_passes(&world).await?;
    for _ in 0..2 {
        world.run().await?;
    }
    ensure!(world.all(STATES).await?.len() == 130, "{}", world.checkpoint().await?);
    world.end().await
}

#[tokio::test]
async fn name_that_may_not_be_looked_up_delays_nothing() -> Result<()> {
    let world = world("custom_scope", &["contacts", "cars"]).await?;
    create_cars(&world)?;
    world.hubspot.world().settings.missing_scopes = vec!["crm.objects.custom.read".to_owned()];
    world.run().await?;
    ensure!(world.all("contacts").await?.len() == 5 && world.all(STATES).await?.is_empty());
    let refused = world.requests("other 403");
    world.run().await?;
    ensure!(refused == 1 && world.requests("other 403") == 1, "it costs nothing until a day later: {refused}");
    world.hubspot.world().settings.missing_scopes.clear();
    world.store.clear_lane_errors(&world.account()?).await?;
    for _ in 0..2 {
        world.run().await?;
    }
    ensure!(world.all(STATES).await?.len() == 130, "it is read with the new grant");
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn star_reads_every_row_and_every_custom_object() -> Result<()> {
    let world = world("custom_star", &["*"]).await?;
    create_cars(&world)?;
    {
        let mut hubspot = world.hubspot.world();
        hubspot.grant_reading(HUB, Object::DEALS);
        hubspot.seed_objects(HUB, Object::DEALS, 30, 3);
    }
    for _ in 0..2 {
        world.run().await?;
    }
    let checkpoint = world.checkpoint().await?;
    ensure!(checkpoint.get_array("objects")?.len() == 24, "{checkpoint}");
    ensure!(checkpoint.get_datetime("lastSuccessAt").is_ok(), "what HubSpot does not give is left out");
    ensure!(world.all("contacts").await?.len() == 5 && world.all("hubspot_deals").await?.len() == 30);
    ensure!(world.all(STATES).await?.len() == 130);
    world.proof().await?;
    world.end().await
}

/// The stack names a custom object that only some accounts have.
#[tokio::test]
async fn stack_names_a_custom_object_for_those_that_have_it() -> Result<()> {
    for has_it in [true, false] {
        let mut world = world("custom_stack", &[]).await?;
        world.config.choice = Choice::of_objects(&["contacts".to_owned(), "cars".to_owned()])?;
        if has_it {
            create_cars(&world)?;
        }
        for _ in 0..2 {
            world.run().await?;
        }
        ensure!(world.all("contacts").await?.len() == 5);
        ensure!(world.all(STATES).await?.len() == if has_it { 130 } else { 0 });
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}
