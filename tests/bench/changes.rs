//! One look at an account in which everything has changed since the last one, an hour ago: what searches alone can do,
//! because lists cannot be asked for changes.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::Object;
use mongodb::bson::{DateTime, Document, doc};
use store::collection;

use crate::{
    backfill::{Caught, LIMIT, Requests, catch_up, latencies, limited},
    pool::COLUMNS,
    tick::SWEEP_EVERY,
};

const COMPANIES: usize = 3_000;
const CONTACTS: usize = 15_000;

/// Since when nothing was looked for.
const AWAY: Duration = Duration::from_secs(3600);

pub(crate) async fn run() -> Result<()> {
    println!("\nAll records of an account that is caught up have changed in the last hour; 5 searches/s\n");
    println!(
        "| ms a request | held up, ms | companies | contacts | time, s | records/s | share of the search limit | searches | associations | 429 | {COLUMNS} |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for latency in latencies()? {
        one(latency, COMPANIES, CONTACTS).await?;
    }
    Ok(())
}

async fn one(latency: u64, companies: usize, contacts: usize) -> Result<()> {
    let mut world = limited("bench_changes", latency).await?;
    world.config.sweep_every = Some(SWEEP_EVERY);
    world.hubspot.world().seed(HUB, companies, contacts, 1);
    catch_up(&world).await?;
    be_away(&world).await?;
    let before = Requests::of(&world);
    let Caught { time, mut worked } = catch_up(&world).await?;
    let requests = Requests::of(&world).since(&before);
    let held_up = world.hubspot.world().settings.hold_up_ms;
    let records = companies + contacts;
    let seen = world.store.database().collection::<Document>(collection::SEEN);
    let away = DateTime::from_millis(DateTime::now().timestamp_millis() - 2 * AWAY.as_millis() as i64);
    let changed = seen.count_documents(doc! { "at": { "$gt": away } }).await?;
    ensure!(changed == records as u64, "only {changed} changes were read in {time:?}");
    let rate = records as f64 / time.as_secs_f64();
    println!(
        "| {latency} | {held_up} | {companies} | {contacts} | {:.1} | {rate:.0} | {:.0} % | {} | {} | {} | {} |",
        time.as_secs_f64(),
        rate / LIMIT * 100.0,
        requests.of_kind("search"),
        requests.of_kind("associations"),
        requests.refused(),
        worked.columns(),
    );
    world.end().await
}

/// Leaves the account as it is after an hour in which nothing was looked for and each record changed, evenly.
async fn be_away(world: &World) -> Result<()> {
    let began = DateTime::from_millis(change_all(world));
    let mut marks = Document::new();
    for lane in ["companies", "contacts"].map(|object| format!("lanes.{object}")) {
        for field in ["fresh.mark", "settled.mark", "checkedAt", "fresh.completedAt"] {
            marks.insert(format!("{lane}.{field}"), began);
        }
    }
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, doc! { "$set": marks }).await?;
    Ok(())
}

/// Changes each record, in another order than that of their ids. Returns when the first one changed.
fn change_all(world: &World) -> i64 {
    let mut hubspot = world.hubspot.world();
    let away = AWAY.as_millis() as i64;
    let began = hubspot.now() - away;
    for object in [Object::COMPANIES, Object::CONTACTS] {
        let ids = hubspot.ids(HUB, object);
        let count = ids.len() as i64;
        for (index, id) in ids.into_iter().enumerate() {
            let place = index as i64 * 7_919 % count;
            hubspot.update(HUB, object, id, began + away * place / count, &[("hs_lead_status", "CONNECTED")]);
        }
    }
    began
}
