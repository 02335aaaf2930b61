//! The scheduler function: on each tick of the schedule, it sends one sync message for each live HubSpot account.
//!
//! Before that, it carries out the erasures that are due.
//!
//! It limits its own time. A fan-out that does not reach the end stores the last Domain it sent, and the next tick
//! continues after it.

mod erasures;
mod fan_out;
mod freshness;
mod metrics;
mod revocations;

use std::time::Duration;

use environment::{config::ConfigError, variables::SYNC_QUEUE_URL};
use lambda_runtime::{Diagnostic, LambdaEvent};
use model::time::DateTime;
use queue::Queue;
use runtime::secrets::Secrets;
use serde::{Deserialize, Serialize};
use store::{MongoConfig, Store};
use tokio::time::{Instant, timeout_at};

use crate::metrics::TickMetrics;

/// The event from EventBridge Scheduler. The template requests the scheduled time. Other fields are ignored.
#[derive(Debug, Default, Deserialize)]
pub struct Tick {
    /// The time for which the tick was scheduled, in RFC 3339. If it cannot be parsed, the current time is used.
    #[serde(default)]
    pub time: Option<String>,
}

/// What a tick did. The function's response.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FanOut {
    /// Accounts for which a message was sent.
    pub sent: usize,
    /// Accounts that were left out: without credentials, malformed, or to be connected again.
    pub skipped: usize,
    /// Live accounts that are not due, because nothing has changed in them for long.
    pub resting: usize,
    /// True if every Domain was reached.
    pub complete: bool,
}

/// The state that the function keeps between invocations.
#[derive(Debug)]
pub struct Scheduler {
    store: Store,
    queue: Queue,
}

/// The configuration of the scheduler function.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `SYNC_QUEUE_URL`: the queue for the messages.
    pub sync_queue_url: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing. The error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        Ok(Self { mongo: MongoConfig::from_env(secrets.mongodb_uri()?)?, sync_queue_url: SYNC_QUEUE_URL.required()? })
    }
}

impl Scheduler {
    /// Creates the clients. They connect when they are first used.
    ///
    /// # Errors
    /// A value of the configuration cannot be used.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        let queue = Queue::new(Queue::client().await, config.sync_queue_url);
        Ok(Self { store: Store::connect(&config.mongo).await?, queue })
    }
}

/// The time limit for reading the accounts' checkpoints. A fan-out leaves more.
const FOLLOW_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// Handles one tick of the schedule.
///
/// # Errors
/// The Domains cannot be read, or SQS accepts no messages. Lambda invokes again. Accounts whose messages were sent
/// before then get a second message, which has no effect.
#[tracing::instrument(level = "debug", skip_all, name = "tick")]
pub async fn handler(scheduler: &Scheduler, event: LambdaEvent<Tick>) -> Result<FanOut, Diagnostic> {
    let tick = event.payload.time.as_deref().and_then(|time| DateTime::parse_rfc3339_str(time).ok());
    let deadline = DateTime::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
    erasures::finish(scheduler, deadline).await;
    let (began, mut metrics) = (Instant::now(), TickMetrics::default());
    let fanned_out = fan_out::run(scheduler, tick.unwrap_or_else(DateTime::now), deadline, &mut metrics).await;
    metrics.fan_out_duration = began.elapsed();
    let (fan_out, accounts) = fanned_out.map_err(|error| {
        tracing::error!(error = %error, "the fan-out failed");
        Diagnostic { error_type: "FanOutFailed".to_owned(), error_message: error.to_string() }
    })?;
    metrics.accounts_sent = fan_out.sent;
    metrics.accounts_resting = fan_out.resting;
    metrics.fan_outs_cut_short = usize::from(!fan_out.complete);
    // The messages are sent. If the metric cannot be computed now, the next tick computes it.
    let measured =
        timeout_at(Instant::now() + FOLLOW_UP_TIMEOUT, freshness::note(scheduler, &accounts, &mut metrics)).await;
    if !matches!(measured, Ok(Ok(()))) {
        tracing::warn!("how far behind the accounts are cannot be told");
    }
    // The same applies to grants to be revoked.
    let requested = timeout_at(Instant::now() + FOLLOW_UP_TIMEOUT, revocations::request_revocations(scheduler)).await;
    if !matches!(requested, Ok(Ok(()))) {
        tracing::warn!("grants that are to be given back are left to the next tick");
    }
    metrics.sqs_time = scheduler.queue.spent.take();
    metrics.mongodb_time = scheduler.store.spent.take();
    metrics.emit();
    tracing::info!(
        sent = fan_out.sent,
        skipped = fan_out.skipped,
        resting = fan_out.resting,
        complete = fan_out.complete,
        "the tick was fanned out"
    );
    Ok(fan_out)
}
