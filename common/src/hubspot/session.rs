//! One account's requests within one slice: its token, its rate limits, and a count of what was asked.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::{Response, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::{HubSpot, HubSpotError};
use crate::time::DateTime;

/// The rate limits of an account, as HubSpot documents them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Search requests a second (`HUBSPOT_SEARCH_RPS`; HubSpot allows 5 an account).
    pub search_rps: NonZeroU32,
    /// Other requests in ten seconds (`HUBSPOT_PER_10S`; HubSpot allows an OAuth app 110 an account).
    pub per_10s: NonZeroU32,
}

/// HubSpot's second, and its ten seconds, with room for requests that overtake each other on the way.
const SEARCH_PERIOD: Duration = Duration::from_millis(1_020);
const GENERAL_PERIOD: Duration = Duration::from_millis(10_200);

/// How many requests were made, by kind.
#[derive(Debug, Default)]
pub struct Tally {
    /// Searches, repeated ones included.
    pub searches: AtomicU32,
    /// Association reads, repeated ones included.
    pub associations: AtomicU32,
    /// Answers that were a 429.
    pub rate_limited: AtomicU32,
    /// Requests that were made again, for whatever reason.
    pub retries: AtomicU32,
}

/// Which limit a request counts against.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Search,
    Association,
}

/// Reads one account.
#[derive(Debug)]
pub struct Session {
    hubspot: HubSpot,
    token: SecretString,
    search: DefaultDirectRateLimiter,
    general: DefaultDirectRateLimiter,
    tally: Arc<Tally>,
}

/// An answer: HubSpot's time, and the body.
pub(super) struct Answer {
    pub(super) date: DateTime,
    pub(super) body: Vec<u8>,
}

impl Session {
    /// A session with `token`. Requests are spaced evenly under the limits: HubSpot counts a rolling second,
    /// in which a burst at its end and one at its beginning would meet.
    /// What is asked is added to `tally`.
    pub fn new(hubspot: HubSpot, token: SecretString, limits: Limits, tally: Arc<Tally>) -> Self {
        let one = NonZeroU32::MIN;
        let spaced = |every: Duration| {
            // Both limits are at least one a period, so the period is never zero.
            Quota::with_period(every).unwrap_or(Quota::per_second(one)).allow_burst(one)
        };
        Self {
            hubspot,
            token,
            search: RateLimiter::direct(spaced(SEARCH_PERIOD / limits.search_rps.get())),
            general: RateLimiter::direct(spaced(GENERAL_PERIOD / limits.per_10s.get())),
            tally,
        }
    }

    /// Takes it that a search has just been made, as by the slice before this one.
    pub fn assume_a_search(&self) {
        self.search.check().ok();
    }

    /// Posts `body` to `path`, under the limit of `kind`. A failure that may pass within a moment is tried
    /// again here, a few times, with growing and jittered pauses.
    pub(super) async fn post(&self, kind: Kind, path: &str, body: &impl Serialize) -> Result<Answer, HubSpotError> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(150))
            .with_max_delay(Duration::from_secs(1))
            .with_max_times(4)
            .with_jitter();
        (|| self.post_once(kind, path, body))
            .retry(pauses)
            .when(|error| error.retry_soon(Duration::ZERO).is_some())
            .adjust(|error, pause| pause.and_then(|pause| error.retry_soon(pause)))
            .notify(|error, pause| {
                self.tally.retries.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(error = %error, pause_ms = pause.as_millis() as u64, "a HubSpot request is made again");
            })
            .await
    }

    async fn post_once(&self, kind: Kind, path: &str, body: &impl Serialize) -> Result<Answer, HubSpotError> {
        let (limiter, count) = match kind {
            Kind::Search => (&self.search, &self.tally.searches),
            Kind::Association => (&self.general, &self.tally.associations),
        };
        limiter.until_ready().await;
        count.fetch_add(1, Ordering::Relaxed);
        let answer = self
            .hubspot
            .http
            .post(self.hubspot.url(path))
            .bearer_auth(self.token.expose_secret())
            .json(body)
            .send()
            .await
            .map_err(HubSpotError::from_transport)?;
        let status = answer.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.tally.rate_limited.fetch_add(1, Ordering::Relaxed);
        }
        let date = header_text(&answer, &header::DATE).and_then(http_date);
        let retry_after = header_text(&answer, &header::RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let body = answer.bytes().await.map_err(HubSpotError::from_transport)?;
        if !status.is_success() {
            return Err(HubSpotError::from_answer(status, retry_after.map(Duration::from_secs), &body));
        }
        // Every HTTP answer with a clock behind it has a Date; its lack means something that is not HubSpot.
        let date = date.ok_or_else(|| HubSpotError::Malformed("it has no Date header".to_owned()))?;
        Ok(Answer { date, body: body.into() })
    }
}

fn header_text<'a>(answer: &'a Response, name: &header::HeaderName) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn http_date(text: &str) -> Option<DateTime> {
    httpdate::parse_http_date(text).ok().map(DateTime::from_system_time)
}
