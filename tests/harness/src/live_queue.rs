//! A real queue with a simulated clock.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::{
    Client,
    types::{Message, MessageSystemAttributeName},
};
use serde_json::{Value, json};

use crate::{
    bootstrap::{Bootstrap, Invoked},
    queues::Rules,
};

/// A real queue with a worker. SQS itself counts deliveries, and moves messages to the dead-letter queue. Only the time
/// for which messages are hidden is simulated.
#[derive(Debug)]
pub struct LiveQueue {
    sqs: Client,
    url: String,
    rules: Rules,
    /// The hidden messages: the receipts of the last deliveries, and when they become visible.
    hidden: HashMap<String, Duration>,
    /// The time passed so far.
    pub now: Duration,
}

impl LiveQueue {
    /// Returns the queue at `url`, which was created by the template's rules for the queue `of`.
    ///
    /// # Errors
    /// The template has no such queue.
    pub fn new(sqs: &Client, url: &str, of: &str) -> Result<Self> {
        let rules = Rules::from_template(of)?;
        Ok(Self { sqs: sqs.clone(), url: url.to_owned(), rules, hidden: HashMap::new(), now: Duration::ZERO })
    }

    /// Delivers up to ten visible messages, as Lambda does. Messages that the worker has processed are deleted, the
    /// others are hidden for as long as it asked. Returns `None` if no message is visible.
    ///
    /// # Errors
    /// SQS or the worker does not respond.
    pub async fn deliver(&mut self, worker: &mut Bootstrap) -> Result<Option<Invoked>> {
        let receive = self.sqs.receive_message().queue_url(&self.url).max_number_of_messages(10);
        let received = receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await?;
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok(None);
        }
        let before = worker.gate.effects().len();
        let records = messages.iter().map(record).collect::<Result<Vec<_>>>()?;
        let (invoked, _) = worker.invoke(&json!({ "Records": records })).await?;
        let effects = worker.gate.effects();
        let asked = effects[before..].iter().find_map(|effect| {
            effect.strip_prefix("sqs ChangeMessageVisibilityBatch actions ")?.parse().ok().map(Duration::from_secs)
        });
        let until = self.now + asked.unwrap_or(self.rules.visibility);
        let (whole, failed) = (!matches!(invoked, Invoked::Answered(_)), invoked.failures());
        for message in messages {
            let receipt = message.receipt_handle.context("a message has a receipt")?;
            if whole || message.message_id.is_some_and(|id| failed.contains(&id)) {
                self.hidden.insert(receipt, until);
            } else {
                self.sqs.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await?;
            }
        }
        Ok(Some(invoked))
    }

    /// Advances the clock until a hidden message is visible again. Returns the time passed. Returns `None` if no
    /// message is hidden.
    ///
    /// # Errors
    /// SQS does not respond.
    pub async fn time_passes(&mut self) -> Result<Option<Duration>> {
        let Some(next) = self.hidden.values().min().copied() else { return Ok(None) };
        ensure!(next < self.rules.retention, "SQS keeps no message for that long");
        let passed = next.saturating_sub(self.now);
        self.now = self.now.max(next);
        let due: Vec<String> =
            self.hidden.iter().filter(|(_, until)| **until <= self.now).map(|(receipt, _)| receipt.clone()).collect();
        for receipt in due {
            let visible = self.sqs.change_message_visibility().queue_url(&self.url).visibility_timeout(0);
            visible.receipt_handle(&receipt).send().await?;
            self.hidden.remove(&receipt);
        }
        Ok(Some(passed))
    }

    /// Returns how many messages are hidden.
    pub fn hidden(&self) -> usize {
        self.hidden.len()
    }
}

/// Returns a message in the form of Lambda's event.
fn record(message: &Message) -> Result<Value> {
    let attributes = message.attributes.iter().flatten().map(|(name, value)| (name.as_str().to_owned(), value.clone()));
    Ok(json!({
        "messageId": message.message_id.as_ref().context("a message has an id")?,
        "receiptHandle": message.receipt_handle.as_ref().context("a message has a receipt")?,
        "body": message.body.as_ref().context("a message has a body")?,
        "attributes": attributes.collect::<HashMap<String, String>>(),
    }))
}
