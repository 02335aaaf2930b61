//! Calculated properties, whose values change without the record's modification time: the nightly comparison publishes
//! them, and nothing else.

mod crash;
mod erased;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    events::assert_accepted,
    world::{HUB, World},
};
use hubspot_sim::{FaultKind, Object, Property};
use model::{object::ObjectType, time};
use mongodb::bson::{Bson, DateTime, Document, doc};
use store::collection;

const DEALS: Object = Object::DEALS;
const CONTACTS: Object = Object::CONTACTS;
const LONG_AGO: DateTime = DateTime::from_millis(0);
/// How many deals and contacts there are. Every second one has a value.
const RECORDS: usize = 120;

/// A world that reads two calculated properties, of this number of deals and of contacts.
async fn world(name: &str, records: usize) -> Result<World> {
    let mut world = World::new(name).await?;
    world.config.references_every = Some(Duration::from_secs(86_400));
    // Nothing but what a test asks for reads records again.
    world.config.settle = Duration::from_secs(3600);
    world.choose(&[Object::COMPANIES, CONTACTS, DEALS]).await?;
    world.change_entry("properties", doc! { "deals": ["margin"], "contacts": ["margin"] }.into()).await?;
    let mut hubspot = world.hubspot.world();
    hubspot.seed(HUB, 3, records, 1);
    hubspot.seed_objects(HUB, DEALS, records, 1);
    for object in [CONTACTS, DEALS] {
        hubspot.define_property(HUB, object, Property::new("margin", "number").calculated());
        for id in hubspot.ids(HUB, object).into_iter().step_by(2) {
            hubspot.recalculate(HUB, object, id, "margin", "1");
        }
    }
    drop(hubspot);
    Ok(world)
}

/// Makes the comparison due, and runs until the account is caught up.
async fn compare(world: &World) -> Result<()> {
    world.calculated_values_are_due().await?;
    world.run_on().await.map(drop)
}

/// A world that is caught up, and of which the values were compared once.
async fn compared(name: &str) -> Result<World> {
    let world = world(name, RECORDS).await?;
    world.run_on().await?;
    // The calculated properties are known from the list that was read beside the first slice.
    world.run_on().await?;
    compare(&world).await?;
    ensure!(recalculated(&world).await?.is_empty(), "no value has changed");
    ensure_as_in_hubspot(&world).await?;
    Ok(world)
}

/// Gives the property of some records another value.
fn recalculate(world: &World, object: Object, which: impl Fn(usize) -> bool, value: &str) {
    let mut hubspot = world.hubspot.world();
    for (_, id) in hubspot.ids(HUB, object).into_iter().enumerate().filter(|(index, _)| which(*index)) {
        hubspot.recalculate(HUB, object, id, "margin", value);
    }
}

/// Returns the actions about new values alone, the oldest first.
async fn recalculated(world: &World) -> Result<Vec<Document>> {
    let mut actions = world.all(collection::ACTIONS).await?;
    actions.retain(|action| action.contains_key("propertiesAt"));
    actions.sort_by_key(|action| action.get_datetime("propertiesAt").copied().unwrap_or(DateTime::MIN));
    Ok(actions)
}

/// Returns the values in the current states, by record.
async fn values(world: &World, object: Object) -> Result<BTreeMap<u64, String>> {
    let states = world.all(&ObjectType::parse(object.name())?.collection()).await?;
    let value = |state: &Document| {
        let value = state.get_document("properties").ok()?.get_str("margin").ok()?;
        Some((state.get_str("recordId").ok()?.parse().ok()?, value.to_owned()))
    };
    Ok(states.iter().filter_map(value).collect())
}

/// Ensures that the states have the values that HubSpot has.
async fn ensure_as_in_hubspot(world: &World) -> Result<()> {
    for object in [CONTACTS, DEALS] {
        let expected: BTreeMap<u64, String> = {
            let mut hubspot = world.hubspot.world();
            let ids = hubspot.ids(HUB, object).into_iter();
            ids.filter_map(|id| Some((id, hubspot.value(HUB, object, id, "margin")?))).collect()
        };
        let stored = values(world, object).await?;
        ensure!(stored == expected, "{object}: {stored:?} instead of {expected:?}");
    }
    world.proof().await.map(drop)
}

