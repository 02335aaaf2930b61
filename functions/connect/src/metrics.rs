//! The metrics of refused requests, one line for each request (`docs/reference/metrics.md`).

use metrique::{ServiceMetrics, unit::Count, unit_of_work::metrics};

/// Why one request was refused.
#[metrics(rename_all = "PascalCase")]
#[derive(Default)]
pub(crate) struct Refused {
    /// The request had a wrong token.
    #[metrics(unit = Count)]
    pub(crate) tokens_refused: usize,
    /// The request was a webhook that HubSpot did not sign.
    #[metrics(unit = Count)]
    pub(crate) webhooks_refused: usize,
}

impl Refused {
    /// Writes the metrics to the log.
    pub(crate) fn emit(self) {
        drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
    }
}
