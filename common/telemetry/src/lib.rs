#![doc = include_str!("../README.md")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use environment::variables::{LOG_LEVEL, STACK_NAME};
use metrique::{
    ServiceMetrics,
    emf::Emf,
    writer::{AttachGlobalEntrySinkExt, Entry, EntryIoStreamExt, FormatExt},
};
use tracing_subscriber::{
    Layer,
    filter::{FilterExt, LevelFilter, Targets},
    fmt::format::FmtSpan,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::traces::Traces;

mod traces;

/// The version of the service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The crates of the service itself. Only they log more than `info`, and only their spans are exported.
const OWN_CRATES: [&str; 12] = [
    "actions",
    "connect",
    "environment",
    "hubspot",
    "model",
    "queue",
    "runtime",
    "scheduler",
    "store",
    "sync",
    "telemetry",
    "token_vault",
];

/// The namespace of the metrics in CloudWatch.
pub const NAMESPACE: &str = "HubSpotSync";

/// Starts logging at `LOG_LEVEL`, metrics with the dimension `Stack` from `STACK_NAME`, and traces, for the whole
/// process. Call it once.
///
/// `LOG_LEVEL` is a level, or levels by module in the form of `tracing_subscriber::filter::Targets`: `info,sync=debug`.
/// Other crates than the service's own never log more than `info`: at `trace` they log whole events and requests, with
/// tokens and records.
pub fn init() -> Traces {
    // Not an `EnvFilter`: its regular expressions would be a twelfth of a bootstrap's size.
    let level = LOG_LEVEL.parsed::<Targets>();
    let is_unreadable = level.is_err();
    let filter = level.unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let own = OWN_CRATES.map(|name| (name, LevelFilter::TRACE));
    let ceiling = Targets::new().with_default(LevelFilter::INFO).with_targets(own);
    let log = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_filter(filter.and(ceiling));
    let traces = Traces::from_env();
    tracing_subscriber::registry().with(log).with(traces.layer()).init();
    let stack = STACK_NAME.required().unwrap_or_default();
    // Written at once: a queue would be lost if Lambda freezes the process.
    let metrics = Emf::builder(NAMESPACE.to_owned(), vec![vec!["Stack".to_owned()]])
        .build()
        .output_to_makewriter(std::io::stdout)
        .merge_globals(Dimensions { stack });
    ServiceMetrics::write_directly_to(metrics).forget();
    if is_unreadable {
        tracing::warn!("LOG_LEVEL cannot be read: neither a level nor levels by module");
    }
    tracing::info!(version = VERSION, "the function starts");
    traces
}

#[derive(Entry)]
#[entry(rename_all = "PascalCase")]
struct Dimensions {
    stack: String,
}

/// The time spent with another service: the sum over its calls. Several calls may run at once.
#[derive(Clone, Debug, Default)]
pub struct TimeSpent(Arc<AtomicU64>);

impl TimeSpent {
    /// Runs `call` and adds its duration, even if it is cancelled.
    pub async fn during<F: Future>(&self, call: F) -> F::Output {
        let _clock = Clock { spent: self, began: Instant::now() };
        call.await
    }

    /// Adds a call's duration.
    pub fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the time spent since the last call of this method.
    pub fn take(&self) -> Duration {
        Duration::from_micros(self.0.swap(0, Ordering::Relaxed))
    }
}

struct Clock<'a> {
    spent: &'a TimeSpent,
    began: Instant,
}

impl Drop for Clock<'_> {
    fn drop(&mut self) {
        self.spent.add(self.began.elapsed());
    }
}
