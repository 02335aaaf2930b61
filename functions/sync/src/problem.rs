//! What a lane's failure leads to. Pure, so that a table can show it.

use std::time::Duration;

use hubspot::{HubSpotError, Search};
use model::{
    checkpoint::{LaneProblem, PassKind, ProblemKind},
    time::{self, DateTime},
};

use crate::{backoff, error::SliceError};

/// After this many attempts a lane with a permanent problem is given up, because somebody must act.
const GIVE_UP_ATTEMPTS: u32 = 8;

/// How long a lane pauses that was given up, or that HubSpot denies access to.
const LEFT_ALONE_PAUSE: Duration = Duration::from_secs(3600);

/// A failure of a lane or of the whole account.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ProblemKind,
    pub(crate) reason: String,
    /// How long HubSpot asks to be left alone.
    pub(crate) hint: Duration,
}

impl Failure {
    /// Returns a failure that is expected to pass.
    pub(crate) fn passing(reason: impl ToString) -> Self {
        Self { kind: ProblemKind::Transient, reason: reason.to_string(), hint: Duration::ZERO }
    }

    /// Returns the failure of an account without a token for now.
    pub(crate) fn without_token(error: &SliceError) -> Self {
        let hint = match error {
            SliceError::Token(error) => error.retry_later(),
            _ => Duration::ZERO,
        };
        Self { hint, ..Self::passing(error) }
    }

    /// Returns the failure of a slice in which not even one page of `page_size` rows was read and published. The next
    /// page is smaller.
    pub(crate) fn too_slow(page_size: u32) -> Self {
        Self::passing(format!("a page of {page_size} rows takes longer than a slice"))
    }

    /// Returns the lane's failure if HubSpot refused something.
    ///
    /// # Errors
    /// Any other error is returned, because it concerns the slice, not a lane.
    pub(crate) fn of(error: SliceError) -> Result<Self, SliceError> {
        let error = match error {
            SliceError::HubSpot(error) => error,
            SliceError::Unshowable { reason, .. } => {
                return Ok(Self { kind: ProblemKind::Permanent, ..Self::passing(reason) });
            }
            error => return Err(error),
        };
        let kind = match &error {
            HubSpotError::RateLimited { .. }
            | HubSpotError::AccountUnavailable { .. }
            | HubSpotError::Transient { .. } => ProblemKind::Transient,
            HubSpotError::Unauthorized => ProblemKind::Unauthorized,
            HubSpotError::Forbidden(_) => ProblemKind::Forbidden,
            HubSpotError::UnknownObject(_) => ProblemKind::Absent,
            HubSpotError::Rejected { .. } | HubSpotError::Malformed(_) => ProblemKind::Permanent,
        };
        Ok(Self { kind, reason: error.to_string(), hint: error.retry_later() })
    }

    /// Returns the lane's problem after this failure. `pass` is the pass that failed, if one did. `before` is the
    /// lane's problem if that pass has not progressed since. `chance` as in [`backoff::pause`].
    pub(crate) fn after(
        &self,
        before: Option<&LaneProblem>,
        pass: Option<PassKind>,
        now: DateTime,
        chance: f64,
    ) -> LaneProblem {
        let is_same = |before: &&LaneProblem| before.kind == self.kind && before.pass == pass;
        let attempts = 1 + before.filter(is_same).map_or(0, |before| before.attempts);
        let pause = match self.kind {
            // The token is refreshed first. A pause is only useful if that did not help.
            ProblemKind::Unauthorized if attempts == 1 => Duration::ZERO,
            ProblemKind::Forbidden | ProblemKind::Absent => LEFT_ALONE_PAUSE,
            ProblemKind::Permanent if attempts >= GIVE_UP_ATTEMPTS => LEFT_ALONE_PAUSE,
            ProblemKind::Transient | ProblemKind::Unauthorized | ProblemKind::Permanent => {
                backoff::pause(attempts, self.hint, chance)
            }
        };
        LaneProblem {
            kind: self.kind,
            pass,
            reason: self.reason.clone(),
            at: now,
            attempts,
            retry_at: time::after(now, pause),
        }
    }
}

