//! Logs: one JSON object a line on standard output, with a timestamp, the level, and the fields of the spans
//! around it (the runtime's own span carries the request id and the X-Ray trace id).

use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// Starts logging at `LOG_LEVEL` (default `info`), for the whole process. Call it once.
///
/// `LOG_LEVEL` is a level, or a filter as `tracing_subscriber::EnvFilter` reads it.
pub fn init() {
    let filter = std::env::var("LOG_LEVEL").unwrap_or_default();
    let filter =
        EnvFilter::try_new(if filter.is_empty() { "info" } else { &filter }).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_env_filter(filter)
        .init();
}
