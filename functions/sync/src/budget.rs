//! The time of one invocation. Work stops early enough that the slice can be ended properly within it.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use crate::plan::MAX_READERS;

/// What ending a slice is given: the lease back, the continuation sent, the answer to Lambda.
const SLICE_ENDING_TIME: Duration = Duration::from_millis(250);

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
        Self { work_ends: ends - SLICE_ENDING_TIME.min(total / 2), ends }
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
pub(crate) enum Concurrent {
    /// There is none.
    Nothing,
    /// It begins to be published; the other waits for that.
    Publishing,
}

/// How fast a lane is read, and what of it still fits into the budget.
#[derive(Debug)]
pub(crate) struct PaceEstimator<'a> {
    budget: &'a Budget,
    /// The longest that HubSpot took for a page so far.
    longest_page: Cell<Duration>,
    /// The longest that publishing a page took so far.
    longest_publishing: Cell<Duration>,
}

impl<'a> PaceEstimator<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        Self { budget, longest_page: Cell::default(), longest_publishing: Cell::default() }
    }

    /// Notes how long HubSpot took for a page.
    pub(crate) fn page_took(&self, took: Duration) {
        self.longest_page.set(self.longest_page.get().max(took));
    }

    /// Notes how long it took to publish a page.
    pub(crate) fn publishing_took(&self, took: Duration) {
        self.longest_publishing.set(self.longest_publishing.get().max(took));
    }

    /// Returns the moment until which another page can be asked for, and published in time, if it takes as long as the
    /// longest so far. Returns `None` if it is too late for that: what cannot be done in time is not begun, because it
    /// would be abandoned, and its requests made twice.
    pub(crate) fn latest_start(&self, concurrent: Concurrent) -> Option<Instant> {
        let (now, publishing) = (Instant::now(), self.longest_publishing.get());
        if concurrent == Concurrent::Publishing && now + 2 * publishing >= self.budget.work_ends {
            return None;
        }
        self.budget.work_ends.checked_sub(self.longest_page.get() + publishing).filter(|latest| *latest > now)
    }

    /// Returns how many windows are read side by side to make `rate` requests a second, at the pace so far: of each of them
    /// a page is asked for while the one before is published. Some more than that make up for the pause between two slices.
    pub(crate) fn readers(&self, rate: f64) -> usize {
        let longer = self.longest_page.get().max(self.longest_publishing.get());
        let readers = (longer.as_secs_f64() * rate * 1.2).ceil();
        (1..=MAX_READERS).rev().find(|count| *count as f64 <= readers).unwrap_or(1)
    }
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
        assert_eq!(pace.latest_start(Concurrent::Nothing), Some(budget.work_ends()));
        tokio::time::advance(FIVE).await;
        assert_eq!(pace.latest_start(Concurrent::Nothing), None);
    }

    #[tokio::test(start_paused = true)]
    async fn lambdas_deadline_counts_where_it_is_nearer() {
        let budget = Budget::start(FIVE, Duration::from_secs(1));
        assert!(budget.ends() <= Instant::now() + Duration::from_millis(800));
        let late = Budget::start(FIVE, Duration::ZERO);
        assert_eq!(PaceEstimator::new(&late).latest_start(Concurrent::Nothing), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_would_not_fit_is_not_asked_for() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        let pace = PaceEstimator::new(&budget);
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.page_took(Duration::from_secs(1));
        assert!(pace.latest_start(Concurrent::Nothing).is_some());
        pace.publishing_took(Duration::from_millis(1_170));
        assert!(pace.latest_start(Concurrent::Nothing).is_some());
        assert_eq!(pace.latest_start(Concurrent::Publishing), None, "each of the two takes 1.17 s");
        pace.publishing_took(Duration::from_millis(1_500));
        assert_eq!(pace.latest_start(Concurrent::Nothing), None);
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
