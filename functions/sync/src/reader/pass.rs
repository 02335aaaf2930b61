//! The decisions of a pass: which page is requested next, when it is published, and when a window is closed. Nothing in
//! here waits for anything.

use std::collections::{BTreeMap, VecDeque};

use hubspot::{LONGEST_LIST_WAIT, Page};
use model::{
    checkpoint::{PassKind, Window},
    object::ObjectType,
    time,
};
use tokio::time::Instant;

use super::{
    doors::Lists,
    job::{Done, Job, Search},
    order::NOT_NUMERIC,
    parts::EarlyCount,
    window::{NextPage, PageAtHand, Publication, WindowId, WindowReader},
};
use crate::{
    budget::Concurrent,
    error::SliceError,
    fetch,
    lane::WindowOutcome,
    plan::{self, Disorder, Door, Outlook, Settings},
    state::LaneState,
    tally::Tally,
    tuning::Tuning,
};

/// Why a page is not published whose rows are in no order.
const NO_ORDER: &str = "its ids are in no order";

/// A pass that is being read.
pub(super) struct PassReader<'a> {
    pub(super) kind: PassKind,
    pub(super) object: ObjectType,
    pub(super) state: &'a mut LaneState,
    pub(super) tuning: &'a Tuning<'a>,
    pub(super) tally: &'a Tally,
    pub(super) settings: Settings,
    /// The lane's share of the searches per second.
    pub(super) search_rps: f64,
    pub(super) lists: Lists,
    /// True if nothing is read after the first page.
    pub(super) is_first_page_only: bool,
    pub(super) readers: BTreeMap<WindowId, WindowReader>,
    /// The count of the history, if it was requested beside the last pages.
    pub(super) early_count: Option<EarlyCount>,
    /// The number of windows that were opened so far.
    pub(super) opened: usize,
    /// The pages that are ready to be published. The one being published comes first.
    pub(super) ready: VecDeque<Publication>,
    /// True while a batch is published or the lane is saved.
    pub(super) is_writing: bool,
    /// True if the lane has progressed since it was saved.
    pub(super) is_unsaved: bool,
    jobs: Vec<Job>,
    outcome: WindowOutcome,
}

impl<'a> PassReader<'a> {
    pub(super) fn new(
        kind: PassKind,
        object: ObjectType,
        state: &'a mut LaneState,
        tuning: &'a Tuning<'a>,
        tally: &'a Tally,
        settings: Settings,
    ) -> Self {
        Self {
            kind,
            object,
            state,
            tuning,
            tally,
            settings,
            search_rps: 0.0,
            lists: Lists::default(),
            is_first_page_only: false,
            readers: BTreeMap::new(),
            early_count: None,
            opened: 0,
            ready: VecDeque::new(),
            is_writing: false,
            is_unsaved: false,
            jobs: Vec::new(),
            outcome: WindowOutcome::Closed,
        }
    }

    /// Returns how the pass ended, if nothing is left to do.
    pub(super) fn outcome(&self) -> WindowOutcome {
        self.outcome
    }

    /// Returns the jobs to start now. Returns none if the pass must wait for those under way, or has ended.
    ///
    /// # Errors
    /// A window cannot be read, and the pass does not continue without it.
    pub(super) fn next_jobs(&mut self) -> Result<Vec<Job>, SliceError> {
        self.write()?;
        self.open_windows();
        // What was closed is saved.
        self.write()?;
        Ok(std::mem::take(&mut self.jobs))
    }

