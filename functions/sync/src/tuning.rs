//! What requests show of HubSpot, and of the account's records, within a slice: how large a page may be, and how long one
//! takes. Requests that are under way side by side share it. They belong to one task, so that nothing is locked.

use std::cell::Cell;

use hubspot::Search;
use model::checkpoint::Lane;

use crate::budget::{Budget, PaceEstimator};

/// How a lane's pages are asked for.
#[derive(Debug)]
pub(crate) struct Tuning<'a> {
    pub(crate) pace: PaceEstimator<'a>,
    /// How many rows are asked for at once; 0 is a single one without its properties ([`model::checkpoint::Kept::bare`]).
    page_size: Cell<u32>,
    /// How many records were taken for those that HubSpot has no answer for, without others to show it.
    isolated: Cell<u32>,
    has_asked: Cell<bool>,
}

impl<'a> Tuning<'a> {
    pub(crate) fn new(budget: &'a Budget, lane: &Lane) -> Self {
        let page_size = if lane.kept.bare { 0 } else { lane.page_size.unwrap_or(Search::MAX_PAGE) };
        Self {
            pace: PaceEstimator::new(budget),
            page_size: Cell::new(page_size),
            isolated: Cell::new(0),
            has_asked: Cell::new(false),
        }
    }

    /// Returns how many rows are asked for at once.
    pub(crate) fn page_size(&self) -> u32 {
        self.page_size.get()
    }

    /// Lets so many rows be asked for at once from now on.
    pub(crate) fn ask_for(&self, rows: u32) {
        self.page_size.set(rows.min(Search::MAX_PAGE));
    }

    /// Returns true if HubSpot has answered anything.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.get()
    }

    /// Notes that HubSpot has answered.
    pub(crate) fn asked(&self) {
        self.has_asked.set(true);
    }

    /// Notes that a record was taken for one that HubSpot has no answer for, without others to show it. Returns how many
    /// were before.
    pub(crate) fn isolated(&self) -> u32 {
        self.isolated.replace(self.isolated.get() + 1)
    }
}
