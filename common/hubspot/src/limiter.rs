//! One of an account's rate limits: a maximum number of requests within a rolling period, as HubSpot counts them.
//!
//! The limiter is exact, unlike a token bucket: a bucket that allows 5 requests a second on average also allows bursts
//! of 5. It leaves room for other apps of the same account, and its state outlives a slice
//! (`docs/decisions/0005-a-rolling-window-limiter.md`).
//!
//! HubSpot counts a request when it arrives. If requests are held up on their way, the limiter takes a part of each
//! answer's delay for time before the arrival (`docs/decisions/0023-hubspot-counts-arrivals.md`).

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
use tokio::{
    select,
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::retry_after::Reason;

/// The length of our period as a multiple of HubSpot's, because clocks and timers are not exact.
const PERIOD_STRETCH: f64 = 1.01;

/// Multiplicative decrease of our share after a refusal, additive increase after a success (AIMD). If other apps use a
/// constant part of the limit, about one request in forty is refused.
const SHARE_FACTOR_ON_REFUSAL: f64 = 1.0 / MAX_SHARE;
const SHARE_GAIN_ON_SUCCESS: f64 = 0.004;

/// The smallest share of the limit. If it allows less than one request per period, requests are several periods apart.
const MIN_SHARE: f64 = 0.01;

/// The part of our share that a first load takes of a limit while other apps use it.
const SHARE_BESIDE_OTHERS: f64 = 0.8;

/// How much caution an accepted request costs. A refusal restores all of it.
const CAUTION_LOSS_ON_SUCCESS: f64 = 0.001;

/// With at least this much caution, a refusal is not explained by requests that were held up: other apps use the limit.
const FULL_CAUTION: f64 = 0.95;

/// The longest time for which a request is assumed to be held up before HubSpot counts it.
const LONGEST_HOLD_UP: Duration = Duration::from_secs(1);

/// The weight of the latest answer in the usual delay of answers.
const DELAY_WEIGHT: f64 = 0.1;

/// A rate limit. Waiting requests are admitted in the order in which they asked.
#[derive(Debug)]
pub(super) struct Limiter {
    period: Duration,
    /// Held by the next request to be made, for as long as it waits.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    /// Notified when an answer may allow a request earlier.
    answered: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// True if HubSpot named the limit.
    is_named: bool,
    /// The latest requests, in the order in which they were made.
    requests: VecDeque<Request>,
    /// The number of the next request.
    next: u64,
    share: f64,
    /// The part of an answer's delay that is taken for time before HubSpot counted the request, 0 to 1. The rest is time
    /// that HubSpot takes to answer, and the way back.
    caution: f64,
    /// How long the quickest answer took.
    quickest: Option<Duration>,
    /// By how much answers are usually slower than the quickest.
    usual_delay: Duration,
    /// True once HubSpot has accepted a request since this state was made.
    has_accepted: bool,
    /// When HubSpot last refused a request.
    refused_at: Option<Instant>,
    /// No request is made before this time, because HubSpot refused one.
    closed_until: Instant,
}

/// A request that counts towards the limit.
#[derive(Clone, Copy, Debug)]
struct Request {
    number: u64,
    made_at: Instant,
    /// By how much its answer was slower than the quickest. `None` until it is answered.
    delay: Option<Duration>,
}

/// A permit for one request.
#[derive(Debug)]
#[must_use = "an answer is recorded with it"]
pub(super) struct Permit {
    number: u64,
    made_at: Instant,
}

impl Limiter {
    /// Creates a limiter of at most `limit` requests in a rolling `period`, or as many as HubSpot named before. Requests in
    /// the `snapshot` of an earlier slice count.
    pub(super) fn new(limit: NonZeroU32, period: Duration, snapshot: &LimiterSnapshot) -> Self {
        let (now, now_by_clock) = (Instant::now(), DateTime::now());
        let named = snapshot.limit.and_then(NonZeroU32::new);
        let limit = usize::try_from(named.unwrap_or(limit).get()).unwrap_or(usize::MAX);
        let longest = Reason::RateLimit.longest();
        let ago = |at: &DateTime| now.checked_sub(time::between(*at, now_by_clock)).unwrap_or(now);
        let mut state = State {
            limit,
            is_named: named.is_some(),
            requests: VecDeque::new(),
            next: 0,
            share: snapshot.share.clamp(MIN_SHARE, MAX_SHARE),
            caution: snapshot.caution.clamp(0.0, 1.0),
            quickest: snapshot.quickest_ms.map(|millis| Duration::from_millis(millis.into())),
            usual_delay: Duration::ZERO,
            has_accepted: false,
            refused_at: None,
            closed_until: snapshot
                .closed_until
                .map_or(now, |until| now + time::between(now_by_clock, until).min(longest)),
        };
        let skipped = snapshot.requests.len().saturating_sub(limit);
        snapshot.requests.iter().skip(skipped).for_each(|at| state.note(ago(at), Some(Duration::ZERO)));
        Self {
            period: period.mul_f64(PERIOD_STRETCH),
            queue: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
            answered: Notify::new(),
        }
    }

    /// Waits for a permit, which counts as a request from then on. Returns `None` if there is none before `latest`, by what
    /// is known at that time. A cancelled wait consumes no permit.
    pub(super) async fn admit(&self, latest: Option<Instant>) -> Option<Permit> {
        self.admit_within(1.0, latest).await
    }

    /// Does the same, but leaves a fifth of the limit to other apps as long as HubSpot's refusals show that they use it.
    pub(super) async fn admit_leaving_room(&self, latest: Option<Instant>) -> Option<Permit> {
        self.admit_within(SHARE_BESIDE_OTHERS, latest).await
    }

    async fn admit_within(&self, beside_others: f64, latest: Option<Instant>) -> Option<Permit> {
        let turn = self.queue.lock();
        let _turn = match latest {
            None => turn.await,
            Some(latest) => timeout_at(latest, turn).await.ok()?,
        };
        loop {
            let (now, moment) = (Instant::now(), self.next(beside_others));
            if latest.is_some_and(|latest| moment.max(now) > latest) {
                return None;
            }
            if moment <= now {
                break;
            }
            // An answer may make it earlier, and a refusal later.
            select! {
                () = sleep_until(moment) => {}
                () = self.answered.notified() => {}
            }
        }
        let (mut state, made_at) = (self.state(), Instant::now());
        state.forget_old(self.period, made_at);
        state.note(made_at, None);
        Some(Permit { number: state.next - 1, made_at })
    }

    /// Records that a request was answered, or failed.
    pub(super) fn record_answer(&self, permit: &Permit) {
        let took = permit.made_at.elapsed();
        let mut state = self.state();
        let quickest = state.quickest.map_or(took, |quickest| quickest.min(took));
        let delay = took - quickest;
        state.quickest = Some(quickest);
        state.usual_delay = state.usual_delay.mul_f64(1.0 - DELAY_WEIGHT) + delay.mul_f64(DELAY_WEIGHT);
        if let Some(request) = state.requests.iter_mut().find(|request| request.number == permit.number) {
            request.delay = Some(delay);
        }
        drop(state);
        self.answered.notify_one();
    }

    /// Returns the earliest time of the next request, which takes only a part of our share if others use the limit. Answers
    /// and refusals may change it.
    fn next(&self, beside_others: f64) -> Instant {
        let (state, now) = (self.state(), Instant::now());
        let part = if state.is_shared() { beside_others } else { 1.0 };
        let ours = (state.share.min(1.0) * part).max(MIN_SHARE) * state.limit as f64;
        // If less than one request per period is allowed, each takes several periods.
        let (count, period) = if ours >= 1.0 { (ours as usize, self.period) } else { (1, self.period.div_f64(ours)) };
        let Some(index) = state.requests.len().checked_sub(count) else { return state.closed_until };
        let mut leave: Vec<Instant> =
            state.requests.iter().map(|request| state.arrival(request, now) + period).collect();
        let (_, moment, _) = leave.select_nth_unstable(index);
        state.closed_until.max(*moment)
    }

    /// Returns the number of requests in a period, as far as it is known.
    pub(super) fn limit(&self) -> usize {
        self.state().limit
    }

    /// Changes the number of requests in a period.
    pub(super) fn set_limit(&self, limit: NonZeroU32) {
        self.state().limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    }

    /// Returns the clock time at which the next request is allowed.
    pub(super) fn next_at(&self) -> DateTime {
        time::after(DateTime::now(), self.next(1.0).saturating_duration_since(Instant::now()))
    }

    /// Records that HubSpot refused a request by this limit. Requests that were held up are the first explanation: from now
    /// on, a request waits until they have certainly left the period. Other apps that use the limit are the second one: a
    /// further refusal takes the credit of our share, and the next ones give them a part of the limit, and make no request
    /// for one period. If HubSpot asks for a pause, it is made (cut to a plausible length). Requests that were under way
    /// together count as one refusal.
    pub(super) fn record_refusal(&self, permit: &Permit, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        let asked = retry_after.map(|asked| now + asked.min(Reason::RateLimit.longest()));
        if state.refused_at.is_some_and(|at| permit.made_at < at) {
            state.closed_until = state.closed_until.max(asked.unwrap_or(now));
            return;
        }
        let mut pause = Duration::ZERO;
        if state.caution >= FULL_CAUTION {
            state.share = (state.share * SHARE_FACTOR_ON_REFUSAL).max(MIN_SHARE);
            if state.is_shared() {
                pause = self.period;
            }
        }
        (state.caution, state.refused_at) = (1.0, Some(now));
        state.closed_until = asked.unwrap_or(now + pause);
    }

    /// Records that HubSpot accepted a request.
    pub(super) fn record_success(&self) {
        let mut state = self.state();
        state.has_accepted = true;
        state.share = (state.share + SHARE_GAIN_ON_SUCCESS).min(MAX_SHARE);
        state.caution = (state.caution - CAUTION_LOSS_ON_SUCCESS).max(0.0);
    }

    /// Returns true if HubSpot has accepted a request of this slice.
    pub(super) fn has_accepted(&self) -> bool {
        self.state().has_accepted
    }

    /// Adopts HubSpot's count of the requests that are left in the current period, and its limit if it names one.
    /// Requests of other apps count as ours.
    pub(super) fn adopt(&self, left: usize, limit: Option<NonZeroU32>) {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(limit) = limit.and_then(|limit| usize::try_from(limit.get()).ok()) {
            (state.limit, state.is_named) = (limit, true);
        }
        state.forget_old(self.period, now);
        for _ in state.requests.len()..state.limit.saturating_sub(left) {
            state.note(now, Some(Duration::ZERO));
        }
    }

    /// Returns the state for the next slice.
    pub(super) fn snapshot(&self) -> LimiterSnapshot {
        let (now, now_by_clock) = (Instant::now(), DateTime::now());
        let state = self.state();
        let longest = self.period.div_f64((state.share * state.limit as f64).min(1.0));
        let arrivals = state.requests.iter().map(|request| state.arrival(request, now).min(now));
        let recent = arrivals.filter(|at| *at + longest > now);
        let by_clock = |at: Instant| time::before(now_by_clock, now.duration_since(at));
        LimiterSnapshot {
            requests: recent.map(by_clock).collect(),
            share: state.share,
            caution: state.caution,
            quickest_ms: state.quickest.and_then(|quickest| u32::try_from(quickest.as_millis()).ok()),
            closed_until: (state.closed_until > now).then(|| time::after(now_by_clock, state.closed_until - now)),
            limit: Some(state.limit).filter(|_| state.is_named).and_then(|limit| u32::try_from(limit).ok()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the counts consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, made_at: Instant, delay: Option<Duration>) {
        self.requests.push_back(Request { number: self.next, made_at, delay });
        self.next += 1;
    }

    /// Returns true if refusals have shown that other apps use the limit.
    fn is_shared(&self) -> bool {
        self.share < 1.0
    }

    /// Returns when HubSpot has counted a request at the latest, by our caution.
    fn arrival(&self, request: &Request, now: Instant) -> Instant {
        let delay = request.delay.unwrap_or_else(|| {
            let so_far = now.saturating_duration_since(request.made_at);
            so_far.saturating_sub(self.quickest.unwrap_or_default()).max(self.usual_delay)
        });
        request.made_at + delay.min(LONGEST_HOLD_UP).mul_f64(self.caution)
    }

    /// Forgets the requests that have left the period. More than the limit can be under way if HubSpot lowered it.
    fn forget_old(&mut self, period: Duration, now: Instant) {
        // With a small share, a request counts for several periods.
        let period = period.div_f64((self.share * self.limit as f64).min(1.0));
        while let Some(first) = self.requests.front()
            && self.arrival(first, now) + period <= now
        {
            self.requests.pop_front();
        }
    }
}

#[cfg(test)]
mod network;
#[cfg(test)]
mod tests;
