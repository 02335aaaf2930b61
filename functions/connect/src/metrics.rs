//! The metrics of what is refused, one line each (`docs/reference/metrics.md`).

use metrique::{ServiceMetrics, unit::Count, unit_of_work::metrics};

/// What one request was refused for.
#[metrics(rename_all = "PascalCase")]
#[derive(Default)]
pub(crate) struct Refused {
    /// It gave a wrong token.
    #[metrics(unit = Count)]
    pub(crate) tokens_refused: usize,
    /// It is a webhook that HubSpot did not sign.
    #[metrics(unit = Count)]
    pub(crate) webhooks_refused: usize,
}

impl Refused {
    pub(crate) fn emit(self) {
        drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
    }
}
