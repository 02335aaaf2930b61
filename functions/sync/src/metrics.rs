//! The metrics of a slice, as one line of the log per invocation (`docs/reference/metrics.md`).

use std::time::Duration;

use metrique::{
    ServiceMetrics,
    unit::{Count, Millisecond, Second},
    unit_of_work::metrics,
};

/// The metrics of one slice.
#[metrics(rename_all = "PascalCase")]
pub(crate) struct SliceMetrics {
    pub(crate) domain_id: String,
    pub(crate) hub_id: String,
    pub(crate) run_id: Option<String>,
    #[metrics(unit = Count)]
    pub(crate) records_pulled: u32,
    #[metrics(unit = Count)]
    pub(crate) actions_sent: u32,
    #[metrics(unit = Count)]
    pub(crate) batches: u32,
    #[metrics(unit = Count)]
    pub(crate) records_set_aside: u32,
    #[metrics(unit = Count)]
    pub(crate) answers_mended: u32,
    #[metrics(unit = Count)]
    pub(crate) window_mismatches: u32,
    #[metrics(unit = Count)]
    pub(crate) windows_held: u32,
    #[metrics(unit = Count)]
    pub(crate) windows_given_up: u32,
    #[metrics(unit = Count)]
    pub(crate) lanes_given_up: u32,
    #[metrics(unit = Count)]
    pub(crate) rejections_held: u32,
    #[metrics(unit = Count)]
    pub(crate) slices_failed: u32,
    #[metrics(name = "HubSpotRequests", unit = Count)]
    pub(crate) hubspot_requests: u32,
    #[metrics(name = "HubSpotRateLimited", unit = Count)]
    pub(crate) hubspot_rate_limited: u32,
    #[metrics(name = "HubSpotRetries", unit = Count)]
    pub(crate) hubspot_retries: u32,
    #[metrics(unit = Millisecond)]
    pub(crate) slice_duration: Duration,
    #[metrics(name = "HubSpotTime", unit = Millisecond)]
    pub(crate) hubspot_time: Duration,
    #[metrics(name = "SQSTime", unit = Millisecond)]
    pub(crate) sqs_time: Duration,
    #[metrics(name = "MongoDBTime", unit = Millisecond)]
    pub(crate) mongodb_time: Duration,
    #[metrics(unit = Second)]
    pub(crate) continuation_delay: Option<Duration>,
    #[metrics(unit = Second)]
    pub(crate) freshness: Option<Duration>,
    #[metrics(unit = Second)]
    pub(crate) catch_up_time: Option<Duration>,
}

impl SliceMetrics {
    /// Writes the metrics.
    pub(crate) fn emit(self) {
        drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
    }
}
