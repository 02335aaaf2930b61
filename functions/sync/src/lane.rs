//! Pulling one lane of an account: pass by pass, window by window, page by page, for as long as time allows.
//! The next page is asked for while this one is handed on, and the windows of a pass are read side by side
//! where one request at a time cannot use HubSpot's limit.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use common::{
    checkpoint::{Lane, PassKind, Window},
    hubspot::{Filter, Page, Search},
    object::ObjectType,
    time::DateTime,
};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use crate::{
    batch::{self, BATCH},
    budget::{Meanwhile, Pace},
    error::SliceError,
    plan::{self, Counting},
    slice::Slice,
};

/// A page that took less than this leaves room for a larger one.
const QUICK: Duration = Duration::from_secs(1);

/// How a lane's slice ended, where nothing failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LaneEnd {
    /// There is nothing left to read; the date is how far the fresh pass got.
    CaughtUp(Option<DateTime>),
    /// There is more, but no time for it.
    OutOfTime,
    /// There is more, but it does not add up; it is read again after a pause.
    Mismatch,
}

/// How the reading of a window, or of a page of the recycle bin, ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    /// It was closed or divided: there may be others to read.
    On,
    /// There is no time to read on.
    OutOfTime,
    /// It does not add up, whatever is tried.
    Blocked,
}

