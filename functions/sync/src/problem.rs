//! What a lane's failure leads to: pure, so that it can be read off a table.

use std::time::Duration;

use common::{
    checkpoint::{LaneProblem, ProblemKind},
    hubspot::{HubSpotError, Search},
    time::{self, DateTime},
};

use crate::{backoff, error::SliceError};

/// After how many attempts a lane with a lasting problem is given up, and the message left to the dead-letter queue.
const GIVE_UP_AFTER: u32 = 8;

/// How long a lane is left alone that was given up, or that HubSpot refuses access to.
const LEFT_ALONE: Duration = Duration::from_secs(3600);

/// The smallest page that is asked for.
const MIN_PAGE: u32 = 10;

/// What went wrong in a lane, or in the whole account.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ProblemKind,
    pub(crate) reason: String,
    /// How long HubSpot wants to be left alone.
    pub(crate) hint: Duration,
}

impl Failure {
    /// A failure that is expected to pass.
    pub(crate) fn passing(reason: impl ToString) -> Self {
        Self { kind: ProblemKind::Passing, reason: reason.to_string(), hint: Duration::ZERO }
    }

    /// A failure that will happen again.
    pub(crate) fn lasting(reason: impl ToString) -> Self {
        Self { kind: ProblemKind::Lasting, ..Self::passing(reason) }
    }

    /// A window's rows do not add up, however it is divided.
    pub(crate) fn mismatch() -> Self {
        Self::lasting("the rows of a window do not add up")
    }

    /// Not even one page of `page_size` rows was read and handed on within a slice.
    pub(crate) fn too_slow(page_size: u32) -> Self {
        Self::lasting(format!("a page of {page_size} rows takes longer than a slice"))
    }

    /// What HubSpot's refusal means; other errors concern the slice, not a lane.
    pub(crate) fn of(error: SliceError) -> Result<Self, SliceError> {
        let SliceError::HubSpot(error) = error else { return Err(error) };
        let kind = match &error {
            HubSpotError::RateLimited { .. } | HubSpotError::Parked { .. } | HubSpotError::Transient { .. } => {
                ProblemKind::Passing
            }
            HubSpotError::Unauthorized => ProblemKind::Unauthorized,
            HubSpotError::Forbidden(_) => ProblemKind::Forbidden,
            HubSpotError::Rejected { .. } | HubSpotError::Malformed(_) => ProblemKind::Lasting,
        };
        Ok(Self { kind, reason: error.to_string(), hint: error.retry_later() })
    }

    /// The lane's problem after this failure; `chance` as in [`backoff::pause`].
    pub(crate) fn after(&self, before: Option<&LaneProblem>, now: DateTime, chance: f64) -> LaneProblem {
        let attempts = 1 + before.filter(|before| before.kind == self.kind).map_or(0, |before| before.attempts);
        let pause = match self.kind {
            // The token is refreshed first; only if that did not help there is something to wait for.
            ProblemKind::Unauthorized if attempts == 1 => Duration::ZERO,
            ProblemKind::Forbidden => LEFT_ALONE,
            ProblemKind::Lasting if attempts >= GIVE_UP_AFTER => LEFT_ALONE,
            ProblemKind::Passing | ProblemKind::Unauthorized | ProblemKind::Lasting => {
                backoff::pause(attempts, self.hint, chance)
            }
        };
        LaneProblem {
            kind: self.kind,
            reason: self.reason.clone(),
            at: now,
            attempts,
            retry_at: time::after(now, pause),
        }
    }
}

/// Whether a lane has just been given up.
pub(crate) fn is_given_up(problem: &LaneProblem) -> bool {
    problem.kind == ProblemKind::Lasting && problem.attempts >= GIVE_UP_AFTER
}

/// The page to try after one that did not fit into a slice.
pub(crate) fn smaller_page(page_size: u32) -> u32 {
    (page_size.min(Search::MAX_PAGE) / 2).max(MIN_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000_000_000);

    fn transient(seconds: u64) -> SliceError {
        let retry_after = Some(Duration::from_secs(seconds));
        HubSpotError::Transient { reason: "status 503".to_owned(), retry_after }.into()
    }

    fn rejected() -> SliceError {
        HubSpotError::Rejected { status: 400, message: "no".to_owned() }.into()
    }

    /// The pauses, in seconds, that the same failure leads to time after time.
    fn pauses(failure: fn() -> SliceError, times: usize) -> Vec<u64> {
        let mut before = None;
        let pauses = (0..times).map(|_| {
            let problem = Failure::of(failure()).unwrap().after(before.as_ref(), NOW, 1.0);
            let pause = time::since(NOW, problem.retry_at).as_secs();
            before = Some(problem);
            pause
        });
        pauses.collect()
    }

    #[test]
    fn each_failure_has_its_own_pauses() {
        assert_eq!(pauses(|| transient(0), 4), [2, 4, 8, 16]);
        assert_eq!(pauses(|| transient(60), 2), [60, 60]);
        assert_eq!(pauses(|| HubSpotError::Unauthorized.into(), 3), [0, 4, 8]);
        assert_eq!(pauses(|| HubSpotError::Forbidden(String::new()).into(), 2), [3600, 3600]);
        assert_eq!(pauses(rejected, 9), [2, 4, 8, 16, 32, 64, 128, 3600, 3600]);
        let day = Duration::from_secs(86_400);
        let parked = HubSpotError::Parked { reason: String::new(), retry_after: day };
        assert_eq!(Failure::of(parked.into()).unwrap().after(None, NOW, 0.0).retry_at, time::after(NOW, day));
    }

    #[test]
    fn another_kind_of_failure_counts_anew() {
        let before = Failure::of(transient(0)).unwrap().after(None, NOW, 1.0);
        assert_eq!(Failure::of(rejected()).unwrap().after(Some(&before), NOW, 1.0).attempts, 1);
        assert_eq!(Failure::of(transient(0)).unwrap().after(Some(&before), NOW, 1.0).attempts, 2);
    }

    #[test]
    fn only_a_lasting_problem_is_given_up() {
        let mut problem = Failure::mismatch().after(None, NOW, 1.0);
        assert!(!is_given_up(&problem));
        problem.attempts = GIVE_UP_AFTER;
        assert!(is_given_up(&problem));
        problem.kind = ProblemKind::Passing;
        assert!(!is_given_up(&problem));
    }

    #[test]
    fn pages_get_smaller_to_a_limit() {
        let pages: Vec<u32> = std::iter::successors(Some(200), |page| Some(smaller_page(*page))).take(7).collect();
        assert_eq!(pages, [200, 100, 50, 25, 12, 10, 10]);
    }
}
