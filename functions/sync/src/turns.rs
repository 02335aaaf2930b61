//! How many lanes of a slice are read, and which of them read their histories.
//!
//! All lanes look for changes at the same time. Two of them read their histories at the same time, and the others wait for
//! their turns after the first page: several pages of one lane need fewer reads of associations than one page of each of several lanes.

use std::cell::Cell;

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

/// How many lanes read their histories at the same time.
const HISTORIES: usize = 2;

/// The lanes of a slice that are being read. They share the account's limits.
#[derive(Debug)]
pub(crate) struct Turns {
    lanes: Cell<u32>,
    histories: Semaphore,
}

/// Counts a lane, or leaves it out while it waits. Dropping it takes that back.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    is_read: bool,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self { lanes: Cell::new(0), histories: Semaphore::new(HISTORIES) }
    }

    /// Returns the number of lanes that are being read, at least 1.
    pub(crate) fn lanes(&self) -> f64 {
        f64::from(self.lanes.get().max(1))
    }

    /// Counts a lane for as long as the result exists.
    pub(crate) fn read(&self) -> Turn<'_> {
        self.lanes.set(self.lanes.get() + 1);
        Turn { turns: self, is_read: true }
    }

    /// Does not count a lane for as long as the result exists.
    fn wait(&self) -> Turn<'_> {
        self.lanes.set(self.lanes.get().saturating_sub(1));
        Turn { turns: self, is_read: false }
    }

    /// Returns a turn to read a history, if one is free.
    pub(crate) fn free_history(&self) -> Option<SemaphorePermit<'_>> {
        self.histories.try_acquire().ok()
    }

    /// Waits for the turn of a lane to read its history. Returns `None` if it does not come before `latest`.
    pub(crate) async fn history(&self, latest: Instant) -> Option<SemaphorePermit<'_>> {
        let _waiting = self.wait();
        timeout_at(latest, self.histories.acquire()).await.ok()?.ok()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let lanes = &self.turns.lanes;
        lanes.set(if self.is_read { lanes.get().saturating_sub(1) } else { lanes.get() + 1 });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_third_history_waits_and_its_lane_does_not_count_meanwhile() {
        let turns = Turns::new();
        let lanes = [(); 3].map(|()| turns.read());
        let latest = Instant::now() + Duration::from_secs(1);
        let first = turns.history(latest).await;
        let second = turns.history(latest).await;
        assert_eq!((first.is_some(), second.is_some(), turns.lanes()), (true, true, 3.0));
        assert!(turns.free_history().is_none());
        assert!(turns.history(latest).await.is_none(), "there are two");
        let third = turns.history(latest + Duration::from_secs(1));
        let end_first = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let counted = turns.lanes();
            drop(first);
            counted
        };
        let (third, counted) = tokio::join!(third, end_first);
        assert_eq!((third.is_some(), counted, turns.lanes()), (true, 2.0, 3.0));
        drop(lanes);
        assert_eq!(turns.lanes(), 1.0, "a lane that asks reads");
    }
}
