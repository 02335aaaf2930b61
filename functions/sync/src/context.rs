//! What the parts of a slice work with.

use std::{cell::Cell, time::Duration};

use hubspot::Session;
use model::{
    account::AccountKey,
    checkpoint::{Lane, Run},
    message::SyncRequest,
    object::ObjectType,
    time::DateTime,
};
use queue::Queue;
use store::{Leased, Store};

use crate::{SyncFunction, budget::Budget, error::SliceError, plan::Settings, tally::Tally};

/// What the lanes of a slice share.
pub(crate) struct SliceContext<'a> {
    pub(crate) sync: &'a SyncFunction,
    pub(crate) key: &'a AccountKey,
    pub(crate) leased: &'a Leased,
    pub(crate) session: Session,
    pub(crate) budget: &'a Budget,
    pub(crate) tally: &'a Tally,
    /// Since when the recycle bin is to have been looked at, because HubSpot told of deletions.
    pub(crate) sweep_since: Option<DateTime>,
    /// How many lanes are being read. They share the account's limits.
    pub(crate) lanes: Cell<u32>,
}

impl SliceContext<'_> {
    pub(crate) fn store(&self) -> &Store {
        &self.sync.store
    }

    /// Checkpoints a lane, if the lease is still held.
    pub(crate) async fn save_lane(&self, object: ObjectType, lane: &Lane) -> Result<(), SliceError> {
        self.store().save_lane(self.leased, object, lane).await?;
        self.tally.checkpoint();
        Ok(())
    }

    pub(crate) fn actions_queue(&self) -> &Queue {
        &self.sync.actions_queue
    }

    pub(crate) fn account(&self) -> &AccountKey {
        self.key
    }

    pub(crate) fn properties(&self, object: ObjectType) -> &[String] {
        self.sync.config.properties(object)
    }

    pub(crate) fn clock_tolerance(&self) -> Duration {
        self.sync.config.clock_tolerance
    }

    /// How many of the searches that HubSpot allows a second are a lane's own.
    pub(crate) fn search_rps(&self) -> f64 {
        f64::from(self.sync.config.limits.search_rps.get()) / f64::from(self.lanes.get().max(1))
    }

    pub(crate) fn settings(&self) -> Settings {
        let config = &self.sync.config;
        Settings {
            overlap: config.overlap,
            settle: config.settle,
            fresh_every: config.fresh_every,
            sweep_every: config.sweep_every,
            sweep_since: self.sweep_since,
        }
    }
}

/// A slice under way: the message, the lease, and the run it is for.
pub(crate) struct ActiveSlice<'a> {
    pub(crate) sync: &'a SyncFunction,
    pub(crate) request: &'a SyncRequest,
    /// How often the message was received, this time included.
    pub(crate) receives: u32,
    pub(crate) leased: Leased,
    pub(crate) run: Run,
    pub(crate) budget: &'a Budget,
    pub(crate) tally: &'a Tally,
}
