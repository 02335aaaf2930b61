//! One account's requests within one slice: its token, its rate limits, and the request counts.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use model::{
    checkpoint::{LimiterSnapshot, RateLimitState},
    time::{self, DateTime},
};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::Instant;

use super::{
    HubSpot, HubSpotError, associations::WaitingReads, limiter::Limiter, permits::Permits, response::ApiResponse,
    retry_after::http_date,
};

/// An account's rate limits, as HubSpot documents them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Search requests per second (`HUBSPOT_SEARCH_RPS`; HubSpot allows 5 per account).
    pub search_rps: NonZeroU32,
    /// Other requests per ten seconds, until HubSpot names its limit (`HUBSPOT_PER_10S`; HubSpot allows an OAuth app 110 per
    /// account).
    pub per_10s: NonZeroU32,
    /// Reads of associations per ten seconds (`HUBSPOT_ASSOCIATIONS_PER_10S`; HubSpot allows 100 and more per account).
    pub associations_per_10s: NonZeroU32,
}

/// The rolling periods of HubSpot's search limit, and of its general one and that of associations.
const SECOND: Duration = Duration::from_secs(1);
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// The period of the requests that are spread over a limit. It is short, so that none of them waits for long.
const SPREAD_OVER: Duration = Duration::from_millis(250);

/// How much faster lists and reads of associations are made than their limits allow in the long run. Once its limit is used up,
/// searches read what a list would have read, but a read of associations has to wait.
const LIST_PACE: f64 = 1.5;
const ASSOCIATION_PACE: f64 = 1.25;

/// How long a list of a first load waits for the general limit. A search can read the same, and its limit allows one every 200 ms
/// on average.
pub const LONGEST_LIST_WAIT: Duration = Duration::from_millis(200);

/// The numbers of requests made, by kind.
#[derive(Debug, Default)]
pub struct Tally {
    /// Searches, including retries.
    pub searches: AtomicU32,
    /// Association reads, including retries.
    pub associations: AtomicU32,
    /// List reads, including retries.
    pub lists: AtomicU32,
    /// Successful responses, which prove that HubSpot accepts the token.
    pub answered: AtomicU32,
    /// Responses with status 429.
    pub rate_limited: AtomicU32,
    /// Requests that were retried, for any reason.
    pub retries: AtomicU32,
    /// Responses that were not quite JSON, so that some characters were replaced.
    pub mended: AtomicU32,
}

/// Selects the rate limit of a request.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Search,
    /// A search beside which lists are read. It leaves a part of its limit to other apps.
    SharedSearch,
    Association,
    List,
    /// A list that is read beside a search, which reads the same records if the list fails. Failures are not retried at
    /// once, and do not change how other requests are retried.
    FirstLoad,
    /// Reads what has a schedule of its own, such as records that were set aside. Failures are not retried at once,
    /// and do not change how other requests are retried.
    Read,
}

impl Kind {
    /// Returns true if a request that failed is made again within a moment.
    fn is_retried(self) -> bool {
        !matches!(self, Self::FirstLoad | Self::Read)
    }
}

/// Returns how many requests are made in [`SPREAD_OVER`], to spread a limit of `limit` over ten seconds. `pace` is more than 1,
/// because no request is made at the end of a slice.
fn spread(limit: usize, pace: f64) -> NonZeroU32 {
    let periods = TEN_SECONDS.as_secs_f64() / SPREAD_OVER.as_secs_f64();
    NonZeroU32::new((limit as f64 * pace / periods).round() as u32).unwrap_or(NonZeroU32::MIN)
}

/// Sends one account's requests.
#[derive(Debug)]
pub struct Session {
    hubspot: HubSpot,
    token: SecretString,
    search: Limiter,
    general: Limiter,
    associations: Limiter,
    /// Spreads the requests of a first load over the general limit.
    first_load: Limiter,
    /// Spreads reads of associations over their limit. What waits for a moment is joined, instead of waiting for seconds
    /// when the limit is used up.
    association_pace: Limiter,
    /// True once a response has shown that reads of associations count among all other requests, too. HubSpot's
    /// specification exempts them, and its guide gives them a limit of their own.
    associations_are_general: AtomicBool,
    /// True once a request has failed in all of its tries. Later requests of the session are then tried once.
    has_stopped_retrying: AtomicBool,
    /// True once HubSpot has returned any record's associations.
    pub(super) has_read_associations: AtomicBool,
    pub(super) waiting_reads: WaitingReads,
    tally: Arc<Tally>,
}

