//! One fan-out: reads Domains, groups their accounts into batches, and sends several batches at a time.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use model::{
    account::{self, AccountKey, Unusable},
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

/// Sends one message for each live account, starting after the last fan-out's position, until `deadline`. Returns the
/// accounts, and the counts.
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
    let mut batch = Vec::with_capacity(MAX_BATCH_ENTRIES);
    let mut in_flight = FuturesUnordered::new();
    let (mut after, mut accounts) = (None, Vec::new());
    while let Some(domain) = domains.try_next().await? {
        for account in account::accounts(&domain) {
            match account {
                Ok(account) => {
                    batch.push(message(&account.key, tick)?);
                    accounts.push(account.key);
                }
                // Its token is retried, and the mark is removed if HubSpot accepts it.
                Err(ref reason @ Unusable::Reauthorize(Some(ref marked))) if marked.retry_at <= DateTime::now() => {
                    metrics.skipped(reason);
                    batch.push(message(&marked.account.key, tick)?);
                }
                Err(reason) => {
                    fan_out.skipped += 1;
                    metrics.skipped(&reason);
                    log_skipped(&domain, &reason);
                }
            }
            if batch.len() == MAX_BATCH_ENTRIES {
                in_flight.push(send(scheduler, std::mem::take(&mut batch)));
            }
            if in_flight.len() >= MAX_SENDS_IN_FLIGHT {
                fan_out.sent += in_flight.next().await.transpose()?.unwrap_or_default();
            }
        }
        if DateTime::now() >= stop_at {
            after = domain.get("_id").cloned();
            fan_out.complete = false;
            break;
        }
    }
    in_flight.push(send(scheduler, batch));
    while let Some(sent) = in_flight.next().await {
        fan_out.sent += sent?;
    }
    if after != position {
        let set = doc! { "$set": { "after": after.unwrap_or(Bson::Null) } };
        positions.update_one(doc! { "_id": POSITION_KEY }, set).upsert(true).await?;
    }
    Ok((fan_out, accounts))
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
