//! What the rate limits of an account were used for, from slice to slice.

use serde::{Deserialize, Serialize};

use crate::time::DateTime;

/// The largest share. One above the whole limit is credit: the first refusal for a while, of a request that only overtook another
/// one, costs no more than its pause.
pub const MAX_SHARE: f64 = 1.25;

/// What a limiter knows, as the checkpoint keeps it between slices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LimiterSnapshot {
    /// When the latest requests were made.
    pub requests: Vec<DateTime>,
    /// Which part of the limit is ours: less than 1 where HubSpot refused requests that our own count allowed.
    pub share: f64,
}

impl Default for LimiterSnapshot {
    fn default() -> Self {
        Self { requests: Vec::new(), share: MAX_SHARE }
    }
}

/// What is left of an account's rate limits, across the slices of its runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitState {
    /// The search limit.
    pub search: LimiterSnapshot,
    /// The limit of all other requests.
    pub general: LimiterSnapshot,
}