/// The pulling of one lane within a slice.
pub(crate) struct Pull<'a> {
    pub(crate) slice: &'a Slice<'a>,
    pub(crate) object: ObjectType,
    /// How the lane stands. Never held while anything is waited for: the readers of a pass are polled together.
    lane: Mutex<Lane>,
    /// Held while rows are handed on and while the lane is saved, so that no two readers announce the same record,
    /// and none saves an older state over a newer one. It counts the batches that were handed on.
    pub(crate) turn: tokio::sync::Mutex<u64>,
    /// How many rows are asked for at once.
    page_size: AtomicU32,
    progressed: AtomicBool,
    pub(crate) pace: Pace<'a>,
    /// The first pages of windows that were just made, by their passes and beginnings.
    fetched_ahead: Mutex<HashMap<(PassKind, DateTime), Page>>,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(slice: &'a Slice<'a>, object: ObjectType, lane: Lane) -> Self {
        Self {
            slice,
            object,
            page_size: AtomicU32::new(lane.page_size.unwrap_or(Search::MAX_PAGE).min(Search::MAX_PAGE)),
            progressed: AtomicBool::new(false),
            pace: Pace::new(slice.budget),
            fetched_ahead: Mutex::default(),
            lane: Mutex::new(lane),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// How many rows are asked for at once.
    pub(crate) fn page_size(&self) -> u32 {
        self.page_size.load(Ordering::Relaxed)
    }

    /// Whether the lane got on: its position was checkpointed, other than to read something again.
    pub(crate) fn progressed(&self) -> bool {
        self.progressed.load(Ordering::Relaxed)
    }

    /// Up to when the lane was looked at for changes.
    pub(crate) fn fresh_to(&self) -> Option<DateTime> {
        self.lane().fresh.mark
    }

    /// Pulls within the run that was begun at `run_started`.
    pub(crate) async fn run(&self, run_started: DateTime) -> Result<LaneEnd, SliceError> {
        let mut blocked = Vec::new();
        while self.pace.latest_start(Meanwhile::Nothing).is_some() {
            let settings = self.slice.settings();
            let now = DateTime::now();
            let due = plan::due(&mut self.lane(), settings, now, run_started, &blocked);
            if let Some(kind) = due {
                match self.read_pass(kind).await? {
                    Go::On => {}
                    Go::OutOfTime => break,
                    Go::Blocked => blocked.push(kind),
                }
                continue;
            }
            let lane = self.lane().clone();
            if !plan::is_caught_up(&lane) {
                return Ok(LaneEnd::Mismatch);
            }
            if !plan::sweep_is_due(&lane, settings, now, run_started) {
                return Ok(LaneEnd::CaughtUp(lane.fresh.mark));
            }
            if self.sweep().await? == Go::OutOfTime {
                break;
            }
        }
        Ok(LaneEnd::OutOfTime)
    }

    /// Reads the windows of a pass, several side by side.
    async fn read_pass(&self, kind: PassKind) -> Result<Go, SliceError> {
        let mut go = Go::On;
        let mut taken: Vec<DateTime> = Vec::new();
        let mut readers = FuturesUnordered::new();
        loop {
            // Behind a window that does not add up, the others wait for the next slice. Where there is no time to read
            // on, what was fetched ahead is still handed on.
            let goes_on = |window: &Window| match go {
                Go::On => true,
                Go::OutOfTime => self.fetched_ahead().contains_key(&(kind, window.from)),
                Go::Blocked => false,
            };
            for window in self.lane().pass(kind).windows.iter().filter(|window| goes_on(window)) {
                if readers.len() < plan::READERS && !taken.contains(&window.from) {
                    taken.push(window.from);
                    readers.push(self.read_window(kind, window.clone()));
                }
            }
            let Some(ended) = readers.next().await else { return Ok(go) };
            match ended? {
                (from, Go::On) => taken.retain(|other| *other != from),
                (_, Go::Blocked) if go == Go::On => go = Go::Blocked,
                (_, Go::Blocked) => {}
                (_, Go::OutOfTime) => go = Go::OutOfTime,
            }
        }
    }

    /// Reads one window from where it stands, and tells which it was.
    async fn read_window(&self, kind: PassKind, mut window: Window) -> Result<(DateTime, Go), SliceError> {
        let from = window.from;
        let ahead = self.fetched_ahead().remove(&(kind, from));
        let mut page = match ahead {
            Some(page) => page,
            None => match self.fetch(&window, None, Meanwhile::Nothing).await? {
                Some(page) => page,
                None => return Ok((from, Go::OutOfTime)),
            },
        };
        loop {
            let accepted = plan::accept(&mut window, &page);
            // The first answer of all tells HubSpot's time, from which the other passes are set up.
            plan::meet(&mut self.lane(), page.date, self.slice.settings());
            if kind == PassKind::Backfill {
                self.lane().backfilled.total.get_or_insert(window.read + page.total);
            }
            let Ok(counting) = accepted else {
                return Ok((from, self.repair(kind, &window, "its ids are in no order").await?));
            };
            if !page.has_more {
                self.hand_on(kind, &mut window, page, counting, true).await?;
                return Ok((from, self.close(kind, &window).await?));
            }
            let last_id = page.rows.last().map(|row| row.id.clone());
            if let Some(middle) = self.divide_at(kind, &window, &page) {
                let halves = plan::halves(&window, last_id.as_ref(), middle);
                let handing_on = self.hand_on(kind, &mut window, page, counting, false);
                let (handed_on, first, second) = tokio::join!(
                    handing_on,
                    self.fetch(&halves[0], None, Meanwhile::HandingOn),
                    self.fetch(&halves[1], None, Meanwhile::HandingOn)
                );
                handed_on?;
                for (half, page) in halves.iter().zip([first?, second?]) {
                    self.fetched_ahead().extend(page.map(|page| ((kind, half.from), page)));
                }
                plan::divide(self.lane().pass_mut(kind), &window, halves);
                return Ok((from, Go::On));
            }
            let asked = window.clone();
            let next = self.fetch(&asked, last_id.as_deref(), Meanwhile::HandingOn);
            let (handed_on, next) = tokio::join!(self.hand_on(kind, &mut window, page, counting, false), next);
            handed_on?;
            let Some(next) = next? else { return Ok((from, Go::OutOfTime)) };
            page = next;
        }
    }

    /// Asks for the window's rows behind `last_id`, or behind the last row that was read; nothing where there is
    /// no time for a page any more.
    async fn fetch(
        &self,
        window: &Window,
        last_id: Option<&str>,
        meanwhile: Meanwhile,
    ) -> Result<Option<Page>, SliceError> {
        let after_id = last_id.or(window.last_id.as_deref()).or(window.start_id.as_deref());
        let filter = Filter { from: window.from, to: window.to, after_id };
        let properties = self.slice.properties(self.object);
        let limit = self.page_size();
        let search = Search { object: self.object, filter, properties, limit };
        let Some(latest) = self.pace.latest_start(meanwhile) else { return Ok(None) };
        let page = self.slice.session.search(&search, Some(latest)).await?;
        if let Some(page) = &page {
            self.pace.page_took(page.took);
            if page.took < QUICK {
                self.page_size.fetch_max((limit * 2).min(Search::MAX_PAGE), Ordering::Relaxed);
            }
        }
        Ok(page)
    }

    fn divide_at(&self, kind: PassKind, window: &Window, page: &Page) -> Option<DateTime> {
        let readers = self.pace.readers(self.slice.search_rps());
        plan::divide_at(self.lane().pass(kind), window, page, readers)
    }

    /// Hands on the rows of a page, batch by batch, each with its checkpoint; the last batch of a window is
    /// checkpointed when the window is closed.
    async fn hand_on(
        &self,
        kind: PassKind,
        window: &mut Window,
        page: Page,
        counting: Counting,
        last: bool,
    ) -> Result<(), SliceError> {
        let began = Instant::now();
        let handed_on = *self.turn.lock().await;
        let mut rows = page.rows;
        let taken_over_from = self.lane().taken_over_from;
        let mut known = batch::look_up(self.slice, self.object, taken_over_from, &rows).await?;
        let mut turn = self.turn.lock().await;
        if *turn != handed_on {
            // Another reader may have met a record of ours that was modified in between.
            batch::look_again(self.slice, self.object, &rows, &mut known).await?;
        }
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(BATCH));
            let read = rows.iter().filter(|row| counting.counts(row)).count();
            let last_id = rows.last().map(|row| row.id.clone());
            batch::hand_on(self.slice, self.object, rows, &mut known).await?;
            *turn += 1;
            window.read += i64::try_from(read).unwrap_or_default();
            window.last_id = last_id;
            rows = rest;
            let place = |lane: &mut Lane| {
                let windows = &mut lane.pass_mut(kind).windows;
                windows.iter_mut().filter(|place| place.from == window.from).for_each(|place| place.clone_from(window));
            };
            place(&mut self.lane());
            if kind == PassKind::Backfill {
                self.lane().backfilled.read += i64::try_from(read).unwrap_or_default();
            }
            if !(last && rows.is_empty()) {
                self.advance().await?;
            }
        }
        self.pace.handing_on_took(began.elapsed());
        Ok(())
    }

    /// Ends a window that HubSpot says has no more rows, if all of its rows were read.
    async fn close(&self, kind: PassKind, window: &Window) -> Result<Go, SliceError> {
        if !plan::adds_up(window) {
            let filter = Filter { from: window.from, to: window.to, after_id: window.start_id.as_deref() };
            let count = Search { object: self.object, filter, properties: &[], limit: 1 };
            let Some(page) = self.slice.session.search(&count, None).await? else { return Ok(Go::OutOfTime) };
            if !plan::is_complete(window, page.total) {
                return self.repair(kind, window, "rows are missing").await;
            }
        }
        let _turn = self.turn.lock().await;
        plan::complete(self.lane().pass_mut(kind), window, DateTime::now());
        self.advance().await?;
        Ok(Go::On)
    }

    async fn repair(&self, kind: PassKind, window: &Window, reason: &str) -> Result<Go, SliceError> {
        tracing::warn!(
            object = self.object.as_str(), pass = kind.as_str(), reason,
            window.from = %window.from, window.read, window.expected, "a window does not add up and is read again"
        );
        self.slice.tally.mismatch();
        let _turn = self.turn.lock().await;
        let halved = plan::repair(self.lane().pass_mut(kind), window);
        self.save().await?;
        Ok(if halved { Go::On } else { Go::Blocked })
    }

    /// Checkpoints that the lane got on. The caller has the turn.
    pub(crate) async fn advance(&self) -> Result<(), SliceError> {
        self.lane().last_error = None;
        self.save().await?;
        self.progressed.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) async fn save(&self) -> Result<(), SliceError> {
        let page_size = self.page_size();
        let lane = {
            let mut lane = self.lane();
            lane.page_size = (page_size < Search::MAX_PAGE).then_some(page_size);
            lane.clone()
        };
        self.slice.store().save_lane(self.slice.leased, self.object, &lane).await?;
        self.slice.tally.checkpoint();
        Ok(())
    }

    fn fetched_ahead(&self) -> MutexGuard<'_, HashMap<(PassKind, DateTime), Page>> {
        self.fetched_ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lane(&self) -> MutexGuard<'_, Lane> {
        // A panic elsewhere leaves the lane as it was.
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
