//! Workers that take messages off the sync queue as an event source mapping does: one message an invocation, deleted
//! when it was processed.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use harness::{
    bootstrap::{Bootstrap, Function},
    world::World,
};
use serde_json::json;

/// What the workers did.
#[derive(Debug, Default)]
pub(crate) struct Worked {
    /// How long each slice took.
    pub(crate) slices: Vec<Duration>,
    /// The most memory that any of the workers has held, in bytes.
    pub(crate) peak_memory: u64,
    /// How much processor time they took, in seconds.
    pub(crate) cpu: f64,
}

impl Worked {
    /// The columns of a table: slices, their times at the 50th and 99th percentile and the longest, and peak memory.
    pub(crate) fn columns(&mut self) -> String {
        let [half, most, all] = [50, 99, 100].map(|percent| self.percentile(percent));
        format!("{} | {half:.2} | {most:.2} | {all:.2} | {:.0}", self.slices.len(), self.peak_memory as f64 / 1e6)
    }

    /// The slice time that so many percent do not exceed, in seconds.
    fn percentile(&mut self, percent: usize) -> f64 {
        self.slices.sort_unstable();
        let index = (self.slices.len() * percent).div_ceil(100).saturating_sub(1);
        self.slices.get(index).copied().unwrap_or_default().as_secs_f64()
    }
}

/// The headings of those columns.
pub(crate) const COLUMNS: &str = "slices | p50, s | p99, s | longest, s | peak RSS, MB";

/// Lets so many workers work until `done` says that it is enough.
pub(crate) async fn work(world: &World, workers: usize, done: &AtomicBool) -> Result<Worked> {
    let mut bootstraps = Vec::new();
    for _ in 0..workers {
        bootstraps.push(Bootstrap::start_ungated(Function::Sync, world).await?);
    }
    let worked = try_join_all(bootstraps.into_iter().map(|bootstrap| one(world, bootstrap, done))).await?;
    let mut all = Worked::default();
    for Worked { slices, peak_memory, cpu } in worked {
        all.cpu += cpu;
        all.slices.extend(slices);
        all.peak_memory = all.peak_memory.max(peak_memory);
    }
    Ok(all)
}

async fn one(world: &World, mut bootstrap: Bootstrap, done: &AtomicBool) -> Result<Worked> {
    let mut worked = Worked::default();
    while !done.load(Ordering::Relaxed) {
        let received = world.sqs.receive_message().queue_url(&world.sync_queue).send().await?;
        let Some(message) = received.messages.unwrap_or_default().pop() else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let event = json!({"Records": [{"messageId": message.message_id, "body": message.body}]});
        let (invoked, took) = bootstrap.invoke(&event).await?;
        if !invoked.is_success() {
            bail!("a slice failed: {invoked:?}");
        }
        worked.slices.push(took);
        let handle = message.receipt_handle.context("a message has a receipt")?;
        world.sqs.delete_message().queue_url(&world.sync_queue).receipt_handle(handle).send().await?;
    }
    (worked.cpu, worked.peak_memory) = bootstrap.usage()?;
    Ok(worked)
}

/// Sends a message to the sync queue.
pub(crate) async fn send(world: &World, body: String) -> Result<()> {
    world.sqs.send_message().queue_url(&world.sync_queue).message_body(body).send().await?;
    Ok(())
}

/// Waits until so long after `began`, or until a condition holds, and then ends the work.
pub(crate) async fn end_when(
    done: &AtomicBool,
    began: Instant,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<bool>,
) -> Result<Duration> {
    let result = loop {
        if began.elapsed() > limit || condition().await? {
            break began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    done.store(true, Ordering::Relaxed);
    Ok(result)
}