#[tokio::test]
async fn new_value_is_published_once_by_comparison() -> Result<()> {
    let world = compared("calculated").await?;
    let before = world.all(collection::ACTIONS).await?.len();
    recalculate(&world, DEALS, |index| index < 4, "2");
    recalculate(&world, CONTACTS, |index| index == 4, "");
    world.run_on().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == before, "no comparison is due");
    for _ in 0..2 {
        compare(&world).await?;
    }
    ensure_as_in_hubspot(&world).await?;
    let found = recalculated(&world).await?;
    ensure!(found.len() == 5 && world.all(collection::ACTIONS).await?.len() == before + 5, "{found:?}");
    for action in &found {
        let id = action.get_str("_id")?;
        ensure!(id.contains(":properties:") && action.get_str("actionName")?.ends_with(" Updated"), "{action}");
        ensure!(action.get_datetime("actionDate")? == action.get_datetime("propertiesAt")?, "{action}");
        let changes = action.get_document("changes")?;
        let expected = [
            doc! { "margin": { "from": "1", "to": "2" } },
            doc! { "margin": { "to": "2" } },
            doc! { "margin": { "from": "1" } },
        ];
        ensure!(expected.contains(changes), "{action}");
    }
    let contact = found
        .iter()
        .find(|action| action.get_str("object").is_ok_and(|object| object == "contacts"))
        .context("a contact")?;
    ensure!(contact.get_document("userProperties")?.contains_key("contact_name"), "{contact}");

    // What it was before is another change.
    for value in ["1", "2"] {
        recalculate(&world, DEALS, |index| index == 0, value);
        compare(&world).await?;
        ensure_as_in_hubspot(&world).await?;
    }
    ensure!(recalculated(&world).await?.len() == 7);
    world.end().await
}

#[tokio::test]
async fn account_without_new_values_sends_nothing_and_reads_a_hundred_records_a_request() -> Result<()> {
    let world = compared("calculated_same").await?;
    let requests = world.requests("other 200");
    world.calculated_values_are_due().await?;
    let sync = world.sync().await?;
    for _ in 0..5 {
        let message = world.due_message().await.unwrap_or_else(|_| world.tick());
        world.deliver(&sync, &message).await?;
        world.time_passes().await?;
    }
    ensure!(world.take(&world.actions_queue).await?.is_empty(), "something was sent");
    let requests = world.requests("other 200") - requests;
    ensure!(requests == 4, "120 deals and 120 contacts: {requests} requests");
    world.end().await
}

#[tokio::test]
async fn new_value_beside_a_change_arrives_once_in_any_order() -> Result<()> {
    for order in [[0, 1, 0, 1], [1, 0, 1, 0], [0, 0, 1, 1]] {
        let world = compared("calculated_order").await?;
        recalculate(&world, DEALS, |index| index < 10, "2");
        world.calculated_values_are_due().await?;
        let sync = world.sync().await?;
        let mut messages = Vec::new();
        for round in 0..2 {
            for _ in 0..4 {
                let message = world.due_message().await.unwrap_or_else(|_| world.tick());
                world.deliver(&sync, &message).await?;
                world.time_passes().await?;
            }
            messages.push(world.take(&world.actions_queue).await?);
            ensure!(!messages[round].is_empty(), "{order:?}: nothing is published in round {round}");
            let mut hubspot = world.hubspot.world();
            let at = hubspot.now();
            for id in hubspot.ids(HUB, DEALS).into_iter().take(5).filter(|_| round == 0) {
                hubspot.recalculate(HUB, DEALS, id, "margin", "3");
                hubspot.update(HUB, DEALS, id, at, &[("amount", "77")]);
            }
        }
        for index in order {
            for bodies in messages[index].chunks(10) {
                assert_accepted(world.store(bodies).await)?;
            }
        }
        ensure_as_in_hubspot(&world).await?;
        let found = recalculated(&world).await?;
        ensure!(found.len() == 10, "{order:?}: {found:?}");
        let stored = world.all(collection::ACTIONS).await?.len();
        compare(&world).await?;
        ensure!(world.all(collection::ACTIONS).await?.len() == stored, "{order:?}: something is published again");
        world.end().await?;
    }
    Ok(())
}

