//! One fan-out: reads Domains, leaves out the accounts that are not due, and sends messages for the others, several batches
//! at a time.

use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream::FuturesUnordered};
use model::{
    account::{self, Account, AccountKey, Unusable},
    ids::DomainId,
    message::{SyncMessage, SyncRequest},
    time::{self, DateTime},
};
use mongodb::bson::{Bson, Document, doc};
use queue::{MAX_BATCH_ENTRIES, QueueError};
use store::{StoreError, collection};

use crate::{FanOut, Scheduler, metrics::TickMetrics};

/// The most `SendMessageBatch` calls in flight.
const MAX_SENDS_IN_FLIGHT: usize = 20;

/// How many accounts at least one query looks up, to see which of them are due.
const LOOKED_UP_AT_ONCE: usize = 500;

/// The time reserved for the calls in flight, and for storing the position.
const FINISH_RESERVE: Duration = Duration::from_secs(5);

/// The key of the single document with the position of the last fan-out.
const POSITION_KEY: &str = "position";

/// Why a fan-out failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FanOutError {
    /// The Domains cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQS accepts no messages.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<mongodb::error::Error> for FanOutError {
    fn from(error: mongodb::error::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Sends one message for each live account that is due, starting after the last fan-out's position, until `deadline`.
/// Returns the live accounts, and the counts.
pub(crate) async fn run(
    scheduler: &Scheduler,
    tick: DateTime,
    deadline: DateTime,
    metrics: &mut TickMetrics,
) -> Result<(FanOut, Vec<AccountKey>), FanOutError> {
    let stop_at = time::before(deadline, FINISH_RESERVE);
    let positions = scheduler.store.database().collection::<Document>(collection::FAN_OUT);
    let position =
        positions.find_one(doc! { "_id": POSITION_KEY }).await?.and_then(|found| found.get("after").cloned());
    let mut fan_out = FanOut { complete: true, ..FanOut::default() };
    let mut domains = scheduler.store.domains_after(position.as_ref()).await?;
    let mut outbox = Outbox { scheduler, tick, batch: Vec::new(), in_flight: FuturesUnordered::new(), sent: 0 };
    let (mut after, mut accounts, mut live) = (None, Vec::new(), Vec::new());
    while let Some(domain) = domains.try_next().await? {
        for account in account::accounts(&domain) {
            match account {
                Ok(account) => live.push(account),
                // Its token is retried, and the mark is removed if HubSpot accepts it.
                Err(ref reason @ Unusable::Reauthorize(Some(ref marked))) if marked.retry_at <= DateTime::now() => {
                    metrics.skipped(reason);
                    outbox.add(&marked.account.key).await?;
                }
                Err(reason) => {
                    fan_out.skipped += 1;
                    metrics.skipped(&reason);
                    log_skipped(&domain, &reason);
                }
            }
        }
        if live.len() >= LOOKED_UP_AT_ONCE {
            accounts.extend(outbox.add_due(std::mem::take(&mut live), &mut fan_out).await?);
        }
        if DateTime::now() >= stop_at {
            after = domain.get("_id").cloned();
            fan_out.complete = false;
            break;
        }
    }
    accounts.extend(outbox.add_due(live, &mut fan_out).await?);
    fan_out.sent = outbox.finish().await?;
    if after != position {
        let set = doc! { "$set": { "after": after.unwrap_or(Bson::Null) } };
        positions.update_one(doc! { "_id": POSITION_KEY }, set).upsert(true).await?;
    }
    Ok((fan_out, accounts))
}

/// The messages of a fan-out, sent in batches, several of them at a time.
struct Outbox<'a> {
    scheduler: &'a Scheduler,
    tick: DateTime,
    batch: Vec<(String, String)>,
    in_flight: FuturesUnordered<BoxFuture<'a, Result<usize, QueueError>>>,
    sent: usize,
}

impl Outbox<'_> {
    /// Adds messages for those of the accounts that are due. Returns all of them.
    async fn add_due(&mut self, live: Vec<Account>, fan_out: &mut FanOut) -> Result<Vec<AccountKey>, FanOutError> {
        let digests: Vec<i64> = live.iter().map(Account::digest).collect();
        let keys: Vec<AccountKey> = live.into_iter().map(|account| account.key).collect();
        let resting = self.scheduler.store.resting(&keys, DateTime::now()).await?;
        for (key, digest) in keys.iter().zip(digests) {
            if resting.get(&key.to_string()) == Some(&digest) {
                fan_out.resting += 1;
            } else {
                self.add(key).await?;
            }
        }
        Ok(keys)
    }

    /// Adds a message for an account.
    async fn add(&mut self, account: &AccountKey) -> Result<(), QueueError> {
        self.batch.push(message(account, self.tick)?);
        if self.batch.len() == MAX_BATCH_ENTRIES {
            self.send();
        }
        if self.in_flight.len() >= MAX_SENDS_IN_FLIGHT {
            self.sent += self.in_flight.next().await.transpose()?.unwrap_or_default();
        }
        Ok(())
    }

    fn send(&mut self) {
        self.in_flight.push(send(self.scheduler, std::mem::take(&mut self.batch)).boxed());
    }

    /// Sends the rest. Returns how many messages were sent in all.
    async fn finish(mut self) -> Result<usize, QueueError> {
        self.send();
        while let Some(sent) = self.in_flight.next().await {
            self.sent += sent?;
        }
        Ok(self.sent)
    }
}

fn log_skipped(domain: &Document, reason: &Unusable) {
    // An invalid id may be anything, so it is not logged.
    let domain_id = domain.get("_id").and_then(|id| DomainId::from_bson(id).ok());
    let domain_id = domain_id.map_or_else(|| "?".to_owned(), String::from);
    if reason.is_intentional() {
        tracing::info!(account.domain_id = domain_id, reason = %reason, "an account is skipped");
    } else {
        tracing::warn!(account.domain_id = domain_id, reason = %reason, "an account is skipped");
    }
}

pub(crate) fn message(account: &AccountKey, tick: DateTime) -> Result<(String, String), QueueError> {
    let request = SyncRequest::tick(account.clone(), tick);
    Ok((account.to_string(), serde_json::to_string(&SyncMessage::V1(request))?))
}

async fn send(scheduler: &Scheduler, batch: Vec<(String, String)>) -> Result<usize, QueueError> {
    if !batch.is_empty() {
        scheduler.queue.send_batch(&batch).await?;
    }
    Ok(batch.len())
}
