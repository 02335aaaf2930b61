//! The metrics of an invocation, as one line of the log (`docs/reference/metrics.md`).

use std::time::Duration;

use metrique::{
    ServiceMetrics,
    emf::flags::NoMetric,
    unit::{Count, Millisecond, Second},
    unit_of_work::metrics,
};

/// What the slices of one invocation did: their sums, or the largest value if a field says so. What has the flag
/// `NoMetric` is a part of the line only, because CloudWatch bills each metric.
#[metrics(rename_all = "PascalCase")]
#[derive(Default)]
pub(crate) struct SyncMetrics {
    /// The account and its run, if the invocation worked for one account only.
    pub(crate) domain_id: Option<String>,
    pub(crate) hub_id: Option<String>,
    pub(crate) run_id: Option<String>,
    /// The messages that were not left alone.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) slices: u32,
    /// The slices that found nothing to do, and have no line of their own.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) slices_idle: u32,
    #[metrics(unit = Count)]
    pub(crate) records_pulled: u32,
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) actions_sent: u32,
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) batches: u32,
    #[metrics(unit = Count)]
    pub(crate) records_set_aside: u32,
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) answers_mended: u32,
    #[metrics(unit = Count, flags(NoMetric))]
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
    #[metrics(name = "HubSpotRetries", unit = Count, flags(NoMetric))]
    pub(crate) hubspot_retries: u32,
    /// The longest.
    #[metrics(unit = Millisecond, flags(NoMetric))]
    pub(crate) slice_duration: Duration,
    #[metrics(name = "HubSpotTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) hubspot_time: Duration,
    #[metrics(name = "SQSTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) sqs_time: Duration,
    #[metrics(name = "MongoDBTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) mongodb_time: Duration,
    /// The longest.
    #[metrics(unit = Second, flags(NoMetric))]
    pub(crate) continuation_delay: Option<Duration>,
    /// The longest.
    #[metrics(unit = Second, flags(NoMetric))]
    pub(crate) freshness: Option<Duration>,
    /// The longest.
    #[metrics(unit = Second)]
    pub(crate) catch_up_time: Option<Duration>,
}

impl SyncMetrics {
    /// Adds what a slice did, unless its message had nothing to do.
    pub(crate) fn add(&mut self, slice: Self) {
        if slice.slices == 0 {
            return;
        }
        let is_first = self.slices == 0;
        let only = |next: Option<String>| next.filter(|_| is_first);
        *self = Self {
            domain_id: only(slice.domain_id),
            hub_id: only(slice.hub_id),
            run_id: only(slice.run_id),
            slices: self.slices + slice.slices,
            slices_idle: self.slices_idle + slice.slices_idle,
            records_pulled: self.records_pulled.saturating_add(slice.records_pulled),
            actions_sent: self.actions_sent.saturating_add(slice.actions_sent),
            batches: self.batches + slice.batches,
            records_set_aside: self.records_set_aside + slice.records_set_aside,
            answers_mended: self.answers_mended + slice.answers_mended,
            window_mismatches: self.window_mismatches + slice.window_mismatches,
            windows_held: self.windows_held + slice.windows_held,
            windows_given_up: self.windows_given_up + slice.windows_given_up,
            lanes_given_up: self.lanes_given_up + slice.lanes_given_up,
            rejections_held: self.rejections_held + slice.rejections_held,
            slices_failed: self.slices_failed + slice.slices_failed,
            hubspot_requests: self.hubspot_requests + slice.hubspot_requests,
            hubspot_rate_limited: self.hubspot_rate_limited + slice.hubspot_rate_limited,
            hubspot_retries: self.hubspot_retries + slice.hubspot_retries,
            slice_duration: self.slice_duration.max(slice.slice_duration),
            hubspot_time: self.hubspot_time + slice.hubspot_time,
            sqs_time: self.sqs_time + slice.sqs_time,
            mongodb_time: self.mongodb_time + slice.mongodb_time,
            continuation_delay: self.continuation_delay.max(slice.continuation_delay),
            freshness: self.freshness.max(slice.freshness),
            catch_up_time: self.catch_up_time.max(slice.catch_up_time),
        };
    }

    /// Writes the metrics, unless no message had anything to do.
    pub(crate) fn emit(self) {
        if self.slices > 0 {
            drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
        }
    }
}
