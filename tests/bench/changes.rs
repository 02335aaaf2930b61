//! One look at an account in which everything has changed since the last one, an hour ago. Searches alone read it, because
//! lists have no filter.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::Object;
use mongodb::bson::{DateTime, Document, doc};
use store::collection;

use crate::{
    backfill::{LIMIT, all_requests, catch_up, latencies, limited, refused_requests},
    pool::COLUMNS,
    tick::SWEEP_EVERY,
};

const COMPANIES: usize = 3_000;
const CONTACTS: usize = 15_000;

/// How long ago the last look was.
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
    let began = be_away(&world).await?;
    world.hubspot.world().requests.clear();
    let (time, mut worked) = catch_up(&world).await?;
    let held_up = world.hubspot.world().settings.hold_up_ms;
    let records = companies + contacts;
    let seen = world.store.database().collection::<Document>(collection::SEEN);
    let changed = seen.count_documents(doc! { "at": { "$gte": began } }).await?;
    ensure!(changed == records as u64, "only {changed} changes were read in {time:?}");
    let rate = records as f64 / time.as_secs_f64();
    println!(
        "| {latency} | {held_up} | {companies} | {contacts} | {:.1} | {rate:.0} | {:.0} % | {} | {} | {} | {} |",
        time.as_secs_f64(),
        rate / LIMIT * 100.0,
        all_requests(&world, "search"),
        all_requests(&world, "associations"),
        refused_requests(&world),
        worked.columns(),
    );
    world.end().await
}

/// Changes each record within the last hour, and sets the marks of both lanes back to the beginning of that hour. Returns the
/// beginning.
async fn be_away(world: &World) -> Result<DateTime> {
    let began = DateTime::from_millis(change_all(world));
    let mut marks = Document::new();
    for lane in ["companies", "contacts"].map(|object| format!("lanes.{object}")) {
        for field in ["fresh.mark", "settled.mark", "checkedAt", "fresh.completedAt"] {
            marks.insert(format!("{lane}.{field}"), began);
        }
    }
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, doc! { "$set": marks }).await?;
    Ok(began)
}

/// Changes each record, at even distances and in another order than that of the ids. Returns when the first one changed.
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
