//! The shared state of a slice.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hubspot::Session;
use model::{
    account::AccountKey,
    checkpoint::{Lane, Run},
    choice::{Objects, Selection},
    message::SyncRequest,
    object::ObjectType,
    time::DateTime,
};
use queue::Queue;
use store::{Leased, Store};

use crate::{
    SyncFunction,
    budget::Budget,
    error::SliceError,
    plan::{LISTS_PER_PAGE, Settings},
    tally::Tally,
    turns::Turns,
};

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
    /// What is read of the account.
    pub(crate) selection: &'a Selection,
    /// The properties of the object types of which all are read. Empty until they are looked up.
    pub(crate) all_properties: OnceCell<Objects>,
    pub(crate) turns: Turns,
    /// The object types of which there may be records to check for changes of their associations.
    pub(crate) association_checks: RefCell<BTreeSet<ObjectType>>,
    /// The pairs of object types of which HubSpot has no associations.
    pub(crate) undefined_associations: RefCell<BTreeSet<(ObjectType, ObjectType)>>,
    /// The positions that are stored when the slice ends.
    pub(crate) unsaved: &'a UnsavedLanes,
}

/// Positions of lanes that have published nothing in a slice. They are stored with its end, which is one write for all of
/// them. A slice that ends abruptly reads again what they say was read.
#[derive(Debug, Default)]
pub(crate) struct UnsavedLanes(RefCell<BTreeMap<ObjectType, (usize, Lane)>>);

/// How many times in a slice the position of a lane may be left to the slice's end.
const MAX_LEFT: usize = 4;

impl UnsavedLanes {
    /// Keeps a position. Returns `false` if it must be stored now.
    fn keep(&self, object: ObjectType, lane: &Lane) -> bool {
        let mut lanes = self.0.borrow_mut();
        let times = lanes.get(&object).map_or(0, |(times, _)| *times);
        let is_kept = times < MAX_LEFT;
        if is_kept {
            lanes.insert(object, (times + 1, lane.clone()));
        }
        is_kept
    }

    /// Takes the positions.
    pub(crate) fn take(&self) -> BTreeMap<ObjectType, Lane> {
        std::mem::take(&mut *self.0.borrow_mut()).into_iter().map(|(object, (_, lane))| (object, lane)).collect()
    }
}

impl SliceContext<'_> {
    pub(crate) fn store(&self) -> &Store {
        &self.sync.store
    }

    /// Stores the position of a lane. If the slice has published nothing of it, the position may be stored when the slice
    /// ends.
    ///
    /// # Errors
    /// MongoDB failed, or the lease was lost.
    pub(crate) async fn save_lane_by_the_end(&self, object: ObjectType, lane: &Lane) -> Result<(), SliceError> {
        if self.tally.has_rows(object) || !self.unsaved.keep(object, lane) {
            return self.save_lane(object, lane).await;
        }
        Ok(())
    }

    /// Stores the position of a lane.
    ///
    /// # Errors
    /// MongoDB failed, or the lease was lost.
    pub(crate) async fn save_lane(&self, object: ObjectType, lane: &Lane) -> Result<(), SliceError> {
        self.store().save_lane(self.leased, object, lane).await?;
        self.unsaved.0.borrow_mut().remove(&object);
        self.tally.checkpoint();
        Ok(())
    }

    pub(crate) fn actions_queue(&self) -> &Queue {
        &self.sync.actions_queue
    }

    pub(crate) fn account(&self) -> &AccountKey {
        self.key
    }

    /// Returns the object types that are read, with their properties.
    pub(crate) fn objects(&self) -> &Objects {
        &self.selection.objects
    }

    /// Returns the properties to request of records of an object type.
    pub(crate) fn properties(&self, object: ObjectType) -> &[String] {
        let all = self.all_properties.get().and_then(|all| all.get(&object));
        all.or_else(|| self.objects().get(&object)).map_or(&[], Vec::as_slice)
    }

    /// Returns how far HubSpot's clock may be ahead of this machine's.
    pub(crate) fn clock_tolerance(&self) -> Duration {
        self.sync.config.clock_tolerance
    }

    /// Returns a lane's share of the searches per second that HubSpot allows the account.
    pub(crate) fn search_rps(&self) -> f64 {
        f64::from(self.sync.config.limits.search_rps.get()) / self.turns.lanes()
    }

    /// Returns a lane's share of the pages of lists per second that HubSpot allows the account.
    pub(crate) fn list_pages_per_second(&self) -> f64 {
        self.session.lists_per_second() / f64::from(LISTS_PER_PAGE) / self.turns.lanes()
    }

    /// Returns true if the history of an object type may be read by lists, too.
    pub(crate) fn may_list(&self, object: ObjectType) -> bool {
        !self.sync.config.search_only && hubspot::can_list(object, self.properties(object))
    }

    /// Returns the object types with which the associations of records are read: those of their row in the catalogue,
    /// as far as the account's own records of them are read, or every grant covers them.
    pub(crate) fn association_types(&self, object: ObjectType) -> impl Iterator<Item = ObjectType> {
        let named = object.spec().associations.iter().filter_map(|name| ObjectType::parse(name).ok());
        named.filter(|to| self.objects().contains_key(to) || to.is_default())
    }

    /// Returns true if there may be records of the object type to check for changes of their associations.
    pub(crate) fn has_association_checks(&self, object: ObjectType) -> bool {
        self.association_checks.borrow().contains(&object)
    }

    /// Notes that there are records of the object type to check.
    pub(crate) fn note_association_checks(&self, object: ObjectType) {
        self.association_checks.borrow_mut().insert(object);
    }

    /// Returns the settings of [`crate::plan`].
    pub(crate) fn settings(&self, object: ObjectType) -> Settings {
        let (config, spec, checkpoint) = (&self.sync.config, object.spec(), &self.leased.checkpoint);
        Settings {
            overlap: config.overlap,
            settle: config.settle,
            fresh_every: config.fresh_every,
            sweep_every: config.sweep_every.filter(|_| spec.has_recycle_bin),
            sweep_since: self.sweep_since.filter(|_| spec.has_recycle_bin),
            associations_every: config.associations_every.filter(|_| !spec.associations.is_empty()),
            has_association_checks: self.has_association_checks(object),
            changed_at: checkpoint.changed_at.get(&object).copied().or(checkpoint.lanes.get(object).first_seen),
            calculated_every: config.calculated_every,
        }
    }
}

/// What an account's entry says of looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// See [`model::account::Account::digest`].
    pub(crate) digest: i64,
    /// The pause that it asks for.
    pub(crate) look_every: Option<Duration>,
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
    /// What is read of the account. Empty until its entry is read.
    pub(crate) selection: OnceCell<Selection>,
    /// The positions that are stored when the slice ends.
    pub(crate) unsaved: UnsavedLanes,
    /// What the account's entry says of looks. Empty until it is read.
    pub(crate) entry: OnceCell<Entry>,
}
