//! The time of one invocation. Work stops early enough that the slice can be ended properly within it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::plan::READERS;

/// What ending a slice is given: the lease back, the continuation sent, the answer to Lambda.
const ENDING: Duration = Duration::from_millis(400);

/// What is left for Lambda itself before its own deadline.
const LAMBDA_MARGIN: Duration = Duration::from_millis(200);

/// The time of one invocation.
#[derive(Debug)]
pub struct Budget {
    work_ends: Instant,
    ends: Instant,
    /// The longest that HubSpot took for a page so far, in milliseconds.
    longest_page: AtomicU64,
    /// The longest that handing on a page took so far, in milliseconds.
    longest_handing_on: AtomicU64,
}

impl Budget {
    /// Starts now, for `allowed`, or less where Lambda's own deadline (`remaining`) is nearer.
    pub fn start(allowed: Duration, remaining: Duration) -> Self {
        // The answer still has to travel; a twentieth of the budget is left for that.
        let total = (allowed - allowed / 20).min(remaining.saturating_sub(LAMBDA_MARGIN));
        let ends = Instant::now() + total;
        Self {
            work_ends: ends - ENDING.min(total / 2),
            ends,
            longest_page: AtomicU64::new(0),
            longest_handing_on: AtomicU64::new(0),
        }
    }

    /// When work that is not done is abandoned.
    pub(crate) fn work_ends(&self) -> Instant {
        self.work_ends
    }

    /// When the invocation must have ended.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }

    /// Notes how long HubSpot took for a page.
    pub(crate) fn page_took(&self, took: Duration) {
        note(&self.longest_page, took);
    }

    /// Notes how long it took to hand a page on.
    pub(crate) fn handing_on_took(&self, took: Duration) {
        note(&self.longest_handing_on, took);
    }

    /// The moment until which another page can be asked for, and handed on in time, if it takes as long as the
    /// longest so far. What cannot is not begun: it would be abandoned, and its requests made twice.
    pub(crate) fn latest_start(&self) -> Instant {
        self.work_ends - self.page_and_handing_on().min(self.work_ends.duration_since(Instant::now()))
    }

    /// Whether another page can still be read in time.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() + self.page_and_handing_on() < self.work_ends
    }

    /// How many readers it takes to make `rate` requests a second, at the pace so far: each of them asks for a
    /// page while it hands on the one before. Some more than that make up for the pause between two slices.
    pub(crate) fn readers(&self, rate: f64) -> usize {
        let longer = read(&self.longest_page).max(read(&self.longest_handing_on));
        let readers = (longer.as_secs_f64() * rate * 1.3).ceil();
        (1..=READERS).rev().find(|count| *count as f64 <= readers).unwrap_or(1)
    }

    fn page_and_handing_on(&self) -> Duration {
        read(&self.longest_page) + read(&self.longest_handing_on)
    }
}

fn note(longest: &AtomicU64, took: Duration) {
    longest.fetch_max(u64::try_from(took.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

fn read(longest: &AtomicU64) -> Duration {
    Duration::from_millis(longest.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn work_ends_before_the_budget_does() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        assert!(budget.work_ends() < budget.ends());
        assert!(budget.ends() < Instant::now() + FIVE);
        assert!(budget.has_time());
        tokio::time::advance(FIVE).await;
        assert!(!budget.has_time());
    }

    #[tokio::test(start_paused = true)]
    async fn lambdas_deadline_counts_where_it_is_nearer() {
        let budget = Budget::start(FIVE, Duration::from_secs(1));
        assert!(budget.ends() <= Instant::now() + Duration::from_millis(800));
        let late = Budget::start(FIVE, Duration::ZERO);
        assert!(!late.has_time());
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_would_not_fit_is_not_begun() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(2)).await;
        budget.page_took(Duration::from_secs(1));
        assert!(budget.has_time());
        assert!(budget.latest_start() > Instant::now());
        budget.handing_on_took(Duration::from_millis(1_500));
        assert!(!budget.has_time());
        assert!(budget.latest_start() <= Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answers_take_more_readers() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        assert_eq!(budget.readers(5.0), 1);
        for (millis, readers) in [(50, 1), (150, 1), (200, 2), (300, 2), (360, 3), (3_000, 4)] {
            budget.page_took(Duration::from_millis(millis));
            assert_eq!(budget.readers(5.0), readers, "{millis} ms");
        }
    }
}
