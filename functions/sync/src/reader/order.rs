//! Whether searches have the order of lists. Without that, one of them skips what the other one has elsewhere.
//!
//! Ids as numbers and ids as text have the same order if all of them have the same length. Shorter ids come before longer
//! ones as numbers. As text they may come after them, where a list does not have them.

use hubspot::Page;
use model::checkpoint::{CommonOrder, IdOrder};

use super::{doors::FirstIds, job::Job, pass::PassReader, window::WindowReader};
use crate::{
    error::SliceError,
    plan::{self, Door},
};

impl PassReader<'_> {
    /// Notes what a page shows about the order of searches. If it shows no difference between numbers and text, the list
    /// tells whether there are shorter ids.
    pub(super) fn learn_order(&mut self, reader: &WindowReader, page: &Page) {
        if reader.door != Door::Search || !plan::is_part(&reader.window) {
            return;
        }
        let known = self.state.lane.kept.lists.order;
        let length = plan::common_length(&reader.window, page);
        match (reader.window.order, self.lists.first, length) {
            (Some(IdOrder::Numeric), _, _) if known != Some(CommonOrder::Numeric) => {
                self.order_is(CommonOrder::Numeric)
            }
            (None, FirstIds::NotAsked, Some(length)) if known.is_none() && self.may_read_lists() => {
                self.lists.first = FirstIds::Asked(length);
                self.start(Job::FirstListed);
            }
            (None, FirstIds::Asked(asked), length) if length != Some(asked) => self.lists.first = FirstIds::Done,
            _ => {}
        }
    }

    /// Takes the first page of the list.
    ///
    /// # Errors
    /// As of [`Self::list_failed`].
    pub(super) fn first_listed(&mut self, page: Result<Option<Page>, SliceError>) -> Result<(), SliceError> {
        let asked = std::mem::replace(&mut self.lists.first, FirstIds::Done);
        let is_unknown = self.state.lane.kept.lists.order.is_none();
        match (page, asked) {
            (Ok(Some(page)), FirstIds::Asked(length)) if is_unknown && plan::has_none_shorter(&page.rows, length) => {
                self.order_is(CommonOrder::OneLength);
                Ok(())
            }
            (Ok(_), _) => Ok(()),
            (Err(error), _) => self.list_failed(error),
        }
    }

    /// Returns true if the ids of a page can be in both orders, and have several lengths, so that the orders are no longer the
    /// same.
    pub(super) fn is_order_in_doubt(&self, reader: &WindowReader, page: &Page) -> bool {
        let is_of_one_length = self.state.lane.kept.lists.order == Some(CommonOrder::OneLength);
        let is_search = reader.door == Door::Search && plan::is_part(&reader.window);
        let fits_both = reader.window.order.is_none();
        is_search && is_of_one_length && fits_both && plan::common_length(&reader.window, page).is_none()
    }

    fn order_is(&mut self, order: CommonOrder) {
        self.state.lane.kept.lists.order = Some(order);
        self.is_unsaved = true;
    }
}
