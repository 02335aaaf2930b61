//! SQS queues: sending, with the failed entries of a batch sent again.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types::SendMessageBatchRequestEntry,
};
use backon::{ExponentialBuilder, Retryable};
use serde::Serialize;
use thiserror::Error;

use crate::telemetry::Spent;

/// The largest message that is sent, in bytes. SQS takes 1 MiB, attributes included.
pub const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// The most entries SQS takes in one `SendMessageBatch`.
pub const MAX_BATCH_ENTRIES: usize = 10;

/// The longest `DelaySeconds` that SQS takes.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// A message could not be sent.
#[derive(Debug, Error)]
pub enum QueueError {
    /// SQS refused the call or could not be reached, after the SDK's own retries.
    #[error("SQS did not take the message: {0}")]
    Send(String),
    /// SQS took the call but refused some entries, also when they were sent again.
    #[error("SQS refused {0} of a batch's entries")]
    Entries(usize),
    /// The message could not be written as JSON.
    #[error("the message cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

impl<E: ProvideErrorMetadata, R> From<SdkError<E, R>> for QueueError {
    fn from(error: SdkError<E, R>) -> Self {
        // The code says it all where SQS answered; otherwise the kind of failure does (no connection, timeout).
        Self::Send(error.code().map_or_else(|| error.to_string(), str::to_owned))
    }
}

/// One SQS queue to send to.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
    /// The time spent with it.
    pub spent: Spent,
}

impl Queue {
    /// The queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url, spent: Spent::default() }
    }

    /// An SQS client from the environment, which the AWS SDK's own variables direct.
    pub async fn client() -> Client {
        Client::new(&aws_config::load_from_env().await)
    }

    /// Sends one message after `delay` (at most [`MAX_DELAY`]; SQS counts whole seconds, so up to one more). Messages of one `group` share
    /// their turn fairly with other groups; it is neither order nor exclusion.
    ///
    /// # Errors
    /// The message cannot be encoded, or SQS did not take it.
    pub async fn send(&self, message: &impl Serialize, group: &str, delay: Duration) -> Result<(), QueueError> {
        self.send_text(serde_json::to_string(message)?, group, delay).await
    }

    /// Sends one message that is already encoded.
    ///
    /// # Errors
    /// SQS did not take it.
    #[tracing::instrument(level = "debug", skip_all, name = "send")]
    pub async fn send_text(&self, body: String, group: &str, delay: Duration) -> Result<(), QueueError> {
        let delay = i32::try_from(delay.min(MAX_DELAY).as_millis().div_ceil(1000)).unwrap_or(0);
        let message = self.client.send_message().queue_url(&self.url).message_body(body);
        self.spent.during(message.message_group_id(group).delay_seconds(delay).send()).await?;
        Ok(())
    }

    /// Sends up to [`MAX_BATCH_ENTRIES`] messages, each with its group, by one call; entries that SQS refuses
    /// are sent again, a few times, with growing pauses.
    ///
    /// # Errors
    /// SQS cannot be reached, or goes on refusing some of the entries.
    #[tracing::instrument(level = "debug", skip_all, name = "send", fields(messages = messages.len()))]
    pub async fn send_batch(&self, messages: &[(String, String)]) -> Result<(), QueueError> {
        let entries = messages.iter().enumerate().map(|(index, (group, body))| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(body)
                .message_group_id(group)
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>().map_err(|error| QueueError::Send(error.to_string()))?;
        let pending = tokio::sync::Mutex::new(entries);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(5)
            .with_jitter();
        (|| async {
            let mut pending = pending.lock().await;
            let batch = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(pending.clone()));
            let sent = self.spent.during(batch.send()).await?;
            pending.retain(|entry| sent.failed().iter().any(|failure| failure.id() == entry.id()));
            if pending.is_empty() { Ok(()) } else { Err(QueueError::Entries(pending.len())) }
        })
        .retry(pauses)
        .when(|error| matches!(error, QueueError::Entries(_)))
        .await
    }
}
