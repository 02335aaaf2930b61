//! The scheduler function: from one tick of the schedule to one sync message for each live HubSpot account.
//!
//! It is bounded in time itself. A fan-out that does not reach the end remembers the last Domain it sent, and
//! the next tick goes on behind it.

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

/// What EventBridge Scheduler sends: the template asks for the scheduled time. Other fields are of no interest.
#[derive(Debug, Default, Deserialize)]
pub struct Tick {
    /// The time for which the tick was scheduled, in RFC 3339; now, if it cannot be read.
    #[serde(default)]
    pub time: Option<String>,
}

/// What a tick did, as the function's answer.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FanOut {
    /// Accounts for which a message was sent.
    pub sent: usize,
    /// Accounts that were left out: no credentials, malformed, or to be connected again.
    pub skipped: usize,
    /// Whether every Domain was reached.
    pub complete: bool,
}

/// What the function holds on to between invocations.
#[derive(Debug)]
pub struct Scheduler {
    store: Store,
    queue: Queue,
}

/// What the scheduler function is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `SYNC_QUEUE_URL`: where the messages go.
    pub sync_queue_url: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing; the error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        Ok(Self { mongo: MongoConfig::from_env(secrets.mongodb_uri()?)?, sync_queue_url: SYNC_QUEUE_URL.required()? })
    }
}

impl Scheduler {
    /// Sets up clients. Connections are made when they are first needed.
    ///
    /// # Errors
    /// The configuration names something that cannot be used.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        let queue = Queue::new(Queue::client().await, config.sync_queue_url);
        Ok(Self { store: Store::connect(&config.mongo).await?, queue })
    }
}

/// What looking at the accounts may take. A fan-out leaves more.
const LOOKING: Duration = Duration::from_secs(3);

/// Handles one tick of the schedule.
///
/// # Errors
/// The Domains cannot be read, or SQS takes no messages. Lambda invokes again; accounts that were sent before
/// are sent twice, which has no effect.
#[tracing::instrument(level = "debug", skip_all, name = "tick")]
pub async fn handler(scheduler: &Scheduler, event: LambdaEvent<Tick>) -> Result<FanOut, Diagnostic> {
    let tick = event.payload.time.as_deref().and_then(|time| DateTime::parse_rfc3339_str(time).ok());
    let deadline = DateTime::from_millis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
    let (began, mut metrics) = (Instant::now(), TickMetrics::default());
    let fanned_out = fan_out::run(scheduler, tick.unwrap_or_else(DateTime::now), deadline, &mut metrics).await;
    metrics.fan_out_duration = began.elapsed();
    let (fan_out, accounts) = fanned_out.map_err(|error| {
        tracing::error!(error = %error, "the fan-out failed");
        Diagnostic { error_type: "FanOutFailed".to_owned(), error_message: error.to_string() }
    })?;
    metrics.accounts_sent = fan_out.sent;
    metrics.fan_outs_cut_short = usize::from(!fan_out.complete);
    // The messages are sent: what cannot be told of the accounts now is told by the next tick.
    let told = timeout_at(Instant::now() + LOOKING, freshness::note(scheduler, &accounts, &mut metrics)).await;
    if !matches!(told, Ok(Ok(()))) {
        tracing::warn!("how far behind the accounts are cannot be told");
    }
    // So does a grant that is given back by none of these messages.
    let asked = timeout_at(Instant::now() + LOOKING, revocations::ask(scheduler)).await;
    if !matches!(asked, Ok(Ok(()))) {
        tracing::warn!("grants that are to be given back are left to the next tick");
    }
    metrics.sqs_time = scheduler.queue.spent.take();
    metrics.mongodb_time = scheduler.store.spent.take();
    metrics.emit();
    tracing::info!(
        sent = fan_out.sent,
        skipped = fan_out.skipped,
        complete = fan_out.complete,
        "the tick was fanned out"
    );
    Ok(fan_out)
}
