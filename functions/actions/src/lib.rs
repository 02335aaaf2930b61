//! The actions function: drains the actions queue into MongoDB, with a few bulk writes for all messages of an SQS
//! batch. Messages may be delivered repeatedly and in any order: each has its effect once.
//!
//! A message waits in its queue while MongoDB is unavailable. A message that will never be stored because of its
//! contents is sent to the dead-letter queue by the function itself, because SQS only counts deliveries and cannot
//! distinguish the two.

mod drain;
mod letters;
mod metrics;
mod pause;
mod references;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use environment::{
    config::ConfigError,
    variables::{ACTIONS_DEAD_LETTER_QUEUE_URL, ACTIONS_QUEUE_URL},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use model::{
    message::ActionsMessage,
    time::{self, DateTime},
};
use queue::{
    Queue,
    batch::{decode, respond},
};
use runtime::secrets::Secrets;
use store::{MongoConfig, Store};
use tokio::time::{Instant, timeout};

pub use crate::pause::pause;
use crate::{drain::Outcome, metrics::Drain};

/// The configuration of the actions function.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `ACTIONS_QUEUE_URL`: the queue that is drained.
    pub queue_url: String,
    /// `ACTIONS_DEAD_LETTER_QUEUE_URL`: the queue for messages that will never be stored.
    pub dead_letter_queue_url: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing. The error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        Ok(Self {
            mongo: MongoConfig::from_env(secrets.mongodb_uri()?)?,
            queue_url: ACTIONS_QUEUE_URL.required()?,
            dead_letter_queue_url: ACTIONS_DEAD_LETTER_QUEUE_URL.required()?,
        })
    }
}

/// The state that the function keeps between invocations.
#[derive(Debug)]
pub struct Actions {
    store: Store,
    queue: Queue,
    dead_letters: Queue,
}

impl Actions {
    /// Creates the clients. They connect when they are first used.
    ///
    /// # Errors
    /// The connection string cannot be used.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        let sqs = Queue::client().await;
        Ok(Self {
            store: Store::connect(&config.mongo).await?,
            queue: Queue::new(sqs.clone(), config.queue_url),
            dead_letters: Queue::new(sqs, config.dead_letter_queue_url),
        })
    }
}

/// The time of an invocation that is reserved for the messages that were not stored.
const FINISH_RESERVE: Duration = Duration::from_secs(4);

/// The time limit for hiding messages from the next delivery.
const HIDE_TIMEOUT: Duration = Duration::from_secs(1);

/// Handles an SQS event. A message that cannot be decoded, or whose actions MongoDB refuses, fails alone, and is sent
/// to the dead-letter queue after a few tries. The others are stored.
///
/// # Errors
/// Every message stays in the queue: MongoDB is unavailable, or each of them failed. SQS delivers them again, after a
/// pause that grows with each delivery.
#[tracing::instrument(level = "debug", skip_all, name = "drain")]
pub async fn handler(actions: &Actions, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Diagnostic> {
    let (began, ends) =
        (Instant::now(), Instant::now() + remaining(event.context.deadline).saturating_sub(FINISH_RESERVE));
    let messages = decode::<ActionsMessage>(event.payload);
    let mut drained = drain::drain(&actions.store, &messages, ends).await;
    if !drained.has_stopped {
        references::drain_references(&actions.store, &messages, ends, &mut drained).await;
    }
    let set_aside = letters::set_aside(actions, &messages, &drained.outcomes).await;
    let left: Vec<usize> = (0..messages.len())
        .filter(|index| drained.outcomes[*index] != Outcome::Stored && !set_aside.sent.contains(index))
        .collect();
    let pauses = left.iter().map(|index| {
        // A message may have waited long for MongoDB before it is refused. Its pause must not grow because of that.
        let tries = set_aside.tries.get(index).copied().unwrap_or(messages[*index].receives);
        (messages[*index].receipt.clone(), pause(tries))
    });
    hide(actions, pauses.filter(|(receipt, _)| !receipt.is_empty()).collect()).await;
    let now = DateTime::now();
    Drain {
        actions_stored: drained.added,
        actions_duplicate: drained.actions.saturating_sub(drained.added + drained.refused),
        actions_refused: drained.refused,
        messages_failed: left.len() + set_aside.sent.len(),
        messages_set_aside: set_aside.sent.len(),
        oldest_waiting: left.iter().filter_map(|index| messages[*index].sent_at).min().map(|at| time::between(at, now)),
        drain_duration: began.elapsed(),
        mongodb_time: actions.store.spent.take(),
        sqs_time: actions.queue.spent.take() + actions.dead_letters.spent.take(),
    }
    .emit();
    if drained.refused > 0 || !left.is_empty() || !set_aside.sent.is_empty() {
        tracing::info!(
            messages = messages.len(),
            messages_failed = left.len(),
            messages_set_aside = set_aside.sent.len(),
            actions = drained.actions,
            actions_refused = drained.refused,
            "a batch was not stored as a whole"
        );
    }
    let away = left.iter().find_map(|index| match &drained.outcomes[*index] {
        Outcome::Waits(reason) => Some(reason),
        _ => None,
    });
    match away {
        Some(reason) if left.len() == messages.len() => {
            Err(Diagnostic { error_type: "StoreFailed".to_owned(), error_message: reason.clone() })
        }
        _ => respond(messages.len(), left.iter().map(|index| messages[*index].message_id.clone()).collect()),
    }
}

/// Makes SQS deliver messages again after their pauses. If that fails, they are delivered after the queue's visibility
/// timeout, which is the longest pause.
async fn hide(actions: &Actions, pauses: Vec<(String, Duration)>) {
    if pauses.is_empty() {
        return;
    }
    match timeout(HIDE_TIMEOUT, actions.queue.hide(&pauses)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %error, "messages come again after the queue's visibility timeout"),
        Err(_) => tracing::warn!("messages come again after the queue's visibility timeout: SQS does not answer"),
    }
}

/// Returns the time until Lambda stops this invocation. `deadline` is in milliseconds since the epoch.
fn remaining(deadline: u64) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(deadline).saturating_sub(now)
}
