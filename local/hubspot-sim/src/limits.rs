//! HubSpot's rate limits: rolling windows an account.

use std::collections::VecDeque;

/// The requests of one account within a rolling window. A refused request does not count.
#[derive(Debug, Default)]
pub(crate) struct Rolling {
    times: VecDeque<i64>,
}

impl Rolling {
    /// Whether a request at `now` is allowed, where `limit` are in `window` milliseconds; 0 is no limit.
    pub(crate) fn allow(&mut self, now: i64, window: i64, limit: usize) -> bool {
        while self.times.front().is_some_and(|time| *time <= now - window) {
            self.times.pop_front();
        }
        let allowed = limit == 0 || self.times.len() < limit;
        if allowed {
            self.times.push_back(now);
        }
        allowed
    }

    /// How many more requests are allowed now.
    pub(crate) fn left(&self, limit: usize) -> usize {
        limit.saturating_sub(self.times.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_rolls() {
        let mut rolling = Rolling::default();
        let allowed: Vec<bool> = [0, 900, 950, 1000, 1001].iter().map(|now| rolling.allow(*now, 1000, 2)).collect();
        assert_eq!(allowed, [true, true, false, true, false]);
        assert_eq!(rolling.left(2), 0);
    }
}
