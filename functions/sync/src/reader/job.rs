//! The jobs of a pass. A job owns what it needs, and does not change the state of the lane.

use hubspot::{Page, Row};
use model::{
    checkpoint::{Lane, Window},
    time::DateTime,
};

use super::window::{Publication, WindowId};
use crate::{
    batch::{self, BATCH_ROWS},
    budget::Concurrent,
    error::SliceError,
    fetch::Fetcher,
    own_marks::Mark,
    plan::RowCounting,
    preparation::{self, Preparation, Prepared},
    set_aside,
};

/// A job of a pass.
#[derive(Debug)]
pub(super) enum Job {
    /// Request a page of a window from HubSpot.
    Search(Search),
    /// Request a page of a window from a list. `last_id` as for [`Search::last_id`].
    List { id: WindowId, window: Window, last_id: Option<String>, concurrent: Concurrent },
    /// Request what a search has after `after_id`, which shows how ids are compared.
    LearnOrder { window: Window, after_id: String },
    /// Look up what was published of a page's rows before, and their companies.
    Prepare { id: WindowId, preparation: Preparation },
    /// Request the number of rows that the window has now, up to `up_to_id` or in all.
    Count { id: WindowId, window: Window, up_to_id: Option<String>, is_suspect: bool },
    /// Mark rows as pending of which nothing was published.
    Mark(Publication),
    /// Publish the next batch of a page's rows.
    Publish(Publication),
    /// Checkpoint the lane.
    Save(Box<Lane>),
}

/// A request for a page.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) id: WindowId,
    /// The half of the window that the page is of, if the window is being split.
    pub(super) half: Option<usize>,
    pub(super) window: Window,
    /// The row after which the page begins. `None` if it begins at the window's position.
    pub(super) last_id: Option<String>,
    pub(super) concurrent: Concurrent,
    pub(super) is_suspect: bool,
    /// True if lists are read beside it.
    pub(super) leaves_room: bool,
}

/// The result of a job.
#[derive(Debug)]
pub(super) enum Done {
    Searched { id: WindowId, half: Option<usize>, page: Result<Option<Page>, SliceError> },
    LearnedOrder { after_id: String, page: Result<Option<Page>, SliceError> },
    Prepared { id: WindowId, prepared: Result<Prepared, SliceError> },
    Counted { id: WindowId, count: Result<Option<i64>, SliceError> },
    Marked { publication: Publication, marked: Result<(), SliceError> },
    Published { publication: Publication, batch: Result<PublishedBatch, SliceError> },
    Saved(Result<(), SliceError>),
}

/// A batch that was published.
#[derive(Debug)]
pub(super) struct PublishedBatch {
    /// The number of its rows that count towards the window's total.
    pub(super) read: i64,
    /// The number of its rows that are counted with the other parts of the history.
    pub(super) countable: i64,
    pub(super) last_id: Option<String>,
    /// True if any of its records could be published, or was published before.
    pub(super) is_read: bool,
    /// The marks that were made, except those as pending.
    pub(super) marks: Vec<Mark>,
    /// When records that were set aside are to be read again.
    pub(super) set_aside_until: Option<DateTime>,
}

/// Does a job. Returns its result.
pub(super) async fn perform(fetcher: Fetcher<'_>, job: Job) -> Done {
    let (slice, object) = (fetcher.slice, fetcher.object);
    match job {
        Job::Search(Search { id, half, window, last_id, concurrent, is_suspect, leaves_room }) => {
            let fetcher = Fetcher { is_suspect, leaves_room, ..fetcher };
            Done::Searched { id, half, page: fetcher.fetch(&window, last_id.as_deref(), concurrent).await }
        }
        Job::List { id, window, last_id, concurrent } => {
            Done::Searched { id, half: None, page: fetcher.list(&window, last_id.as_deref(), concurrent).await }
        }
        Job::LearnOrder { window, after_id } => {
            let page = fetcher.first_after(&window, &after_id).await;
            Done::LearnedOrder { after_id, page }
        }
        Job::Prepare { id, preparation } => {
            Done::Prepared { id, prepared: preparation::prepare(slice, object, preparation).await }
        }
        Job::Count { id, window, up_to_id, is_suspect } => {
            let fetcher = Fetcher { is_suspect, ..fetcher };
            Done::Counted { id, count: fetcher.count(&window, up_to_id.as_deref()).await }
        }
        Job::Mark(publication) => {
            let marked = batch::mark_pending(slice, object, &publication.pending).await;
            Done::Marked { publication, marked }
        }
        Job::Publish(mut publication) => {
            let batch = publish(fetcher, &mut publication).await;
            Done::Published { publication, batch }
        }
        Job::Save(lane) => Done::Saved(slice.save_lane_by_the_end(object, &lane).await),
    }
}

/// Publishes the next batch of the rows, and sets aside those that cannot be published.
async fn publish(fetcher: Fetcher<'_>, publication: &mut Publication) -> Result<PublishedBatch, SliceError> {
    let (slice, object) = (fetcher.slice, fetcher.object);
    let rest = publication.rows.split_off(publication.rows.len().min(BATCH_ROWS));
    let rows = std::mem::replace(&mut publication.rows, rest);
    let (count, last_id) = (rows.len(), rows.last().map(|row| row.id.clone()));
    let read = rows.iter().filter(|row| publication.counting.counts(row)).count();
    let is_countable = |row: &&Row| publication.counted_to.is_some_and(|to| RowCounting::Before(to).counts(row));
    let countable = rows.iter().filter(is_countable).count();
    let published = batch::publish_rows(slice, object, rows, &mut publication.ledger).await?;
    let set_aside_until = set_aside::set_aside(slice, object, &published.odd).await?;
    Ok(PublishedBatch {
        read: i64::try_from(read).unwrap_or_default(),
        countable: i64::try_from(countable).unwrap_or_default(),
        last_id,
        is_read: published.odd.len() < count,
        marks: published.marks,
        set_aside_until,
    })
}
