//! One account's requests within one slice: its token, its rate limits, and a count of what was asked.

use std::{
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use model::{checkpoint::RateLimitState, time::DateTime};
use reqwest::{RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::Instant;

use super::{HubSpot, HubSpotError, answer::Answer, limiter::Limiter, retry_after::http_date};

/// The rate limits of an account, as HubSpot documents them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Search requests a second (`HUBSPOT_SEARCH_RPS`; HubSpot allows 5 an account).
    pub search_rps: NonZeroU32,
    /// Other requests in ten seconds (`HUBSPOT_PER_10S`; HubSpot allows an OAuth app 110 an account).
    pub per_10s: NonZeroU32,
}

/// The rolling periods of HubSpot's search limit and of its general one.
const SEARCH_PERIOD: Duration = Duration::from_secs(1);
const GENERAL_PERIOD: Duration = Duration::from_secs(10);

/// How many requests were made, by kind.
#[derive(Debug, Default)]
pub struct Tally {
    /// Searches, repeated ones included.
    pub searches: AtomicU32,
    /// Association reads, repeated ones included.
    pub associations: AtomicU32,
    /// Reads of lists, repeated ones included.
    pub lists: AtomicU32,
    /// Answers that were a success: HubSpot accepts the token.
    pub answered: AtomicU32,
    /// Answers that were a 429.
    pub rate_limited: AtomicU32,
    /// Requests that were made again, for whatever reason.
    pub retries: AtomicU32,
    /// Answers that were not quite JSON, so that some characters were replaced.
    pub mended: AtomicU32,
}

/// Which limit a request counts against.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Search,
    Association,
    List,
    /// Of records that were set aside: they have a schedule of their own, and are not asked for again at once.
    Read,
}

/// Reads one account.
#[derive(Debug)]
pub struct Session {
    hubspot: HubSpot,
    token: SecretString,
    search: Limiter,
    general: Limiter,
    /// Whether a request has failed in all of its tries. Later requests of the session are then tried once.
    is_out_of_patience: AtomicBool,
    /// Whether HubSpot has told anybody's companies.
    pub(super) has_told_companies: AtomicBool,
    tally: Arc<Tally>,
}

impl Session {
    /// A session with `token`, under the account's limits as the slice before this one left them.
    /// What is asked is added to `tally`.
    pub fn new(
        hubspot: HubSpot,
        token: SecretString,
        limits: Limits,
        remembered: &RateLimitState,
        tally: Arc<Tally>,
    ) -> Self {
        Self {
            hubspot,
            token,
            search: Limiter::new(limits.search_rps, SEARCH_PERIOD, &remembered.search),
            general: Limiter::new(limits.per_10s, GENERAL_PERIOD, &remembered.general),
            is_out_of_patience: AtomicBool::new(false),
            has_told_companies: AtomicBool::new(false),
            tally,
        }
    }

    /// The token that is used.
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// Whether a failure may be a contact's own: HubSpot tells others' companies.
    pub(super) fn is_a_contacts(&self, error: &HubSpotError) -> bool {
        error.is_transient() && self.has_told_companies.load(Ordering::Relaxed)
    }

    /// Tries each request once only from now on: what fails is not expected to pass.
    pub fn lose_patience(&self) {
        self.is_out_of_patience.store(true, Ordering::Relaxed);
    }

    /// When the search limit allows the next request.
    pub fn next_search_at(&self) -> DateTime {
        self.search.next_at()
    }

    /// When the general limit allows the next request.
    pub fn next_other_at(&self) -> DateTime {
        self.general.next_at()
    }

    /// What the next slice should know of the account's limits.
    pub fn limits(&self) -> RateLimitState {
        RateLimitState { search: self.search.remember(), general: self.general.remember() }
    }

    /// Posts `body` to `path`, under the limit of `kind`; nothing where the limit does not allow that before `latest`.
    pub(super) async fn post(
        &self,
        kind: Kind,
        path: &str,
        body: &impl Serialize,
        latest: Option<Instant>,
    ) -> Result<Option<Answer>, HubSpotError> {
        self.send(kind, || self.hubspot.http.post(self.hubspot.url(path)).json(body), latest).await
    }

