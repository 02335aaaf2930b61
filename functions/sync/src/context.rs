//! The shared state of a slice.

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

/// The state that the lanes of a slice share.
pub(crate) struct SliceContext<'a> {
    pub(crate) sync: &'a SyncFunction,
    pub(crate) key: &'a AccountKey,
    pub(crate) leased: &'a Leased,
    pub(crate) session: Session,
    pub(crate) budget: &'a Budget,
    pub(crate) tally: &'a Tally,
    /// A sweep must have begun after this time, because HubSpot reported deletions then.
    pub(crate) sweep_since: Option<DateTime>,
    /// The number of lanes that are being read. They share the account's limits.
    pub(crate) lanes: Cell<u32>,
    /// True if there may be contacts to check for changes of their associations.
    pub(crate) has_association_checks: Cell<bool>,
}

impl SliceContext<'_> {
    pub(crate) fn store(&self) -> &Store {
        &self.sync.store
    }

    /// Stores the position of a lane.
    ///
    /// # Errors
    /// MongoDB failed, or the lease was lost.
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

    /// Returns the properties to request of records of an object type.
    pub(crate) fn properties(&self, object: ObjectType) -> &[String] {
        self.sync.config.properties(object)
    }

    /// Returns how far HubSpot's clock may be ahead of this machine's.
    pub(crate) fn clock_tolerance(&self) -> Duration {
        self.sync.config.clock_tolerance
    }

    /// Returns a lane's share of the searches per second that HubSpot allows the account.
    pub(crate) fn search_rps(&self) -> f64 {
        f64::from(self.sync.config.limits.search_rps.get()) / f64::from(self.lanes.get().max(1))
    }

    /// Returns the settings of [`crate::plan`].
    pub(crate) fn settings(&self, object: ObjectType) -> Settings {
        let config = &self.sync.config;
        let is_associated = object == ObjectType::Contacts;
        Settings {
            overlap: config.overlap,
            settle: config.settle,
            fresh_every: config.fresh_every,
            sweep_every: config.sweep_every,
            sweep_since: self.sweep_since,
            associations_every: config.associations_every.filter(|_| is_associated),
            has_association_checks: is_associated && self.has_association_checks.get(),
        }
    }
}

/// A slice under way: its message, its lease, and its run.
pub(crate) struct ActiveSlice<'a> {
    pub(crate) sync: &'a SyncFunction,
    pub(crate) request: &'a SyncRequest,
    /// How many times the message was received, this time included.
    pub(crate) receives: u32,
    pub(crate) leased: Leased,
    pub(crate) run: Run,
    pub(crate) budget: &'a Budget,
    pub(crate) tally: &'a Tally,
}
