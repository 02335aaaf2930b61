//! The metrics of a drain, one line per invocation (`docs/reference/metrics.md`).

use std::time::Duration;

use metrique::{
    ServiceMetrics,
    emf::flags::NoMetric,
    unit::{Count, Millisecond, Second},
    unit_of_work::metrics,
};

/// The metrics of one invocation.
#[metrics(rename_all = "PascalCase")]
#[derive(Default)]
pub(crate) struct Drain {
    /// Actions that were new.
    #[metrics(unit = Count)]
    pub(crate) actions_stored: usize,
    /// Actions that were stored already.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) actions_duplicate: usize,
    /// Actions that MongoDB refuses.
    #[metrics(unit = Count)]
    pub(crate) actions_refused: usize,
    /// Messages that were not stored, or only partly.
    #[metrics(unit = Count)]
    pub(crate) messages_failed: usize,
    /// Failed messages that were sent to the dead-letter queue.
    #[metrics(unit = Count, flags(NoMetric))]
    pub(crate) messages_set_aside: usize,
    /// The age of the oldest message that stays in the queue.
    #[metrics(unit = Second)]
    pub(crate) oldest_waiting: Option<Duration>,
    /// How long the invocation took.
    #[metrics(unit = Millisecond, flags(NoMetric))]
    pub(crate) drain_duration: Duration,
    /// How long calls to SQS took.
    #[metrics(name = "SQSTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) sqs_time: Duration,
    /// How long connections to MongoDB were in use.
    #[metrics(name = "MongoDBTime", unit = Millisecond, flags(NoMetric))]
    pub(crate) mongodb_time: Duration,
}

impl Drain {
    pub(crate) fn emit(self) {
        drop(self.append_on_drop(ServiceMetrics::sink_or_discard()));
    }
}
