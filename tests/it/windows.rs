//! Windows that do not add up: each is held by itself, and holds up nothing else.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::{
    extent::Extent,
    rows::{LANES, ROWS, SEARCH, text_of},
    world::{HUB, World},
};
use hubspot_sim::{FaultKind, Object};
use model::time;
use mongodb::bson::{Array, DateTime, Document, doc};
use serde_json::{Value, json};
use store::collection;

/// The windows of a lane that are held.
async fn held(world: &World, object: Object) -> Result<Array> {
    Ok(world.checkpoint().await?.get_document("kept")?.get_document(object.name())?.get_array("held")?.clone())
}

/// The number of windows that are held, in all lanes.
async fn all_held(world: &World) -> Result<usize> {
    let mut all = 0;
    for object in ROWS {
        all += held(world, object).await?.len();
    }
    Ok(all)
}

/// Creates so many records of each of these object types, which were modified `ago` milliseconds ago. Returns when.
fn create(world: &World, objects: &[Object], count: usize, ago: i64) -> i64 {
    let mut hubspot = world.hubspot.world();
    let at = hubspot.now() - ago;
    for object in objects {
        for _ in 0..count {
            let text = (text_of(*object).to_owned(), "Ana".to_owned());
            hubspot.create(HUB, *object, at, BTreeMap::from([text]));
        }
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
    let world = World::of("ghost", &ROWS).await?;
    world.fill(3, &ROWS, 30, 1);
    world.run().await?;
    // The history was counted again.
    ticks(&world, 2).await?;
    ensure!(all_held(&world).await? == 0);
    let at = create(&world, &ROWS, 150, 1_000);
    world.hubspot.world().settings.ghosts = vec![at];
    ticks(&world, 3).await?;
    create(&world, &ROWS, 1, 0);
    ticks(&world, 3).await?;
    world.proof().await?;
    ensure!(world.checkpoint().await?.get_document("run").is_err(), "the run goes on for ever");
    for object in ROWS {
        let windows = held(&world, object).await?;
        ensure!(windows.len() == 1, "{object:?}: {windows:?} are held");
        let hold = windows[0].as_document().context("a window")?.get_document("hold")?.clone();
        ensure!(hold.get_i64("tries")? > 1, "{object:?}: {hold}");
    }

    // A day later HubSpot still counts it.
    let long_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 25 * 3_600_000);
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    let since = |object: &Object| (format!("kept.{}.held.$[].hold.since", object.name()), long_ago.into());
    checkpoints.update_one(doc! {}, doc! { "$set": ROWS.iter().map(since).collect::<Document>() }).await?;
    ticks(&world, 1).await?;
    ensure!(all_held(&world).await? == 0);
    world.proof().await?;
    Ok(())
}

/// Where a window is held, its lane is not tried again and again: the pauses grow.
#[tokio::test]
async fn held_window_is_counted_again_after_growing_pauses() -> Result<()> {
    let world = World::of("ghost_pauses", &ROWS).await?;
    world.fill(0, &ROWS, 100, 1);
    let at = create(&world, &ROWS, 150, 3_600_000);
    world.hubspot.world().settings.ghosts = vec![at];
    world.run().await?;
    // How often each lane's window was counted. A slow machine counts it in several slices of a round.
    let mut counted = [0; ROWS.len()];
    for _ in 0..4 {
        let now = DateTime::now();
        for (object, counted) in ROWS.into_iter().zip(&mut counted) {
            let windows = held(&world, object).await?;
            let holds = windows.iter().filter_map(|window| window.as_document()?.get_document("hold").ok());
            let holds: Vec<&Document> =
                holds.filter(|hold| hold.get_i64("tries").is_ok_and(|tries| tries > 0)).collect();
            ensure!(holds.len() == 1, "{object:?}: {windows:?}");
            let tries = holds[0].get_i64("tries")?;
            ensure!(tries > *counted, "{object:?}: it is not counted again: {windows:?}");
            *counted = tries;
            let minutes = time::between(now, *holds[0].get_datetime("retryAt")?).as_secs().div_ceil(60);
            // A minute, then twice as long each time, three hours at most.
            let expected = (1_u64 << (tries - 1).min(8)).min(180);
            ensure!(minutes == expected, "{object:?}: {minutes} minutes after {tries} tries");
        }
        let asked = world.requests("search 200");
        world.run().await?;
        let again = world.requests("search 200") - asked;
        ensure!(again <= 2 * u64::from(LANES), "it was counted before its time: {again} searches");
        world.run_on().await?;
    }
    world.proof().await?;
    Ok(())
}

