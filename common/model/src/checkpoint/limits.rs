//! The use of an account's rate limits, carried from slice to slice.

use serde::{Deserialize, Serialize};

use crate::time::DateTime;

/// The largest share. The part above 1 is credit: a single refusal, of a request that only overtook another one, does not
/// reduce our part of the limit.
pub const MAX_SHARE: f64 = 1.25;

/// The caution of a new limiter: half of an answer's delay is taken for time before HubSpot counted the request. It costs
/// hardly anything if the delay is HubSpot's own, and avoids about every sixth refusal of a first load if it is not.
const FIRST_CAUTION: f64 = 0.5;

/// The state of a limiter, as the checkpoint stores it between slices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimiterSnapshot {
    /// When the latest requests were made.
    pub requests: Vec<DateTime>,
    /// Our part of the limit. Less than 1 if HubSpot refused requests that our own count allowed.
    pub share: f64,
    /// The part of an answer's delay that is taken for time before HubSpot counted the request, 0 to 1.
    pub caution: f64,
    /// How long the quickest answer took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quickest_ms: Option<u32>,
    /// The number of requests that HubSpot says it allows. Absent if it has not said one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Until when no request is made, because HubSpot refused one. Absent if requests are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_until: Option<DateTime>,
}

impl Default for LimiterSnapshot {
    fn default() -> Self {
        Self {
            requests: Vec::new(),
            share: MAX_SHARE,
            caution: FIRST_CAUTION,
            quickest_ms: None,
            limit: None,
            closed_until: None,
        }
    }
}

/// The use of an account's rate limits, across the slices of its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitState {
    /// The search limit.
    pub search: LimiterSnapshot,
    /// The limit of all other requests.
    pub general: LimiterSnapshot,
    /// The limit of reads of associations.
    pub associations: LimiterSnapshot,
    /// True if HubSpot counts reads of associations among all other requests, too.
    pub associations_are_general: bool,
}
