//! What one tick of the schedule takes for accounts that are caught up, by how many of them an invocation works for, and by
//! the changes there were since the last one: the figures of the cost model (`local/ops/src/cost.rs`).

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function},
    neighbours::tick_of,
    service::MAX_MESSAGES,
    world::{World, message_event},
};

use crate::backfill::limited;

/// How often each is measured.
const TIMES: u32 = 20;
const LATENCY_MS: u64 = 150;
/// As in the template. Tests read the recycle bin at each look.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(21_600);

pub(crate) async fn run() -> Result<()> {
    println!("\nOne tick of accounts that are caught up, {LATENCY_MS} ms a request of HubSpot, the mean of {TIMES}\n");
    println!(
        "| accounts | changes of each | invocation, s | its processor time, s | HubSpot requests | actions messages, KB | drain, s | its processor time, s | log of an invocation, bytes | of a drain | peak RSS, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (accounts, changes) in [(1, 0), (1, 1), (1, 10), (1, 100), (10, 0), (10, 1), (10, 100)] {
        tick(accounts, changes).await?;
    }
    Ok(())
}

/// What the invocations of a function took.
#[derive(Default)]
struct Took {
    count: u32,
    time: Duration,
}

impl Took {
    fn each(&self) -> f64 {
        self.time.as_secs_f64() / f64::from(self.count.max(1))
    }
}

async fn tick(accounts: u64, changes: usize) -> Result<()> {
    let mut world = limited("bench_tick", LATENCY_MS).await?;
    world.config.sweep_every = Some(SWEEP_EVERY);
    let logs = ["sync", "actions"].map(|name| std::env::temp_dir().join(format!("{name}-{}.log", std::process::id())));
    world.add_accounts(accounts - 1).await?;
    for hub in world.hubs() {
        world.hubspot.world().seed(hub, 200, 1_000, 1);
    }
    world.log = Some(logs[0].clone());
    let mut sync = Bootstrap::start_ungated(Function::Sync, &world).await?;
    world.log = Some(logs[1].clone());
    let mut actions = Bootstrap::start_ungated(Function::Actions, &world).await?;
    catch_up(&world, &mut sync, &mut actions).await?;
    logs.iter().try_for_each(|log| std::fs::write(log, ""))?;
    let (mut slices, mut drains, mut bytes) = (Took::default(), Took::default(), 0);
    let (before, worked) = (total(&world), [sync.usage()?.0, actions.usage()?.0]);
    for round in 0..TIMES {
        for hub in world.hubs().filter(|_| changes > 0) {
            world.hubspot.world().make_changes(hub, changes, u64::from(round));
        }
        let ticks: Vec<String> = world.accounts()?.iter().map(tick_of).collect::<Result<_>>()?;
        let began = Instant::now();
        let (invoked, _) = sync.invoke(&message_event(&ticks)).await?;
        slices.time += began.elapsed();
        slices.count += 1;
        ensure!(invoked.is_success(), "a slice failed: {invoked:?}");
        let messages = world.take(&world.config.actions_queue_url).await?;
        bytes += messages.iter().map(String::len).sum::<usize>();
        for batch in messages.chunks(MAX_MESSAGES) {
            let (invoked, took) = actions.invoke(&message_event(batch)).await?;
            ensure!(invoked.is_success(), "a drain failed: {invoked:?}");
            drains.time += took;
            drains.count += 1;
        }
    }
    let requests = total(&world) - before;
    let (used, drained) = (sync.usage()?, actions.usage()?);
    let mut sizes = Vec::new();
    for log in logs {
        sizes.push(std::fs::metadata(&log).map_or(0, |found| found.len()));
        std::fs::remove_file(log).ok();
    }
    println!(
        "| {accounts} | {changes} | {:.2} | {:.3} | {} | {} | {:.3} | {:.3} | {} | {} | {:.0} |",
        slices.each(),
        (used.0 - worked[0]) / f64::from(TIMES),
        requests / u64::from(TIMES),
        bytes / 1000 / TIMES as usize,
        drains.each(),
        (drained.0 - worked[1]) / f64::from(drains.count.max(1)),
        sizes[0] / u64::from(TIMES),
        sizes[1] / u64::from(drains.count.max(1)),
        used.1 as f64 / 1e6,
    );
    world.end().await
}

/// Reads the history of all accounts.
async fn catch_up(world: &World, sync: &mut Bootstrap, actions: &mut Bootstrap) -> Result<()> {
    let mut messages: Vec<String> = world.accounts()?.iter().map(tick_of).collect::<Result<_>>()?;
    while !messages.is_empty() {
        for batch in messages.chunks(MAX_MESSAGES) {
            sync.invoke(&message_event(batch)).await?;
        }
        for batch in world.take(&world.config.actions_queue_url).await?.chunks(MAX_MESSAGES) {
            actions.invoke(&message_event(batch)).await?;
        }
        messages = world.receive(&world.sync_queue).await?;
    }
    Ok(())
}

/// The requests of HubSpot so far.
fn total(world: &World) -> u64 {
    world.hubspot.world().requests.values().sum()
}
