//! Reference data: owners, pipelines, and the definitions of properties.

mod crash;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    events::assert_accepted,
    stopwatch::Stopwatch,
    world::{HUB, World},
};
use hubspot_sim::{FaultKind, Object, Pipeline, Property};
use model::reference::Source;
use mongodb::bson::{DateTime, Document, doc};
use store::{Erasure, collection};

const DEALS: Object = Object::DEALS;
const OWNERS: &str = "hubspot_owners";
const PIPELINES: &str = "hubspot_pipelines";
const SCHEMAS: &str = "hubspot_schemas";
const LONG_AGO: DateTime = DateTime::from_millis(0);

/// A world that reads deals, companies and contacts, and reference data once a day.
async fn world(name: &str) -> Result<World> {
    let mut world = World::new(name).await?;
    world.config.references_every = Some(Duration::from_secs(86_400));
    world.choose(&[Object::COMPANIES, Object::CONTACTS, DEALS]).await?;
    world.hubspot.world().grant_scopes(HUB, &["crm.objects.owners.read"]);
    world.hubspot.world().seed(HUB, 2, 5, 1);
    Ok(world)
}

/// Makes all lists due, as after a day.
async fn a_day_passes(world: &World) -> Result<()> {
    let due = |field: &str| doc! { "$set": { field: LONG_AGO } };
    for (name, field) in [(collection::CHECKPOINTS, "referencesDueAt"), (collection::REFERENCES, "dueAt")] {
        let collection = world.store.database().collection::<Document>(name);
        collection.update_many(doc! { field: { "$exists": true } }, due(field)).await?;
    }
    Ok(())
}

async fn run_a_day_later(world: &World) -> Result<()> {
    a_day_passes(world).await?;
    world.run().await.map(drop)
}

/// Returns the actions about definitions, by their `_id`s.
async fn actions(world: &World) -> Result<Vec<Document>> {
    let mut actions = world.all(collection::ACTIONS).await?;
    actions.retain(|action| action.get_str("object").is_ok_and(|object| object == "schemas"));
    Ok(actions)
}

/// Returns the names of the actions about a property of deals, in the order of its states.
async fn names(world: &World, property: &str) -> Result<Vec<String>> {
    let mut actions = actions(world).await?;
    actions.retain(|action| action.get_str("recordId").is_ok_and(|id| id == format!("deals:{property}")));
    Ok(actions.iter().filter_map(|action| Some(action.get_str("actionName").ok()?.to_owned())).collect())
}

async fn definition(world: &World, collection: &str, object: &str, id: &str) -> Result<Document> {
    let is_it = |found: &Document| {
        found.get_str("id").is_ok_and(|found| found == id) && found.get_str("object").unwrap_or_default() == object
    };
    world.all(collection).await?.into_iter().find(is_it).with_context(|| format!("{collection} has {object} {id}"))
}

fn define(world: &World, label: &str) {
    let property = Property { label: label.to_owned(), ..Property::new("amount", "number") };
    world.hubspot.world().define_property(HUB, DEALS, property);
}

