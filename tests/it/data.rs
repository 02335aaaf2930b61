//! The queries and indexes that docs/reference/data.md tells of, and what MongoDB they need.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use mongodb::bson::{Bson, Document, doc};
use ops::{deployed, layout, local, settings::Retention};
use stack::{
    process::{self, free_port},
    servers,
};
use store::collection;

/// The documented queries, each with the name of its index.
fn documented() -> Result<Vec<(String, Document)>> {
    let text = std::fs::read_to_string(layout::root().join("docs/reference/data.md"))?;
    let mut queries = Vec::new();
    for (before, rest) in text.match_indices("```json\n").map(|(at, fence)| (&text[..at], &text[at + fence.len()..])) {
        let index = before.rsplit('`').nth(1);
        let query: Document = serde_json::from_str(rest.split("```").next().unwrap_or_default())?;
        queries.push((index.context("a query names its index")?.to_owned(), query));
    }
    ensure!(queries.len() >= 6, "only {} queries are documented", queries.len());
    Ok(queries)
}

/// The names of the indexes in a plan, and whether it reads a whole collection or sorts by itself.
fn read(plan: &Document, indexes: &mut Vec<String>, stages: &mut Vec<String>) {
    for (name, value) in plan {
        match value {
            Bson::String(text) if name == "indexName" => indexes.push(text.clone()),
            Bson::String(text) if name == "stage" => stages.push(text.clone()),
            Bson::Document(inner) => read(inner, indexes, stages),
            Bson::Array(parts) => {
                parts.iter().filter_map(Bson::as_document).for_each(|part| read(part, indexes, stages))
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn each_documented_query_uses_its_index() -> Result<()> {
    let world = World::new("explain").await?;
    world.hubspot.world().seed(HUB, 50, 300, 1);
    world.run().await?;
    for (index, query) in documented()? {
        let explained =
            world.store.database().run_command(doc! { "explain": &query, "verbosity": "queryPlanner" }).await?;
        let plan = explained.get_document("queryPlanner")?.get_document("winningPlan")?;
        let (mut indexes, mut stages) = (Vec::new(), Vec::new());
        read(plan, &mut indexes, &mut stages);
        ensure!(indexes == [index.clone()], "{query} uses {indexes:?}, not {index}: {plan}");
        ensure!(!stages.iter().any(|stage| stage == "SORT" || stage == "COLLSCAN"), "{query}: {plan}");
    }
    Ok(())
}

/// After how many seconds MongoDB deletes actions; never if there is no number.
async fn retention(world: &World) -> Result<Option<i64>> {
    let listed = world.store.database().run_command(doc! { "listIndexes": collection::ACTIONS }).await?;
    let indexes = listed.get_document("cursor")?.get_array("firstBatch")?;
    let kept = indexes.iter().filter_map(Bson::as_document).find_map(|index| index.get("expireAfterSeconds"));
    Ok(kept.and_then(|kept| kept.as_i64().or_else(|| kept.as_i32().map(i64::from))))
}

/// A colleague who makes the indexes may know of no number: what was set stays as it is.
#[tokio::test]
async fn action_retention_follows_migrate_and_stays_when_unset() -> Result<()> {
    let world = World::new("retention").await?;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    world.store.migrate(None).await?;
    assert_eq!(retention(&world).await?, None);
    for said in [days(30), days(60), days(60)] {
        world.store.migrate(Some(said)).await?;
        assert_eq!(retention(&world).await?, Some(i64::try_from(said.as_secs())?));
        world.store.migrate(None).await?;
        assert_eq!(retention(&world).await?, Some(i64::try_from(said.as_secs())?), "nothing was said");
    }
    for _ in 0..2 {
        world.store.keep_actions().await?;
        assert_eq!(retention(&world).await?, None);
    }
    Ok(())
}

/// A server that speaks MongoDB's protocol and does not know updates by a pipeline, such as Amazon DocumentDB: a MongoDB that
/// refuses them with DocumentDB's code.
#[tokio::test]
async fn migrate_refuses_server_that_is_not_mongodb_and_explains_why() -> Result<()> {
    let state = process::folder().join("no-mongodb");
    let port = free_port()?;
    servers::start_mongod_with(&state, port, &["--setParameter", "enableTestCommands=1"]).await?;
    let result = refused(port).await;
    process::stop_all(&state).await?;
    std::fs::remove_dir_all(&state)?;
    result
}

async fn refused(port: u16) -> Result<()> {
    const CODE: i32 = 40_324;
    let uri = local::mongodb_uri(port);
    deployed::migrate(&uri.as_str().into(), "probed", Retention::Unchanged).await?;
    let admin = mongodb::Client::with_uri_str(&uri).await?.database("admin");
    let refuses = doc! { "failCommands": ["update"], "errorCode": CODE };
    admin.run_command(doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": refuses }).await?;
    let error =
        deployed::migrate(&uri.as_str().into(), "probed", Retention::Unchanged).await.err().context("it was taken")?;
    let said = format!("{error:#}");
    ensure!(said.contains("DocumentDB") && said.contains("Cosmos DB") && said.contains(&CODE.to_string()), "{said}");
    Ok(())
}
