//! What is wrong with an account, part by part.

use model::{
    checkpoint::{Hold, Lane, ProblemKind},
    object::ObjectType,
    time::DateTime,
};
use serde::Serialize;

use super::rfc3339;

/// What is wrong with a part of an account.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Problem {
    /// Which part: an object type, or what was deleted of it.
    pub(crate) part: String,
    /// In words.
    pub(crate) reason: String,
    /// How many attempts in a row have failed.
    pub(crate) attempts: u32,
    #[serde(serialize_with = "rfc3339")]
    pub(crate) at: Option<DateTime>,
    /// When it is tried again.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) retry_at: Option<DateTime>,
    /// What is to be done about it, if that is known.
    #[serde(skip)]
    pub(crate) kind: Option<ProblemKind>,
}

/// What is wrong with a lane, of whose records so many are set aside.
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
    lane_problem.into_iter().chain(sweep_problem).chain(held(object, lane)).chain(aside(object, set_aside)).collect()
}

/// The holds of windows that HubSpot counts more records in than it shows.
pub(super) fn holds(lane: &Lane) -> Vec<Hold> {
    lane.kept.held.iter().filter_map(|window| window.hold).filter(|hold| hold.tries > 0).collect()
}

/// That HubSpot counts more records than it shows.
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

/// That records are set aside.
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
