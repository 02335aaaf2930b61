//! The time of one invocation. Work stops early enough that the slice can be ended properly within it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// What ending a slice is given: the lease back, the continuation sent, the answer to Lambda.
const ENDING: Duration = Duration::from_millis(500);

/// What is left for Lambda itself before its own deadline.
const LAMBDA_MARGIN: Duration = Duration::from_millis(200);

/// The time of one invocation.
#[derive(Debug)]
pub struct Budget {
    work_ends: Instant,
    ends: Instant,
    /// The longest step so far, in milliseconds.
    longest_step: AtomicU64,
}

impl Budget {
    /// Starts now, for `allowed`, or less where Lambda's own deadline (`remaining`) is nearer.
    pub fn start(allowed: Duration, remaining: Duration) -> Self {
        // The answer still has to travel; a twentieth of the budget is left for that.
        let total = (allowed - allowed / 20).min(remaining.saturating_sub(LAMBDA_MARGIN));
        let ends = Instant::now() + total;
        Self { work_ends: ends - ENDING.min(total / 2), ends, longest_step: AtomicU64::new(0) }
    }

    /// When work that is not done is abandoned.
    pub(crate) fn work_ends(&self) -> Instant {
        self.work_ends
    }

    /// When the invocation must have ended.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }

    /// Notes how long a step took, from `since` on.
    pub(crate) fn step_took(&self, since: Instant) {
        let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.longest_step.fetch_max(millis, Ordering::Relaxed);
    }

    /// Whether another step like the longest one so far can still end in time. What cannot is not begun: it
    /// would be abandoned, and its requests made twice.
    pub(crate) fn has_time(&self) -> bool {
        let step = Duration::from_millis(self.longest_step.load(Ordering::Relaxed));
        Instant::now() + step < self.work_ends
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
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        budget.step_took(began);
        assert!(!budget.has_time());
    }
}
