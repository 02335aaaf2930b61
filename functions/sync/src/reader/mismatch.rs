//! Windows that do not add up or cannot be read. Each is read again in halves, or held by itself while the others go
//! on.

use model::{
    checkpoint::{PassKind, Window},
    time::DateTime,
};

use super::pass::PassReader;
use crate::plan;

/// The reason if HubSpot counts more rows than it shows.
pub(super) const ROWS_MISSING: &str = "rows are missing";

impl PassReader<'_> {
    /// Reads a window again in halves, if that helps to find what is missing. Otherwise holds it. If it is cut at ids that are
    /// compared in an unknown order, gives up all parts.
    pub(super) fn does_not_add_up(&mut self, window: &Window, reason: &str) {
        if self.kind == PassKind::Backfill && window.undated {
            self.read_undated_later(reason);
            return;
        }
        if self.has_unknown_bounds(window) {
            self.read_whole(reason);
            return;
        }
        self.tally.mismatch();
        let is_of_history = self.is_of_history(window);
        let lane = &mut self.state.lane;
        if is_of_history {
            lane.backfilled.read -= window.read;
        }
        let is_worth_it = self.kind != PassKind::Fresh && plan::is_worth_halving(lane);
        if is_worth_it && plan::bisect_for_reread(lane.pass_mut(self.kind), window) {
            tracing::warn!(
                object = self.object.as_str(), pass = self.kind.as_str(), reason,
                window.from = %window.from, window.read, window.expected, "a window does not add up and is read again"
            );
            self.is_unsaved = true;
        } else {
            self.hold(window, reason, true);
        }
    }

    /// Holds a window by itself. Gives it up if it was held for too long. If it is cut at ids that are compared in an unknown
    /// order, gives up all parts instead.
    pub(super) fn hold(&mut self, window: &Window, reason: &str, missing: bool) {
        if self.has_unknown_bounds(window) {
            self.read_whole(reason);
            return;
        }
        let now = DateTime::now();
        let (object, pass) = (self.object.as_str(), self.kind.as_str());
        let to = window.to.map(|to| to.to_string());
        if reason == ROWS_MISSING && plan::is_held_too_long(window, now) {
            tracing::error!(object, pass, window.from = %window.from, window.to = to, window.read,
                "a window has not added up for a day; HubSpot counts rows that it does not show, and it is given up");
            self.tally.accepted();
            plan::complete(self.state.lane.pass_mut(self.kind), window, now);
        } else {
            // Further halving finds a record that HubSpot does not show, the next time. It does not find rows that
            // HubSpot only counts.
            let repairs = if reason == ROWS_MISSING { window.repairs } else { 0 };
            let window = &Window { repairs, ..window.clone() };
            tracing::warn!(object, pass, reason, window.from = %window.from, window.to = to, window.read,
                "a window does not add up, or cannot be read, and is held; the others go on");
            self.tally.held();
            plan::hold(&mut self.state.lane, self.kind, window, missing, now);
        }
        self.is_unsaved = true;
    }

    /// Returns true if it is not known which rows the ids bound that the window is cut at. It cannot be read by itself then.
    fn has_unknown_bounds(&self, window: &Window) -> bool {
        plan::is_part(window) && plan::is_cut(window) && !self.state.lane.kept.lists.is_numeric
    }
}
