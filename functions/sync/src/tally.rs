//! What a slice did, and the one line of the log that tells it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{checkpoint::Run, hubspot, message::SyncRequest};

/// What a slice did.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rows: AtomicU32,
    actions: AtomicU32,
    unreadable: AtomicU32,
    mismatches: AtomicU32,
    checkpoints: AtomicU32,
    /// What HubSpot was asked.
    pub(crate) hubspot: Arc<hubspot::Tally>,
}

impl Tally {
    pub(crate) fn rows(&self, count: usize) {
        self.rows.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(crate) fn actions(&self, count: usize) {
        self.actions.fetch_add(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mismatch(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn checkpoint(&self) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the slice's story in one line.
    pub(crate) fn log(&self, request: &SyncRequest, run: &Run, duration: Duration, result: &str) {
        let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
        tracing::info!(
            account.domain_id = %request.account.domain_id,
            account.hub_id = %request.account.hub_id,
            run.id = run.id,
            run.slice = run.slice,
            run.idle_slices = run.idle,
            attempt = request.attempt,
            duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            rows = count(&self.rows),
            actions = count(&self.actions),
            checkpoints = count(&self.checkpoints),
            unreadable = count(&self.unreadable),
            window_mismatches = count(&self.mismatches),
            hubspot.searches = count(&self.hubspot.searches),
            hubspot.associations = count(&self.hubspot.associations),
            hubspot.lists = count(&self.hubspot.lists),
            hubspot.rate_limited = count(&self.hubspot.rate_limited),
            hubspot.retries = count(&self.hubspot.retries),
            "a slice ended: {result}"
        );
    }
}
