//! Whether searches have the order of lists, which is that of numbers. If they have that of text, one of them skips what the
//! other one has elsewhere. A page of ids that have the same length shows no difference.

use hubspot::Page;
use model::checkpoint::Window;

use super::{job::Job, pass::PassReader};
use crate::{error::SliceError, plan};

impl PassReader<'_> {
    /// Notes what a page of a search shows about its order. If its ids could be in either order, asks a search for what it
    /// has after an id that tells.
    pub(super) fn learn_order(&mut self, window: &Window, page: &Page) {
        if self.state.lane.kept.lists.is_numeric || !plan::is_part(window) {
            return;
        }
        if plan::is_numeric(&page.rows) {
            self.order_is_numeric();
        } else if let Some(after_id) = plan::id_that_tells(&page.rows).filter(|_| !self.lists.is_order_asked) {
            self.lists.is_order_asked = true;
            self.start(Job::LearnOrder { window: window.clone(), after_id });
        }
    }

    /// Takes what a search has after the id. If it compares ids as text, the history is read as one window. If there was no
    /// answer, or one without rows though others follow, the next slice asks again.
    pub(super) fn learned_order(&mut self, after_id: &str, page: Result<Option<Page>, SliceError>) {
        match page {
            Ok(Some(page)) if plan::are_compared_as_numbers(after_id, &page.rows) => self.order_is_numeric(),
            Ok(Some(page)) if page.rows.is_empty() && page.has_more() => {}
            Ok(Some(_)) if !self.state.lane.kept.lists.is_numeric => self.read_whole(),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(object = self.object.as_str(), %error, "the order of searches is not known yet");
            }
        }
    }

    fn order_is_numeric(&mut self) {
        self.state.lane.kept.lists.is_numeric = true;
        self.is_unsaved = true;
    }
}
