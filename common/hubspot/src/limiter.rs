//! One of an account's rate limits: a maximum number of requests within a rolling period, as HubSpot counts them.
//!
//! The limiter is exact, unlike a token bucket: a bucket that allows 5 requests a second on average also allows bursts
//! of 5. It leaves room for other apps of the same account, and its state outlives a slice
//! (`docs/decisions/0005-a-rolling-window-limiter.md`).

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use model::{
    checkpoint::{LimiterSnapshot, MAX_SHARE},
    time::{self, DateTime},
};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::retry_after::Reason;

/// The length of our period as a multiple of HubSpot's, because requests overtake each other on the way.
const PERIOD_STRETCH: f64 = 1.02;

/// Multiplicative decrease of our share after a refusal, additive increase after a success (AIMD). If other apps use a
/// constant part of the limit, about one request in fifty is refused.
const SHARE_FACTOR_ON_REFUSAL: f64 = 1.0 / MAX_SHARE;
const SHARE_GAIN_ON_SUCCESS: f64 = 0.004;

/// The smallest share of the limit. If it allows less than one request per period, requests are several periods apart.
const MIN_SHARE: f64 = 0.01;

/// A rate limit. Waiting requests are admitted in the order in which they asked.
#[derive(Debug)]
pub(super) struct Limiter {
    period: Duration,
    /// Held by the next request to be made, for as long as it waits.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// True if HubSpot named the limit.
    is_named: bool,
    /// The times of the latest requests, oldest first, never more than the limit.
    times: VecDeque<Instant>,
    share: f64,
    /// No request is made before this time, because HubSpot refused one.
    closed_until: Instant,
}

