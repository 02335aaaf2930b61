//! The metrics of a tick, one line an invocation (`docs/reference/metrics.md`).

use std::time::Duration;

use metrique::{
    ServiceMetrics,
    unit::{Count, Millisecond, Second},
    unit_of_work::metrics,
};
use model::account::Unusable;

/// What one tick did, and how the accounts are.
#[metrics(rename_all = "PascalCase")]
#[derive(Default)]
pub(crate) struct TickMetrics {
    #[metrics(unit = Count)]
    pub(crate) accounts_sent: usize,
    #[metrics(unit = Count)]
    pub(crate) accounts_paused: usize,
    #[metrics(unit = Count)]
    pub(crate) accounts_disconnected: usize,
    #[metrics(unit = Count)]
    pub(crate) accounts_to_reauthorize: usize,
    /// Entries without credentials, malformed, or beside another one of the same portal.
    #[metrics(unit = Count)]
    pub(crate) accounts_unusable: usize,
    /// Those of which no lane, or only one, was ever looked at for changes.
    #[metrics(unit = Count)]
    pub(crate) accounts_never_synced: usize,
    /// How long ago the account that is furthest behind was last looked at for changes.
    #[metrics(unit = Second)]
    pub(crate) oldest_freshness: Option<Duration>,
    /// Whether some accounts are left to the next tick.
    #[metrics(unit = Count)]
    pub(crate) fan_outs_cut_short: usize,
    #[metrics(unit = Millisecond)]
    pub(crate) fan_out_duration: Duration,
    #[metrics(name = "SQSTime", unit = Millisecond)]
    pub(crate) sqs_time: Duration,
    #[metrics(name = "MongoDBTime", unit = Millisecond)]
    pub(crate) mongodb_time: Duration,
}

impl TickMetrics {
    pub(crate) fn skipped(&mut self, reason: &Unusable) {
        *match reason {
            Unusable::Disconnected => &mut self.accounts_disconnected,
            Unusable::Paused => &mut self.accounts_paused,
            Unusable::Reauthorize(_) => &mut self.accounts_to_reauthorize,
            Unusable::NoCredentials | Unusable::Malformed(_) | Unusable::Duplicate(_) => &mut self.accounts_unusable,
        } += 1;
    }

    pub(crate) fn emit(self) {
        drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
    }
}
