//! Properties that are chosen later than their object type: they are filled in, and nothing else is published.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use harness::{
    events::assert_accepted,
    world::{HUB, World},
};
use hubspot_sim::Object;
use model::object::ObjectType;
use mongodb::bson::{Document, doc};
use store::collection;

/// One with merges and the product's own names, one with merges, one without, and a custom one.
const OBJECTS: [&str; 4] = ["contacts", "deals", "products", "2-7654321"];

/// How many records of each object type there are. Every second one has the property.
const RECORDS: usize = 250;

fn objects() -> Result<Vec<Object>> {
    Ok(OBJECTS.iter().map(|name| name.parse()).collect::<Result<_, _>>()?)
}

/// A world whose account is caught up. Every second record has a property that is not chosen.
async fn caught_up(name: &str) -> Result<World> {
    let world = World::new(name).await?;
    world.choose(&objects()?).await?;
    for object in objects()? {
        let mut hubspot = world.hubspot.world();
        if object == Object::CONTACTS {
            hubspot.seed(HUB, 0, RECORDS, 1);
        } else {
            hubspot.seed_objects(HUB, object, RECORDS, 1);
        }
        let at = hubspot.now() - 60_000;
        for id in hubspot.ids(HUB, object).into_iter().step_by(2) {
            hubspot.update(HUB, object, id, at, &[("margin", "4"), ("unit", "m")]);
        }
    }
    world.run().await?;
    world.proof().await?;
    Ok(world)
}

async fn choose(world: &World, names: &[&str]) -> Result<()> {
    let of_each: Document = OBJECTS.iter().map(|object| ((*object).to_owned(), names.into())).collect();
    world.change_entry("properties", of_each.into()).await
}

async fn states(world: &World, object: Object) -> Result<Vec<Document>> {
    world.all(&ObjectType::parse(object.name())?.collection()).await
}

/// Ensures that each record has this property in its state if it has it in HubSpot.
async fn ensure_filled(world: &World, name: &str) -> Result<()> {
    for object in objects()? {
        let with: BTreeSet<String> = {
            let mut hubspot = world.hubspot.world();
            let ids = hubspot.ids(HUB, object).into_iter();
            ids.filter(|id| hubspot.value(HUB, object, *id, name).is_some()).map(|id| id.to_string()).collect()
        };
        let is_filled = |state: &&Document| state.get_document("properties").is_ok_and(|all| all.contains_key(name));
        let states = states(world, object).await?;
        let filled = states.iter().filter(is_filled).map(|state| Ok(state.get_str("recordId")?.to_owned()));
        let filled = filled.collect::<Result<BTreeSet<String>>>()?;
        ensure!(filled == with, "{object}: {} of {} are filled", filled.len(), with.len());
    }
    Ok(())
}

#[tokio::test]
async fn property_chosen_later_is_filled_in_where_it_has_a_value() -> Result<()> {
    let world = caught_up("properties_later").await?;
    let before = world.all(collection::ACTIONS).await?.len();
    choose(&world, &["margin"]).await?;
    world.run().await?;
    ensure_filled(&world, "margin").await?;
    let proof = world.proof().await?;
    ensure!(proof.chosen_properties == OBJECTS.len() * RECORDS / 2, "{} are filled in", proof.chosen_properties);
    let actions = world.all(collection::ACTIONS).await?;
    ensure!(actions.len() == before + proof.chosen_properties, "nothing else is published");
    let filled: Vec<&Document> = actions.iter().filter(|action| action.contains_key("propertiesAt")).collect();
    for action in &filled {
        let name = action.get_str("actionName")?;
        ensure!(
            name.ends_with(" Updated") && action.get_datetime("actionDate")? == action.get_datetime("propertiesAt")?
        );
        ensure!(action.get_document("changes")? == &doc! { "margin": { "to": "4" } }, "{action}");
    }
    // Both runs read everything, and the second one all of it again.
    world.run().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == actions.len(), "it is published once");
    world.end().await
}

#[tokio::test]
async fn property_chosen_later_arrives_beside_changes_and_in_any_order() -> Result<()> {
    let world = caught_up("properties_beside").await?;
    // Changes that are published with the former choice, and stored only after the fill.
    for object in objects()? {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        for id in hubspot.ids(HUB, object).into_iter().take(40) {
            hubspot.update(HUB, object, id, at, &[("margin", "5")]);
        }
    }
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    let late = world.take(&world.actions_queue).await?;
    ensure!(!late.is_empty());
    choose(&world, &["margin"]).await?;
    world.run_on().await?;
    for body in late.iter().chain(&late) {
        assert_accepted(world.store(std::slice::from_ref(body)).await)?;
    }
    ensure_filled(&world, "margin").await?;
    // One more choice, while the history is read again for the first one.
    choose(&world, &["margin", "unit"]).await?;
    world.run_on().await?;
    ensure_filled(&world, "unit").await?;
    ensure_filled(&world, "margin").await?;
    world.proof().await?;

    // What is not chosen any more is gone with the next change of a record. Chosen again, it comes back everywhere.
    choose(&world, &["margin"]).await?;
    let at = world.hubspot.world().now();
    for object in objects()? {
        let first = world.hubspot.world().ids(HUB, object)[0];
        world.hubspot.world().update(HUB, object, first, at, &[("margin", "6")]);
    }
    world.run_on().await?;
    choose(&world, &["margin", "unit"]).await?;
    world.run_on().await?;
    ensure_filled(&world, "unit").await?;
    world.proof().await?;
    world.end().await
}

/// Reading a lane again repairs states that were lost or changed, also those that were filled in.
#[tokio::test]
async fn resync_restores_properties_that_were_filled_in() -> Result<()> {
    let world = caught_up("properties_resync").await?;
    choose(&world, &["margin"]).await?;
    world.run().await?;
    let before = world.all(collection::ACTIONS).await?.len();
    let deals = ObjectType::parse("deals")?;
    let states = world.store.database().collection::<Document>(&deals.collection());
    states.delete_many(doc! {}).await?;
    let resynced = world.store.resync(&world.account()?, deals, model::time::DateTime::from_millis(1_000)).await?;
    ensure!(resynced == store::Resync::Due, "{resynced:?}");
    world.run().await?;
    ensure_filled(&world, "margin").await?;
    let after = world.all(collection::ACTIONS).await?.len();
    ensure!(after == before, "{} actions more", after - before);
    states.find_one(doc! { "properties.margin": "4" }).await?.context("a state has it")?;
    world.end().await
}
