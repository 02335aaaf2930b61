//! The comparison of all associations of a large account, with HubSpot's limits on, and what it costs the fresh pass.

use std::{
    num::NonZeroU32,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function},
    world::{HUB, World, message_event},
};
use hubspot_sim::LinkChange;
use model::time::{self, DateTime};
use mongodb::bson::{Document, doc};

use crate::{
    backfill::limited,
    pool::{COLUMNS, end_when, send, work},
};

const COMPANIES: usize = 1_000;
const CONTACTS: usize = 100_000;
const LATENCY_MS: u64 = 150;

/// How many links change before the comparison.
const CHANGES: usize = 1_000;

/// How often the fresh pass is measured.
const TIMES: u64 = 20;

pub(crate) async fn run() -> Result<()> {
    let mut world = limited("bench_associations", LATENCY_MS).await?;
    // A pass reads the changes of its own round.
    world.config.overlap = Duration::from_secs(1);
    read_history(&mut world).await?;
    println!(
        "\nComparison of the associations of {CONTACTS} contacts, {CHANGES} changes among them, {LATENCY_MS} ms a request\n"
    );
    println!("| contacts | time, s | association reads | reads by id | actions | 429 | {COLUMNS} |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    compare(&world).await?;
    println!("\nThe fresh pass over 100 changes, the mean of {TIMES}, in turn\n");
    println!("| comparison | fresh pass, s |");
    println!("|---|---|");
    let [without, with] = fresh_passes(&world).await?;
    println!("| not due | {without:.3} |");
    println!("| due | {with:.3} |");
    world.end().await
}

/// Reads the history without limits.
async fn read_history(world: &mut World) -> Result<()> {
    let (limits, settings) = (world.config.limits, world.hubspot.world().settings.clone());
    {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, COMPANIES, CONTACTS, 1);
        (hubspot.settings.latency_ms, hubspot.settings.search_rps, hubspot.settings.per_10s) = (0, 0, Some(0));
        hubspot.settings.associations_per_10s = Some(0);
    }
    let limit = |limit| NonZeroU32::new(limit).context("a limit is not zero");
    (world.config.limits.search_rps, world.config.limits.per_10s) = (limit(1_000)?, limit(10_000)?);
    send(world, world.tick().to_string()).await?;
    let done = AtomicBool::new(false);
    let ended = end_when(&done, Instant::now(), Duration::from_secs(300), async || is_caught_up(world).await);
    tokio::try_join!(ended, work(world, 1, &done))?;
    ensure!(is_caught_up(world).await?, "the history is not read");
    (world.config.limits, world.hubspot.world().settings) = (limits, settings);
    Ok(())
}

async fn is_caught_up(world: &World) -> Result<bool> {
    let Some(checkpoint) = world.all("checkpoints").await?.pop() else { return Ok(false) };
    Ok(checkpoint.get_document("run").is_err() && checkpoint.get_datetime("lastSuccessAt").is_ok())
}

async fn compare(world: &World) -> Result<()> {
    let kinds = [LinkChange::Link, LinkChange::Unlink, LinkChange::Relabel];
    world.hubspot.world().change_links(HUB, &kinds, CHANGES, 2);
    world.hubspot.world().requests.clear();
    world.take(&world.actions_queue).await?;
    world.associations_are_due().await?;
    send(world, world.tick().to_string()).await?;
    let (done, began) = (AtomicBool::new(false), DateTime::now());
    let is_done = async || {
        let comparison = comparison(world).await?;
        Ok(comparison.get_datetime("endedAt").is_ok_and(|ended| *ended > began))
    };
    let ended = end_when(&done, Instant::now(), Duration::from_secs(600), is_done);
    let (took, mut worked) = tokio::try_join!(ended, work(world, 1, &done))?;
    let messages = world.take(&world.actions_queue).await?;
    let actions: usize = messages.iter().map(|message| message.matches("associationsDigest").count()).sum();
    println!(
        "| {CONTACTS} | {:.1} | {} | {} | {actions} | {} | {} |",
        took.as_secs_f64(),
        world.requests("associations 200") + world.requests("associations 207"),
        world.requests("other 200"),
        world.requests("associations 429") + world.requests("other 429"),
        worked.columns(),
    );
    Ok(())
}

async fn comparison(world: &World) -> Result<Document> {
    let checkpoint = world.checkpoint().await?;
    Ok(checkpoint.get_document("kept")?.get_document("contacts")?.get_document("associations")?.clone())
}

/// Returns how long the fresh pass of contacts takes, in seconds: if no comparison is due, and if one is.
async fn fresh_passes(world: &World) -> Result<[f64; 2]> {
    let mut sync = Bootstrap::start_ungated(Function::Sync, world).await?;
    let mut total = [Duration::ZERO; 2];
    for round in 0..TIMES {
        for is_due in [false, true] {
            world.hubspot.world().make_changes(HUB, 100, 2 * round + u64::from(is_due));
            if is_due {
                world.associations_are_due().await?;
            }
            world.expire_run().await?;
            let (invoked, _) = sync.invoke(&message_event(&[world.tick().to_string()])).await?;
            ensure!(invoked.is_success(), "a slice failed: {invoked:?}");
            let checkpoint = world.checkpoint().await?;
            let lane = checkpoint.get_document("lanes")?.get_document("contacts")?;
            let ended = lane.get_document("fresh")?.get_datetime("completedAt")?;
            total[usize::from(is_due)] += time::between(*lane.get_datetime("checkedAt")?, *ended);
            world.take(&world.sync_queue).await?;
            if is_due {
                end_comparison(world).await?;
            }
        }
    }
    Ok(total.map(|total| total.as_secs_f64() / TIMES as f64))
}

/// Makes the comparison under way one that has ended.
async fn end_comparison(world: &World) -> Result<()> {
    let ended = doc! { "$set": { "kept.contacts.associations": { "endedAt": DateTime::now() } } };
    world.store.database().collection::<Document>("checkpoints").update_many(doc! {}, ended).await?;
    Ok(())
}
