//! The dead-letter queues: lists their messages with the reasons, sends messages back to their source queues, and
//! exports them.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use anyhow::{Context, Result};
use aws_sdk_sqs::{
    Client,
    types::{
        ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
        MessageSystemAttributeName as Attribute,
    },
};
use model::account::AccountKey;
use queue::{MESSAGE_ID, Queue, REASON};
use serde::Serialize;
use serde_json::Value;
use store::Store;

use crate::layout;

/// How long a listed message is hidden from other readers, in seconds.
const HIDDEN_SECONDS: i32 = 120;

/// One dead-letter queue.
#[derive(Clone, Debug)]
pub struct DeadLetterQueue {
    /// Its name in the output.
    pub name: &'static str,
    /// Its address.
    pub url: String,
    /// The queue that its messages came from. `None` if messages cannot be sent back.
    pub source: Option<String>,
}

/// A message in a dead-letter queue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// The queue's name.
    pub queue: &'static str,
    /// SQS's `messageId`.
    pub message_id: String,
    /// Its account. `None` if the body cannot be parsed that far.
    pub account: Option<String>,
    /// When it was first sent, in milliseconds since the epoch.
    pub sent_at: Option<i64>,
    /// Why it failed.
    pub reason: String,
    /// The id under which the functions' logs name the failure, if it is not `message_id`.
    pub failed_as: Option<String>,
    /// Its body.
    pub body: String,
    #[serde(skip)]
    receipt: String,
    #[serde(skip)]
    group: String,
}

/// Which messages to send back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// All of them.
    All,
    /// Those with these message ids.
    Ids(Vec<String>),
}

impl Chosen {
    fn has(&self, letter: &Letter) -> bool {
        match self {
            Self::All => true,
            Self::Ids(ids) => ids.contains(&letter.message_id),
        }
    }
}

/// The dead-letter queues of a stack.
#[derive(Debug)]
pub struct DeadLetters {
    sqs: Client,
    store: Store,
    queues: Vec<DeadLetterQueue>,
}

impl DeadLetters {
    /// Returns the queues, with the store that has the reasons of failures.
    pub fn new(sqs: Client, store: Store, queues: Vec<DeadLetterQueue>) -> Self {
        Self { sqs, store, queues }
    }

    /// Returns the messages in the queues. They stay there.
    ///
    /// # Errors
    /// SQS or MongoDB cannot be reached.
    pub async fn list(&self) -> Result<Vec<Letter>> {
        let mut all = Vec::new();
        for queue in &self.queues {
            let mut letters = Vec::new();
            loop {
                let taken = self.take(queue).await?;
                if taken.is_empty() {
                    break;
                }
                letters.extend(taken);
            }
            self.put_back(queue, &letters).await?;
            all.extend(letters);
        }
        Ok(all)
    }

