//! When an account that is caught up is looked at again.

use model::{
    checkpoint::Lane,
    looks::{Looks, NextLook, WEBHOOK_DELAY},
    time::{self, DateTime},
};

use crate::context::{ActiveSlice, Entry};

impl ActiveSlice<'_> {
    /// Returns when the account is looked at again if it is caught up now. Returns `None` if each tick is to look at it: it
    /// has changed lately, or something is left over that is tried again.
    pub(crate) fn next_look(&self) -> Option<NextLook> {
        let (config, checkpoint) = (&self.sync.config, &self.leased.checkpoint);
        let Entry { digest, look_every } = *self.entry.get()?;
        let is_left_over = |lane: &Lane| !lane.kept.held.is_empty() || lane.kept.set_aside_until.is_some();
        let run = self.tally.added_to(&self.run.figures);
        if run.actions > 0 || self.tally.has_leftovers() || checkpoint.live_lanes().any(is_left_over) {
            return None;
        }
        let first_seen = checkpoint.live_lanes().map(|lane| lane.first_seen).min().flatten();
        let looks = Looks {
            longest: config.quiet,
            wanted: look_every,
            behind_after: config.behind_after,
            changed_at: checkpoint.changed_at.values().max().copied().or(first_seen)?,
            notified_at: checkpoint.notified_at.max(self.request.notified.map(|_| self.run.started_at)),
            unannounced_at: checkpoint.unannounced_at,
        };
        Some(NextLook { at: looks.next(self.run.started_at, DateTime::now())?, entry: digest })
    }

    /// Returns true if the slice has published changes of which a webhook should have told and has not.
    pub(crate) fn is_unannounced(&self) -> bool {
        let checkpoint = &self.leased.checkpoint;
        let is_told = |at: DateTime| time::after(at, WEBHOOK_DELAY) >= self.run.started_at;
        self.tally.announced().total() > 0
            && self.request.notified.is_none()
            && !checkpoint.notified_at.is_some_and(is_told)
            && !checkpoint.live_lanes().any(Lane::has_history_to_read)
    }
}
