//! An update of the service in the middle of its work: what the release before left in MongoDB and on the queues
//! (`tests/fixtures/v1`) is gone on with. A fixture is never changed; a new form of anything stored or sent gets another.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World, assert_accepted};
use hubspot_sim::Object;
use model::time::{self, DateTime};
use mongodb::bson::{Document, doc};
use ops::layout;
use serde_json::Value;
use store::collection;

fn fixture(name: &str) -> Result<Value> {
    let text = fs::read_to_string(layout::root().join("tests/fixtures/v1").join(name))?;
    serde_json::from_str(&text).with_context(|| format!("{name} is no JSON"))
}

async fn put(world: &World, name: &str, collection: &str) -> Result<()> {
    let document: Document = serde_json::from_value(fixture(name)?)?;
    world.store.database().collection::<Document>(collection).insert_one(document).await?;
    Ok(())
}

fn at(text: &str) -> Result<DateTime> {
    time::parse(text).context("a time")
}

/// What v1 left: a backfill whose slice is due, and whose first two records were published, the first one also stored.
async fn left_by_v1(name: &str) -> Result<World> {
    let world = World::new(name).await?;
    let (created, modified) = (at("2026-11-01T10:00:00Z")?, at("2026-11-20T10:00:00Z")?);
    {
        let mut hubspot = world.hubspot.world();
        for _ in 0..3 {
            let id = hubspot.create(HUB, Object::CONTACTS, created.timestamp_millis(), BTreeMap::new());
            hubspot.update(HUB, Object::CONTACTS, id, modified.timestamp_millis(), &[("jobtitle", "CTO")]);
        }
        ensure!(hubspot.ids(HUB, Object::CONTACTS)[0] == 95, "the fixtures speak of contact 95");
    }
    put(&world, "checkpoint.json", collection::CHECKPOINTS).await?;
    put(&world, "seen.json", collection::SEEN).await?;
    put(&world, "state.json", "contacts").await?;
    Ok(world)
}

async fn names(world: &World) -> Result<Vec<(String, String)>> {
    let text = |action: &Document, name| action.get_str(name).map(str::to_owned);
    let actions = world.all(collection::ACTIONS).await?;
    actions.iter().map(|action| Ok((text(action, "recordId")?, text(action, "actionName")?))).collect()
}

#[tokio::test]
async fn backfill_begun_by_older_release_continues_where_it_stopped() -> Result<()> {
    let world = left_by_v1("upgrade_backfill").await?;
    world.deliver(&world.sync().await?, &fixture("sync-continuation.json")?).await?;
    world.drain().await?;
    // Only the cursor shows that 96 was published. The company that the older release has stored of 95 is gone.
    let expected = [("95", "Contact Updated"), ("97", "Contact Created")];
    let expected = expected.map(|(id, name)| (id.to_owned(), name.to_owned()));
    ensure!(names(&world).await? == expected, "{:?}", names(&world).await?);
    // The next tick finds the run over, and a record deleted that the older release published.
    let now = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, Object::CONTACTS, 95, now);
    world.deliver(&world.sync().await?, &fixture("sync-tick.json")?).await?;
    world.drain().await?;
    ensure!(names(&world).await?.contains(&("95".to_owned(), "Contact Deleted".to_owned())));
    let state = world.store.database().collection::<Document>("contacts");
    let state = state.find_one(doc! { "recordId": "95", "deletedAt": { "$exists": true } }).await?;
    ensure!(state.context("the state is kept")?.get_document("properties")?.get_str("email")? == "ana@firm.example");
    world.end().await
}

#[tokio::test]
async fn actions_queued_by_older_release_are_stored_with_changes() -> Result<()> {
    let world = left_by_v1("upgrade_actions").await?;
    assert_accepted(world.store(&[fixture("actions.json")?.to_string()]).await)?;
    let actions = world.all(collection::ACTIONS).await?;
    let changes: Vec<Option<&Document>> = actions.iter().map(|action| action.get_document("changes").ok()).collect();
    let (first, second) =
        (doc! { "jobtitle": { "from": "COO", "to": "CTO" } }, doc! { "jobtitle": { "from": "CTO", "to": "CEO" } });
    ensure!(changes == [Some(&first), Some(&second)], "{changes:?}");
    world.end().await
}
