//! The time of one invocation. Work stops early enough that the slice can be ended properly within it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::plan::READERS;

/// What ending a slice is given: the lease back, the continuation sent, the answer to Lambda.
const ENDING: Duration = Duration::from_millis(250);

/// What is left for Lambda itself before its own deadline.
const LAMBDA_MARGIN: Duration = Duration::from_millis(200);

/// The time of one invocation.
#[derive(Debug)]
pub struct Budget {
    work_ends: Instant,
    ends: Instant,
}

impl Budget {
    /// Starts now, for `allowed`, or less if Lambda's own deadline (`remaining`) is nearer.
    pub fn start(allowed: Duration, remaining: Duration) -> Self {
        // The answer still has to travel, from a machine that may be busy; a twelfth of the budget is left for that.
        let total = (allowed - allowed / 12).min(remaining.saturating_sub(LAMBDA_MARGIN));
        let ends = Instant::now() + total;
        Self { work_ends: ends - ENDING.min(total / 2), ends }
    }

    /// When work that is not done is abandoned.
    pub(crate) fn work_ends(&self) -> Instant {
        self.work_ends
    }

    /// When the invocation must have ended.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }
}

/// What is done with the page before while another is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meanwhile {
    /// There is none.
    Nothing,
    /// It begins to be handed on; the other waits for that.
    HandingOn,
}

/// How fast a lane is read, and what of it still fits into the budget.
#[derive(Debug)]
pub(crate) struct PaceEstimator<'a> {
    budget: &'a Budget,
    /// The longest that HubSpot took for a page so far, in milliseconds.
    longest_page: AtomicU64,
    /// The longest that handing on a page took so far, in milliseconds.
    longest_handing_on: AtomicU64,
}

impl<'a> PaceEstimator<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        Self { budget, longest_page: AtomicU64::new(0), longest_handing_on: AtomicU64::new(0) }
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
    /// longest so far; `None` if it is too late for that. What cannot is not begun: it would be abandoned, and
    /// its requests made twice.
    pub(crate) fn latest_start(&self, meanwhile: Meanwhile) -> Option<Instant> {
        let (now, handing_on) = (Instant::now(), read(&self.longest_handing_on));
        if meanwhile == Meanwhile::HandingOn && now + 2 * handing_on >= self.budget.work_ends {
            return None;
        }
        self.budget.work_ends.checked_sub(read(&self.longest_page) + handing_on).filter(|latest| *latest > now)
    }

    /// How many readers it takes to make `rate` requests a second, at the pace so far: each of them asks for a
    /// page while it hands on the one before. Some more than that make up for the pause between two slices.
    pub(crate) fn readers(&self, rate: f64) -> usize {
        let longer = read(&self.longest_page).max(read(&self.longest_handing_on));
        let readers = (longer.as_secs_f64() * rate * 1.2).ceil();
        (1..=READERS).rev().find(|count| *count as f64 <= readers).unwrap_or(1)
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
        let pace = PaceEstimator::new(&budget);
        assert_eq!(pace.latest_start(Meanwhile::Nothing), Some(budget.work_ends()));
        tokio::time::advance(FIVE).await;
        assert_eq!(pace.latest_start(Meanwhile::Nothing), None);
    }

    #[tokio::test(start_paused = true)]
    async fn lambdas_deadline_counts_where_it_is_nearer() {
        let budget = Budget::start(FIVE, Duration::from_secs(1));
        assert!(budget.ends() <= Instant::now() + Duration::from_millis(800));
        let late = Budget::start(FIVE, Duration::ZERO);
        assert_eq!(PaceEstimator::new(&late).latest_start(Meanwhile::Nothing), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_would_not_fit_is_not_asked_for() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        let pace = PaceEstimator::new(&budget);
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.page_took(Duration::from_secs(1));
        assert!(pace.latest_start(Meanwhile::Nothing).is_some());
        pace.handing_on_took(Duration::from_millis(1_170));
        assert!(pace.latest_start(Meanwhile::Nothing).is_some());
        assert_eq!(pace.latest_start(Meanwhile::HandingOn), None, "each of the two takes 1.17 s");
        pace.handing_on_took(Duration::from_millis(1_500));
        assert_eq!(pace.latest_start(Meanwhile::Nothing), None);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_answers_take_more_readers() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        let pace = PaceEstimator::new(&budget);
        assert_eq!(pace.readers(5.0), 1);
        for (millis, readers) in [(50, 1), (150, 1), (200, 2), (300, 2), (360, 3), (3_000, 4)] {
            pace.page_took(Duration::from_millis(millis));
            assert_eq!(pace.readers(5.0), readers, "{millis} ms");
        }
    }
}