    /// Takes the result of a job.
    ///
    /// # Errors
    /// As of [`Self::next_jobs`], or something could not be published or saved.
    pub(super) fn take(&mut self, done: Done) -> Result<(), SliceError> {
        match done {
            Done::Searched { id, half, page } => {
                let Some(mut reader) = self.readers.remove(&id) else { return Ok(()) };
                let arrived = NextPage::Arrived(page);
                match (half, &mut reader.split) {
                    (Some(half), Some(split)) => split.pages[half] = arrived,
                    _ => reader.next = arrived,
                }
                self.go_on(reader)
            }
            Done::LearnedOrder { after_id, page } => self.learned_order(&after_id, page),
            Done::Prepared { id, prepared } => {
                let Some(reader) = self.readers.remove(&id) else { return Ok(()) };
                match prepared {
                    Ok(prepared) => self.prepared(reader, prepared),
                    Err(error) => self.failed(reader, error),
                }
            }
            Done::Counted { id, count } if self.is_counted_early(id, &count) => Ok(()),
            Done::Counted { id, count } => {
                let Some(reader) = self.readers.remove(&id) else { return Ok(()) };
                match count {
                    Ok(count) => self.counted(reader, count),
                    Err(error) => self.failed(reader, error),
                }
            }
            Done::Marked { publication, marked } => {
                marked?;
                self.ready.push_back(publication);
                Ok(())
            }
            Done::Published { publication, batch } => {
                self.is_writing = false;
                self.batch_published(publication, batch?);
                Ok(())
            }
            Done::Saved(saved) => {
                self.is_writing = false;
                saved
            }
        }
    }

    /// Returns the reader of a window, under a new name.
    pub(super) fn open(&mut self, window: Window) -> WindowReader {
        self.opened += 1;
        WindowReader::new(WindowId(self.opened), window, self.state.lane.first_seen.is_some())
    }

    /// Requests the page after `last_id`, or after what is published, by a search.
    pub(super) fn search(&mut self, reader: &mut WindowReader, last_id: Option<String>, concurrent: Concurrent) {
        reader.next = NextPage::Asked;
        let (window, is_suspect) = (reader.window.clone(), self.state.is_suspect(&reader.window));
        let (id, leaves_room) = (reader.id, self.reads_lists() && plan::is_part(&window));
        self.start(Job::Search(Search { id, half: None, window, last_id, concurrent, is_suspect, leaves_room }));
    }

    /// Adds a job to those to start.
    pub(super) fn start(&mut self, job: Job) {
        self.jobs.push(job);
    }

    /// Continues a window without a current page, if its next page has arrived.
    pub(super) fn go_on(&mut self, mut reader: WindowReader) -> Result<(), SliceError> {
        if reader.page.is_none() {
            if reader.split.is_some() {
                return self.split(reader);
            }
            if let Some(page) = reader.next.take() {
                return match page {
                    Ok(Some(page)) => self.begin_page(reader, page),
                    // The limit allows no list for a while, or there is no time for one. Searches may have time left, and
                    // read this window as soon as one is free.
                    Ok(None) if reader.door == Door::List => {
                        let soon = Instant::now() + LONGEST_LIST_WAIT;
                        self.lists.are_off |=
                            self.tuning.pace.latest_list(Concurrent::Nothing).is_none_or(|latest| latest < soon);
                        Ok(())
                    }
                    Ok(None) => {
                        self.out_of_time();
                        Ok(())
                    }
                    Err(error) if reader.door == Door::List => self.list_failed(error),
                    Err(error) => self.failed(reader, error),
                };
            }
        }
        self.readers.insert(reader.id, reader);
        Ok(())
    }

    /// Records that there is no time for another request. Other windows continue with the pages that they have
    /// requested.
    pub(super) fn out_of_time(&mut self) {
        self.outcome = WindowOutcome::OutOfTime;
    }

