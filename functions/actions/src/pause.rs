//! How long a message that was not stored is hidden from the next delivery.

use std::time::Duration;

/// The pause after the first delivery. It doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause: the queue's visibility timeout, which applies if the function cannot set a pause. A thousand of
/// them, the largest number that SQS counts, are longer than the 14 days for which SQS keeps a message
/// (`template.yaml`).
const LONGEST_PAUSE: Duration = Duration::from_secs(1260);

/// Returns the pause after a message was received for the `receives`-th time.
pub fn pause(receives: u32) -> Duration {
    let doublings = receives.clamp(1, 16) - 1;
    LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(doublings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_visibility_timeout() {
        let pauses = [0, 1, 2, 3, 4, 5, 6, 7, 1000].map(|receives| pause(receives).as_secs());
        assert_eq!(pauses, [30, 30, 60, 120, 240, 480, 960, 1260, 1260]);
    }
}
