//! One of an account's rate limits: at most so many requests within a rolling period, as HubSpot counts them.
//!
//! It is exact where a token bucket is not (a bucket that allows 5 a second on average allows bursts of 5 beside
//! them), it makes room for other apps of the same account, and what it knows outlives a slice
//! (`docs/decisions/0005-a-rolling-window-limiter.md`).

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

use crate::time::{self, DateTime};

/// How much longer than HubSpot's own the period is: room for requests that overtake each other on the way.
const MARGIN: f64 = 1.02;

/// How much a refusal stretches the period, and how much each answer relaxes it again. Where other apps use a
/// constant part of the limit, about one request in fifty is refused.
const STRETCH: f64 = 1.1;
const RELAX: f64 = 0.998;

/// The most that the period is stretched.
const MAX_STRETCH: f64 = 20.0;

/// What a limiter knows, as the checkpoint keeps it between slices.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Remembered {
    /// When the latest requests were made.
    pub requests: Vec<DateTime>,
    /// By how much the period is stretched because HubSpot refused requests; 0 is not at all.
    pub stretch: f64,
}

/// A rate limit. Requests that wait are let through in the order in which they asked.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: usize,
    period: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The latest requests, those that still wait for their moment included; never more than the limit.
    times: VecDeque<Instant>,
    stretch: f64,
    /// HubSpot refused a request; none is made before this.
    closed_until: Instant,
}

impl Limiter {
    /// At most `limit` requests in a rolling `period`, some of which may have been made before.
    pub(super) fn new(limit: NonZeroU32, period: Duration, remembered: &Remembered) -> Self {
        let (now, now_by_clock) = (Instant::now(), DateTime::now());
        let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
        let ago = |at: &DateTime| now.checked_sub(time::since(*at, now_by_clock)).unwrap_or(now);
        let skipped = remembered.requests.len().saturating_sub(limit);
        let state = State {
            times: remembered.requests.iter().skip(skipped).map(ago).collect(),
            stretch: remembered.stretch.clamp(1.0, MAX_STRETCH),
            closed_until: now,
        };
        Self { limit, period: period.mul_f64(MARGIN), state: Mutex::new(state) }
    }

    /// Waits for the moment of the next request; `false` at once where that would be after `latest`.
    pub(super) async fn admit(&self, latest: Option<Instant>) -> bool {
        loop {
            let Some(moment) = self.reserve(latest) else { return false };
            sleep_until(moment).await;
            // What was refused meanwhile has closed the limit for all that wait.
            if self.state().closed_until <= moment {
                return true;
            }
        }
    }

    /// The moment of the next request, which is then taken.
    fn reserve(&self, latest: Option<Instant>) -> Option<Instant> {
        let mut state = self.state();
        let period = self.period.mul_f64(state.stretch);
        let mut moment = Instant::now().max(state.closed_until);
        if let Some(before) = state.times.len().checked_sub(self.limit).and_then(|index| state.times.get(index)) {
            moment = moment.max(*before + period);
        }
        if latest.is_some_and(|latest| moment > latest) {
            return None;
        }
        state.times.push_back(moment);
        while state.times.len() > self.limit {
            state.times.pop_front();
        }
        Some(moment)
    }

    /// HubSpot refused a request by this limit: other apps use it, too. None is made for as long as HubSpot asks, or
    /// else for a period. The requests that were under way together count as one refusal.
    pub(super) fn refused(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        if state.closed_until <= now {
            state.stretch = (state.stretch * STRETCH).min(MAX_STRETCH);
            state.closed_until = now + retry_after.unwrap_or(self.period);
        }
    }

    /// HubSpot took a request.
    pub(super) fn taken(&self) {
        let mut state = self.state();
        state.stretch = (state.stretch * RELAX).max(1.0);
    }

    /// HubSpot says how many requests are left in the current period. Those that others have made count as ours.
    pub(super) fn left(&self, left: usize) {
        let now = Instant::now();
        let mut state = self.state();
        let period = self.period.mul_f64(state.stretch);
        let counted = state.times.iter().filter(|time| **time + period > now).count();
        for _ in counted..self.limit.saturating_sub(left) {
            state.times.push_back(now);
        }
        while state.times.len() > self.limit {
            state.times.pop_front();
        }
    }

    /// What the next slice should know.
    pub(super) fn remember(&self) -> Remembered {
        let (now, now_by_clock) = (Instant::now(), DateTime::now());
        let state = self.state();
        let period = self.period.mul_f64(state.stretch);
        let recent = state.times.iter().filter(|time| **time <= now && **time + period > now);
        let by_clock = |time: &Instant| time::before(now_by_clock, now.duration_since(*time));
        Remembered { requests: recent.map(by_clock).collect(), stretch: state.stretch }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counts as they are.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(limit: u32, remembered: &Remembered) -> Limiter {
        Limiter::new(NonZeroU32::new(limit).unwrap(), SECOND, remembered)
    }

    #[tokio::test(start_paused = true)]
    async fn no_rolling_second_holds_more_than_the_limit() {
        let limiter = limiter(5, &Remembered::default());
        let mut times = Vec::new();
        for pause in [0, 0, 0, 700, 0, 0, 0, 0, 100, 0, 900, 0, 0, 0, 0, 0] {
            tokio::time::advance(Duration::from_millis(pause)).await;
            assert!(limiter.admit(None).await);
            times.push(Instant::now());
        }
        for (first, sixth) in times.iter().zip(&times[5..]) {
            assert!(sixth.duration_since(*first) > SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_made_up_for() {
        let limiter = limiter(5, &Remembered::default());
        let began = Instant::now();
        for _ in 0..5 {
            limiter.admit(None).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        limiter.admit(None).await;
        assert!(began.elapsed() >= SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_would_be_too_late_is_not_made() {
        let limiter = limiter(1, &Remembered::default());
        let soon = Some(Instant::now() + Duration::from_millis(500));
        assert!(limiter.admit(soon).await);
        assert!(!limiter.admit(soon).await);
        assert!(limiter.admit(Some(Instant::now() + 2 * SECOND)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_slice_goes_on_with_what_was_remembered() {
        let first = limiter(2, &Remembered::default());
        first.admit(None).await;
        first.admit(None).await;
        first.refused(None);
        let remembered = first.remember();
        assert_eq!(remembered.requests.len(), 2);
        assert!(remembered.stretch > 1.0);
        let began = Instant::now();
        let second = limiter(2, &remembered);
        second.admit(None).await;
        assert!(began.elapsed() > Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_closes_the_limit_and_slows_it_down_until_requests_are_taken_again() {
        let limiter = limiter(5, &Remembered::default());
        limiter.admit(None).await;
        limiter.refused(None);
        limiter.refused(None);
        let began = Instant::now();
        limiter.admit(None).await;
        assert!(began.elapsed() >= SECOND);
        let stretched = limiter.remember().stretch;
        assert!((stretched - STRETCH).abs() < 0.001, "{stretched}");
        for _ in 0..100 {
            limiter.taken();
        }
        assert!((limiter.remember().stretch - 1.0).abs() < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn hubspot_may_say_for_how_long() {
        let limiter = limiter(5, &Remembered::default());
        limiter.refused(Some(Duration::from_millis(300)));
        let began = Instant::now();
        limiter.admit(None).await;
        assert_eq!(began.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_other_apps_count() {
        let limiter = limiter(10, &Remembered::default());
        limiter.admit(None).await;
        limiter.left(2);
        let began = Instant::now();
        for _ in 0..2 {
            limiter.admit(None).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        limiter.admit(None).await;
        assert!(began.elapsed() >= Duration::from_millis(900));
    }
}
