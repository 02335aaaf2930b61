//! A window that is being read. At most one of its pages is published while the next one is requested.

use hubspot::{Page, Row, Search};
use model::{checkpoint::Window, time::DateTime};
use tokio::time::Instant;

use crate::{
    error::SliceError,
    ledger::PublishLedger,
    own_marks::Mark,
    plan::{Door, Outlook, RowCounting},
};

/// The name of a window while a pass is read. A window that is read again has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WindowId(pub(super) usize);

/// A window that is being read.
#[derive(Debug)]
pub(super) struct WindowReader {
    pub(super) id: WindowId,
    /// The window, with its end, order and total from its pages. Its position is after the rows that are published.
    pub(super) window: Window,
    /// How its pages are read.
    pub(super) door: Door,
    /// What the latest page tells of the rows after it. `None` if there is no such page.
    pub(super) outlook: Option<Outlook>,
    /// True if the window was cut after its next page was requested. HubSpot counts for that page what was cut off, too.
    pub(super) is_cut_ahead: bool,
    /// True if all rows were read, and are only counted.
    pub(super) is_count_only: bool,
    /// True if HubSpot's time was known before the window was read.
    pub(super) is_met: bool,
    /// The page that is being published.
    pub(super) page: Option<PageAtHand>,
    /// The page after that one.
    pub(super) next: NextPage,
    /// The halves that replace the rest of the window, after the page is published.
    pub(super) split: Option<Split>,
}

/// The page after the current one.
#[derive(Debug)]
pub(super) enum NextPage {
    /// It is not requested.
    None,
    /// It is requested.
    Asked,
    /// It has arrived. `None` if there was no time for it.
    Arrived(Result<Option<Page>, SliceError>),
}

/// A page that is being published.
#[derive(Debug)]
pub(super) struct PageAtHand {
    /// How many rows it has.
    pub(super) rows: usize,
    /// Those that are not prepared yet.
    pub(super) rest: Vec<Row>,
    /// How many rows are prepared at once at most.
    pub(super) size: usize,
    pub(super) counting: RowCounting,
    /// The rows modified before this are counted with the other parts of the history.
    pub(super) counted_to: Option<DateTime>,
    /// True if it is the last page of the window.
    pub(super) is_last: bool,
    /// True if HubSpot took little time for it.
    pub(super) is_quick: bool,
    pub(super) is_suspect: bool,
    pub(super) each_for_itself: bool,
    pub(super) began: Instant,
}

/// Prepared rows of a window that are not published yet.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) id: WindowId,
    pub(super) rows: Vec<Row>,
    pub(super) ledger: PublishLedger,
    /// The marks as pending, made before the first of the rows is published.
    pub(super) pending: Vec<Mark>,
    pub(super) counting: RowCounting,
    /// As for [`PageAtHand::counted_to`].
    pub(super) counted_to: Option<DateTime>,
    /// True if the window ends with these rows. Then their last batch is checkpointed when the window is closed.
    pub(super) is_last: bool,
    /// True if a batch of them is published, or is about to be.
    pub(super) is_begun: bool,
}

/// The two windows that replace the rest of one.
#[derive(Debug)]
pub(super) struct Split {
    /// The window before the current page.
    pub(super) whole: Window,
    /// How many rows HubSpot counted from there on.
    pub(super) total: Option<i64>,
    /// How many rows the current page has.
    pub(super) rows: usize,
    /// The id of the page's last row.
    pub(super) last_id: Option<String>,
    pub(super) halves: [Window; 2],
    /// Their first pages.
    pub(super) pages: [NextPage; 2],
}

impl WindowReader {
    pub(super) fn new(id: WindowId, window: Window, is_met: bool) -> Self {
        let (door, outlook, page, next, split) = (Door::Search, None, None, NextPage::None, None);
        Self { id, window, door, outlook, is_cut_ahead: false, is_count_only: false, is_met, page, next, split }
    }
}

impl NextPage {
    /// Takes the page. Returns `None` if it has not arrived.
    pub(super) fn take(&mut self) -> Option<Result<Option<Page>, SliceError>> {
        match std::mem::replace(self, Self::None) {
            Self::Arrived(page) => Some(page),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Returns how many rows HubSpot counted from the page on. Returns `None` if the page has not arrived.
    pub(super) fn total(&self) -> Option<i64> {
        match self {
            Self::Arrived(Ok(Some(page))) => page.total,
            _ => None,
        }
    }

    /// Returns how many rows are requested, or have arrived.
    pub(super) fn rows_asked(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Asked => Search::MAX_PAGE as usize,
            Self::Arrived(Ok(Some(page))) => page.rows.len(),
            Self::Arrived(_) => 0,
        }
    }
}
