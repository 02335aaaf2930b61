//! A window that is being read: at most one of its pages is published while the next one is asked for.

use hubspot::{Page, Row};
use model::checkpoint::Window;
use tokio::time::Instant;

use crate::{error::SliceError, ledger::PublishLedger, own_marks::Mark, plan::RowCounting};

/// Names a window while a pass is read. A window that is read anew has another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WindowId(pub(super) usize);

/// A window that is being read.
#[derive(Debug)]
pub(super) struct WindowReader {
    pub(super) id: WindowId,
    /// The window, with what its pages say of its end, order and total; it stands behind what is published.
    pub(super) window: Window,
    /// Whether HubSpot's time was known before it was read.
    pub(super) is_met: bool,
    /// The page that is being published.
    pub(super) page: Option<PageAtHand>,
    /// The page behind that one.
    pub(super) next: NextPage,
    /// The halves that take the place of what is left, once the page is published.
    pub(super) split: Option<Split>,
}

/// The page behind the one at hand.
#[derive(Debug)]
pub(super) enum NextPage {
    /// It is not asked for.
    None,
    /// It is asked for.
    Asked,
    /// It has come. `None` if there was no time for it.
    Arrived(Result<Option<Page>, SliceError>),
}

/// A page that is being published.
#[derive(Debug)]
pub(super) struct PageAtHand {
    /// The rows that are not prepared yet.
    pub(super) rest: Vec<Row>,
    /// How many rows are prepared at once at most.
    pub(super) size: usize,
    pub(super) counting: RowCounting,
    /// Whether it ends the window.
    pub(super) is_last: bool,
    /// Whether HubSpot took little time for it.
    pub(super) is_quick: bool,
    pub(super) is_suspect: bool,
    pub(super) each_for_itself: bool,
    pub(super) began: Instant,
}

/// Rows of which is known what was published before, as far as they are not published yet.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) id: WindowId,
    pub(super) rows: Vec<Row>,
    pub(super) ledger: PublishLedger,
    /// What is marked as pending before the first of them is published.
    pub(super) pending: Vec<Mark>,
    pub(super) counting: RowCounting,
    /// Whether the window ends with them: their last batch is checkpointed when it is closed.
    pub(super) is_last: bool,
    /// Whether a batch of them is published, or is about to be.
    pub(super) is_begun: bool,
}

/// The two windows that take the place of what is left of one.
#[derive(Debug)]
pub(super) struct Split {
    /// The window as it was before the page at hand.
    pub(super) whole: Window,
    /// How many rows HubSpot counted behind that.
    pub(super) total: i64,
    /// How many rows the page at hand has.
    pub(super) rows: usize,
    /// The page's last row.
    pub(super) last_id: Option<String>,
    pub(super) halves: [Window; 2],
    /// Their first pages.
    pub(super) pages: [NextPage; 2],
}

impl WindowReader {
    pub(super) fn new(id: WindowId, window: Window, is_met: bool) -> Self {
        Self { id, window, is_met, page: None, next: NextPage::None, split: None }
    }
}

impl NextPage {
    /// Takes the page, if it has come.
    pub(super) fn take(&mut self) -> Option<Result<Option<Page>, SliceError>> {
        match std::mem::replace(self, Self::None) {
            Self::Arrived(page) => Some(page),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Returns how many rows HubSpot counted for the page. Returns `None` if it has not come.
    pub(super) fn total(&self) -> Option<i64> {
        match self {
            Self::Arrived(Ok(Some(page))) => Some(page.total),
            _ => None,
        }
    }
}
