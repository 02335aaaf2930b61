//! How a slice's lanes ended, and what that means for the run. Pure.

use std::time::Duration;

use model::{
    checkpoint::{Lane, LaneProblem, ProblemKind},
    object::ObjectType,
    time::{self, DateTime},
};

use crate::problem::is_given_up;

/// How one lane ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LaneOutcome {
    pub(crate) object: ObjectType,
    /// Up to when everything was read. Absent if there is more to read.
    pub(crate) caught_up: Option<DateTime>,
    /// Up to when the lane was looked at for changes.
    pub(crate) fresh_to: Option<DateTime>,
    /// When the lane continues. Absent if there is nothing left to read.
    pub(crate) retry_at: Option<DateTime>,
    /// What went wrong in this slice.
    pub(crate) problem: Option<LaneProblem>,
    /// The page size for the lane's next page. Absent if it is the usual one.
    pub(crate) page_size: Option<u32>,
    /// True if the lane progressed.
    pub(crate) progressed: bool,
    /// True if HubSpot gives no access to the object type, or does not have it. Nothing waits for the lane.
    pub(crate) is_left_out: bool,
}

impl LaneOutcome {
    fn new(object: ObjectType, retry_at: Option<DateTime>, progressed: bool) -> Self {
        Self {
            object,
            caught_up: None,
            fresh_to: None,
            retry_at,
            problem: None,
            page_size: None,
            progressed,
            is_left_out: false,
        }
    }

    /// Returns true if the lane was read, has nothing left to read, and failed at nothing.
    pub(crate) fn is_at_end(&self) -> bool {
        self.retry_at.is_none() && self.problem.is_none() && !self.is_left_out
    }

    /// Returns the outcome of a lane with nothing left to read. `date` is up to when everything was read.
    pub(crate) fn caught_up(object: ObjectType, date: Option<DateTime>) -> Self {
        Self { caught_up: date, ..Self::new(object, None, false) }
    }

    /// Returns the outcome of a lane that progressed and has more to read at once.
    pub(crate) fn more(object: ObjectType) -> Self {
        Self::new(object, Some(DateTime::MIN), true)
    }

    /// Returns the outcome of a lane that has more to read, but not before `at`: HubSpot cannot be asked before, or the
    /// lane made no progress.
    pub(crate) fn waits_until(object: ObjectType, at: DateTime) -> Self {
        Self::new(object, Some(at), false)
    }

    /// Returns the outcome of a lane that was not read, because its pause after an error is not over.
    pub(crate) fn waiting(object: ObjectType, lane: &Lane) -> Self {
        if lane.is_left_out(object) {
            return Self { is_left_out: true, ..Self::new(object, None, false) };
        }
        let retry_at = lane.last_error.as_ref().map_or(DateTime::MIN, |problem| problem.retry_at);
        Self { fresh_to: lane.fresh.mark, ..Self::new(object, Some(retry_at), false) }
    }

    /// Returns the outcome of a lane that failed.
    pub(crate) fn failed(object: ObjectType, lane: &Lane, problem: LaneProblem) -> Self {
        let lane = Lane { last_error: Some(problem.clone()), ..lane.clone() };
        // The run does not wait for a lane that is left out. The first tick after the retry's time tries it again.
        let is_left_out = lane.is_left_out(object);
        let retry_at = Some(problem.retry_at).filter(|_| !is_left_out);
        let (fresh_to, page_size) = (lane.fresh.mark, lane.page_size);
        Self { problem: Some(problem), fresh_to, page_size, is_left_out, ..Self::new(object, retry_at, false) }
    }

    /// Returns true if the lane failed with a problem of this kind.
    pub(crate) fn has(&self, kind: ProblemKind) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.kind == kind)
    }
}

/// When the run continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Never, because the account is caught up.
    CaughtUp,
    /// After this pause.
    For(Duration),
}

/// What the outcomes of all lanes mean for the run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    /// When the run continues: as soon as one of the lanes does.
    pub(crate) wait: Wait,
    /// The number of lanes that were given up.
    pub(crate) given_up: usize,
    /// The number of consecutive failed attempts in the lane that continues next.
    pub(crate) attempts: u32,
    /// True if any lane progressed.
    pub(crate) progressed: bool,
}

