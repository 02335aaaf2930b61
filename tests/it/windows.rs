//! Windows that do not add up: each is held by itself, and holds up nothing else.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::{FaultKind, Object};
use model::time;
use mongodb::bson::{Array, DateTime, Document, doc};
use serde_json::{Value, json};
use store::collection;

const CONTACTS: Object = Object::CONTACTS;

/// The contacts' lane in the checkpoint.
async fn lane(world: &World) -> Result<Document> {
    Ok(world.checkpoint().await?.get_document("lanes")?.get_document("contacts")?.clone())
}

async fn held(world: &World) -> Result<Array> {
    Ok(world.checkpoint().await?.get_document("kept")?.get_document("contacts")?.get_array("held")?.clone())
}

fn create(world: &World, count: usize, ago: i64) -> i64 {
    let mut hubspot = world.hubspot.world();
    let at = hubspot.now() - ago;
    for _ in 0..count {
        hubspot.create(HUB, CONTACTS, at, BTreeMap::from([("firstname".to_owned(), "Ana".to_owned())]));
    }
    at
}

/// Ticks until the account is caught up, with time for whatever waits.
async fn ticks(world: &World, count: usize) -> Result<()> {
    for _ in 0..count {
        world.hubspot.world().settings.clock_offset_ms += 20_000;
        world.run_on().await?;
    }
    Ok(())
}

/// HubSpot counts a row that it never shows: whatever is newer arrives, and the window is named, and given up after a day.
#[tokio::test]
async fn row_counted_but_never_shown_holds_only_its_window() -> Result<()> {
    let world = World::new("ghost").await?;
    world.hubspot.world().seed(HUB, 3, 30, 1);
    world.run().await?;
    // The history was counted again.
    ticks(&world, 2).await?;
    ensure!(held(&world).await?.is_empty());
    let at = create(&world, 150, 1_000);
    world.hubspot.world().settings.ghosts = vec![at];
    ticks(&world, 3).await?;
    create(&world, 1, 0);
    ticks(&world, 3).await?;
    world.proof().await?;
    ensure!(world.checkpoint().await?.get_document("run").is_err(), "the run goes on for ever");
    let windows = held(&world).await?;
    ensure!(windows.len() == 1, "{windows:?} are held");
    let hold = windows[0].as_document().context("a window")?.get_document("hold")?.clone();
    ensure!(hold.get_i64("tries")? > 1, "{hold}");

    // A day later HubSpot still counts it.
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 25 * 3_600_000);
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    let since = doc! { "$set": { "kept.contacts.held.$[].hold.since": long_ago } };
    checkpoints.update_one(doc! {}, since).await?;
    ticks(&world, 1).await?;
    ensure!(held(&world).await?.is_empty());
    world.proof().await?;
    Ok(())
}

/// Where a window is held, its lane is not tried again and again: the pauses grow.
#[tokio::test]
async fn held_window_is_counted_again_after_growing_pauses() -> Result<()> {
    let world = World::new("ghost_pauses").await?;
    world.hubspot.world().seed(HUB, 0, 300, 1);
    let at = create(&world, 150, 3_600_000);
    world.hubspot.world().settings.ghosts = vec![at];
    world.run().await?;
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let now = DateTime::now();
        let windows = held(&world).await?;
        let holds = windows.iter().filter_map(|window| window.as_document()?.get_document("hold").ok());
        let holds: Vec<&Document> = holds.filter(|hold| hold.get_i64("tries").is_ok_and(|tries| tries > 0)).collect();
        ensure!(holds.len() == 1, "{windows:?}");
        pauses.push(time::between(now, *holds[0].get_datetime("retryAt")?).as_secs().div_ceil(60));
        let asked = world.requests("search 200");
        world.run().await?;
        ensure!(world.requests("search 200") - asked <= 4, "it was counted before its time");
        world.run_on().await?;
    }
    ensure!(pauses == [1, 2, 4, 8], "{pauses:?} minutes");
    world.proof().await?;
    Ok(())
}

/// As HubSpot's totals are always wrong, nothing ever adds up: everything still arrives, and the number of windows is bounded.
#[tokio::test]
async fn permanently_wrong_totals_lose_nothing_and_hold_at_most_32_windows() -> Result<()> {
    let world = World::new("off_by_one").await?;
    world.hubspot.world().seed(HUB, 20, 700, 1);
    world.hubspot.world().settings.total_off_by = 1;
    world.run().await?;
    for seed in 2..8 {
        world.hubspot.world().make_changes(HUB, 30, seed);
        ticks(&world, 1).await?;
    }
    world.proof().await?;
    ensure!(held(&world).await?.len() <= 32);
    world.hubspot.world().settings.total_off_by = 0;
    ticks(&world, 3).await?;
    ensure!(held(&world).await?.is_empty(), "{:?}", held(&world).await?);
    world.proof().await?;
    Ok(())
}

