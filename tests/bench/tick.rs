//! What one tick of the schedule takes for one account that is caught up, by the changes there were since the last one:
//! the figures of the cost model (`local/ops/src/cost.rs`).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function},
    world::{HUB, World, message_event},
};

use crate::backfill::limited;

/// How often each is measured.
const TIMES: u32 = 20;
const LATENCY_MS: u64 = 150;

pub(crate) async fn run() -> Result<()> {
    println!(
        "\nOne tick of one account that is caught up, {LATENCY_MS} ms a request of HubSpot, the mean of {TIMES}\n"
    );
    println!(
        "| changes | slice, s | HubSpot requests | actions messages, KB | drain, s | log lines of a slice, bytes | of a drain |"
    );
    println!("|---|---|---|---|---|---|---|");
    for changes in [0, 1, 10, 100] {
        tick(changes).await?;
    }
    Ok(())
}

async fn tick(changes: usize) -> Result<()> {
    let mut world = limited("bench_tick", LATENCY_MS).await?;
    let logs = ["sync", "actions"].map(|name| std::env::temp_dir().join(format!("{name}-{}.log", std::process::id())));
    world.hubspot.world().seed(HUB, 200, 1_000, 1);
    world.run().await?;
    world.log = Some(logs[0].clone());
    let mut sync = Bootstrap::start_ungated(Function::Sync, &world).await?;
    world.log = Some(logs[1].clone());
    let mut actions = Bootstrap::start_ungated(Function::Actions, &world).await?;
    let (mut slices, mut drains, mut drained, mut bytes) = (Duration::ZERO, Duration::ZERO, 0_u32, 0);
    let before = total(&world);
    for round in 0..TIMES {
        if changes > 0 {
            world.hubspot.world().make_changes(HUB, changes, u64::from(round));
        }
        let began = Instant::now();
        let (invoked, _) = sync.invoke(&message_event(&[world.tick().to_string()])).await?;
        slices += began.elapsed();
        ensure!(invoked.is_success(), "a slice failed: {invoked:?}");
        let messages = world.take(&world.config.actions_queue_url).await?;
        bytes += messages.iter().map(String::len).sum::<usize>();
        for batch in messages.chunks(10) {
            let (invoked, took) = actions.invoke(&message_event(batch)).await?;
            ensure!(invoked.is_success(), "a drain failed: {invoked:?}");
            (drains, drained) = (drains + took, drained + 1);
        }
    }
    let requests = total(&world) - before;
    let mut sizes = Vec::new();
    for log in logs {
        sizes.push(std::fs::metadata(&log).map_or(0, |found| found.len()));
        std::fs::remove_file(log).ok();
    }
    let each = |count: u64| count / u64::from(TIMES);
    println!(
        "| {changes} | {:.2} | {} | {} | {:.3} | {} | {} |",
        slices.as_secs_f64() / f64::from(TIMES),
        each(requests),
        each(bytes as u64) / 1000,
        drains.as_secs_f64() / f64::from(drained.max(1)),
        each(sizes[0]),
        sizes[1] / u64::from(drained.max(1)),
    );
    world.end().await
}

/// The requests of HubSpot so far.
fn total(world: &World) -> u64 {
    world.hubspot.world().requests.values().sum()
}