    /// Validates a page, and prepares it for publishing while the next page is requested.
    fn begin_page(&mut self, mut reader: WindowReader, mut page: Page) -> Result<(), SliceError> {
        let accepted = match reader.door {
            Door::Search => plan::validate_page(&mut reader.window, &mut page),
            Door::List => plan::validate_list(&reader.window, &mut page),
        };
        // The first answer of all has HubSpot's time, from which the other passes are set up.
        plan::record_first_contact(&mut self.state.lane, page.date, self.settings);
        if let (true, Some(total)) = (self.is_of_history(&reader.window), page.total) {
            self.state.lane.backfilled.total.get_or_insert(reader.window.read + total);
        }
        let problem = match (&accepted, plan::end_at_part(&reader.window, &mut page)) {
            (Err(Disorder), _) | (_, Err(Disorder)) => Some(NO_ORDER),
            _ if page.rows.is_empty() && page.has_more() => Some("its pages are empty, and others follow"),
            _ => None,
        };
        let (Ok(counting), None) = (accepted, problem) else {
            self.refuse_page(&reader, problem.unwrap_or(NO_ORDER));
            return Ok(());
        };
        if self.kind == PassKind::Fresh && page.total == Some(0) && page.rows.is_empty() {
            plan::settle_empty(&mut self.state.lane, &reader.window, self.settings);
        }
        self.begin_parts(&mut reader.window, &page);
        if reader.door == Door::Search {
            self.learn_order(&reader.window, &page);
        }
        reader.outlook = Outlook::of(&page);
        if std::mem::take(&mut reader.is_cut_ahead) {
            reader.outlook = reader.outlook.map(Outlook::without_count);
        }
        if reader.door == Door::List {
            self.state.lane.kept.lists.failures = 0;
        }
        if self.is_first_page_only {
            // The rest is read when it is the lane's turn.
        } else if let Some(middle) = self.split_point(&reader.window, &page) {
            self.begin_split(&mut reader, &page, middle);
        } else if page.has_more() {
            let last_id = page.rows.last().map(|row| row.id.clone());
            self.request(&mut reader, last_id, Concurrent::Publishing);
        }
        reader.page = Some(PageAtHand {
            rows: page.rows.len(),
            size: page.rows.len(),
            counting,
            counted_to: reader.window.part.as_ref().map(|part| part.counted_to),
            is_last: !page.has_more(),
            is_quick: page.took < fetch::QUICK_PAGE,
            is_suspect: self.state.is_suspect(&reader.window),
            each_for_itself: self.state.is_stubborn(),
            began: Instant::now(),
            rest: page.rows,
        });
        self.prepare(reader)
    }

    /// Does not publish a page that cannot be right. If a list has no order, or a part of the history has another one than
    /// the numeric order, lists are not used any more.
    fn refuse_page(&mut self, reader: &WindowReader, reason: &str) {
        match reader.door {
            Door::List => self.close_lists(reason),
            Door::Search if reason == NO_ORDER && plan::is_part(&reader.window) => self.read_whole(NOT_NUMERIC),
            Door::Search => self.does_not_add_up(&reader.window, reason),
        }
    }

    /// Returns true if the window's rows are counted with those of the history. Records without a time are not.
    pub(super) fn is_of_history(&self, window: &Window) -> bool {
        self.kind == PassKind::Backfill && !window.undated
    }

    /// Handles a failure of a window. A window that HubSpot refuses is held, except in a fresh pass: there HubSpot
    /// refuses everything. A window with a record that HubSpot does not show is read in halves, which find the record.
    ///
    /// # Errors
    /// The window is not the cause.
    pub(super) fn failed(&mut self, reader: WindowReader, error: SliceError) -> Result<(), SliceError> {
        let WindowReader { mut window, is_met, .. } = reader;
        if self.kind == PassKind::Backfill && window.undated {
            self.read_undated_later(&error.to_string());
            return Ok(());
        }
        match error {
            SliceError::HubSpot(error)
                if self.kind != PassKind::Fresh && is_met && self.state.is_a_records(&error, &window) =>
            {
                self.hold(&window, &error.to_string(), false);
                Ok(())
            }
            SliceError::Unshowable { reason, date } => {
                plan::record_first_contact(&mut self.state.lane, date, self.settings);
                window.to.get_or_insert(time::after(date, plan::DATE_RESOLUTION));
                self.does_not_add_up(&window, &reason);
                Ok(())
            }
            error => Err(error),
        }
    }
}
