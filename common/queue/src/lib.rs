#![doc = include_str!("../README.md")]

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    types::{ChangeMessageVisibilityBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry},
};
use backon::{ExponentialBuilder, Retryable};
use model::message;
use serde::Serialize;
use telemetry::TimeSpent;
use thiserror::Error;

pub mod batch;

/// The largest message that is sent, in bytes. SQS accepts 1 MiB, attributes included.
pub const MAX_MESSAGE_BYTES: usize = 1_000_000;

/// The most entries that SQS accepts in one `SendMessageBatch`.
pub const MAX_BATCH_ENTRIES: usize = 10;

/// The longest `DelaySeconds` that SQS accepts.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// Why a message could not be sent.
#[derive(Debug, Error)]
pub enum QueueError {
    /// SQS refused the call or could not be reached, after the SDK's own retries.
    #[error("SQS did not accept the message: {0}")]
    Send(String),
    /// SQS rejects a message with these contents.
    #[error("SQS accepts no message with these contents: {0}")]
    Contents(String),
    /// SQS accepted the call but refused some entries, also when they were sent again.
    #[error("SQS refused {0} of a batch's entries")]
    Entries(usize),
    /// The message could not be written as JSON.
    #[error("the message cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

impl<E: ProvideErrorMetadata, R> From<SdkError<E, R>> for QueueError {
    fn from(error: SdkError<E, R>) -> Self {
        match error.code() {
            // A character that SQS does not accept, or a message that is too long.
            Some(code @ ("InvalidMessageContents" | "InvalidParameterValue")) => Self::Contents(code.to_owned()),
            Some(code) => Self::Send(code.to_owned()),
            // The kind of failure is enough (no connection, timeout).
            None => Self::Send(error.to_string()),
        }
    }
}

impl From<BuildError> for QueueError {
    fn from(error: BuildError) -> Self {
        Self::Send(error.to_string())
    }
}

/// The attribute of a letter with the reason why its message failed.
pub const REASON: &str = "Reason";

/// The attribute of a letter with the id of its message, as logs name it.
pub const MESSAGE_ID: &str = "MessageId";

/// A message for a dead-letter queue.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// The message's body.
    pub body: &'a str,
    /// The message's group.
    pub group: &'a str,
    /// The message's id. In the dead-letter queue the message has another one.
    pub message_id: &'a str,
    /// Why it failed, without secrets.
    pub reason: &'a str,
}

/// An SQS queue to send to.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    url: String,
    /// The time spent waiting for SQS.
    pub spent: TimeSpent,
}

impl Queue {
    /// Returns the queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url, spent: TimeSpent::default() }
    }

    /// Creates an SQS client from the AWS SDK's own environment variables.
    pub async fn client() -> Client {
        Client::new(&aws_config::load_from_env().await)
    }

    /// Sends one message after `delay` (at most [`MAX_DELAY`]; SQS counts whole seconds, so it may be up to one second
    /// longer). SQS serves message groups fairly. A group guarantees neither order nor exclusion.
    ///
    /// # Errors
    /// The message cannot be encoded, or SQS did not accept it.
    pub async fn send(&self, message: &impl Serialize, group: &str, delay: Duration) -> Result<(), QueueError> {
        self.send_text(message::encode(message)?, group, delay).await
    }

    /// Sends one message that is already encoded.
    ///
    /// # Errors
    /// SQS did not accept it.
    #[tracing::instrument(level = "debug", skip_all, name = "send")]
    pub async fn send_text(&self, body: String, group: &str, delay: Duration) -> Result<(), QueueError> {
        let message = self.client.send_message().queue_url(&self.url).message_body(body);
        self.spent.during(message.message_group_id(group).delay_seconds(seconds(delay)).send()).await?;
        Ok(())
    }

    /// Sends a message to this dead-letter queue, with [`REASON`] and [`MESSAGE_ID`] as its attributes.
    ///
    /// # Errors
    /// SQS did not accept it.
    #[tracing::instrument(level = "debug", skip_all, name = "send")]
    pub async fn send_letter(&self, letter: &Letter<'_>) -> Result<(), QueueError> {
        let text = |value: &str| MessageAttributeValue::builder().data_type("String").string_value(value).build();
        let message = self.client.send_message().queue_url(&self.url).message_body(letter.body);
        let message = message
            .message_group_id(letter.group)
            .message_attributes(REASON, text(letter.reason)?)
            .message_attributes(MESSAGE_ID, text(letter.message_id)?);
        self.spent.during(message.send()).await?;
        Ok(())
    }

    /// Delays the next delivery of up to [`MAX_BATCH_ENTRIES`] messages, each named by its receipt handle, by its
    /// duration.
    ///
    /// # Errors
    /// SQS cannot be reached, or refuses some of the messages.
    #[tracing::instrument(level = "debug", skip_all, name = "hide", fields(messages = messages.len()))]
    pub async fn hide(&self, messages: &[(String, Duration)]) -> Result<(), QueueError> {
        let entry = |(index, (receipt, pause)): (usize, &(String, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(index.to_string())
                .receipt_handle(receipt)
                .visibility_timeout(i32::try_from(pause.as_secs()).unwrap_or(i32::MAX))
                .build()
        };
        let entries = messages.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let hiding = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        match self.spent.during(hiding.send()).await?.failed().len() {
            0 => Ok(()),
            failed => Err(QueueError::Entries(failed)),
        }
    }

    /// Sends up to [`MAX_BATCH_ENTRIES`] messages, each with its group, in one call. Refused entries are sent again a
    /// few times, with growing pauses.
    ///
    /// # Errors
    /// SQS cannot be reached, or still refuses some of the entries.
    pub async fn send_batch(&self, messages: &[(String, String)]) -> Result<(), QueueError> {
        let at_once = |(group, body): &(String, String)| (group.clone(), body.clone(), Duration::ZERO);
        self.send_batch_later(&messages.iter().map(at_once).collect::<Vec<_>>()).await
    }

    /// Sends messages as [`Self::send_batch`] does, each after its own delay (see [`Self::send`]).
    ///
    /// # Errors
    /// See [`Self::send_batch`].
    #[tracing::instrument(level = "debug", skip_all, name = "send", fields(messages = messages.len()))]
    pub async fn send_batch_later(&self, messages: &[(String, String, Duration)]) -> Result<(), QueueError> {
        let entries = messages.iter().enumerate().map(|(index, (group, body, delay))| {
            SendMessageBatchRequestEntry::builder()
                .id(index.to_string())
                .message_body(body)
                .message_group_id(group)
                .delay_seconds(seconds(*delay))
                .build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
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

/// Returns a delay in SQS's unit.
fn seconds(delay: Duration) -> i32 {
    i32::try_from(delay.min(MAX_DELAY).as_millis().div_ceil(1000)).unwrap_or(0)
}
