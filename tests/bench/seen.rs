//! What `seen` costs: it is never deleted, and has a document a record.

use anyhow::Result;
use harness::world::World;
use model::{ids::RecordId, object::ObjectType, time::DateTime};
use mongodb::bson::{Bson, Document, doc};
use store::{LedgerEntry, collection};

const RECORDS: usize = 1_000_000;
const BATCH: usize = 10_000;

pub(crate) async fn run() -> Result<()> {
    println!("\n`seen` with {RECORDS} records of one account\n");
    println!("| documents, MB | on disk, MB | index, MB |");
    println!("|---|---|---|");
    let world = World::new("bench_seen").await?;
    let account = world.account()?;
    for first in (0..RECORDS).step_by(BATCH) {
        let now = LedgerEntry { at: Some(DateTime::now()), ..LedgerEntry::default() };
        let entry = |number: usize| Ok((RecordId::try_from((100_000_000_000 + number).to_string())?, now.clone()));
        let entries = (first..first + BATCH).map(entry).collect::<Result<Vec<_>>>()?;
        world.store.mark_seen(&account, ObjectType::CONTACTS, &entries).await?;
    }
    // What is in memory goes to the disk, where it is compressed.
    world.store.database().client().database("admin").run_command(doc! { "fsync": 1 }).await?;
    let stats = world.store.database().run_command(doc! { "collStats": collection::SEEN }).await?;
    let megabytes = |name: &str| number(&stats, name) / 1e6;
    println!("| {:.0} | {:.0} | {:.0} |", megabytes("size"), megabytes("storageSize"), megabytes("totalIndexSize"));
    world.end().await
}

fn number(stats: &Document, name: &str) -> f64 {
    match stats.get(name) {
        Some(Bson::Int32(number)) => f64::from(*number),
        Some(Bson::Int64(number)) => *number as f64,
        Some(Bson::Double(number)) => *number,
        _ => f64::NAN,
    }
}
