//! How long a lane waits after a failure. Pure, so that a table can show it.

use std::time::Duration;

use queue::MAX_DELAY;

/// The longest pause between two attempts, unless HubSpot asks for a longer one.
const LONGEST_PAUSE: Duration = MAX_DELAY;

/// Returns how long a lane waits before attempt `attempts + 1`. `hint` is the pause that HubSpot asked for. `chance` is
/// a number from 0 to 1 that spreads out accounts that failed together.
pub(crate) fn pause(attempts: u32, hint: Duration, chance: f64) -> Duration {
    let doublings = attempts.clamp(1, 20) - 1;
    let full = Duration::from_secs(2).saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0).max(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_what_sqs_takes() {
        // attempts, hint in seconds, pause in seconds
        let table = [
            (1, 0, 2),
            (2, 0, 4),
            (5, 0, 32),
            (5, 60, 60),
            (9, 0, 512),
            (10, 0, 900),
            (99, 0, 900),
            (1, 86_400, 86_400),
        ];
        for (attempt, hint, expected) in table {
            assert_eq!(
                pause(attempt, Duration::from_secs(hint), 1.0),
                Duration::from_secs(expected),
                "{attempt} {hint}"
            );
        }
        assert_eq!(pause(2, Duration::ZERO, 0.0), Duration::from_secs(2));
    }
}
