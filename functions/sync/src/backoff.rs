//! How long a continuation waits: pure, so that it can be read off a table.

use std::time::Duration;

use common::queue::MAX_DELAY;

/// The delay of the next slice. `attempt` is the number of slices in a row that made no progress, `hint` what
/// HubSpot asked for, `chance` a number from 0 to 1 that spreads accounts which failed together.
pub(crate) fn delay(attempt: u32, hint: Duration, chance: f64) -> Duration {
    if attempt == 0 {
        return hint.min(MAX_DELAY);
    }
    let full = Duration::from_secs(2).saturating_mul(1_u32.checked_shl(attempt.min(20) - 1).unwrap_or(u32::MAX));
    let spread = full.min(MAX_DELAY).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
    spread.max(hint).min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_what_sqs_takes() {
        // attempt, hint in seconds, delay in seconds
        let table = [
            (0, 0, 0),
            (0, 10, 10),
            (1, 0, 2),
            (2, 0, 4),
            (5, 0, 32),
            (5, 60, 60),
            (9, 0, 512),
            (10, 0, 900),
            (99, 0, 900),
            (1, 86_400, 900),
        ];
        for (attempt, hint, expected) in table {
            assert_eq!(
                delay(attempt, Duration::from_secs(hint), 1.0),
                Duration::from_secs(expected),
                "{attempt} {hint}"
            );
        }
        assert_eq!(delay(2, Duration::ZERO, 0.0), Duration::from_secs(2));
    }
}