fn page(ids: &[u64], total: usize, more: bool, world: &World) -> FaultKind {
    let hubspot = world.hubspot.world();
    let row = |id: &u64| -> Option<Value> {
        let (version, _) = hubspot.record(HUB, CONTACTS, *id)?;
        let modified = DateTime::from_millis(version.modified_at).try_to_rfc3339_string().ok()?;
        Some(json!({"id": id.to_string(), "createdAt": modified, "updatedAt": modified, "properties": {}}))
    };
    let rows: Vec<Value> = ids.iter().filter_map(row).collect();
    let mut body = json!({"total": total, "results": rows});
    if more {
        body["paging"] = json!({"next": {"after": ids.len().to_string()}});
    }
    FaultKind::Answer { status: 200, body: Some(body.to_string()), retry_after: None }
}

/// The first page of the history has no end, so that its total says nothing; a row that it leaves out is found by the count.
#[tokio::test]
async fn row_missing_from_first_page_of_history_is_found_by_count() -> Result<()> {
    let mut world = World::new("omitted").await?;
    world.config.settle = std::time::Duration::from_secs(3600);
    create(&world, 300, 86_400_000);
    let mut ids = world.hubspot.world().ids(HUB, CONTACTS);
    ids.truncate(200);
    ids.remove(56);
    world.fault("/contacts/search", 1, page(&ids, 300, true, &world));
    world.run().await?;
    ensure!(world.proof().await?.actions == 300);
    Ok(())
}

/// A shard of HubSpot's index is away while the history is read: its rows lack in the pages and in the totals alike.
#[tokio::test]
async fn rows_missing_from_pages_and_totals_are_found_when_history_is_recounted() -> Result<()> {
    let world = World::new("partial").await?;
    create(&world, 40, 86_400_000);
    let ids = world.hubspot.world().ids(HUB, CONTACTS);
    world.fault("/contacts/search", 1, page(&ids[..30], 30, false, &world));
    world.run().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == 30);
    ticks(&world, 2).await?;
    ensure!(world.proof().await?.actions == 40);
    ensure!(held(&world).await?.is_empty());
    Ok(())
}

/// An empty page that others follow gives no id to go on from: HubSpot's own cursor leads past it.
#[tokio::test]
async fn empty_page_followed_by_others_is_passed() -> Result<()> {
    let world = World::new("empty_page").await?;
    world.hubspot.world().seed(HUB, 0, 500, 1);
    for skip in [0, 1] {
        let body = json!({"total": 500, "results": [], "paging": {"next": {"after": "0"}}}).to_string();
        let kind = FaultKind::Answer { status: 200, body: Some(body), retry_after: None };
        let fault = hubspot_sim::Fault { path: "/contacts/search".to_owned(), skip, times: 1, kind };
        world.hubspot.world().faults.push(fault);
    }
    world.run().await?;
    ensure!(world.proof().await?.actions == 500);
    Ok(())
}

/// No condition on a modification time holds for a record that has none.
#[tokio::test]
async fn record_without_modification_time_is_stored() -> Result<()> {
    let world = World::new("undated").await?;
    world.hubspot.world().seed(HUB, 20, 20, 1);
    let undated: Vec<u64> = {
        let mut hubspot = world.hubspot.world();
        [Object::COMPANIES, CONTACTS].into_iter().flat_map(|object| hubspot.ids(HUB, object)[..3].to_vec()).collect()
    };
    world.hubspot.world().settings.undated = undated;
    world.run().await?;
    ensure!(world.proof().await?.actions == 40);
    Ok(())
}

/// An answer whose clock is wrong must not move a mark into the future: what is changed until then would be taken for read.
#[tokio::test]
async fn wrong_date_header_moves_no_mark_into_future_and_loses_nothing() -> Result<()> {
    for hours in [2, -2] {
        let mut world = World::new("date").await?;
        world.config.clock_tolerance = std::time::Duration::from_secs(5);
        world.hubspot.world().seed(HUB, 0, 20, 1);
        world.run().await?;
        world.hubspot.world().settings.date_skew_ms = hours * 3_600_000;
        world.run().await?;
        let now = DateTime::now();
        let lane = lane(&world).await?;
        for pass in ["fresh", "settled"] {
            let mark = *lane.get_document(pass)?.get_datetime("mark")?;
            ensure!(time::between(now, mark).as_secs() <= 5, "{pass} is ahead by {:?}", time::between(now, mark));
        }
        world.hubspot.world().settings.date_skew_ms = 0;
        create(&world, 1, 0);
        world.run().await?;
        ensure!(world.proof().await?.actions == 21);
        world.end().await?;
    }
    Ok(())
}
