//! Whether searches have the order of lists, which is that of numbers. If they have that of text, one of them skips what the
//! other one has elsewhere. A page of ids that have the same length shows no difference.

use hubspot::Page;
use model::checkpoint::Window;

use super::{job::Job, pass::PassReader};
use crate::{error::SliceError, plan};

/// Why a history is read again as one window: a page of a search is not in numeric order.
pub(super) const NOT_NUMERIC: &str = "the ids are not in numeric order";

/// The same: an answer tells it.
const TEXT: &str = "searches compare ids as text";

/// The same: no answer tells the opposite.
const UNKNOWN: &str = "it is not known how searches compare ids";

/// The question how searches compare ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OrderQuestion {
    /// It was not asked in this slice.
    #[default]
    NotAsked,
    /// A search is under way.
    Asked,
    /// The search has ended.
    Ended,
}

impl PassReader<'_> {
    /// Notes what a page of a search shows about its order. If its ids could be in either order, asks a search for what it
    /// has after an id that tells.
    pub(super) fn learn_order(&mut self, window: &Window, page: &Page) {
        if self.state.lane.kept.lists.is_numeric || !plan::is_part(window) || self.is_first_page_only {
            return;
        }
        if plan::is_numeric(&page.rows) {
            self.order_is_numeric();
        } else if self.lists.order == OrderQuestion::NotAsked
            && let Some(after_id) = plan::id_that_tells(page.rows.iter().map(|row| row.id.as_str()))
        {
            self.ask_order(window, after_id);
        }
    }

    /// Returns true if searches are known to compare ids as numbers. Parts that were cut prove nothing before that. If no
    /// page has shown it, asks for it. If there is no answer, the next slice asks again, or reads the history as one window.
    pub(super) fn is_order_known(&mut self) -> bool {
        let lists = &self.state.lane.kept.lists;
        if lists.is_numeric {
            return true;
        }
        match self.lists.order {
            OrderQuestion::NotAsked => {
                let parts = self.state.lane.pass(self.kind).windows.iter();
                let asks =
                    |part: &Window| Some((part.clone(), plan::id_that_tells(part.last_id.as_deref().into_iter())?));
                match parts.filter(|window| plan::is_read(window)).find_map(asks) {
                    Some((part, after_id)) => self.ask_order(&part, after_id),
                    None => self.read_whole(UNKNOWN),
                }
            }
            OrderQuestion::Asked => {}
            OrderQuestion::Ended if lists.order_failures >= plan::MAX_ORDER_FAILURES => self.read_whole(UNKNOWN),
            OrderQuestion::Ended => self.out_of_time(),
        }
        false
    }

    fn ask_order(&mut self, window: &Window, after_id: String) {
        self.lists.order = OrderQuestion::Asked;
        // An end is compared in the same unknown way.
        let window = Window::new(window.from, window.to);
        self.start(Job::LearnOrder { window, after_id });
    }

    /// Takes what a search has after the id. If it compares ids as text, the history is read as one window.
    ///
    /// # Errors
    /// The failure concerns the whole account.
    pub(super) fn learned_order(
        &mut self,
        after_id: &str,
        page: Result<Option<Page>, SliceError>,
    ) -> Result<(), SliceError> {
        self.lists.order = OrderQuestion::Ended;
        match page {
            Err(SliceError::HubSpot(error)) if error.concerns_account() => return Err(error.into()),
            // A page has shown it meanwhile.
            _ if self.state.lane.kept.lists.is_numeric => {}
            Ok(Some(page)) if plan::are_compared_as_numbers(after_id, &page.rows) => self.order_is_numeric(),
            Ok(Some(page)) if page.rows.is_empty() && page.has_more() => {
                self.order_unanswered("there are no rows, though others follow");
            }
            Ok(Some(_)) => self.read_whole(TEXT),
            Ok(None) => {}
            Err(error) => self.order_unanswered(&error.to_string()),
        }
        Ok(())
    }

    fn order_unanswered(&mut self, reason: &str) {
        tracing::debug!(object = self.object.as_str(), reason, "the order of searches is not known yet");
        self.state.lane.kept.lists.order_failures += 1;
        self.is_unsaved = true;
        // The next slice waits for a while, if nothing else was done.
        self.tuning.asked();
    }

    fn order_is_numeric(&mut self) {
        self.state.lane.kept.lists.is_numeric = true;
        self.is_unsaved = true;
    }
}
