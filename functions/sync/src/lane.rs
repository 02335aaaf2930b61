//! Pulling one lane of an account: pass by pass, window by window, page by page, for as long as time allows.
//! The next page is asked for while this one is handed on.

use common::{
    checkpoint::{Lane, PassKind},
    hubspot::{Filter, Page, Search},
    object::ObjectType,
    time::DateTime,
};
use tokio::time::Instant;

use crate::{
    batch::{self, BATCH},
    error::SliceError,
    plan::{self, Counting},
    slice::Slice,
};

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

/// Whether a window can be read on within this slice.
enum Go {
    On,
    OutOfTime,
}

/// Pulls a lane, within the run that was begun at `run_started`.
pub(crate) async fn pull(
    slice: &Slice<'_>,
    object: ObjectType,
    lane: &mut Lane,
    run_started: DateTime,
) -> Result<LaneEnd, SliceError> {
    let mut blocked = Vec::new();
    while slice.budget.has_time() {
        let Some(kind) = plan::due(lane, slice.settings(), DateTime::now(), run_started, &blocked) else {
            return Ok(match plan::is_caught_up(lane) {
                true => LaneEnd::CaughtUp(lane.fresh.mark),
                false => LaneEnd::Mismatch,
            });
        };
        let mut pull = Pull { slice, object, lane, kind, blocked: &mut blocked };
        if let Go::OutOfTime = pull.read_window().await? {
            break;
        }
    }
    Ok(LaneEnd::OutOfTime)
}

/// The reading of one pass's first window.
struct Pull<'a> {
    slice: &'a Slice<'a>,
    object: ObjectType,
    lane: &'a mut Lane,
    kind: PassKind,
    blocked: &'a mut Vec<PassKind>,
}

impl Pull<'_> {
    async fn read_window(&mut self) -> Result<Go, SliceError> {
        let window = self.window();
        let from = window.from;
        let mut page = fetch(self.slice, self.object, from, window.to, window.last_id.clone()).await?;
        loop {
            let accepted = plan::accept(&mut self.lane.pass_mut(self.kind).windows[0], &page);
            // The first answer of all tells HubSpot's time, from which the other passes are set up.
            plan::meet(self.lane, page.date, self.slice.settings());
            let Ok(counting) = accepted else {
                return self.repair("its ids are in no order").await;
            };
            if !page.has_more {
                self.hand_on(page, counting, true).await?;
                return self.close().await;
            }
            let to = self.window().to;
            let last_id = page.rows.last().map(|row| row.id.clone());
            if !self.slice.budget.has_time() {
                self.hand_on(page, counting, false).await?;
                return Ok(Go::OutOfTime);
            }
            let next = fetch(self.slice, self.object, from, to, last_id);
            let (handed_on, next) = tokio::join!(self.hand_on(page, counting, false), next);
            handed_on?;
            page = next?;
        }
    }

    /// Hands on the rows of a page, batch by batch, each with its checkpoint; the last batch of a window is
    /// checkpointed when the window is closed.
    async fn hand_on(&mut self, page: Page, counting: Counting, last: bool) -> Result<(), SliceError> {
        let began = Instant::now();
        let mut rows = page.rows;
        let mut known = batch::look_up(self.slice, self.object, &rows).await?;
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(BATCH));
            let read = rows.iter().filter(|row| counting.counts(row)).count();
            let last_id = rows.last().map(|row| row.id.clone());
            batch::hand_on(self.slice, self.object, self.lane.taken_over_from, rows, &mut known).await?;
            let window = &mut self.lane.pass_mut(self.kind).windows[0];
            window.read += i64::try_from(read).unwrap_or_default();
            window.last_id = last_id;
            rows = rest;
            if !(last && rows.is_empty()) {
                self.save().await?;
            }
        }
        self.slice.budget.step_took(began);
        Ok(())
    }

    /// Ends a window that HubSpot says has no more rows, if all of its rows were read.
    async fn close(&mut self) -> Result<Go, SliceError> {
        let window = self.window();
        if !plan::adds_up(window) {
            let properties = [];
            let filter = Filter { from: window.from, to: window.to, after_id: None };
            let count = Search { object: self.object, filter, properties: &properties, limit: 1 };
            let holds_now = self.slice.session.search(&count).await?.total;
            if !plan::is_complete(self.window(), holds_now) {
                return self.repair("rows are missing").await;
            }
        }
        plan::complete(self.lane.pass_mut(self.kind), DateTime::now());
        self.save().await?;
        Ok(Go::On)
    }

    async fn repair(&mut self, reason: &str) -> Result<Go, SliceError> {
        let window = self.window();
        tracing::warn!(
            object = self.object.as_str(), pass = self.kind.as_str(), reason,
            window.from = %window.from, window.read, window.expected, "a window does not add up and is read again"
        );
        self.slice.tally.mismatch();
        if !plan::repair(self.lane.pass_mut(self.kind)) {
            self.blocked.push(self.kind);
        }
        self.save().await?;
        Ok(Go::On)
    }

    fn window(&self) -> &common::checkpoint::Window {
        &self.lane.pass(self.kind).windows[0]
    }

    async fn save(&mut self) -> Result<(), SliceError> {
        self.lane.last_error = None;
        self.slice.store().save_lane(self.slice.leased, self.object, self.lane).await?;
        self.slice.tally.checkpoint();
        Ok(())
    }
}

async fn fetch(
    slice: &Slice<'_>,
    object: ObjectType,
    from: DateTime,
    to: Option<DateTime>,
    last_id: Option<String>,
) -> Result<Page, SliceError> {
    let began = Instant::now();
    let filter = Filter { from, to, after_id: last_id.as_deref() };
    let properties = slice.properties(object);
    let page = slice.session.search(&Search { object, filter, properties, limit: Search::MAX_PAGE }).await?;
    slice.budget.step_took(began);
    Ok(page)
}
