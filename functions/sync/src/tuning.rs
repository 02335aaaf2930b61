//! What a slice learns from its requests about HubSpot and the account's records: how large a page may be, and how long
//! one takes. Concurrent requests share it. They belong to one task, so nothing is locked.

use std::{cell::Cell, time::Duration};

use hubspot::Search;
use model::checkpoint::Lane;

use crate::budget::{Budget, PaceEstimator};

/// How a lane's pages are requested.
#[derive(Debug)]
pub(crate) struct Tuning<'a> {
    pub(crate) pace: PaceEstimator<'a>,
    /// The number of rows per request. 0 is a single row without its properties ([`model::checkpoint::Kept::bare`]).
    page_size: Cell<u32>,
    /// The number of records that HubSpot seems to have no answer for, though no other record could confirm it.
    isolated: Cell<u32>,
    /// True if HubSpot has answered anything.
    has_asked: Cell<bool>,
}

impl<'a> Tuning<'a> {
    /// Returns the tuning of one of `lanes` lanes for a slice, with the page size that the lane's last slice ended with.
    pub(crate) fn new(budget: &'a Budget, lane: &Lane, lanes: usize) -> Self {
        let page_size = if lane.kept.bare { 0 } else { lane.page_size.unwrap_or(Search::MAX_PAGE) };
        Self {
            pace: PaceEstimator::new(budget).beside(lanes),
            page_size: Cell::new(page_size),
            isolated: Cell::new(0),
            has_asked: Cell::new(false),
        }
    }

    /// Returns the tuning of a lane whose quickest answer took so long in the slices before.
    pub(crate) fn expecting(self, quickest_ms: Option<u32>) -> Self {
        let quickest = Duration::from_millis(quickest_ms.unwrap_or_default().into());
        Self { pace: self.pace.expecting(quickest), ..self }
    }

    /// Returns the number of rows per request.
    pub(crate) fn page_size(&self) -> u32 {
        self.page_size.get()
    }

    /// Sets the number of rows per request, at most [`Search::MAX_PAGE`].
    pub(crate) fn ask_for(&self, rows: u32) {
        self.page_size.set(rows.min(Search::MAX_PAGE));
    }

    /// Returns true if HubSpot has answered anything.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.get()
    }

    /// Records that HubSpot has answered.
    pub(crate) fn asked(&self) {
        self.has_asked.set(true);
    }

    /// Records that HubSpot seems to have no answer for a record, though no other record could confirm it. Returns how
    /// many records were like that before.
    pub(crate) fn isolated(&self) -> u32 {
        self.isolated.replace(self.isolated.get() + 1)
    }
}
