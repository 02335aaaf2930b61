//! The permits of one request, and what its answer means for the limits.

use super::{
    HubSpotError,
    limiter::{Limiter, Permit},
};

/// The permits of one request.
#[must_use = "an answer is recorded with them"]
pub(super) struct Permits<'a> {
    /// Of the limit that HubSpot refuses the request by.
    pub(super) own: (&'a Limiter, Permit),
    /// Of the others that the request waited for.
    pub(super) others: Vec<(&'a Limiter, Permit)>,
}

impl Permits<'_> {
    /// Records that the request was answered, or failed.
    pub(super) fn record_answer(&self) {
        self.others.iter().chain([&self.own]).for_each(|(limiter, permit)| limiter.record_answer(permit));
    }

    /// Records whether HubSpot accepted the request.
    pub(super) fn record_outcome<T>(&self, outcome: &Result<T, HubSpotError>) {
        let (limiter, permit) = &self.own;
        match outcome {
            Ok(_) => limiter.record_success(),
            Err(HubSpotError::RateLimited { retry_after, .. }) => limiter.record_refusal(permit, *retry_after),
            Err(_) => {}
        }
    }
}