/// As HubSpot's totals are always wrong, nothing ever adds up: everything still arrives, and the number of windows is bounded.
#[tokio::test]
async fn permanently_wrong_totals_lose_nothing_and_hold_at_most_32_windows() -> Result<()> {
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        wrong_totals(object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn wrong_totals(object: Object) -> Result<()> {
    let world = World::of("off_by_one", &[object]).await?;
    world.fill(20, &[object], 700, 1);
    world.hubspot.world().settings.total_off_by = 1;
    world.run().await?;
    for seed in 2..8 {
        world.hubspot.world().change_objects(HUB, object, 30, seed);
        ticks(&world, 1).await?;
    }
    world.proof().await?;
    ensure!(held(&world, object).await?.len() <= 32);
    world.hubspot.world().settings.total_off_by = 0;
    ticks(&world, 3).await?;
    ensure!(held(&world, object).await?.is_empty(), "{:?}", held(&world, object).await?);
    world.proof().await?;
    Ok(())
}

fn page(object: Object, ids: &[u64], total: usize, more: bool, world: &World) -> FaultKind {
    let hubspot = world.hubspot.world();
    let row = |id: &u64| -> Option<Value> {
        let (version, _) = hubspot.record(HUB, object, *id)?;
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
    let mut world = World::of("omitted", &ROWS).await?;
    world.config.settle = std::time::Duration::from_secs(3600);
    create(&world, &ROWS, 300, 86_400_000);
    for object in ROWS {
        let mut ids = world.ids(object);
        ids.truncate(200);
        ids.remove(56);
        world.fault_each(SEARCH, &[object], 1, &page(object, &ids, 300, true, &world));
    }
    world.run().await?;
    ensure!(world.proof().await?.actions == 300 * ROWS.len());
    Ok(())
}

/// A shard of HubSpot's index is away while the history is read: its rows lack in the pages and in the totals alike.
#[tokio::test]
async fn rows_missing_from_pages_and_totals_are_found_when_history_is_recounted() -> Result<()> {
    let world = World::of("partial", &ROWS).await?;
    create(&world, &ROWS, 40, 86_400_000);
    for object in ROWS {
        let page = page(object, &world.ids(object)[..30], 30, false, &world);
        world.fault_each(SEARCH, &[object], 1, &page);
    }
    world.run().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == 30 * ROWS.len());
    ticks(&world, 2).await?;
    ensure!(world.proof().await?.actions == 40 * ROWS.len());
    ensure!(all_held(&world).await? == 0);
    Ok(())
}

/// An empty page that others follow gives no id to go on from: HubSpot's own cursor leads past it.
#[tokio::test]
async fn empty_page_followed_by_others_is_passed() -> Result<()> {
    let world = World::of("empty_page", &ROWS).await?;
    world.fill(0, &ROWS, 500, 1);
    for (object, skip) in ROWS.into_iter().flat_map(|object| [(object, 0), (object, 1)]) {
        let body = json!({"total": 500, "results": [], "paging": {"next": {"after": "0"}}}).to_string();
        let kind = FaultKind::Answer { status: 200, body: Some(body), retry_after: None };
        let fault = hubspot_sim::Fault { path: SEARCH.replace("{}", object.name()), skip, times: 1, kind };
        world.hubspot.world().faults.push(fault);
    }
    world.run().await?;
    ensure!(world.proof().await?.actions == 500 * ROWS.len());
    Ok(())
}

/// No condition on a modification time holds for a record that has none.
#[tokio::test]
async fn record_without_modification_time_is_stored() -> Result<()> {
    let world = World::of("undated", &ROWS).await?;
    world.fill(20, &ROWS, 20, 1);
    let objects = [&[Object::COMPANIES], &ROWS[..]].concat();
    let undated = objects.iter().flat_map(|object| world.ids(*object)[..3].to_vec()).collect();
    world.hubspot.world().settings.undated = undated;
    world.run().await?;
    ensure!(world.proof().await?.actions == 20 * objects.len());
    Ok(())
}

/// An answer whose clock is wrong must not move a mark into the future: what is changed until then would be taken for read.
#[tokio::test]
async fn wrong_date_header_moves_no_mark_into_future_and_loses_nothing() -> Result<()> {
    for hours in [2, -2] {
        let mut world = World::of("date", &ROWS).await?;
        world.config.clock_tolerance = std::time::Duration::from_secs(5);
        world.fill(0, &ROWS, 20, 1);
        world.run().await?;
        world.hubspot.world().settings.date_skew_ms = hours * 3_600_000;
        world.run().await?;
        let now = DateTime::now();
        for object in ROWS {
            let lane = world.lane(object).await?;
            for pass in ["fresh", "settled"] {
                let mark = *lane.get_document(pass)?.get_datetime("mark")?;
                let ahead = time::between(now, mark);
                ensure!(ahead.as_secs() <= 5, "{pass} of {object:?} is ahead by {ahead:?}");
            }
        }
        world.hubspot.world().settings.date_skew_ms = 0;
        create(&world, &ROWS, 1, 0);
        world.run().await?;
        ensure!(world.proof().await?.actions == 21 * ROWS.len());
        world.end().await?;
    }
    Ok(())
}