impl Outcome {
    /// Returns what the lanes' outcomes mean for the run.
    pub(crate) fn of(lanes: &[LaneOutcome], now: DateTime) -> Self {
        let next = lanes.iter().filter_map(|lane| Some((lane.retry_at?, lane))).min_by_key(|(at, _)| *at);
        Self {
            wait: next.map_or(Wait::CaughtUp, |(at, _)| Wait::For(time::between(now, at))),
            given_up: lanes
                .iter()
                .filter_map(|lane| lane.problem.as_ref())
                .filter(|problem| is_given_up(problem))
                .count(),
            attempts: next.and_then(|(_, lane)| lane.problem.as_ref()).map_or(0, |problem| problem.attempts),
            progressed: lanes.iter().any(|lane| lane.progressed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000_000_000);

    fn failed(kind: ProblemKind, attempts: u32, seconds: u64) -> LaneOutcome {
        let retry_at = time::after(NOW, Duration::from_secs(seconds));
        let problem = LaneProblem { kind, pass: None, reason: "why".to_owned(), at: NOW, attempts, retry_at };
        LaneOutcome::failed(ObjectType::CONTACTS, &Lane::default(), problem)
    }

    fn of(companies: LaneOutcome, contacts: LaneOutcome) -> (Wait, u32, bool) {
        let outcome = Outcome::of(&[companies, contacts], NOW);
        (outcome.wait, outcome.attempts, outcome.given_up > 0)
    }

    #[test]
    fn the_run_goes_on_with_the_lane_that_goes_on_first() {
        let caught_up = || LaneOutcome::caught_up(ObjectType::COMPANIES, Some(NOW));
        let more = || LaneOutcome::more(ObjectType::COMPANIES);
        let wait = |seconds| Wait::For(Duration::from_secs(seconds));
        let passing = |seconds| failed(ProblemKind::Transient, 3, seconds);
        assert_eq!(of(caught_up(), caught_up()), (Wait::CaughtUp, 0, false));
        assert_eq!(of(caught_up(), more()), (wait(0), 0, false));
        assert_eq!(of(more(), passing(60)), (wait(0), 0, false));
        assert_eq!(of(caught_up(), passing(60)), (wait(60), 3, false));
        assert_eq!(of(passing(90), passing(60)), (wait(60), 3, false));
        assert_eq!(of(caught_up(), failed(ProblemKind::Permanent, 8, 3600)), (wait(3600), 8, true));
        assert_eq!(of(caught_up(), failed(ProblemKind::Permanent, 7, 128)), (wait(128), 7, false));
    }

    #[test]
    fn a_lane_that_is_left_out_is_not_waited_for() {
        let deals = ObjectType::parse("deals").unwrap();
        let caught_up = || LaneOutcome::caught_up(ObjectType::COMPANIES, None);
        for kind in [ProblemKind::Forbidden, ProblemKind::Absent] {
            let problem = failed(kind, 1, 3600).problem.unwrap();
            let refused = LaneOutcome::failed(deals, &Lane::default(), problem.clone());
            assert_eq!(of(caught_up(), refused), (Wait::CaughtUp, 0, false));
            let lane = Lane { last_error: Some(problem), ..Lane::default() };
            assert_eq!(of(caught_up(), LaneOutcome::waiting(deals, &lane)), (Wait::CaughtUp, 0, false));
            let waiting = LaneOutcome::waiting(ObjectType::CONTACTS, &lane);
            assert_eq!(of(caught_up(), waiting).0, Wait::For(Duration::from_secs(3600)), "every portal has contacts");
        }
    }

    #[test]
    fn a_lane_that_waits_is_waited_for() {
        let lane = Lane { last_error: failed(ProblemKind::Transient, 3, 60).problem, ..Lane::default() };
        let waiting = LaneOutcome::waiting(ObjectType::CONTACTS, &lane);
        let caught_up = LaneOutcome::caught_up(ObjectType::COMPANIES, None);
        assert_eq!(of(caught_up, waiting), (Wait::For(Duration::from_secs(60)), 0, false));
    }
}
