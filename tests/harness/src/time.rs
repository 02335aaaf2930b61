//! Simulates the passing of time by changing the times in the checkpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

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
    service::INVOCATION_LIMIT,
    stopwatch::Stopwatch,
    world::World,
};

const LONG_AGO: DateTime = DateTime::from_millis(0);

impl World {
    /// Lets time pass: leases expire, and waiting lanes become due.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn time_passes(&self) -> Result<()> {
        let now = DateTime::now();
        self.expire_lease().await?;
        for limit in ["search", "general", "associations"] {
            self.replace_if_there(&format!("limits.{limit}.closedUntil"), now).await?;
        }
        for lane in self.lanes().await? {
            self.change_if_there(&format!("lanes.{lane}.lastError"), doc! { "retryAt": now }).await?;
            self.replace_if_there(&format!("lanes.{lane}.sweep.retryAt"), now).await?;
            self.replace_if_there(&format!("kept.{lane}.held.hold.retryAt"), now).await?;
            self.replace_if_there(&format!("kept.{lane}.associations.retryAt"), now).await?;
            self.replace_if_there(&format!("kept.{lane}.calculated.comparison.retryAt"), now).await?;
        }
        Ok(())
    }

    /// Returns the names of the lanes that its checkpoint has.
    async fn lanes(&self) -> Result<BTreeSet<String>> {
        let checkpoints = self.all(collection::CHECKPOINTS).await?;
        let lanes = checkpoints.iter().filter_map(|checkpoint| checkpoint.get_document("lanes").ok());
        Ok(lanes.flat_map(|lanes| lanes.keys().cloned()).collect())
    }

    /// Makes the comparison of all associations due, and the checks that were requested.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn associations_are_due(&self) -> Result<()> {
        for lane in self.lanes().await? {
            let due = doc! { "endedAt": LONG_AGO, "retryAt": Bson::Null };
            self.change_if_there(&format!("kept.{lane}.associations"), due).await?;
        }
        let checks = self.store.database().collection::<Document>(collection::ASSOCIATION_CHECKS);
        checks.update_many(doc! {}, doc! { "$set": { "checkAt": LONG_AGO } }).await?;
        Ok(())
    }

    /// Makes the comparison of calculated values due.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn calculated_values_are_due(&self) -> Result<()> {
        for lane in self.lanes().await? {
            let due = doc! { "endedAt": LONG_AGO, "retryAt": Bson::Null };
            self.change_if_there(&format!("kept.{lane}.calculated.comparison"), due).await?;
        }
        Ok(())
    }

    /// Makes the lease of a slice that was not ended expire.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn expire_lease(&self) -> Result<()> {
        self.change_if_there("lease", doc! { "until": LONG_AGO }).await
    }

    /// Lets enough time pass that a run whose message was lost counts as dead.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn expire_run(&self) -> Result<()> {
        self.change_if_there("run", doc! { "dueAt": LONG_AGO }).await
    }

    /// Returns how long the account waits: the pause of the first of its lanes, counted from the lane's failure.
    /// Returns `None` if it does not wait.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn pause(&self) -> Result<Option<Duration>> {
        Ok(self.pauses().await?.into_values().min())
    }

    /// Returns how long each lane waits that has failed and is still to be read, counted from its failure.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn pauses(&self) -> Result<BTreeMap<String, Duration>> {
        let checkpoint = self.checkpoint().await?;
        let objects = checkpoint.get_array("objects").ok();
        let is_read = |lane: &String| {
            objects.is_none_or(|objects| objects.iter().any(|object| object.as_str() == Some(lane.as_str())))
        };
        let pause = |lane: &Bson| {
            let problem = lane.as_document()?.get_document("lastError").ok()?;
            Some(time::between(*problem.get_datetime("at").ok()?, *problem.get_datetime("retryAt").ok()?))
        };
        let lanes = checkpoint.get_document("lanes").into_iter().flatten().filter(|(lane, _)| is_read(lane));
        Ok(lanes.filter_map(|(lane, of)| Some((lane.clone(), pause(of)?))).collect())
    }

    /// Returns the message of the next slice, as its run sent it.
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

    /// Delivers a message to the sync handler until it is processed. A slice that MongoDB, SQS or the machine delays at
    /// its end fails in time, and its message is delivered again when its lease has expired, as SQS does.
    ///
    /// # Errors
    /// A slice takes too long, or the message fails until SQS stops delivering it.
    pub async fn deliver(&self, sync: &sync::SyncFunction, body: &Value) -> Result<()> {
        let max_receives = Rules::from_template("SyncQueue")?.max_receives;
        for received in 1.. {
            let stopwatch = Stopwatch::start();
            let slice = assert_accepted(sync::handler(sync, lambda(received_event(&body.to_string(), received))).await);
            ensure!(stopwatch.took() < INVOCATION_LIMIT, "the slice took {:?}", stopwatch.took());
            if slice.is_ok() || received == max_receives {
                return slice;
            }
            self.expire_lease().await?;
        }
        Ok(())
    }

    /// Continues the live run, or starts one with a tick, until the account is caught up, without any waiting. Stores
    /// the actions. Returns the number of slices.
    ///
    /// # Errors
    /// A message fails until SQS stops delivering it, or the account is not caught up after 400 slices.
    pub async fn run_on(&self) -> Result<u64> {
        const MAX_SLICES: u64 = 400;
        let sync = self.sync().await?;
        for slices in 1..=MAX_SLICES {
            self.time_passes().await?;
            let message = self.due_message().await.unwrap_or_else(|_| self.tick());
            self.deliver(&sync, &message).await?;
            // A slice that a slow machine kept from ending leaves no run, and lanes that wait briefly.
            let waits = self.pause().await?.is_some_and(|pause| pause <= MAX_DELAY);
            if !waits && self.checkpoint().await?.get_document("run").is_err() {
                self.drain().await?;
                return Ok(slices);
            }
        }
        bail!("the account is not caught up after {MAX_SLICES} slices")
    }

    /// Runs until MongoDB matches the simulator's ledger. A later run completes what a slow machine kept from ending.
    ///
    /// # Errors
    /// They still differ after many runs.
    pub async fn run_until_proved(&self) -> Result<Proof> {
        const MAX_RUNS: usize = 20;
        for _ in 1..MAX_RUNS {
            self.run_on().await?;
            if let Ok(proof) = self.proof().await {
                return Ok(proof);
            }
        }
        self.proof().await
    }

    /// Replaces a time if it exists, in each element of an array.
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
