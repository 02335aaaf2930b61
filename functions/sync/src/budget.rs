//! The time of one invocation. Work stops early enough that the slice can be ended properly in time.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

use crate::plan::{LISTS_PER_PAGE, MAX_LIST_READERS, MAX_READERS};

/// How long ending a slice may take: give the lease back, send the continuation, answer Lambda.
const SLICE_ENDING_TIME: Duration = Duration::from_millis(250);

/// With at most this many lanes, each has its first turn early.
const FEW_LANES: usize = 4;

/// How long the first page of a lane may take, with its publishing, if there are more lanes.
const FIRST_PAGE_RESERVE: Duration = Duration::from_millis(1200);

/// How much is left for Lambda itself before its own deadline.
const LAMBDA_MARGIN: Duration = Duration::from_millis(200);

/// A quicker page lowers the longest time by this part of the difference.
const PAGES_REMEMBERED: u32 = 10;

/// The time of one invocation.
#[derive(Debug)]
pub struct Budget {
    work_ends: Instant,
    ends: Instant,
}

impl Budget {
    /// Starts a budget of `allowed` from now, or less if Lambda's own deadline (in `remaining`) is nearer.
    pub fn start(allowed: Duration, remaining: Duration) -> Self {
        // The answer must still travel, from a machine that may be busy. A twelfth of the budget is left for that.
        let total = (allowed - allowed / 12).min(remaining.saturating_sub(LAMBDA_MARGIN));
        let ends = Instant::now() + total;
        Self { work_ends: ends - SLICE_ENDING_TIME.min(total / 2), ends }
    }

    /// Returns when unfinished work is abandoned.
    pub(crate) fn work_ends(&self) -> Instant {
        self.work_ends
    }

    /// Returns when the invocation must have ended.
    pub(crate) fn ends(&self) -> Instant {
        self.ends
    }
}

/// What runs concurrently with a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concurrent {
    /// Nothing.
    Nothing,
    /// The publishing of the previous page, which begins now. The requested page is published after it.
    Publishing,
}

/// The pace of a lane, and what still fits into the budget at that pace.
#[derive(Debug)]
pub(crate) struct PaceEstimator<'a> {
    budget: &'a Budget,
    /// How long the first page is expected to take.
    first_page: Duration,
    /// How long an answer is expected to take at least, before there is one.
    expected: Duration,
    /// The longest time that HubSpot took for a page lately.
    longest_page: Cell<Duration>,
    /// The longest time that HubSpot took for a list lately. A page is several of them.
    longest_list: Cell<Duration>,
    /// The longest time that publishing a page took lately.
    longest_publishing: Cell<Duration>,
}

impl<'a> PaceEstimator<'a> {
    pub(crate) fn new(budget: &'a Budget) -> Self {
        let [longest_page, longest_list, longest_publishing] = Default::default();
        let [first_page, expected] = [Duration::ZERO; 2];
        Self { budget, first_page, expected, longest_page, longest_list, longest_publishing }
    }

    /// Returns the pace of one of `lanes` lanes. If there are many, the last of them get their first turn late in the
    /// slice, and must leave enough time for what they ask.
    pub(crate) fn beside(self, lanes: usize) -> Self {
        Self { first_page: if lanes > FEW_LANES { FIRST_PAGE_RESERVE } else { Duration::ZERO }, ..self }
    }

    /// Returns the pace of a lane to which HubSpot took at least this long to answer in the slices before.
    pub(crate) fn expecting(self, quickest: Duration) -> Self {
        Self { expected: quickest, ..self }
    }

    /// Records how long HubSpot took for a page.
    pub(crate) fn page_took(&self, took: Duration) {
        extend(&self.longest_page, took);
    }

    /// Records how long HubSpot took for a list.
    pub(crate) fn list_took(&self, took: Duration) {
        extend(&self.longest_list, took);
    }

    /// Records how long publishing a page took.
    pub(crate) fn publishing_took(&self, took: Duration) {
        extend(&self.longest_publishing, took);
    }

    /// Returns the latest time at which a page can still be requested and published within the budget, if both take as
    /// long as the longest lately. Returns `None` if that time has passed. A later request would be abandoned, and made
    /// again by the next slice.
    pub(crate) fn latest_start(&self, concurrent: Concurrent) -> Option<Instant> {
        let longest_page = Some(self.longest_page.get()).filter(|took| !took.is_zero()).unwrap_or(self.first_page);
        self.latest(longest_page, concurrent)
    }

