//! Time, as far as the service waits for it: passed by changing what the checkpoint waits for.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use model::time;
use mongodb::bson::{Bson, DateTime, Document, doc};
use queue::MAX_DELAY;
use serde_json::Value;
use stack::proof::Proof;
use store::collection;

use crate::{
    events::{assert_accepted, lambda, received_event},
    queues::Rules,
    service::BOUND,
    stopwatch::Stopwatch,
    world::World,
};

const LONG_AGO: DateTime = DateTime::from_millis(0);

impl World {
    /// Time passes: leases run out, and what waits is due.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn time_passes(&self) -> Result<()> {
        let now = DateTime::now();
        self.lease_runs_out().await?;
        for lane in ["companies", "contacts"] {
            self.change_if_there(&format!("lanes.{lane}.lastError"), doc! { "retryAt": now }).await?;
            self.replace_if_there(&format!("lanes.{lane}.sweep.retryAt"), now).await?;
            self.replace_if_there(&format!("kept.{lane}.held.hold.retryAt"), now).await?;
        }
        Ok(())
    }

    /// The lease of a slice that was not ended runs out.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn lease_runs_out(&self) -> Result<()> {
        self.change_if_there("lease", doc! { "until": LONG_AGO }).await
    }

    /// So much time passes that a run whose message was lost counts as dead.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn run_is_dead(&self) -> Result<()> {
        self.change_if_there("run", doc! { "dueAt": LONG_AGO }).await
    }

    /// How long the account waits, if it waits for anything: the first of its lanes from its failure on.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn pause(&self) -> Result<Option<Duration>> {
        let checkpoint = self.checkpoint().await?;
        let pause = |lane: &str| {
            let problem =
                checkpoint.get_document("lanes").ok()?.get_document(lane).ok()?.get_document("lastError").ok()?;
            Some(time::since(*problem.get_datetime("at").ok()?, *problem.get_datetime("retryAt").ok()?))
        };
        Ok(["companies", "contacts"].into_iter().filter_map(pause).min())
    }

    /// The message of the slice that is due, as its run sent it.
    ///
    /// # Errors
    /// No run is live.
    pub async fn due_message(&self) -> Result<Value> {
        let checkpoint = self.checkpoint().await?;
        let run = checkpoint.get_document("run").context("no run is live")?;
        let mut message = self.tick();
        message["run"] = format!("{}/{}", run.get_str("id")?, run.get_i64("slice")?).into();
        Ok(message)
    }

    /// Delivers a message to the sync handler until it is processed. A slice that MongoDB, SQS or the machine kept waiting at
    /// its end fails in time, and its message is delivered again when its lease has run out, as SQS does.
    ///
    /// # Errors
    /// A slice takes too long, or the message fails as often as SQS delivers it.
    pub async fn deliver(&self, sync: &sync::Sync, body: &Value) -> Result<()> {
        let max_receives = Rules::of("SyncQueue")?.max_receives;
        for received in 1.. {
            let stopwatch = Stopwatch::start();
            let slice = assert_accepted(sync::handler(sync, lambda(received_event(&body.to_string(), received))).await);
            ensure!(stopwatch.took() < BOUND, "the slice took {:?}", stopwatch.took());
            if slice.is_ok() || received == max_receives {
                return slice;
            }
            self.lease_runs_out().await?;
        }
        Ok(())
    }

    /// Goes on with the live run, or with a tick where there is none, until the account is caught up; the waits
    /// pass at once. Stores the actions.
    ///
    /// # Errors
    /// A message fails as often as SQS delivers it, or the account is not caught up after 100 slices.
    pub async fn run_on(&self) -> Result<()> {
        let sync = self.sync().await?;
        for _ in 0..100 {
            self.time_passes().await?;
            let message = self.due_message().await.unwrap_or_else(|_| self.tick());
            self.deliver(&sync, &message).await?;
            // A slice that could not be ended on a slow machine leaves no run, and lanes that wait for a moment.
            let waits = self.pause().await?.is_some_and(|pause| pause <= MAX_DELAY);
            if !waits && self.checkpoint().await?.get_document("run").is_err() {
                return self.drain().await;
            }
        }
        bail!("the account is not caught up after 100 slices")
    }

    /// Runs on until MongoDB and the simulator's ledger say the same: what a slow machine let nobody end is done by a later run.
    ///
    /// # Errors
    /// They differ after many runs.
    pub async fn run_until_proved(&self) -> Result<Proof> {
        const RUNS: usize = 20;
        for _ in 1..RUNS {
            self.run_on().await?;
            if let Ok(proof) = self.proof().await {
                return Ok(proof);
            }
        }
        self.proof().await
    }

    /// Replaces a time, of each element if it stands in a list's.
    async fn replace_if_there(&self, field: &str, time: DateTime) -> Result<()> {
        let checkpoints = self.store.database().collection::<Document>(collection::CHECKPOINTS);
        let set = doc! { "$set": { field.replace(".held.", ".held.$[]."): time } };
        checkpoints.update_many(doc! { field: { "$type": "date" } }, set).await?;
        Ok(())
    }

    async fn change_if_there(&self, part: &str, change: Document) -> Result<()> {
        let set: Document =
            change.into_iter().map(|(name, value): (String, Bson)| (format!("{part}.{name}"), value)).collect();
        let checkpoints = self.store.database().collection::<Document>(collection::CHECKPOINTS);
        checkpoints.update_many(doc! { part: { "$type": "object" } }, doc! { "$set": set }).await?;
        Ok(())
    }
}
