//! A hundred accounts at once, with a growing number of sync workers.

use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::Result;
use mongodb::bson::{Document, doc};
use stack::accounts::{private_app, write_domain};
use store::collection;

use crate::{
    backfill::limited,
    pool::{COLUMNS, end_when, send, work},
};

const ACCOUNTS: u64 = 100;
const COMPANIES: usize = 500;
const CONTACTS: usize = 4_500;

/// How long each fleet is watched.
const TIME: Duration = Duration::from_secs(20);

pub(crate) async fn run() -> Result<()> {
    println!(
        "\n{ACCOUNTS} accounts of {} records each, 50 ms a request, each at its own limit; {} s each\n",
        COMPANIES + CONTACTS,
        TIME.as_secs()
    );
    println!("| workers | records/s | a worker | searches | 429 | {COLUMNS} |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for workers in [1, 2, 4, 8] {
        one(workers).await?;
    }
    Ok(())
}

async fn one(workers: usize) -> Result<()> {
    let world = limited("bench_fleet", 50).await?;
    for hub in 1..=ACCOUNTS {
        let token = {
            let mut hubspot = world.hubspot.world();
            hubspot.seed(hub, COMPANIES, CONTACTS, hub);
            hubspot.portal(hub).private_token.clone()
        };
        write_domain(world.store.database(), format!("domain-{hub}"), "Fleet", vec![private_app(hub, &token)]).await?;
        let mut message = world.tick();
        (message["domainId"], message["hubId"]) = (format!("domain-{hub}").into(), hub.to_string().into());
        send(&world, message.to_string()).await?;
    }
    let done = AtomicBool::new(false);
    let seen = world.store.database().collection::<Document>(collection::SEEN);
    let began = Instant::now();
    let counted = async {
        let time = end_when(&done, began, TIME, async || Ok(false)).await?;
        anyhow::Ok((seen.count_documents(doc! {}).await?, time))
    };
    let ((records, time), mut worked) = tokio::try_join!(counted, work(&world, workers, &done))?;
    let rate = records as f64 / time.as_secs_f64();
    println!(
        "| {workers} | {rate:.0} | {:.0} | {} | {} | {} |",
        rate / workers as f64,
        world.requests("search 200"),
        world.requests("search 429") + world.requests("associations 429"),
        worked.columns(),
    );
    world.end().await
}