    /// Sends the chosen messages back to the queues they came from. Returns how many. A message is deleted here only
    /// after it was sent. A message that is sent twice has its effect once.
    ///
    /// # Errors
    /// SQS or MongoDB cannot be reached. Messages that were not sent back are still here.
    pub async fn send_back(&self, chosen: &Chosen) -> Result<usize> {
        let mut sent = 0;
        for queue in &self.queues {
            let Some(source) = &queue.source else { continue };
            let source = Queue::new(self.sqs.clone(), source.clone());
            let mut left = Vec::new();
            loop {
                let taken = self.take(queue).await?;
                if taken.is_empty() {
                    break;
                }
                let (meant, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(|letter| chosen.has(letter));
                left.extend(others);
                if !meant.is_empty() {
                    // A message may be as large as a whole batch.
                    for letter in &meant {
                        source.send_text(letter.body.clone(), &letter.group, std::time::Duration::ZERO).await?;
                    }
                    self.delete(queue, &meant).await?;
                    sent += meant.len();
                }
            }
            self.put_back(queue, &left).await?;
        }
        Ok(sent)
    }

    /// Writes the messages in the queues to a file that only its owner may read, one line of JSON each. Returns how
    /// many. They stay in the queues.
    ///
    /// # Errors
    /// SQS or MongoDB cannot be reached, or the file cannot be written.
    pub async fn export(&self, file: &Path) -> Result<usize> {
        let letters = self.list().await?;
        let lines: Vec<String> = letters.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        layout::write_private(file, text.as_bytes())
            .with_context(|| format!("{} cannot be written", file.display()))?;
        Ok(letters.len())
    }

    /// Deletes the messages of these accounts. Returns how many. The others stay in their queues.
    ///
    /// # Errors
    /// SQS or MongoDB cannot be reached.
    pub async fn delete_of(&self, accounts: &BTreeSet<AccountKey>) -> Result<usize> {
        let accounts: BTreeSet<String> = accounts.iter().map(AccountKey::to_string).collect();
        let is_of = |letter: &Letter| letter.account.as_ref().is_some_and(|account| accounts.contains(account));
        let mut deleted = 0;
        for queue in &self.queues {
            let mut left = Vec::new();
            loop {
                let taken = self.take(queue).await?;
                if taken.is_empty() {
                    break;
                }
                let (meant, others): (Vec<_>, Vec<_>) = taken.into_iter().partition(is_of);
                left.extend(others);
                if !meant.is_empty() {
                    self.delete(queue, &meant).await?;
                    deleted += meant.len();
                }
            }
            self.put_back(queue, &left).await?;
        }
        Ok(deleted)
    }

    async fn take(&self, queue: &DeadLetterQueue) -> Result<Vec<Letter>> {
        let received = self
            .sqs
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(10)
            .visibility_timeout(HIDDEN_SECONDS)
            // Without a wait, SQS asks only some of its servers.
            .wait_time_seconds(2)
            .message_system_attribute_names(Attribute::All)
            .message_attribute_names("All")
            .send()
            .await
            .with_context(|| format!("the {} dead-letter queue cannot be read", queue.name))?;
        let messages = received.messages.unwrap_or_default();
        let ids: Vec<String> = messages.iter().filter_map(|message| message.message_id.clone()).collect();
        let reasons = self.store.failures(&ids).await?;
        messages.into_iter().map(|message| letter(queue.name, message, &reasons)).collect()
    }

    async fn delete(&self, queue: &DeadLetterQueue, letters: &[Letter]) -> Result<()> {
        let entry = |(index, letter): (usize, &Letter)| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(&letter.receipt).build()
        };
        let entries = letters.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        self.sqs.delete_message_batch().queue_url(&queue.url).set_entries(Some(entries)).send().await?;
        Ok(())
    }

    /// Makes the messages visible to other readers at once.
    async fn put_back(&self, queue: &DeadLetterQueue, letters: &[Letter]) -> Result<()> {
        for letters in letters.chunks(10) {
            let entry = |(index, letter): (usize, &Letter)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&letter.receipt)
                    .visibility_timeout(0)
                    .build()
            };
            let entries = letters.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
            self.sqs.change_message_visibility_batch().queue_url(&queue.url).set_entries(Some(entries)).send().await?;
        }
        Ok(())
    }
}

fn letter(queue: &'static str, message: Message, reasons: &HashMap<String, String>) -> Result<Letter> {
    let attribute = |name: Attribute| message.attributes.as_ref()?.get(&name).cloned();
    let told = |name: &str| message.message_attributes.as_ref()?.get(name)?.string_value.clone();
    let message_id = message.message_id.clone().context("a message has an id")?;
    let body = message.body.clone().unwrap_or_default();
    let read: Option<Value> = serde_json::from_str(&body).ok();
    let field = |name: &str| read.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let account = field("domainId").zip(field("hubId")).map(|(domain, hub)| format!("{domain}:{hub}"));
    let unknown = || "not noted: MongoDB was away, or the function ended; its log tells".to_owned();
    Ok(Letter {
        queue,
        sent_at: attribute(Attribute::SentTimestamp).and_then(|at| at.parse().ok()),
        reason: told(REASON).or_else(|| reasons.get(&message_id).cloned()).unwrap_or_else(unknown),
        failed_as: told(MESSAGE_ID),
        group: attribute(Attribute::MessageGroupId).or_else(|| account.clone()).unwrap_or_else(|| queue.to_owned()),
        receipt: message.receipt_handle.clone().context("a message has a receipt")?,
        message_id,
        account,
        body,
    })
}