#[tokio::test]
async fn lists_are_stored_and_read_once_a_day() -> Result<()> {
    let world = world("references").await?;
    let options = Property::new("color", "string").with_options(&[("red", "Red"), ("blue", "Blue")]);
    world.hubspot.world().define_property(HUB, DEALS, options);
    world.run().await?;
    let ana = definition(&world, OWNERS, "", "101").await?;
    ensure!(ana.get_str("email")? == "ana@firm.example" && ana.get_str("lastName")? == "Quintero", "{ana}");
    let sales = definition(&world, PIPELINES, "deals", "default").await?;
    let stages = sales.get_array("stages")?;
    let won = stages[2].as_document().context("a stage")?;
    ensure!(stages.len() == 4 && won.get_str("label")? == "Closed Won", "{sales}");
    let color = definition(&world, SCHEMAS, "deals", "color").await?;
    ensure!(color.get_str("type")? == "enumeration" && color.get_array("options")?.len() == 2, "{color}");
    ensure!(color.get_str("_id")? == "acme:7000001:schemas:deals:color" && !color.get_bool("calculated")?, "{color}");
    let objects: BTreeSet<String> = world.all(SCHEMAS).await?.iter().map(|found| found["object"].to_string()).collect();
    ensure!(objects.len() == 3, "{objects:?}");
    ensure!(actions(&world).await?.is_empty(), "what there is has not changed");

    let requests = world.requests("other 200");
    ensure!(requests == 5, "owners, pipelines of deals, and three lists of properties: {requests}");
    world.run().await?;
    ensure!(world.requests("other 200") == requests, "it is read once a day");
    run_a_day_later(&world).await?;
    ensure!(world.requests("other 200") == 2 * requests);
    let saved = world.checkpoint().await?;
    let due_at = saved.get_datetime("referencesDueAt")?;
    ensure!(*due_at > DateTime::from_millis(DateTime::now().timestamp_millis() + 86_000_000), "{saved}");
    ensure!(actions(&world).await?.is_empty());
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn what_is_not_listed_any_more_is_marked_and_comes_back() -> Result<()> {
    let world = world("references_gone").await?;
    world.run().await?;
    world.hubspot.world().archive_owner(HUB, 101);
    let pipeline = Pipeline { id: "long".to_owned(), label: "Long".to_owned(), stages: Vec::new() };
    world.hubspot.world().set_pipelines(HUB, DEALS, vec![pipeline]);
    run_a_day_later(&world).await?;
    let ana = definition(&world, OWNERS, "", "101").await?;
    ensure!(ana.contains_key("deletedAt") && ana.get_str("email")? == "ana@firm.example", "{ana}");
    ensure!(!definition(&world, OWNERS, "", "102").await?.contains_key("deletedAt"));
    ensure!(definition(&world, PIPELINES, "deals", "default").await?.contains_key("deletedAt"));
    ensure!(definition(&world, PIPELINES, "deals", "long").await?.get_str("label")? == "Long");
    let default = Pipeline { id: "default".to_owned(), label: "New".to_owned(), stages: Vec::new() };
    world.hubspot.world().set_pipelines(HUB, DEALS, vec![default]);
    run_a_day_later(&world).await?;
    let default = definition(&world, PIPELINES, "deals", "default").await?;
    ensure!(!default.contains_key("deletedAt") && default.get_str("label")? == "New", "{default}");
    ensure!(actions(&world).await?.is_empty(), "only definitions of properties have actions");
    world.end().await
}

#[tokio::test]
async fn each_change_of_a_definition_is_one_action() -> Result<()> {
    let world = world("references_actions").await?;
    world.run().await?;
    define(&world, "Value");
    world.hubspot.world().define_property(HUB, DEALS, Property::new("margin", "number").calculated());
    run_a_day_later(&world).await?;
    let stored = actions(&world).await?;
    ensure!(stored.len() == 2, "{stored:?}");
    ensure!(
        names(&world, "margin").await? == ["Property Created"]
            && names(&world, "amount").await? == ["Property Updated"]
    );
    let updated =
        stored.iter().find(|action| action["actionName"].as_str() == Some("Property Updated")).context("one")?;
    let changes = updated.get_document("changes")?;
    ensure!(changes == &doc! { "label": { "from": "amount", "to": "Value" } }, "{updated}");
    ensure!(updated.get_document("definition")?.get_str("label")? == "Value", "{updated}");
    ensure!(updated.get_str("domainId")? == "acme" && updated.get_i32("includeInAnalytics")? == 0, "{updated}");

    // What it was before is another change, and so is what it becomes again.
    for label in ["amount", "Value"] {
        define(&world, label);
        run_a_day_later(&world).await?;
    }
    world.hubspot.world().remove_property(HUB, DEALS, "amount");
    run_a_day_later(&world).await?;
    define(&world, "Value");
    run_a_day_later(&world).await?;
    let expected = ["Updated", "Updated", "Updated", "Deleted", "Updated"].map(|kind| format!("Property {kind}"));
    ensure!(names(&world, "amount").await? == expected, "{:?}", names(&world, "amount").await?);
    ensure!(!definition(&world, SCHEMAS, "deals", "amount").await?.contains_key("deletedAt"));
    world.proof().await?;
    world.end().await
}

/// Whatever is lost between two steps is done again, and whatever is delivered again or late changes nothing.
#[tokio::test]
async fn repetition_and_disorder_store_each_change_once() -> Result<()> {
    let world = world("references_again").await?;
    world.run().await?;
    let ledgers = world.store.database().collection::<Document>(collection::REFERENCES);
    let deals = doc! { "_id": Source::Schemas("deals".to_owned().try_into()?).key(&world.account()?) };
    let before = ledgers.find_one(deals.clone()).await?.context("a ledger")?;

    // The slice ends before it can save what it has published.
    define(&world, "Value");
    a_day_passes(&world).await?;
    world.slice(&world.sync().await?, &world.tick()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut messages = world.take(&world.actions_queue).await?;
    ledgers.replace_one(deals, before).await?;
    a_day_passes(&world).await?;
    world.slice(&world.sync().await?, &world.tick()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    messages.extend(world.take(&world.actions_queue).await?);
    define(&world, "Price");
    a_day_passes(&world).await?;
    world.slice(&world.sync().await?, &world.tick()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let latest = world.take(&world.actions_queue).await?;

    for bodies in [&latest, &messages, &messages, &latest] {
        let of_references: Vec<String> = bodies.iter().filter(|body| body.contains("references.v1")).cloned().collect();
        ensure!(!of_references.is_empty(), "{bodies:?}");
        assert_accepted(world.store(&of_references).await)?;
    }
    ensure!(names(&world, "amount").await? == ["Property Updated", "Property Updated"]);
    ensure!(definition(&world, SCHEMAS, "deals", "amount").await?.get_str("label")? == "Price");
    let known: Vec<bool> = actions(&world).await?.iter().map(|action| action.contains_key("changes")).collect();
    ensure!(known == [false, false], "the state before is not known of the first, and the other came late: {known:?}");
    world.end().await
}

/// Neither a missing scope nor any failure of a list delays records, and each is tried again.
#[tokio::test]
async fn list_that_cannot_be_read_delays_nothing() -> Result<()> {
    let answer = |status| FaultKind::Answer { status, body: None, retry_after: None };
    let table = [
        (answer(403), true),
        (answer(404), true),
        (answer(500), false),
        (FaultKind::Cut, false),
        (FaultKind::Delay { millis: 60_000 }, false),
    ];
    for (fault, is_refused) in table {
        let said = format!("{fault:?}");
        let world = world("references_fault").await?;
        world.fault("/crm/owners/", 1, fault);
        let stopwatch = Stopwatch::start();
        let slices = world.run().await?;
        ensure!(slices <= 2, "{said}: {slices} slices, {:?}", stopwatch.took());
        ensure!(world.all("contacts").await?.len() == 5, "{said}");
        let checkpoint = world.checkpoint().await?;
        ensure!(checkpoint.get_datetime("lastSuccessAt").is_ok(), "{said}: {checkpoint}");
        let lanes = checkpoint.get_document("lanes")?;
        let failed =
            lanes.values().filter(|lane| lane.as_document().is_some_and(|lane| lane.get_document("lastError").is_ok()));
        ensure!(failed.count() == 0, "{said}: {checkpoint}");
        ensure!(world.all(OWNERS).await?.is_empty(), "{said}");
        if is_refused {
            ensure!(!world.all(SCHEMAS).await?.is_empty(), "{said}: the other lists are read");
        }
        let requests = world.requests("other 200");
        world.run().await?;
        ensure!(world.requests("other 200") == requests, "{said}: it waits");
        run_a_day_later(&world).await?;
        ensure!(world.all(OWNERS).await?.len() == 2, "{said}: it is tried again");
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn scope_granted_later_is_used_with_the_new_grant() -> Result<()> {
    let world = world("references_scope").await?;
    world.hubspot.world().settings.missing_scopes = vec!["crm.objects.owners.read".to_owned()];
    world.run().await?;
    let ledgers = world.all(collection::REFERENCES).await?;
    let owners = ledgers.iter().find(|ledger| ledger["source"].as_str() == Some("owners")).context("a ledger")?;
    ensure!(owners.get_str("failure")?.contains("crm.objects.owners.read"), "{owners}");
    world.hubspot.world().settings.missing_scopes.clear();
    world.store.clear_lane_errors(&world.account()?).await?;
    let requests = world.requests("other 200");
    world.run().await?;
    ensure!(world.all(OWNERS).await?.len() == 2 && world.requests("other 200") == requests + 1, "nothing else is read");
    world.end().await
}

#[tokio::test]
async fn long_list_is_read_on_where_a_slice_ended() -> Result<()> {
    let world = world("references_long").await?;
    for owner in 0..248 {
        world.hubspot.world().add_owner(HUB, &format!("o{owner}@firm.example"), "O", "Wner");
    }
    world.fault("/crm/owners/2026-09?limit=100&after=301", 1, FaultKind::Delay { millis: 60_000 });
    world.run().await?;
    ensure!(world.all(OWNERS).await?.len() == 200, "{}", world.all(OWNERS).await?.len());
    let read = world.requests("other 200");
    run_a_day_later(&world).await?;
    ensure!(world.all(OWNERS).await?.len() == 250);
    ensure!(world.requests("other 200") == read + 5, "the last page, and the four other lists");
    let gone = world.all(OWNERS).await?.iter().filter(|owner| owner.contains_key("deletedAt")).count();
    ensure!(gone == 0, "{gone} seem to be gone");
    world.end().await
}

/// A type that is chosen later has its lists at once, and nothing is read if nobody wants it.
#[tokio::test]
async fn choice_decides_what_is_read() -> Result<()> {
    let mut world = World::new("references_choice").await?;
    world.config.references_every = Some(Duration::from_secs(86_400));
    world.hubspot.world().grant_scopes(HUB, &["crm.objects.owners.read"]);
    world.run().await?;
    ensure!(world.all(OWNERS).await?.is_empty(), "no property is read that names an owner");
    let requests = world.requests("other 200");
    ensure!(requests == 2, "the properties of companies and contacts: {requests}");
    world.choose(&[Object::COMPANIES, Object::CONTACTS, DEALS]).await?;
    world.run().await?;
    ensure!(world.all(OWNERS).await?.len() == 2 && world.all(PIPELINES).await?.len() == 1);
    ensure!(world.requests("other 200") == requests + 3);
    world.config.references_every = None;
    run_a_day_later(&world).await?;
    ensure!(world.requests("other 200") == requests + 3, "it is switched off");
    world.end().await
}

/// Owners have e-mail addresses. What is queued when the account is erased is not stored.
#[tokio::test]
async fn nothing_is_stored_of_an_erased_account() -> Result<()> {
    let world = world("references_erased").await?;
    world.slice(&world.sync().await?, &world.tick()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let messages = world.take(&world.actions_queue).await?;
    ensure!(messages.iter().any(|message| message.contains("ana@firm.example")), "{} messages", messages.len());
    let account = world.account()?;
    world.store.remove_account(&account).await?;
    world.store.request_erasures(&[Erasure::Account(account.clone())]).await?;
    world.store.erase(&Erasure::Account(account)).await?;
    for bodies in messages.chunks(10) {
        assert_accepted(world.store(bodies).await)?;
    }
    for name in Source::COLLECTIONS.into_iter().chain([collection::REFERENCES, collection::ACTIONS]) {
        ensure!(world.all(name).await?.is_empty(), "{name} has something");
    }
    ensure!(!world.everything().await?.contains("ana@firm.example"));
    world.end().await
}

/// A slice that was frozen must not take back what another one has published since.
#[tokio::test]
async fn ledger_is_saved_by_the_first_of_two_slices() -> Result<()> {
    let world = World::new("references_ledger").await?;
    let account = world.account()?;
    for _ in 0..2 {
        let [mut first, mut second] = [
            world.store.reference_ledger(&account, Source::Owners).await?,
            world.store.reference_ledger(&account, Source::Owners).await?,
        ];
        first.reading += 1;
        ensure!(world.store.save_reference_ledger(&account, Source::Owners, &mut first).await?);
        ensure!(world.store.save_reference_ledger(&account, Source::Owners, &mut first).await?, "it goes on");
        ensure!(!world.store.save_reference_ledger(&account, Source::Owners, &mut second).await?);
        ensure!(world.store.reference_ledger(&account, Source::Owners).await? == first);
    }
    world.end().await
}