    /// Returns the latest time at which the reading of a history may begin. Nothing is known of its pages yet.
    pub(crate) fn latest_turn(&self) -> Option<Instant> {
        let latest =
            self.budget.work_ends.checked_sub(FIRST_PAGE_RESERVE)?.min(self.latest_start(Concurrent::Nothing)?);
        (latest > Instant::now()).then_some(latest)
    }

    /// Returns the latest time at which a list can still be requested and published, in the same way.
    pub(crate) fn latest_list(&self, concurrent: Concurrent) -> Option<Instant> {
        self.latest(self.longest_list.get(), concurrent)
    }

    fn latest(&self, longest_page: Duration, concurrent: Concurrent) -> Option<Instant> {
        let (now, publishing) = (Instant::now(), self.longest_publishing.get());
        if concurrent == Concurrent::Publishing && now + 2 * publishing >= self.budget.work_ends {
            return None;
        }
        self.budget.work_ends.checked_sub(longest_page + publishing).filter(|latest| *latest > now)
    }

    /// Returns how many windows to read concurrently, to make `rate` requests per second at the pace so far. A window's
    /// next page is requested while the previous one is published. The result is a little higher than that, to make up
    /// for the pause between two slices.
    pub(crate) fn readers(&self, rate: f64) -> usize {
        self.readers_for(self.longest_page.get().max(self.expected), rate, MAX_READERS)
    }

    /// Returns how many windows to read concurrently by lists, to read `rate` pages per second. A page of a list takes
    /// several requests, one after the other, each of which is assumed to take as long as a search at first.
    pub(crate) fn list_readers(&self, rate: f64) -> usize {
        let list = Some(self.longest_list.get()).filter(|took| !took.is_zero()).unwrap_or(self.longest_page.get());
        self.readers_for(list.max(self.expected) * LISTS_PER_PAGE, rate, MAX_LIST_READERS)
    }

    fn readers_for(&self, page: Duration, rate: f64, most: usize) -> usize {
        let readers = (page.max(self.longest_publishing.get()).as_secs_f64() * rate * 1.2).ceil();
        (1..=most).rev().find(|count| *count as f64 <= readers).unwrap_or(1)
    }
}

/// Records a time. If it is longer than the longest one lately, it counts at once. If not, it lowers that by a part of the
/// difference: a single long time must not end all slices early.
fn extend(longest: &Cell<Duration>, took: Duration) {
    let before = longest.get();
    longest.set(took.max(before - before.saturating_sub(took) / PAGES_REMEMBERED));
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
    async fn a_late_first_turn_leaves_time_for_its_page() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        let pace = PaceEstimator::new(&budget).beside(20);
        assert_eq!(pace.latest_start(Concurrent::Nothing), Some(budget.work_ends() - FIRST_PAGE_RESERVE));
        pace.page_took(Duration::from_millis(100));
        assert_eq!(pace.latest_start(Concurrent::Nothing), Some(budget.work_ends() - Duration::from_millis(100)));
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
    async fn a_slow_page_is_forgotten_after_quicker_ones() {
        let budget = Budget::start(FIVE, Duration::from_secs(60));
        let pace = PaceEstimator::new(&budget);
        let latest = || budget.work_ends() - pace.latest_start(Concurrent::Nothing).unwrap();
        pace.page_took(Duration::from_secs(2));
        assert_eq!(latest(), Duration::from_secs(2));
        pace.page_took(Duration::from_secs(1));
        assert!(latest() > Duration::from_millis(1_800));
        (0..40).for_each(|_| pace.page_took(Duration::from_millis(100)));
        assert!(latest() < Duration::from_millis(150));
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
        let pace = PaceEstimator::new(&budget).expecting(Duration::from_millis(300));
        assert_eq!((pace.readers(5.0), pace.list_readers(5.5)), (2, 4), "as in the slices before");
        pace.list_took(Duration::from_millis(100));
        pace.page_took(Duration::from_millis(400));
        assert_eq!((pace.readers(5.0), pace.list_readers(5.5)), (3, 4));
    }
}