/// A slice that ends before it has marked what it has queued leaves values that may differ from those of its repetition.
#[tokio::test]
async fn values_that_change_before_a_repetition_are_published_in_the_end() -> Result<()> {
    let world = compared("calculated_repeated").await?;
    let seen = world.store.database().collection::<Document>(collection::SEEN);
    {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        for id in hubspot.ids(HUB, DEALS).into_iter().take(6) {
            hubspot.update(HUB, DEALS, id, at, &[("amount", "77"), ("margin", "2")]);
        }
    }
    let before = world.all(collection::SEEN).await?;
    world.run_on().await?;
    // The marks that were made before the actions were queued are still there.
    for mut entry in before.into_iter().filter(|entry| entry.get_str("_id").is_ok_and(|id| id.contains(":deals:"))) {
        let id = entry.get_str("_id")?.to_owned();
        let marked = seen.find_one(doc! { "_id": &id }).await?.context("an entry")?;
        if let Some(digest) = marked.get("calculatedDigest").filter(|_| marked.get("at") != entry.get("at")) {
            entry.insert("pendingCalculated", doc! { "digest": digest.clone(), "seenAt": DateTime::now() });
            seen.replace_one(doc! { "_id": id }, entry).await?;
        }
    }
    recalculate(&world, DEALS, |index| index < 3, "3");
    world.run_on().await?;
    let stale = values(&world, DEALS).await?.values().filter(|value| *value == "2").count();
    ensure!(stale == 6, "the first action of an id counts: {stale}");
    compare(&world).await?;
    ensure_as_in_hubspot(&world).await?;
    ensure!(recalculated(&world).await?.len() == 3);
    world.end().await
}

#[tokio::test]
async fn property_that_becomes_calculated_later_is_compared_from_then_on() -> Result<()> {
    let world = world("calculated_later", RECORDS).await?;
    for object in [CONTACTS, DEALS] {
        world.hubspot.world().define_property(HUB, object, Property::new("margin", "number"));
    }
    for _ in 0..2 {
        world.run_on().await?;
    }
    recalculate(&world, DEALS, |index| index == 2, "2");
    compare(&world).await?;
    ensure!(values(&world, DEALS).await?.values().all(|value| value == "1"), "nothing says that it is calculated");
    let score = Property { field_type: "calculation_score".to_owned(), ..Property::new("margin", "number") };
    world.hubspot.world().define_property(HUB, DEALS, score);
    for (name, field) in [(collection::CHECKPOINTS, "referencesDueAt"), (collection::REFERENCES, "dueAt")] {
        let due = doc! { "$set": { field: LONG_AGO } };
        world.store.database().collection::<Document>(name).update_many(doc! {}, due).await?;
    }
    // The list is read beside the first slice.
    for _ in 0..2 {
        compare(&world).await?;
    }
    ensure_as_in_hubspot(&world).await?;
    ensure!(recalculated(&world).await?.len() == 1, "{:?}", recalculated(&world).await?);
    world.end().await
}

/// Neither a property that is not chosen nor one that is always read of contacts costs anything, and nothing is compared
/// while it is switched off.
#[tokio::test]
async fn nothing_is_compared_that_nobody_wants() -> Result<()> {
    let mut world = world("calculated_off", RECORDS).await?;
    world.hubspot.world().define_property(HUB, CONTACTS, Property::new("hubspotscore", "number").calculated());
    world.change_entry("properties", doc! {}.into()).await?;
    for _ in 0..2 {
        world.run_on().await?;
    }
    let requests = world.requests("other 200");
    recalculate(&world, DEALS, |_| true, "2");
    compare(&world).await?;
    let kept = world.checkpoint().await?.get_document("kept")?.clone();
    for (object, has_names) in [("companies", false), ("contacts", false), ("deals", true)] {
        let calculated = kept.get_document(object)?.get_document("calculated");
        ensure!(calculated.is_ok() == has_names, "{object}: {calculated:?}");
        ensure!(calculated.is_err() || calculated?.get_array("names")?.is_empty(), "{object}");
    }
    ensure!(world.requests("other 200") == requests, "records are read");
    let ledger = world.all(collection::SEEN).await?;
    ensure!(ledger.iter().all(|entry| !entry.contains_key("calculatedDigest")), "the ledger has digests");

    world.config.calculated_every = None;
    world.change_entry("properties", doc! { "deals": ["margin"] }.into()).await?;
    world.run_on().await?;
    let (filled, requests) = (recalculated(&world).await?.len(), world.requests("other 200"));
    ensure!(filled == RECORDS, "a property that is chosen later is filled in: {filled}");
    recalculate(&world, DEALS, |index| index < 3, "3");
    compare(&world).await?;
    ensure!(world.requests("other 200") == requests && recalculated(&world).await?.len() == filled);
    world.config.calculated_every = Some(Duration::from_secs(86_400));
    for _ in 0..2 {
        compare(&world).await?;
    }
    ensure_values_of_deals(&world).await?;
    ensure!(recalculated(&world).await?.len() == filled + 3);
    world.end().await
}

