//! Grants of disconnected accounts that HubSpot has not revoked yet: the sync function is asked to try again.

use model::time::DateTime;
use queue::MAX_BATCH_ENTRIES;

use crate::{
    Scheduler,
    fan_out::{FanOutError, message},
};

/// Sends one message for each account with a grant that is to be revoked now.
pub(crate) async fn request_revocations(scheduler: &Scheduler) -> Result<(), FanOutError> {
    let now = DateTime::now();
    for accounts in scheduler.store.accounts_with_revocations(now).await?.chunks(MAX_BATCH_ENTRIES) {
        let messages: Result<Vec<_>, _> = accounts.iter().map(|account| message(account, now)).collect();
        scheduler.queue.send_batch(&messages?).await?;
    }
    Ok(())
}
