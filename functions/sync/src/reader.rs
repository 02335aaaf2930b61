//! Reading the windows of a pass, page by page and side by side, and proving that nothing of them is missing.
//! The next page is asked for while this one is handed on.

use futures::{StreamExt, stream::FuturesUnordered};
use hubspot::{Page, Row};
use model::{
    checkpoint::{PassKind, Window},
    time::{self, DateTime},
};
use tokio::time::Instant;

use crate::{
    batch::{self, BATCH},
    budget::Meanwhile,
    error::SliceError,
    fetch,
    lane::{LaneReader, Step, WindowOutcome},
    ledger::PublishLedger,
    plan::{self, RowCounting},
};

/// Why a window does not add up: HubSpot counts more rows than it shows.
const MISSING: &str = "rows are missing";

impl LaneReader<'_> {
    /// Reads the windows of a pass, several side by side.
    pub(crate) async fn read_pass(&self, kind: PassKind) -> Result<WindowOutcome, SliceError> {
        let mut go = WindowOutcome::On;
        let mut taken: Vec<DateTime> = Vec::new();
        let mut readers = FuturesUnordered::new();
        loop {
            // If there is no time to read on, what was fetched ahead is still handed on.
            let goes_on =
                |window: &Window| go == WindowOutcome::On || self.prefetched_pages().contains_key(&(kind, window.from));
            for window in self.lane().pass(kind).windows.iter().filter(|window| goes_on(window)) {
                if readers.len() < plan::READERS && !taken.contains(&window.from) {
                    taken.push(window.from);
                    readers.push(self.read_window(kind, window.clone()));
                }
            }
            let Some(ended) = readers.next().await else { return Ok(go) };
            match ended? {
                (from, WindowOutcome::On) => taken.retain(|other| *other != from),
                (_, WindowOutcome::OutOfTime) => go = WindowOutcome::OutOfTime,
            }
        }
    }

    /// Reads one window from where it stands. Returns its beginning, too. One that HubSpot refuses is held, unless it is a
    /// fresh one: then HubSpot refuses everything. One with a record that HubSpot does not show is read in halves, which find it.
    async fn read_window(&self, kind: PassKind, mut window: Window) -> Result<(DateTime, WindowOutcome), SliceError> {
        let from = window.from;
        let is_met = self.lane().first_seen.is_some();
        match self.read_pages(kind, &mut window).await {
            Err(SliceError::HubSpot(error))
                if kind != PassKind::Fresh && is_met && self.is_a_records(&error, &window) =>
            {
                let _turn = self.turn.lock().await;
                self.hold(kind, &window, &error.to_string(), false).await?;
                Ok((from, WindowOutcome::On))
            }
            Err(SliceError::Unshowable { reason, date }) => {
                plan::record_first_contact(&mut self.lane(), date, self.slice.settings());
                window.to.get_or_insert(time::after(date, plan::DATE_RESOLUTION));
                Ok((from, self.does_not_add_up(kind, &window, &reason).await?))
            }
            read => Ok((from, read?)),
        }
    }

    async fn read_pages(&self, kind: PassKind, window: &mut Window) -> Result<WindowOutcome, SliceError> {
        let ahead = self.prefetched_pages().remove(&(kind, window.from));
        let mut page = match ahead {
            Some(page) => page,
            None => match self.fetch(window, None, Meanwhile::Nothing).await? {
                Some(page) => page,
                None => return Ok(WindowOutcome::OutOfTime),
            },
        };
        loop {
            let accepted = plan::accept(window, &mut page);
            // The first answer of all tells HubSpot's time, from which the other passes are set up.
            plan::record_first_contact(&mut self.lane(), page.date, self.slice.settings());
            if kind == PassKind::Backfill {
                self.lane().backfilled.total.get_or_insert(window.read + page.total);
            }
            let Ok(counting) = accepted else {
                return self.does_not_add_up(kind, window, "its ids are in no order").await;
            };
            if page.rows.is_empty() && page.has_more() {
                return self.does_not_add_up(kind, window, "its pages are empty, and others follow").await;
            }
            if !page.has_more() {
                self.publish_rows(kind, window, page, counting, true).await?;
                return self.close(kind, window).await;
            }
            let last_id = page.rows.last().map(|row| row.id.clone());
            if let Some(middle) = self.split_point(kind, window, &page) {
                return self.divide(kind, window, page, counting, middle).await;
            }
            let asked = window.clone();
            let next = self.fetch(&asked, last_id.as_deref(), Meanwhile::HandingOn);
            let (handed_on, next) = tokio::join!(self.publish_rows(kind, window, page, counting, false), next);
            handed_on?;
            let Some(next) = next? else { return Ok(WindowOutcome::OutOfTime) };
            page = next;
        }
    }

    fn split_point(&self, kind: PassKind, window: &Window, page: &Page) -> Option<DateTime> {
        let readers = self.pace.readers(self.slice.search_rps());
        plan::split_point(self.lane().pass(kind), window, page, readers)
    }

    /// Hands on a page, and makes two windows of the rest. What comes before is not looked at again: it is counted, unless the
    /// totals of the page and of the two windows account for it.
    async fn divide(
        &self,
        kind: PassKind,
        window: &mut Window,
        page: Page,
        counting: RowCounting,
        middle: DateTime,
    ) -> Result<WindowOutcome, SliceError> {
        let last_id = page.rows.last().map(|row| row.id.clone());
        let whole = window.clone();
        let halves = plan::split_window(window, last_id.as_ref(), middle);
        let (total, rows) = (page.total, page.rows.len());
        let (handed_on, first, second) = tokio::join!(
            self.publish_rows(kind, window, page, counting, false),
            self.fetch(&halves[0], None, Meanwhile::HandingOn),
            self.fetch(&halves[1], None, Meanwhile::HandingOn),
        );
        handed_on?;
        let pages = [first?, second?];
        let totals = pages.each_ref().map(|page| page.as_ref().map(|page| page.total));
        if kind != PassKind::Fresh && !plan::accounts_for(&whole, total, rows, totals) {
            match self.count(&whole, last_id.as_deref()).await? {
                None => return Ok(WindowOutcome::OutOfTime),
                Some(holds_now) if !plan::is_complete(window, holds_now) => {
                    return self.does_not_add_up(kind, window, MISSING).await;
                }
                Some(_) => {}
            }
        }
        for (half, page) in halves.iter().zip(pages) {
            self.prefetched_pages().extend(page.map(|page| ((kind, half.from), page)));
        }
        plan::divide(self.lane().pass_mut(kind), window, halves);
        Ok(WindowOutcome::On)
    }

    /// Hands on the rows of a page, batch by batch, each with its checkpoint; the last batch of a window is
    /// checkpointed when the window is closed.
    async fn publish_rows(
        &self,
        kind: PassKind,
        window: &mut Window,
        page: Page,
        counting: RowCounting,
        last: bool,
    ) -> Result<(), SliceError> {
        let began = Instant::now();
        let is_quick = page.took < fetch::QUICK;
        let mut rows = page.rows;
        let mut size = rows.len();
        let taken_over_from = self.lane().taken_over_from;
        let (is_suspect, is_stubborn) = (self.is_suspect(window), self.is_stubborn());
        while !rows.is_empty() {
            size = size.min(rows.len());
            let handed_on = *self.turn.lock().await;
            let each_for_itself = is_stubborn || (size == 1 && is_suspect);
            let asked =
                batch::load_ledger(self.slice, self.object, taken_over_from, &rows[..size], each_for_itself).await;
            match asked {
                // A part of the page finds the record whose companies HubSpot does not tell.
                Err(SliceError::HubSpot(error)) if size > 1 && is_suspect && error.is_transient() => size /= 2,
                known => {
                    let rest = rows.split_off(size);
                    let is_last = last && rest.is_empty();
                    self.hand_on_rows(kind, window, (rows, known?), (handed_on, counting), is_last).await?;
                    rows = rest;
                }
            }
        }
        self.pace.handing_on_took(began.elapsed());
        if is_quick && began.elapsed() < fetch::QUICK && !self.has_failed_elsewhere() {
            self.ask_for(self.page_size() * 2);
        }
        Ok(())
    }

    /// Hands on rows of which is known what was handed on before, when so many batches were `handed_on`.
    async fn hand_on_rows(
        &self,
        kind: PassKind,
        window: &mut Window,
        (mut rows, mut known): (Vec<Row>, PublishLedger),
        (handed_on, counting): (u64, RowCounting),
        last: bool,
    ) -> Result<(), SliceError> {
        let mut turn = self.turn.lock().await;
        if *turn != handed_on {
            // Another reader may have met a record of ours that was modified in between.
            batch::reload_ledger(self.slice, self.object, &rows, &mut known).await?;
        }
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(BATCH));
            let read = rows.iter().filter(|row| counting.counts(row)).count();
            let last_id = rows.last().map(|row| row.id.clone());
            // Passing by records that cannot be read is not getting on.
            let count = rows.len();
            let odd = batch::publish_rows(self.slice, self.object, rows, &mut known).await?;
            let is_read = odd.len() < count;
            self.set_aside(&odd).await?;
            *turn += 1;
            window.read += i64::try_from(read).unwrap_or_default();
            window.last_id = last_id;
            rows = rest;
            let place = |place: &mut Window| place.clone_from(window);
            let is_ours = |place: &&mut Window| place.from == window.from;
            self.lane().pass_mut(kind).windows.iter_mut().filter(is_ours).for_each(place);
            if kind == PassKind::Backfill {
                self.lane().backfilled.read += i64::try_from(read).unwrap_or_default();
            }
            self.get_on();
            if kind != PassKind::Again && window.repairs == 0 && is_read {
                self.progress(Step::Pass(kind));
            }
            if !(last && rows.is_empty()) {
                self.advance().await?;
            }
        }
        Ok(())
    }

    /// Ends a window that HubSpot says has no more rows, if all of its rows were read. A fresh one is not proved: what it
    /// left out, the next one reads if it is recent, and the settled pass in any case. One that there is no time to count is
    /// counted by the next slice.
    async fn close(&self, kind: PassKind, window: &Window) -> Result<WindowOutcome, SliceError> {
        let mut is_counted = true;
        if kind != PassKind::Fresh && !plan::count_matches(window) {
            match self.count(window, None).await? {
                Some(holds_now) if !plan::is_complete(window, holds_now) => {
                    return self.does_not_add_up(kind, window, MISSING).await;
                }
                counted => is_counted = counted.is_some(),
            }
        }
        let _turn = self.turn.lock().await;
        {
            let mut lane = self.lane();
            if !is_counted {
                plan::count_soon(&mut lane, window, DateTime::now());
            }
            plan::complete(lane.pass_mut(kind), window, DateTime::now());
            if kind == PassKind::Backfill && lane.backfill.windows.is_empty() {
                plan::recount_later(&mut lane, self.slice.settings(), DateTime::now());
            }
        }
        self.progress(Step::Pass(kind));
        self.advance().await?;
        Ok(WindowOutcome::On)
    }

    /// Reads a window again, in halves as long as that helps to find what is missing, and holds it otherwise.
    async fn does_not_add_up(
        &self,
        kind: PassKind,
        window: &Window,
        reason: &str,
    ) -> Result<WindowOutcome, SliceError> {
        let _turn = self.turn.lock().await;
        self.slice.tally.mismatch();
        let halved = {
            let mut lane = self.lane();
            if kind == PassKind::Backfill {
                lane.backfilled.read -= window.read;
            }
            let is_worth_it = kind != PassKind::Fresh && plan::is_worth_halving(&lane);
            is_worth_it && plan::repair(lane.pass_mut(kind), window)
        };
        if halved {
            tracing::warn!(
                object = self.object.as_str(), pass = kind.as_str(), reason,
                window.from = %window.from, window.read, window.expected, "a window does not add up and is read again"
            );
            self.save().await?;
        } else {
            self.hold(kind, window, reason, true).await?;
        }
        Ok(WindowOutcome::On)
    }

    /// Holds a window by itself, or gives it up if it was held for long. The caller has the turn.
    async fn hold(&self, kind: PassKind, window: &Window, reason: &str, missing: bool) -> Result<(), SliceError> {
        let now = DateTime::now();
        let (object, pass) = (self.object.as_str(), kind.as_str());
        let to = window.to.map(|to| to.to_string());
        if reason == MISSING && plan::is_held_too_long(window, now) {
            tracing::error!(object, pass, window.from = %window.from, window.to = to, window.read,
                "a window has not added up for a day; HubSpot counts rows that it does not show, and it is given up");
            self.slice.tally.accepted();
            plan::complete(self.lane().pass_mut(kind), window, now);
        } else {
            // What HubSpot does not show is found by halving further the next time; what it counts is not.
            let repairs = if reason == MISSING { window.repairs } else { 0 };
            let window = &Window { repairs, ..window.clone() };
            tracing::warn!(object, pass, reason, window.from = %window.from, window.to = to, window.read,
                "a window does not add up, or cannot be read, and is held; the others go on");
            self.slice.tally.held();
            plan::hold(&mut self.lane(), kind, window, missing, now);
        }
        self.save().await
    }

    /// Lets a window that is held be read again. One whose rows were read is counted first: most often, nothing of it lacks.
    pub(crate) async fn count_again(&self, window: Window) -> Result<WindowOutcome, SliceError> {
        let is_read = window.hold.is_some_and(|hold| hold.is_unproved());
        let counted = if is_read { self.count(&window, None).await } else { Ok(Some(i64::MAX)) };
        let _turn = self.turn.lock().await;
        match counted {
            Ok(None) => return Ok(WindowOutcome::OutOfTime),
            Ok(Some(holds_now)) => {
                let mut lane = self.lane();
                plan::release(&mut lane, &window);
                if !plan::is_complete(&window, holds_now) {
                    let unread = match is_read {
                        true => Window { last_id: None, read: 0, expected: None, order: None, ..window },
                        false => window,
                    };
                    plan::read_again(&mut lane, unread);
                }
            }
            Err(SliceError::HubSpot(error)) if self.is_a_records(&error, &window) => {
                let mut lane = self.lane();
                plan::release(&mut lane, &window);
                plan::hold_back(&mut lane, &window, true, DateTime::now());
            }
            Err(error) => return Err(error),
        }
        self.get_on();
        self.save().await?;
        Ok(WindowOutcome::On)
    }
}
