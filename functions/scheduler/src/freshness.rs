//! How far behind the accounts are: asked after the fan-out, of the accounts that were sent.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use model::{
    account::AccountKey,
    time::{self, DateTime},
};
use mongodb::error::Error;

use crate::{Scheduler, metrics::TickMetrics};

/// How many accounts are asked for at once, and how many such questions are under way.
const CHUNK: usize = 1000;
const UNDER_WAY: usize = 4;

/// Notes how far the accounts are behind.
///
/// # Errors
/// MongoDB cannot be reached.
pub(crate) async fn note(
    scheduler: &Scheduler,
    accounts: &[AccountKey],
    metrics: &mut TickMetrics,
) -> Result<(), Error> {
    let now = DateTime::now();
    let marks = stream::iter(accounts.chunks(CHUNK).map(|chunk| scheduler.store.fresh_marks(chunk)));
    let mut marks = marks.buffer_unordered(UNDER_WAY);
    let mut synced = 0;
    while let Some(marks) = marks.try_next().await? {
        synced += marks.len();
        let oldest: Option<Duration> = marks.iter().map(|mark| time::since(*mark, now)).max();
        metrics.oldest_freshness = metrics.oldest_freshness.max(oldest);
    }
    metrics.accounts_never_synced = accounts.len() - synced;
    Ok(())
}