async fn ensure_values_of_deals(world: &World) -> Result<()> {
    let stored = values(world, DEALS).await?;
    let (new, old) = (stored.values().filter(|value| *value == "3").count(), stored.len());
    ensure!((new, old) == (3, RECORDS), "{new} of {old}");
    world.proof().await.map(drop)
}

/// An account that an older release has read: the ledger does not know which values were published.
#[tokio::test]
async fn account_of_older_release_gets_actions_for_what_differs_alone() -> Result<()> {
    let world = compared("calculated_before").await?;
    let database = world.store.database();
    let seen = database.collection::<Document>(collection::SEEN);
    let unset = doc! { "$unset": { "calculatedDigest": "", "pendingCalculated": "", "propertiesAt": "" } };
    seen.update_many(doc! {}, unset).await?;
    let unset = doc! { "$unset": { "kept.deals.calculated": "", "kept.contacts.calculated": "" } };
    database.collection::<Document>(collection::CHECKPOINTS).update_many(doc! {}, unset).await?;
    let ledgers = database.collection::<Document>(collection::REFERENCES);
    ledgers.update_many(doc! {}, doc! { "$unset": { "items.$[].calculated": "" } }).await?;
    recalculate(&world, DEALS, |index| index < 3, "2");
    world.run_on().await?;
    ensure!(recalculated(&world).await?.is_empty(), "its lists do not say what is calculated");
    for (name, field) in [(collection::CHECKPOINTS, "referencesDueAt"), (collection::REFERENCES, "dueAt")] {
        let due = doc! { "$set": { field: LONG_AGO } };
        database.collection::<Document>(name).update_many(doc! {}, due).await?;
    }
    for _ in 0..3 {
        compare(&world).await?;
    }
    ensure_as_in_hubspot(&world).await?;
    ensure!(recalculated(&world).await?.len() == 3, "{:?}", recalculated(&world).await?);
    world.end().await
}

/// What HubSpot does not answer now is compared later. Nothing else waits for it.
#[tokio::test]
async fn comparison_that_fails_is_postponed_and_delays_no_change() -> Result<()> {
    for status in [400, 502] {
        let world = compared("calculated_fails").await?;
        recalculate(&world, DEALS, |index| index < 3, "2");
        world.calculated_values_are_due().await?;
        world.fault("/deals/batch/read", 1_000, FaultKind::Answer { status, body: None, retry_after: None });
        let changed = {
            let mut hubspot = world.hubspot.world();
            let (id, at) = (hubspot.ids(HUB, DEALS)[8], hubspot.now());
            hubspot.update(HUB, DEALS, id, at, &[("amount", "77")]);
            id
        };
        world.run().await?;
        let checkpoint = world.checkpoint().await?;
        let calculated = checkpoint.get_document("kept")?.get_document("deals")?.get_document("calculated")?;
        ensure!(calculated.get_document("comparison")?.get_str("lastError").is_ok(), "{status}: {calculated}");
        ensure!(checkpoint.get_document("lanes")?.get_document("deals")?.get_document("lastError").is_err());
        let updated = doc! { "recordId": changed.to_string(), "actionName": "Deal Updated" };
        let actions = world.store.database().collection::<Document>(collection::ACTIONS);
        ensure!(actions.count_documents(updated).await? == 1, "{status}: the change waits for the comparison");
        world.hubspot.world().faults.clear();
        compare(&world).await?;
        ensure_as_in_hubspot(&world).await?;
        ensure!(recalculated(&world).await?.len() == 3, "{status}");
        world.end().await?;
    }
    Ok(())
}

/// Reading a lane again publishes its records under the ids that they had, so that new values need another one.
#[tokio::test]
async fn resync_loses_no_value() -> Result<()> {
    let world = compared("calculated_resync").await?;
    recalculate(&world, DEALS, |index| index < 3, "2");
    let deals = ObjectType::parse("deals")?;
    let resynced = world.store.resync(&world.account()?, deals, time::DateTime::from_millis(1_000)).await?;
    ensure!(resynced == store::Resync::Due, "{resynced:?}");
    world.run_on().await?;
    compare(&world).await?;
    ensure_as_in_hubspot(&world).await?;
    let found = recalculated(&world).await?;
    ensure!(found.len() == 3, "{found:?}");
    let ledger = world.all(collection::SEEN).await?;
    ensure!(ledger.iter().all(|entry| !matches!(entry.get("pendingCalculated"), Some(Bson::Document(_)))));
    world.end().await
}
