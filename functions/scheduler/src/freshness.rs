//! How long ago the accounts were checked for changes. It is read after the fan-out, for the accounts that were sent.
//! The status page shows it by hour.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use model::{
    account::AccountKey,
    time::{self, DateTime},
};
use mongodb::error::Error;
use store::Freshness;

use crate::{Scheduler, metrics::TickMetrics};

/// How many accounts one query reads, and how many queries run at once.
const MARKS_CHUNK: usize = 1000;
const MAX_CONCURRENT_READS: usize = 4;

/// Stores the freshness of the accounts and how many of their actions were published, and sets the metrics.
///
/// # Errors
/// MongoDB cannot be reached.
pub(crate) async fn note(
    scheduler: &Scheduler,
    accounts: &[AccountKey],
    metrics: &mut TickMetrics,
) -> Result<(), Error> {
    let now = DateTime::now();
    let marks = stream::iter(accounts.chunks(MARKS_CHUNK).map(|chunk| scheduler.store.fresh_marks(chunk)));
    let mut marks = marks.buffer_unordered(MAX_CONCURRENT_READS);
    let mut ages: Vec<Duration> = Vec::new();
    while let Some(marks) = marks.try_next().await? {
        ages.extend(marks.iter().map(|mark| time::between(*mark, now)));
        metrics.oldest_freshness = ages.iter().copied().max();
    }
    metrics.accounts_never_synced = accounts.len() - ages.len();
    scheduler.store.note_health(worst(ages), now).await
}

/// Returns the oldest check of all accounts, and of 95 % of them. Returns `None` if there are no accounts.
fn worst(mut ages: Vec<Duration>) -> Option<Freshness> {
    ages.sort_unstable();
    let seconds = |age: &Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    // The age that 95 of 100 accounts do not exceed. With fewer than 20 accounts it is the oldest.
    let most = (ages.len() * 95).div_ceil(100).checked_sub(1)?;
    Some(Freshness { oldest: seconds(ages.last()?), most: seconds(ages.get(most)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_crowd_is_told_apart_from_most_of_it() {
        let ages = |seconds: std::ops::Range<u64>| seconds.map(Duration::from_secs).collect();
        assert_eq!(worst(ages(0..0)), None);
        assert_eq!(worst(ages(7..8)), Some(Freshness { oldest: 7, most: 7 }));
        assert_eq!(worst(ages(1..20)), Some(Freshness { oldest: 19, most: 19 }));
        assert_eq!(worst(ages(1..101)), Some(Freshness { oldest: 100, most: 95 }));
    }
}
