//! The problems of an account, by part.

use model::{
    checkpoint::{Hold, Lane, ProblemKind, Sweep},
    object::ObjectType,
    time::DateTime,
};
use serde::Serialize;

use super::rfc3339;

/// A problem of a part of an account.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// The part: an object type, its deleted records, its associations, or its calculated properties.
    pub(crate) part: String,
    /// What is wrong, in words.
    pub(crate) reason: String,
    /// How many attempts in a row have failed.
    pub(crate) attempts: u32,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) at: Option<DateTime>,
    /// When it is tried again.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) retry_at: Option<DateTime>,
    /// The kind of the failure, which decides what to do. `None` if that is not known.
    #[serde(skip)]
    pub(crate) kind: Option<ProblemKind>,
}

/// Returns the problems of a lane. `set_aside` is how many of its records are set aside.
pub(super) fn problems(object: ObjectType, lane: &Lane, set_aside: u64) -> Vec<Problem> {
    let lane_problem = lane.last_error.as_ref().map(|problem| Problem {
        part: object.to_string(),
        reason: problem.reason.clone(),
        attempts: problem.attempts,
        at: Some(problem.at),
        retry_at: Some(problem.retry_at),
        kind: Some(problem.kind),
    });
    let sweep_problem = lane.sweep.last_error.as_ref().map(|reason| Problem {
        part: format!("deleted {object}"),
        reason: reason.clone(),
        attempts: lane.sweep.attempts,
        at: lane.sweep.ended_at,
        retry_at: None,
        kind: None,
    });
    let values = lane.kept.calculated.as_ref().map(|calculated| &calculated.comparison);
    let values_problem = values.and_then(|values| compared(format!("calculated properties of {object}"), values));
    let associations_problem = compared(format!("associations of {object}"), &lane.kept.associations);
    let problems = lane_problem.into_iter().chain(sweep_problem).chain(associations_problem).chain(values_problem);
    problems.chain(held(object, lane)).chain(aside(object, set_aside)).collect()
}

/// Returns the problem that a comparison could not be made. Returns `None` if it could.
fn compared(part: String, comparison: &Sweep) -> Option<Problem> {
    let reason = comparison.last_error.clone()?;
    let (attempts, at, retry_at) = (comparison.attempts, comparison.ended_at, comparison.retry_at);
    Some(Problem { part, reason, attempts, at, retry_at, kind: None })
}

/// Returns the holds of windows in which HubSpot counts more records than it returns.
pub(super) fn holds(lane: &Lane) -> Vec<Hold> {
    lane.kept.held.iter().filter_map(|window| window.hold).filter(|hold| hold.tries > 0).collect()
}

/// Returns the problem that HubSpot counts more records than it returns. Returns `None` if no window is held.
fn held(object: ObjectType, lane: &Lane) -> Option<Problem> {
    let holds = holds(lane);
    let at = holds.iter().map(|hold| hold.since).min()?;
    Some(Problem {
        part: format!("some {object}"),
        reason: format!("HubSpot counts more than it shows, in {} spans of time; what it shows is stored", holds.len()),
        attempts: holds.iter().map(|hold| hold.tries).max().unwrap_or_default(),
        at: Some(at),
        retry_at: None,
        kind: None,
    })
}

/// Returns the problem that records are set aside. Returns `None` if there are none.
fn aside(object: ObjectType, count: u64) -> Option<Problem> {
    (count > 0).then(|| Problem {
        part: format!("some {object}"),
        reason: format!("{count} could not be taken over, and are read again from time to time"),
        attempts: 1,
        at: None,
        retry_at: None,
        kind: None,
    })
}
