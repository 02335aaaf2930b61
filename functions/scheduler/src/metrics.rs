//! The metrics of a tick, one line for each invocation (`docs/reference/metrics.md`).

use std::time::Duration;

use metrique::{
    ServiceMetrics,
    emf::flags::NoMetric,
    unit::{Count, Millisecond, Second},
    unit_of_work::metrics,
};
use model::account::Unusable;

/// What one tick did, and the state of the accounts.
#[metrics(rename_all = "PascalCase")]
#[derive(Default)]
pub(crate) struct TickMetrics {
    #[metrics(unit = Count)]
    pub(crate) accounts_sent: usize,
    /// Accounts that are not due.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) accounts_resting: usize,
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) accounts_paused: usize,
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) accounts_disconnected: usize,
    #[metrics(unit = Count)]
    pub(crate) accounts_to_reauthorize: usize,
    /// Entries that are malformed, without credentials, or duplicates of another entry of the same portal.
    #[metrics(unit = Count)]
    pub(crate) accounts_unusable: usize,
    /// Accounts with a lane that was never checked for changes.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) accounts_never_synced: usize,
    /// How long ago the least fresh account was checked for changes.
    #[metrics(unit = Second)]
    pub(crate) oldest_freshness: Option<Duration>,
    /// 1 if some accounts are left to the next tick.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) fan_outs_cut_short: usize,
    #[metrics(unit = Millisecond, flags(NoMetric))]
    pub(crate) fan_out_duration: Duration,
    #[metrics(name = "SQSTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) sqs_time: Duration,
    #[metrics(name = "MongoDBTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) mongodb_time: Duration,
}

impl TickMetrics {
    /// Counts an account that was not sent, by the reason.
    pub(crate) fn skipped(&mut self, reason: &Unusable) {
        *match reason {
            Unusable::Disconnected => &mut self.accounts_disconnected,
            Unusable::Paused => &mut self.accounts_paused,
            Unusable::Reauthorize(_) => &mut self.accounts_to_reauthorize,
            Unusable::NoCredentials | Unusable::Malformed(_) | Unusable::Duplicate(_) => &mut self.accounts_unusable,
        } += 1;
    }

    /// Writes the metrics to the log.
    pub(crate) fn emit(self) {
        drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
    }
}