/// Returns true if a lane with this problem is given up.
pub(crate) fn is_given_up(problem: &LaneProblem) -> bool {
    problem.kind == ProblemKind::Permanent && problem.attempts >= GIVE_UP_ATTEMPTS
}

/// Returns true if the failure may be caused by a single record. Smaller pages then find the record. A transient
/// failure counts only if a record is suspected.
pub(crate) fn is_a_records(error: &HubSpotError, is_suspect: bool) -> bool {
    error.is_about_contents() || (error.is_transient() && is_suspect)
}

/// Returns the page size to try after a page that did not fit into a slice. 0 is a single row without its properties.
pub(crate) fn smaller_page(page_size: u32) -> u32 {
    page_size.min(Search::MAX_PAGE) / 2
}

#[cfg(test)]
mod tests {
    use hubspot::TokenError;

    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000_000_000);

    fn transient(seconds: u64) -> SliceError {
        let retry_after = Some(Duration::from_secs(seconds));
        HubSpotError::Transient { reason: "status 503".to_owned(), retry_after }.into()
    }

    fn rejected() -> SliceError {
        HubSpotError::Rejected { status: 400, message: "no".to_owned() }.into()
    }

    /// Returns the pauses, in seconds, after each repetition of the same failure.
    fn pauses(failure: fn() -> SliceError, times: usize) -> Vec<u64> {
        let mut before = None;
        let pauses = (0..times).map(|_| {
            let problem = Failure::of(failure()).unwrap().after(before.as_ref(), None, NOW, 1.0);
            let pause = time::between(NOW, problem.retry_at).as_secs();
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
        let parked = HubSpotError::AccountUnavailable { reason: String::new(), retry_after: day };
        assert_eq!(Failure::of(parked.into()).unwrap().after(None, None, NOW, 0.0).retry_at, time::after(NOW, day));
    }

    #[test]
    fn what_the_token_endpoint_asks_for_is_waited_for() {
        let retry_after = Duration::from_secs(60);
        let busy = TokenError::Transient { reason: "status 429".to_owned(), retry_after };
        let rejected = TokenError::AppRejected("invalid_client".to_owned());
        let pause = |error: TokenError| {
            let problem = Failure::without_token(&error.into()).after(None, None, NOW, 1.0);
            assert_eq!(problem.kind, ProblemKind::Transient);
            time::between(NOW, problem.retry_at).as_secs()
        };
        assert_eq!([pause(busy), pause(rejected)], [60, 2]);
    }

    #[test]
    fn another_kind_of_failure_or_another_passs_counts_anew() {
        let settled = Some(PassKind::Settled);
        let before = Failure::of(transient(0)).unwrap().after(None, settled, NOW, 1.0);
        let attempts = |failure, pass| Failure::of(failure).unwrap().after(Some(&before), pass, NOW, 1.0).attempts;
        assert_eq!(attempts(rejected(), settled), 1);
        assert_eq!(attempts(transient(0), settled), 2);
        assert_eq!(attempts(transient(0), Some(PassKind::Fresh)), 1);
    }

    #[test]
    fn only_a_lasting_problem_is_given_up() {
        let mut problem = Failure::of(rejected()).unwrap().after(None, None, NOW, 1.0);
        assert!(!is_given_up(&problem));
        problem.attempts = GIVE_UP_ATTEMPTS;
        assert!(is_given_up(&problem));
        problem.kind = ProblemKind::Transient;
        assert!(!is_given_up(&problem));
    }

    #[test]
    fn pages_get_smaller_down_to_a_bare_row() {
        let pages: Vec<u32> = std::iter::successors(Some(200), |page| Some(smaller_page(*page))).take(10).collect();
        assert_eq!(pages, [200, 100, 50, 25, 12, 6, 3, 1, 0, 0]);
    }
}