impl Session {
    /// Creates a session with `token`. The account's limits continue from the previous slice's state. Requests are
    /// counted in `tally`.
    pub fn new(
        hubspot: HubSpot,
        token: SecretString,
        limits: Limits,
        remembered: &RateLimitState,
        tally: Arc<Tally>,
    ) -> Self {
        let general = Limiter::new(limits.per_10s, TEN_SECONDS, &remembered.general);
        Self {
            hubspot,
            token,
            search: Limiter::new(limits.search_rps, SECOND, &remembered.search),
            first_load: Limiter::new(spread(general.limit(), LIST_PACE), SPREAD_OVER, &LimiterSnapshot::default()),
            association_pace: Limiter::new(
                spread(limits.associations_per_10s.get() as usize, ASSOCIATION_PACE),
                SPREAD_OVER,
                &LimiterSnapshot::default(),
            ),
            general,
            associations: Limiter::new(limits.associations_per_10s, TEN_SECONDS, &remembered.associations),
            associations_are_general: AtomicBool::new(remembered.associations_are_general),
            has_stopped_retrying: AtomicBool::new(false),
            has_read_associations: AtomicBool::new(false),
            waiting_reads: WaitingReads::default(),
            tally,
        }
    }

    /// Returns the access token.
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// Returns true if a failure may be a single record's own, because HubSpot returns other records' associations.
    pub(super) fn may_concern_one_record(&self, error: &HubSpotError) -> bool {
        error.is_transient() && self.has_read_associations.load(Ordering::Relaxed)
    }

    /// Tries each request only once from now on, because failures are not expected to pass.
    pub fn stop_retrying(&self) {
        self.has_stopped_retrying.store(true, Ordering::Relaxed);
    }

    /// Returns when the search limit allows the next request.
    pub fn next_search_at(&self) -> DateTime {
        self.search.next_at()
    }

    /// Returns when the limits allow the next request that is no search.
    pub fn next_other_at(&self) -> DateTime {
        self.general.next_at().max(self.associations.next_at())
    }

    /// Returns how many lists the general limit allows per second. Returns 0 if it allows none within
    /// [`LONGEST_LIST_WAIT`].
    pub fn lists_per_second(&self) -> f64 {
        let is_used_up = time::between(DateTime::now(), self.general.next_at()) > LONGEST_LIST_WAIT;
        if is_used_up { 0.0 } else { self.general.limit() as f64 / TEN_SECONDS.as_secs_f64() }
    }

    /// Returns the state of the account's limits for the next slice.
    pub fn limits(&self) -> RateLimitState {
        RateLimitState {
            search: self.search.snapshot(),
            general: self.general.snapshot(),
            associations: self.associations.snapshot(),
            associations_are_general: self.associations_are_general.load(Ordering::Relaxed),
        }
    }

    /// Posts `body` to `path`, under the limit of `kind`. The body is made when the limit allows the request. Returns `None`
    /// if the limit does not allow that before `latest`.
    pub(super) async fn post<B: Serialize>(
        &self,
        kind: Kind,
        path: &str,
        body: impl Fn() -> B,
        latest: Option<Instant>,
    ) -> Result<Option<ApiResponse>, HubSpotError> {
        self.send(kind, || self.hubspot.http.post(self.hubspot.url(path)).json(&body()), latest).await
    }

    /// Gets the list at `path`, as a request of `kind`. Returns `None` if the limit does not allow that before `latest`.
    pub(super) async fn list(
        &self,
        kind: Kind,
        path: &str,
        query: &[(&str, &str)],
        latest: Option<Instant>,
    ) -> Result<Option<ApiResponse>, HubSpotError> {
        self.send(kind, || self.hubspot.http.get(self.hubspot.url(path)).query(query), latest).await
    }

