//! The actions function: drains the actions queue into MongoDB, all messages of an SQS batch by a few bulk
//! writes. Whatever is delivered again, in whatever order, has its effect once.

mod metrics;

use std::{collections::BTreeMap, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use common::{
    account::AccountKey,
    action::Action,
    batch::{conclude, read},
    config::{ConfigError, MongoConfig},
    message::{ActionBatch, ActionsMessage},
    secrets::Secrets,
    store::{Store, describe},
};
use lambda_runtime::{Diagnostic, LambdaEvent};

use crate::metrics::Drain;

/// What the actions function is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing; the error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        Ok(Self { mongo: MongoConfig::from_env(secrets)? })
    }
}

/// What the function holds on to between invocations.
#[derive(Debug)]
pub struct Actions {
    store: Store,
}

impl Actions {
    /// Sets up a client. Connections are made when they are first needed.
    ///
    /// # Errors
    /// The connection string cannot be used.
    pub async fn new(config: Config) -> anyhow::Result<Self> {
        Ok(Self { store: Store::connect(&config.mongo).await? })
    }
}

/// What noting failures may take.
const NOTING: Duration = Duration::from_secs(1);

/// Handles an SQS event. A message that cannot be read, or one of whose actions MongoDB refuses, fails alone
/// and reaches the dead-letter queue; the rest are stored.
///
/// # Errors
/// MongoDB cannot be reached, or every message failed; SQS delivers them again.
#[tracing::instrument(level = "debug", skip_all, name = "drain")]
pub async fn handler(actions: &Actions, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Diagnostic> {
    let began = std::time::Instant::now();
    let received = read::<ActionsMessage>(event.payload);
    let messages = received.len();
    let mut failed = BTreeMap::new();
    let mut batches: Vec<(String, ActionBatch)> = Vec::with_capacity(messages);
    for message in received {
        match message.body {
            Ok(ActionsMessage::V1(batch)) => batches.push((message.message_id, batch)),
            Err(error) => {
                tracing::error!(message.id = message.message_id, error = %error, "an actions message is left to the dead-letter queue");
                failed.insert(message.message_id, error.to_string());
            }
        }
    }
    let all: Vec<(&str, &AccountKey, &Action)> = batches
        .iter()
        .flat_map(|(id, batch)| batch.actions.iter().map(move |action| (id.as_str(), &batch.account, action)))
        .collect();
    let given: Vec<(&AccountKey, &Action)> = all.iter().map(|(_, account, action)| (*account, *action)).collect();
    let stored = actions.store.store_actions(&given).await.map_err(|error| {
        let reason = describe(&error);
        tracing::error!(reason, messages, "MongoDB cannot be written to; the batch is delivered again");
        Diagnostic { error_type: "StoreFailed".to_owned(), error_message: reason }
    })?;
    for refused in &stored.failed {
        let (message_id, account, action) = all[refused.index];
        tracing::error!(
            message.id = message_id, account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
            object = action.object.as_str(), record.id = %action.record_id, code = refused.code,
            "MongoDB refuses an action; its message is left to the dead-letter queue"
        );
        let record = format!("{} {} of {account}", action.object, action.record_id);
        failed.insert(
            message_id.to_owned(),
            format!("MongoDB refuses the action of {record} with code {}", refused.code),
        );
    }
    Drain {
        actions_stored: stored.added,
        actions_duplicate: given.len().saturating_sub(stored.added + stored.failed.len()),
        actions_refused: stored.failed.len(),
        messages_failed: failed.len(),
        drain_duration: began.elapsed(),
        mongodb_time: actions.store.spent.take(),
    }
    .emit();
    tracing::info!(
        messages,
        messages_failed = failed.len(),
        actions = given.len(),
        actions_refused = stored.failed.len(),
        duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "a batch was stored"
    );
    conclude(&actions.store, messages, failed, NOTING).await
}
