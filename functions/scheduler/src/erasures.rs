//! Erasures that are due: those that could not be carried out when they were requested, and the repetitions of the others.

use std::time::Duration;

use model::time::{self, DateTime};
use tokio::time::Instant;

use crate::Scheduler;

/// The most time that a tick takes for erasures. The fan-out comes after them.
const LONGEST: Duration = Duration::from_secs(20);

/// The part of an invocation that erasures take at most.
const PART: u32 = 4;

/// Carries out the erasures that are due, as many as there is time for before `deadline`.
pub(crate) async fn finish(scheduler: &Scheduler, deadline: DateTime) {
    let time = LONGEST.min(time::between(DateTime::now(), deadline) / PART);
    match scheduler.store.finish_erasures(Instant::now() + time).await {
        Ok(report) if report.failed > 0 || report.left > 0 => tracing::warn!(
            erased = report.erased,
            failed = report.failed,
            left = report.left,
            "erasures are left to the next tick"
        ),
        Ok(report) if report.erased > 0 => tracing::info!(erased = report.erased, "erasures were carried out"),
        Ok(_) => {}
        Err(error) => tracing::error!(error = %error, "erasures are left to the next tick"),
    }
}