    /// Sends a request when its limit allows it. A failure that may pass within a moment is retried a few times, with
    /// growing and jittered pauses. Once a request has failed in all of its tries, the session retries no other.
    async fn send(
        &self,
        kind: Kind,
        request: impl Fn() -> RequestBuilder,
        latest: Option<Instant>,
    ) -> Result<Option<ApiResponse>, HubSpotError> {
        let is_patient = !self.has_stopped_retrying.load(Ordering::Relaxed);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(150))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(if kind.is_retried() { 4 } else { 0 })
            .with_jitter();
        let (limiter, count) = match kind {
            Kind::Search | Kind::SharedSearch => (&self.search, &self.tally.searches),
            Kind::Association => (&self.associations, &self.tally.associations),
            Kind::List | Kind::FirstLoad | Kind::Read => (&self.general, &self.tally.lists),
        };
        // A failure must be returned even if the limit leaves no time for another try. A single refusal among requests that are
        // accepted is only the reason why there is no time.
        let failures = Mutex::new(Vec::<HubSpotError>::new());
        let is_too_late = AtomicBool::new(false);
        let result = (|| async {
            let Some(permits) = self.admit(kind, limiter, latest).await else {
                is_too_late.store(true, Ordering::Relaxed);
                return match failures.lock().unwrap_or_else(PoisonError::into_inner).as_slice() {
                    [] => Ok(None),
                    [HubSpotError::RateLimited { .. }] if limiter.has_accepted() => Ok(None),
                    [.., last] => Err(last.clone()),
                };
            };
            count.fetch_add(1, Ordering::Relaxed);
            let response = self.hubspot.spent.during(self.send_once(kind, &permits, request())).await;
            permits.record_outcome(&response);
            self.tally.answered.fetch_add(u32::from(response.is_ok()), Ordering::Relaxed);
            response.map(Some)
        })
        .retry(pauses)
        .when(|error| {
            let is_worth_it = is_patient || !error.is_transient();
            is_worth_it && !is_too_late.load(Ordering::Relaxed) && error.retry_soon(Duration::ZERO).is_some()
        })
        .adjust(|error, pause| pause.and_then(|pause| error.retry_soon(pause)))
        .notify(|error, pause| {
            failures.lock().unwrap_or_else(PoisonError::into_inner).push(error.clone());
            self.tally.retries.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(error = %error, pause_ms = pause.as_millis() as u64, "a HubSpot request is made again");
        })
        .await;
        if kind.is_retried() && matches!(result, Err(HubSpotError::Transient { .. })) {
            self.stop_retrying();
        }
        result
    }

    /// Waits for a permit of the limiter, and of the general one if that counts reads of associations, too. A request whose
    /// kind is spread over its limit waits for its turn before. Returns `None` if there is none before `latest`.
    async fn admit<'a>(&'a self, kind: Kind, limiter: &'a Limiter, latest: Option<Instant>) -> Option<Permits<'a>> {
        let is_both = matches!(kind, Kind::Association) && self.associations_are_general.load(Ordering::Relaxed);
        let mut others = Vec::new();
        let pace = match kind {
            Kind::FirstLoad => Some(&self.first_load),
            Kind::Association => Some(&self.association_pace),
            Kind::Search | Kind::SharedSearch | Kind::List | Kind::Read => None,
        };
        if let Some(pace) = pace {
            others.push((pace, pace.admit(latest).await?));
        }
        let permit = match kind {
            Kind::SharedSearch => limiter.admit_leaving_room(latest).await?,
            Kind::FirstLoad => {
                let soon = Instant::now() + LONGEST_LIST_WAIT;
                limiter.admit(Some(latest.map_or(soon, |latest| latest.min(soon)))).await?
            }
            _ => limiter.admit(latest).await?,
        };
        if is_both {
            others.push((&self.general, self.general.admit(latest).await?));
        }
        Some(Permits { own: (limiter, permit), others })
    }

    async fn send_once(
        &self,
        kind: Kind,
        permits: &Permits<'_>,
        request: RequestBuilder,
    ) -> Result<ApiResponse, HubSpotError> {
        let began = Instant::now();
        let request = request.bearer_auth(self.token.expose_secret());
        let response = request.send().await;
        permits.record_answer();
        let response = response.map_err(HubSpotError::from_transport)?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.tally.rate_limited.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(left) = requests_left(&response) {
            if matches!(kind, Kind::Association) {
                self.associations_are_general.store(true, Ordering::Relaxed);
            }
            self.general.adopt(left, limit_named(&response));
            self.first_load.set_limit(spread(self.general.limit(), LIST_PACE));
        }
        let date = header_text(&response, header::DATE.as_str()).and_then(http_date);
        if !status.is_success() {
            let headers = response.headers().clone();
            return Err(HubSpotError::from_response(status, &headers, &read_body(response).await?));
        }
        let body = read_body(response).await?;
        // Every HTTP response of a server with a clock has a Date. A response without one is not HubSpot's.
        let date = date.ok_or_else(|| HubSpotError::Malformed("it has no Date header".to_owned()))?;
        Ok(ApiResponse { date, took: began.elapsed(), body, tally: self.tally.clone() })
    }
}

/// The largest response body in bytes: about ten times the largest page with properties of ordinary length.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Reads a body of at most `MAX_BODY_BYTES` bytes.
pub(super) async fn read_body(mut response: Response) -> Result<Vec<u8>, HubSpotError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(HubSpotError::from_transport)? {
        if body.len() + chunk.len() > MAX_BODY_BYTES {
            return Err(HubSpotError::Malformed(format!("it is longer than {MAX_BODY_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Returns how many requests HubSpot reports as left of the ten-secondly limit. Search responses do not report it
/// ("Usage guidelines").
fn requests_left(response: &Response) -> Option<usize> {
    let interval = header_text(response, "x-hubspot-ratelimit-interval-milliseconds")?;
    (interval == "10000").then(|| header_text(response, "x-hubspot-ratelimit-remaining")?.parse().ok()).flatten()
}

/// Returns how many requests HubSpot allows in ten seconds, by the kind of the token and the customer's subscription
/// ("Usage guidelines").
fn limit_named(response: &Response) -> Option<NonZeroU32> {
    header_text(response, "x-hubspot-ratelimit-max")?.parse().ok()
}

fn header_text<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}