    /// Reads a list at `path`; nothing where the limit does not allow that before `latest`.
    pub(super) async fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        latest: Option<Instant>,
    ) -> Result<Option<Answer>, HubSpotError> {
        self.send(Kind::List, || self.hubspot.http.get(self.hubspot.url(path)).query(query), latest).await
    }

    /// Makes a request when its limit allows it. A failure that may pass within a moment is tried again here, a few
    /// times, with growing and jittered pauses; once one has not passed, the session does not wait for any other.
    async fn send(
        &self,
        kind: Kind,
        request: impl Fn() -> RequestBuilder,
        latest: Option<Instant>,
    ) -> Result<Option<Answer>, HubSpotError> {
        let is_patient = !self.is_out_of_patience.load(Ordering::Relaxed);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(150))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(if matches!(kind, Kind::Read) { 0 } else { 4 })
            .with_jitter();
        let (limiter, count) = match kind {
            Kind::Search => (&self.search, &self.tally.searches),
            Kind::Association => (&self.general, &self.tally.associations),
            Kind::List | Kind::Read => (&self.general, &self.tally.lists),
        };
        // What a refusal says must not be forgotten because the limit leaves no time for another try.
        let refused = Mutex::new(None);
        let is_too_late = AtomicBool::new(false);
        let answered = (|| async {
            if !limiter.admit(latest).await {
                is_too_late.store(true, Ordering::Relaxed);
                return refused.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(None), Err);
            }
            count.fetch_add(1, Ordering::Relaxed);
            let answer = self.hubspot.spent.during(self.send_once(limiter, request())).await;
            match &answer {
                Ok(_) => {
                    self.tally.answered.fetch_add(1, Ordering::Relaxed);
                    limiter.taken();
                }
                Err(HubSpotError::RateLimited { retry_after, .. }) => limiter.refused(*retry_after),
                Err(_) => {}
            }
            answer.map(Some)
        })
        .retry(pauses)
        .when(|error| {
            let is_worth_it = is_patient || !error.is_transient();
            is_worth_it && !is_too_late.load(Ordering::Relaxed) && error.retry_soon(Duration::ZERO).is_some()
        })
        .adjust(|error, pause| pause.and_then(|pause| error.retry_soon(pause)))
        .notify(|error, pause| {
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            self.tally.retries.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(error = %error, pause_ms = pause.as_millis() as u64, "a HubSpot request is made again");
        })
        .await;
        if !matches!(kind, Kind::Read) && matches!(answered, Err(HubSpotError::Transient { .. })) {
            self.lose_patience();
        }
        answered
    }

    async fn send_once(&self, limiter: &Limiter, request: RequestBuilder) -> Result<Answer, HubSpotError> {
        let began = Instant::now();
        let request = request.bearer_auth(self.token.expose_secret());
        let answer = request.send().await.map_err(HubSpotError::from_transport)?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.tally.rate_limited.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(left) = requests_left(&answer) {
            limiter.left(left);
        }
        let date = header_text(&answer, header::DATE.as_str()).and_then(http_date);
        if !status.is_success() {
            let headers = answer.headers().clone();
            return Err(HubSpotError::from_answer(status, &headers, &read_body(answer).await?));
        }
        let body = read_body(answer).await?;
        // Every HTTP answer with a clock behind it has a Date; its lack means something that is not HubSpot.
        let date = date.ok_or_else(|| HubSpotError::Malformed("it has no Date header".to_owned()))?;
        Ok(Answer { date, took: began.elapsed(), body, tally: self.tally.clone() })
    }
}

/// The largest answer that is read: some ten times the largest page with properties of ordinary length.
const MAX_BODY: usize = 32 * 1024 * 1024;

/// Reads a body, unless it has no end.
pub(super) async fn read_body(mut answer: Response) -> Result<Vec<u8>, HubSpotError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(HubSpotError::from_transport)? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(HubSpotError::Malformed(format!("it is longer than {MAX_BODY} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What HubSpot says is left of the ten-secondly limit; search answers do not say ("Usage guidelines").
fn requests_left(answer: &Response) -> Option<usize> {
    let interval = header_text(answer, "x-hubspot-ratelimit-interval-milliseconds")?;
    (interval == "10000").then(|| header_text(answer, "x-hubspot-ratelimit-remaining")?.parse().ok()).flatten()
}

fn header_text<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}