impl Limiter {
    /// Creates a limiter of at most `limit` requests in a rolling `period`, or as many as HubSpot named before. Requests in
    /// the `snapshot` of an earlier slice count.
    pub(super) fn new(limit: NonZeroU32, period: Duration, snapshot: &LimiterSnapshot) -> Self {
        let (now, now_by_clock) = (Instant::now(), DateTime::now());
        let named = snapshot.limit.and_then(NonZeroU32::new);
        let limit = usize::try_from(named.unwrap_or(limit).get()).unwrap_or(usize::MAX);
        let ago = |at: &DateTime| now.checked_sub(time::between(*at, now_by_clock)).unwrap_or(now);
        let skipped = snapshot.requests.len().saturating_sub(limit);
        let state = State {
            limit,
            is_named: named.is_some(),
            times: snapshot.requests.iter().skip(skipped).map(ago).collect(),
            share: snapshot.share.clamp(MIN_SHARE, MAX_SHARE),
            closed_until: now,
        };
        Self { period: period.mul_f64(PERIOD_STRETCH), queue: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    /// Waits for a permit, which counts as a request from then on. Returns `false` immediately if none is available
    /// before `latest`. A cancelled wait consumes no permit.
    pub(super) async fn admit(&self, latest: Option<Instant>) -> bool {
        let turn = self.queue.lock();
        let _turn = match latest {
            None => turn.await,
            Some(latest) => match timeout_at(latest, turn).await {
                Ok(turn) => turn,
                Err(_) => return false,
            },
        };
        loop {
            let moment = self.next().max(Instant::now());
            if latest.is_some_and(|latest| moment > latest) {
                return false;
            }
            sleep_until(moment).await;
            // A refusal in the meantime has moved the time.
            if self.next() <= Instant::now() {
                break;
            }
        }
        self.state().note(Instant::now());
        true
    }

    /// Returns the earliest time of the next request.
    fn next(&self) -> Instant {
        let state = self.state();
        let ours = state.share.min(1.0) * state.limit as f64;
        // If less than one request per period is allowed, each takes several periods.
        let (count, period) = if ours >= 1.0 { (ours as usize, self.period) } else { (1, self.period.div_f64(ours)) };
        let before = state.times.len().checked_sub(count).and_then(|index| state.times.get(index));
        before.map_or(state.closed_until, |before| state.closed_until.max(*before + period))
    }

    /// Returns the clock time at which the next request is allowed.
    pub(super) fn next_at(&self) -> DateTime {
        time::after(DateTime::now(), self.next().saturating_duration_since(Instant::now()))
    }

    /// Records that HubSpot refused a request by this limit, which other apps use, too. No request is made for as long
    /// as HubSpot asks (cut to a plausible length), or for one period. Requests that were under way together count as
    /// one refusal.
    pub(super) fn record_refusal(&self, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        if state.closed_until <= now {
            state.share = (state.share * SHARE_FACTOR_ON_REFUSAL).max(MIN_SHARE);
            state.closed_until = now + retry_after.map_or(self.period, |asked| asked.min(Reason::RateLimit.longest()));
        }
    }

    /// Records that HubSpot accepted a request.
    pub(super) fn record_success(&self) {
        let mut state = self.state();
        state.share = (state.share + SHARE_GAIN_ON_SUCCESS).min(MAX_SHARE);
    }

    /// Adopts HubSpot's count of the requests that are left in the current period, and its limit if it names one.
    /// Requests of other apps count as ours.
    pub(super) fn adopt(&self, left: usize, limit: Option<NonZeroU32>) {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(limit) = limit.and_then(|limit| usize::try_from(limit.get()).ok()) {
            (state.limit, state.is_named) = (limit, true);
        }
        let counted = state.times.iter().filter(|time| **time + self.period > now).count();
        for _ in counted..state.limit.saturating_sub(left) {
            state.note(now);
        }
    }

    /// Returns the state for the next slice.
    pub(super) fn snapshot(&self) -> LimiterSnapshot {
        let (now, now_by_clock) = (Instant::now(), DateTime::now());
        let state = self.state();
        let longest = self.period.div_f64((state.share * state.limit as f64).min(1.0));
        let recent = state.times.iter().filter(|time| **time + longest > now);
        let by_clock = |time: &Instant| time::before(now_by_clock, now.duration_since(*time));
        let limit = Some(state.limit).filter(|_| state.is_named).and_then(|limit| u32::try_from(limit).ok());
        LimiterSnapshot { requests: recent.map(by_clock).collect(), share: state.share, limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counts consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, time: Instant) {
        self.times.push_back(time);
        while self.times.len() > self.limit {
            self.times.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(limit: u32, snapshot: &LimiterSnapshot) -> Limiter {
        Limiter::new(NonZeroU32::new(limit).unwrap(), SECOND, snapshot)
    }

    #[tokio::test(start_paused = true)]
    async fn no_rolling_second_holds_more_than_the_limit() {
        let limiter = limiter(5, &LimiterSnapshot::default());
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
        let limiter = limiter(5, &LimiterSnapshot::default());
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
        let limiter = limiter(1, &LimiterSnapshot::default());
        let soon = Some(Instant::now() + Duration::from_millis(500));
        assert!(limiter.admit(soon).await);
        assert!(!limiter.admit(soon).await);
        assert!(limiter.admit(Some(Instant::now() + 2 * SECOND)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_slice_goes_on_with_what_was_remembered() {
        let first = limiter(2, &LimiterSnapshot::default());
        first.admit(None).await;
        first.admit(None).await;
        first.record_refusal(None);
        first.state().closed_until = Instant::now();
        first.record_refusal(None);
        let snapshot = first.snapshot();
        assert_eq!(snapshot.requests.len(), 2);
        assert!(snapshot.share < 1.0);
        let began = Instant::now();
        let second = limiter(2, &snapshot);
        second.admit(None).await;
        assert!(began.elapsed() > Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_closes_the_limit_and_leaves_less_of_it_until_requests_are_taken_again() {
        let limiter = limiter(5, &LimiterSnapshot::default());
        limiter.admit(None).await;
        limiter.record_refusal(None);
        limiter.record_refusal(None);
        let ten_requests = async || {
            let began = Instant::now();
            for _ in 0..10 {
                limiter.admit(None).await;
            }
            began.elapsed()
        };
        // The first refusal costs one period and no share.
        assert_eq!(ten_requests().await, limiter.period * 2);
        limiter.record_refusal(None);
        // Later, each period admits four of five requests.
        assert_eq!(ten_requests().await, limiter.period * 3);
        assert!((limiter.snapshot().share - SHARE_FACTOR_ON_REFUSAL).abs() < 0.001);
        for _ in 0..200 {
            limiter.record_success();
        }
        assert!((limiter.snapshot().share - MAX_SHARE).abs() < 0.001);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_again_and_again_it_makes_a_request_every_few_periods() {
        let limiter = limiter(2, &LimiterSnapshot::default());
        for _ in 0..10 {
            limiter.admit(None).await;
            limiter.record_refusal(None);
        }
        limiter.admit(None).await;
        let began = Instant::now();
        limiter.admit(None).await;
        let waited = began.elapsed();
        assert!(waited > 2 * SECOND && waited < 10 * SECOND, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_while_it_waits_is_forgotten() {
        let limiter = limiter(2, &LimiterSnapshot::default());
        limiter.admit(None).await;
        limiter.admit(None).await;
        for _ in 0..3 {
            assert!(tokio::time::timeout(SECOND / 10, limiter.admit(None)).await.is_err());
        }
        assert_eq!(limiter.snapshot().requests.len(), 2, "the two that were made still count");
    }

    #[tokio::test(start_paused = true)]
    async fn hubspot_may_say_for_how_long() {
        let limiter = limiter(5, &LimiterSnapshot::default());
        limiter.record_refusal(Some(Duration::from_millis(300)));
        let began = Instant::now();
        limiter.admit(None).await;
        assert_eq!(began.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn hubspot_may_not_say_for_years() {
        let limiter = limiter(5, &LimiterSnapshot::default());
        limiter.record_refusal(Some(Duration::MAX));
        let began = Instant::now();
        limiter.admit(None).await;
        assert_eq!(began.elapsed(), Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_hubspot_names_is_adopted_and_remembered() {
        for named in [4, 25] {
            let limiter = limiter(10, &LimiterSnapshot::default());
            limiter.admit(None).await;
            limiter.adopt(named - 1, NonZeroU32::new(u32::try_from(named).unwrap()));
            let began = Instant::now();
            for _ in 1..named {
                limiter.admit(None).await;
            }
            assert_eq!(began.elapsed(), Duration::ZERO, "{named} requests are allowed");
            limiter.admit(None).await;
            assert!(began.elapsed() >= Duration::from_millis(900), "{named} requests are allowed");
            let next = Limiter::new(NonZeroU32::MIN, SECOND, &limiter.snapshot());
            assert_eq!(next.state().limit, named);
        }
        assert_eq!(limiter(10, &LimiterSnapshot::default()).snapshot().limit, None);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_other_apps_count() {
        let limiter = limiter(10, &LimiterSnapshot::default());
        limiter.admit(None).await;
        limiter.adopt(2, None);
        let began = Instant::now();
        for _ in 0..2 {
            limiter.admit(None).await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        limiter.admit(None).await;
        assert!(began.elapsed() >= Duration::from_millis(900));
    }
}
