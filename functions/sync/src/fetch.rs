//! Requests a window's pages from HubSpot. If a page cannot be read, smaller ones find the record that is the cause.

use std::time::Duration;

use hubspot::{Filter, HubSpotError, Page, Search};
use model::{
    checkpoint::Window,
    object::ObjectType,
    time::{self, DateTime},
};
use tokio::time::timeout;

use crate::{
    budget::Concurrent,
    context::SliceContext,
    error::SliceError,
    plan::{self, LISTS_PER_PAGE},
    problem,
    tuning::Tuning,
};

/// If a page took less than this to read, and less than this to publish, the next one may be larger.
pub(crate) const QUICK_PAGE: Duration = Duration::from_secs(1);

/// How many pages without rows are skipped, though more pages follow.
const MAX_EMPTY_PAGES: u32 = 5;

/// How many records are set aside in a slice if no other record can show that not all records fail.
const MAX_ISOLATED_RECORDS: u32 = 2;

/// How many records are skipped, in each attempt to find one that HubSpot shows.
const PROBE_POSITIONS: [Option<&str>; 4] = [None, Some("1"), Some("10"), Some("100")];

/// How long a request for a list may take, with its turn in the limit. A list that takes longer is left to searches.
const LONGEST_LIST: Duration = Duration::from_secs(2);

/// Requests the contents of a lane's windows.
#[derive(Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) slice: &'a SliceContext<'a>,
    pub(crate) object: ObjectType,
    pub(crate) tuning: &'a Tuning<'a>,
    /// True if a record is suspected of causing transient failures.
    pub(crate) is_suspect: bool,
    /// True if lists are read beside searches.
    pub(crate) leaves_room: bool,
}

impl Fetcher<'_> {
    fn is_a_records(&self, error: &HubSpotError) -> bool {
        problem::is_a_records(error, self.is_suspect)
    }

    /// Requests the window's rows after `last_id`, or after the last row that was read. Returns `None` if there is no
    /// time for another page.
    ///
    /// # Errors
    /// HubSpot failed, and not because of a single record, or does not show a record at all
    /// ([`SliceError::Unshowable`]).
    pub(crate) async fn fetch(
        &self,
        window: &Window,
        last_id: Option<&str>,
        concurrent: Concurrent,
    ) -> Result<Option<Page>, SliceError> {
        let after_id = last_id.or(window.last_id.as_deref()).or(window.start_id.as_deref());
        let filter = filter(window, after_id);
        if self.is_suspect {
            self.slice.session.stop_retrying();
        }
        let Some(mut page) = self.page(filter, concurrent).await? else { return Ok(None) };
        // A page without rows gives no id to continue from, though more pages follow.
        for _ in 0..MAX_EMPTY_PAGES {
            let (true, Some(next)) = (page.rows.is_empty(), page.next.clone()) else { break };
            let further = Filter { after: Some(&next), ..filter };
            let Some(found) = self.page(further, concurrent).await? else { break };
            // The first page's time is the earlier one, so nothing is left out between the two.
            page = Page { date: page.date, ..found };
        }
        page.date = trusted(page.date, DateTime::now(), self.slice.clock_tolerance());
        Ok(Some(page))
    }

    /// Requests the window's rows after `last_id`, or after the last row that was read, from the list: as many as a page of
    /// a search has, by several requests. Returns `None` if there is no time for any.
    ///
    /// # Errors
    /// HubSpot failed.
    pub(crate) async fn list(
        &self,
        window: &Window,
        last_id: Option<&str>,
        concurrent: Concurrent,
    ) -> Result<Option<Page>, SliceError> {
        let (slice, object) = (self.slice, self.object);
        let mut after = last_id.or(window.last_id.as_deref()).or(window.start_id.as_deref()).map(str::to_owned);
        let mut all: Option<Page> = None;
        for _ in 0..LISTS_PER_PAGE {
            let Some(latest) = self.tuning.pace.latest_list(concurrent) else { break };
            if all.is_some() && slice.list_pages_per_second() == 0.0 {
                break;
            }
            let properties = slice.properties(object);
            let list = slice.session.list_after(object, properties, after.as_deref(), Some(latest));
            let list = timeout(LONGEST_LIST, list).await.unwrap_or_else(|_| {
                Err(HubSpotError::Transient { reason: "no list in time".to_owned(), retry_after: None })
            });
            // What has arrived is published. The next request begins after it, and tells what is wrong.
            let page = match (list, &all) {
                (Ok(Some(page)), _) => page,
                (Ok(None) | Err(_), Some(_)) => break,
                (Ok(None), None) => return Ok(None),
                (Err(error), None) => return Err(error.into()),
            };
            self.tuning.asked();
            self.tuning.pace.list_took(page.took);
            after = page.rows.last().map(|row| row.id.clone());
            let page = match all.take() {
                // The first page's time is the earlier one.
                Some(mut before) => {
                    before.rows.extend(page.rows);
                    Page { next: page.next, took: before.took + page.took, ..before }
                }
                None => page,
            };
            let is_last = !page.has_more() || after.as_deref().is_none_or(|id| plan::is_at_end(window, id));
            all = Some(page);
            if is_last {
                break;
            }
        }
        let Some(mut page) = all else { return Ok(None) };
        page.date = trusted(page.date, DateTime::now(), slice.clock_tolerance());
        Ok(Some(page))
    }

    /// Requests one page, and smaller ones if that fails because of a record's contents. A single record that still
    /// fails is returned without its properties, to be set aside.
    async fn page(&self, filter: Filter<'_>, concurrent: Concurrent) -> Result<Option<Page>, SliceError> {
        let (slice, object) = (self.slice, self.object);
        let mut rows = self.tuning.page_size();
        let mut cause: Option<HubSpotError> = None;
        loop {
            let Some(latest) = self.tuning.pace.latest_start(concurrent) else { return Ok(None) };
            let is_bare = rows == 0;
            let properties = if is_bare { &[] } else { slice.properties(object) };
            let (limit, leaves_room) = (rows.max(1), self.leaves_room);
            let search = Search { object, filter, properties, limit, leaves_room };
            match slice.session.search(&search, Some(latest)).await {
                // The general limit may be the one that is used up.
                Ok(None) if search.is_long() => return Err(SliceError::NoTime),
                Ok(None) => return Ok(None),
                Ok(Some(page)) if is_bare => return self.isolate(search, page, cause).await,
                Ok(Some(page)) => {
                    self.tuning.asked();
                    self.tuning.pace.page_took(page.took);
                    return Ok(Some(page));
                }
                Err(error) if !is_bare && self.is_a_records(&error) => {
                    rows /= 2;
                    self.tuning.ask_for(rows);
                    cause = Some(error);
                }
                Err(error) if is_bare => {
                    self.tuning.ask_for(Search::MAX_PAGE);
                    let reason = cause.unwrap_or(error);
                    let is_a_records = self.is_a_records(&reason);
                    return Err(if is_a_records { self.unshowable(search, reason).await? } else { reason.into() });
                }
                Err(error) => return Err(cause.unwrap_or(error).into()),
            }
        }
    }

    /// Returns what it means that HubSpot does not show a record even without its properties. If HubSpot shows another
    /// record, the first one is the cause. That record may itself be among the first of the lane.
    async fn unshowable(&self, search: Search<'_>, reason: HubSpotError) -> Result<SliceError, SliceError> {
        for after in PROBE_POSITIONS {
            let other = Search { filter: Filter { after, ..all() }, ..search };
            let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { break };
            match self.slice.session.search(&other, Some(latest)).await {
                Ok(Some(page)) if !page.rows.is_empty() => {
                    return Ok(SliceError::Unshowable {
                        reason: reason.to_string(),
                        date: trusted(page.date, DateTime::now(), self.slice.clock_tolerance()),
                    });
                }
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => break,
            }
        }
        Ok(reason.into())
    }

    /// Turns the record that HubSpot has no answer for into a row that cannot be read. Before that, the complete record
    /// is requested once more, and so is another record: a fault that passes, or that concerns all records, is not
    /// caused by this one. Returns `None` if there is no time.
    async fn isolate(
        &self,
        search: Search<'_>,
        mut bare: Page,
        cause: Option<HubSpotError>,
    ) -> Result<Option<Page>, SliceError> {
        self.tuning.asked();
        self.tuning.ask_for(1);
        let reason = match cause {
            // The slice before had no time for it.
            None => "HubSpot does not answer for it within a slice".to_owned(),
            Some(cause) => {
                let search = Search { properties: self.slice.properties(self.object), ..search };
                let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { return Ok(None) };
                match self.slice.session.search(&search, Some(latest)).await {
                    Ok(page) => return Ok(page),
                    Err(error) if self.is_a_records(&error) => {}
                    Err(error) => return Err(error.into()),
                }
                match self.others_are_well(search, &bare).await? {
                    None => return Ok(None),
                    Some(true) => {}
                    Some(false) => {
                        self.tuning.ask_for(Search::MAX_PAGE);
                        return Err(cause.into());
                    }
                }
                cause.to_string()
            }
        };
        for row in &mut bare.rows {
            row.record = Err(reason.clone());
        }
        Ok(Some(bare))
    }

    /// Returns true if HubSpot has an answer for another record of the lane. If there is no other record, assumes for
    /// the first few records that they are the cause of their failures. Returns `None` if there is no time.
    async fn others_are_well(&self, search: Search<'_>, bare: &Page) -> Result<Option<bool>, SliceError> {
        let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { return Ok(None) };
        let first = Search { properties: &[], limit: Search::MAX_PAGE, filter: all(), ..search };
        let Some(first) = self.slice.session.search(&first, Some(latest)).await? else { return Ok(None) };
        let ids: Vec<&str> = first.rows.iter().map(|row| row.id.as_str()).collect();
        let is_other = |index: &usize| !bare.rows.iter().any(|row| row.id == ids[*index]);
        let places = [ids.len().saturating_sub(1), ids.len() / 2, 0].into_iter().filter(|index| *index < ids.len());
        let mut others: Vec<usize> = places.filter(is_other).collect();
        others.dedup();
        if others.is_empty() {
            return Ok(Some(self.tuning.isolated() < MAX_ISOLATED_RECORDS));
        }
        for index in others {
            let after_id = index.checked_sub(1).map(|before| ids[before]);
            let probe = Search { limit: 1, filter: Filter { after_id, ..all() }, ..search };
            let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { return Ok(None) };
            match self.slice.session.search(&probe, Some(latest)).await {
                Ok(page) => return Ok(page.map(|_| true)),
                Err(error) if self.is_a_records(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(false))
    }

    /// Returns the first of the window's rows after `after_id`. Returns `None` if there is no time.
    ///
    /// # Errors
    /// HubSpot failed.
    pub(crate) async fn first_after(&self, window: &Window, after_id: &str) -> Result<Option<Page>, SliceError> {
        self.one_row(filter(window, Some(after_id)), Concurrent::Publishing).await
    }

    /// Returns how many rows the window has now, up to `up_to_id` or in all. Returns `None` if there is no time.
    pub(crate) async fn count(&self, window: &Window, up_to_id: Option<&str>) -> Result<Option<i64>, SliceError> {
        let up_to_id = up_to_id.or(window.end_id());
        let filter = Filter { up_to_id, ..filter(window, window.start_id.as_deref()) };
        let page = self.one_row(filter, Concurrent::Nothing).await?;
        Ok(page.and_then(|page| page.total))
    }

    async fn one_row(&self, filter: Filter<'_>, concurrent: Concurrent) -> Result<Option<Page>, SliceError> {
        let Some(latest) = self.tuning.pace.latest_start(concurrent) else { return Ok(None) };
        let search = Search { object: self.object, filter, properties: &[], limit: 1, leaves_room: false };
        let page = self.slice.session.search(&search, Some(latest)).await?;
        if page.is_some() {
            self.tuning.asked();
        }
        Ok(page)
    }
}

/// Returns the filter for all rows that have a time.
fn all<'a>() -> Filter<'a> {
    Filter { from: Window::BEGINNING, to: None, undated: false, after_id: None, up_to_id: None, after: None }
}

/// Returns the filter for the window's rows after `after_id`.
fn filter<'a>(window: &'a Window, after_id: Option<&'a str>) -> Filter<'a> {
    Filter {
        from: window.from,
        to: window.to,
        undated: window.undated,
        after_id,
        up_to_id: window.end_id(),
        after: None,
    }
}

/// Returns HubSpot's time, or this machine's if HubSpot's is more than `tolerance` ahead and must be wrong: changes
/// until then would be considered read. A HubSpot clock that is behind only costs repeated reads.
fn trusted(date: DateTime, now: DateTime, tolerance: Duration) -> DateTime {
    if date <= time::after(now, tolerance) {
        return date;
    }
    tracing::warn!(%date, "an answer of HubSpot's has a time that is far ahead; this machine's is used");
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_far_ahead_is_not_trusted() {
        let (now, tolerance) = (DateTime::from_millis(1_000_000_000), Duration::from_secs(300));
        let hour = Duration::from_secs(3600);
        for date in [now, time::before(now, hour), time::after(now, tolerance)] {
            assert_eq!(trusted(date, now, tolerance), date);
        }
        assert_eq!(trusted(time::after(now, hour), now, tolerance), now);
    }
}
