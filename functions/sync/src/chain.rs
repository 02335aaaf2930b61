//! One chain of slices per account: what a message is allowed to do, according to the run in the checkpoint.
//!
//! At the end of a slice, the checkpoint first says which slice is due. Then that slice's message is sent, and then the
//! checkpoint says that it was sent. A crash between any two of these loses nothing: the message of the ended slice is
//! delivered again, and causes the due message to be sent again. A copy of a message whose slice is done ends at once,
//! so copies never become a second chain.

use std::time::Duration;

use model::{
    checkpoint::{Checkpoint, Run, RunStats},
    message::{Continuation, SyncRequest},
    time::{self, DateTime},
};

/// How much later than planned a slice may begin before its run counts as dead.
const SLICE_GRACE: Duration = Duration::from_secs(300);

/// If the next slice is due later than this, a tick begins a new run for the lanes that are ready. The continuation of
/// the old run then ends at once.
const LONG_SLICE_WAIT: Duration = Duration::from_secs(30);

/// What a message is allowed to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    /// Work for one slice of this run.
    Work(Run),
    /// Send the message for the due slice again, because it may have been lost.
    Resend(Run),
    /// Do nothing, for this reason.
    Drop(&'static str),
    /// Record that HubSpot has reported changes. The live run looks for them.
    Note,
}

/// Returns what a message is allowed to do, according to the account's checkpoint.
pub(crate) fn decide(checkpoint: &Checkpoint, request: &SyncRequest, now: DateTime) -> Decision {
    // A lane that is left out is ready when it is to be tried again.
    let is_ready = checkpoint.objects().iter().any(|object| checkpoint.lanes.get(*object).is_ready(now));
    let begin_if_ready = || match is_ready {
        _ if is_old(checkpoint, request) => Decision::Drop("a run has begun since this tick"),
        true => Decision::Work(new_run(now)),
        false => Decision::Drop("the account waits"),
    };
    match (&request.run, &checkpoint.run) {
        (None, Some(run)) if now <= time::after(run.due_at, SLICE_GRACE) => {
            if run.due_at > time::after(now, LONG_SLICE_WAIT) && is_ready {
                begin_if_ready()
            } else if request.notified.is_some() {
                // If the run's message was lost, the next tick sends it again.
                Decision::Note
            } else if run.sent {
                Decision::Drop("a run is live")
            } else {
                Decision::Resend(run.clone())
            }
        }
        (None, _) => begin_if_ready(),
        (Some(_), None) => Decision::Drop("the run is over"),
        (Some(due), Some(run)) if due.run != run.id => Decision::Drop("another run has taken over"),
        (Some(due), Some(run)) if due.slice == run.slice => Decision::Work(run.clone()),
        (Some(due), Some(run)) if due.slice + 1 == run.slice && !run.sent => Decision::Resend(run.clone()),
        (Some(_), Some(_)) => Decision::Drop("the slice is done"),
    }
}

/// Returns true if a run has begun since the tick. That run looks for everything that this tick would look for. Delayed
/// ticks therefore end at once, and a backlog of them shrinks however expensive a run is.
fn is_old(checkpoint: &Checkpoint, request: &SyncRequest) -> bool {
    let is_tick = request.run.is_none() && request.notified.is_none();
    is_tick && checkpoint.last_run.as_ref().is_some_and(|last| request.tick < last.started_at)
}

/// Returns a new run, whose first slice is due now.
fn new_run(now: DateTime) -> Run {
    let id = mongodb::bson::oid::ObjectId::new().to_hex();
    Run { id, slice: 0, sent: true, started_at: now, due_at: now, idle: 0, figures: RunStats::default() }
}

/// Returns the run after its current slice is done and the next slice waits for `delay`.
pub(crate) fn next(run: &Run, now: DateTime, delay: Duration, progressed: bool) -> Run {
    let idle = if progressed { 0 } else { run.idle + 1 };
    Run { slice: run.slice + 1, sent: false, due_at: time::after(now, delay), idle, ..run.clone() }
}

/// Returns the message for the slice that is due. `attempt` is the number of consecutive failed attempts.
pub(crate) fn message(request: &SyncRequest, run: &Run, attempt: u32) -> SyncRequest {
    let due = Continuation { run: run.id.clone(), slice: run.slice };
    SyncRequest { run: Some(due), attempt, ..request.clone() }
}

#[cfg(test)]
mod tests {
    use model::{
        account::AccountKey,
        checkpoint::{LaneProblem, LastRun, ProblemKind},
        message::Notified,
        object::ObjectType,
    };

    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn request(run: Option<(&str, i64)>) -> SyncRequest {
        SyncRequest {
            account: AccountKey::new("d", 7).unwrap(),
            tick: NOW,
            run: run.map(|(run, slice)| Continuation { run: run.to_owned(), slice }),
            attempt: 0,
            notified: None,
        }
    }

    fn run(slice: i64, sent: bool, due_at: DateTime) -> Checkpoint {
        let run =
            Run { id: "r".to_owned(), slice, sent, started_at: NOW, due_at, idle: 0, figures: RunStats::default() };
        Checkpoint { run: Some(run), ..Checkpoint::default() }
    }

    fn waits(mut checkpoint: Checkpoint, companies: bool, contacts: bool) -> Checkpoint {
        let problem = LaneProblem {
            kind: ProblemKind::Transient,
            pass: None,
            reason: String::new(),
            at: NOW,
            attempts: 1,
            retry_at: time::after(NOW, HOUR),
        };
        checkpoint.lanes.get_mut(ObjectType::COMPANIES).last_error = companies.then(|| problem.clone());
        checkpoint.lanes.get_mut(ObjectType::CONTACTS).last_error = contacts.then_some(problem);
        checkpoint
    }

    fn begins(checkpoint: &Checkpoint) -> bool {
        matches!(decide(checkpoint, &request(None), NOW), Decision::Work(run) if run.slice == 0 && run.id != "r")
    }

    #[test]
    fn a_tick_begins_a_run_only_where_none_is_live() {
        assert!(begins(&Checkpoint::default()));
        assert!(begins(&run(3, true, time::before(NOW, HOUR))));
        assert!(!begins(&run(3, true, NOW)));
        assert!(!begins(&run(3, true, time::before(NOW, SLICE_GRACE))));
    }

    #[test]
    fn a_tick_that_is_older_than_the_last_run_has_nothing_to_do() {
        let began = |started_at| LastRun {
            id: "before".to_owned(),
            started_at,
            ended_at: NOW,
            is_over: true,
            figures: RunStats::default(),
        };
        let after = |started_at| Checkpoint { last_run: Some(began(started_at)), ..Checkpoint::default() };
        assert!(begins(&after(time::before(NOW, HOUR))));
        assert!(begins(&after(NOW)));
        let newer = after(time::after(NOW, Duration::from_millis(1)));
        assert!(matches!(decide(&newer, &request(None), NOW), Decision::Drop(_)));
        // A dead run is taken over by a tick that is newer than it.
        let dead = Checkpoint { run: run(3, true, time::before(NOW, HOUR)).run, ..newer.clone() };
        assert!(matches!(decide(&dead, &request(None), NOW), Decision::Drop(_)));
        // A message that the run has not sent is still sent, and a notification is still handled.
        let unsent = Checkpoint { run: run(3, false, NOW).run, ..newer.clone() };
        assert!(matches!(decide(&unsent, &request(None), NOW), Decision::Resend(_)));
        let told = SyncRequest { notified: Some(Notified::Changes), ..request(None) };
        assert!(matches!(decide(&newer, &told, NOW), Decision::Work(_)));
    }

    #[test]
    fn a_tick_takes_over_from_a_run_that_waits_for_long_if_a_lane_is_ready() {
        let waiting = run(3, true, time::after(NOW, HOUR));
        assert!(begins(&waits(waiting.clone(), true, false)));
        assert!(!begins(&waits(waiting, true, true)));
        assert!(!begins(&waits(Checkpoint::default(), true, true)));
        assert!(!begins(&run(3, true, time::after(NOW, Duration::from_secs(20)))));
    }

    #[test]
    fn an_account_without_access_to_anything_is_tried_again() {
        let deals = ObjectType::parse("deals").unwrap();
        let closed = |retry_at| {
            let mut checkpoint = waits(Checkpoint::default(), true, true);
            let problem = checkpoint.lanes.get(ObjectType::CONTACTS).last_error.clone().unwrap();
            let problem = LaneProblem { kind: ProblemKind::Forbidden, retry_at, ..problem };
            checkpoint.lanes.get_mut(deals).last_error = Some(problem);
            Checkpoint { objects: vec![deals], ..checkpoint }
        };
        assert!(!begins(&closed(time::after(NOW, HOUR))));
        assert!(begins(&closed(time::before(NOW, HOUR))));
    }

    #[test]
    fn what_hubspot_tells_of_begins_a_run_or_is_noted_for_the_live_one() {
        let told = SyncRequest { notified: Some(Notified::Changes), ..request(None) };
        assert!(matches!(decide(&Checkpoint::default(), &told, NOW), Decision::Work(run) if run.slice == 0));
        assert_eq!(decide(&run(3, true, NOW), &told, NOW), Decision::Note);
        assert_eq!(decide(&run(3, false, NOW), &told, NOW), Decision::Note);
        let waiting = waits(run(3, true, time::after(NOW, HOUR)), true, false);
        assert!(matches!(decide(&waiting, &told, NOW), Decision::Work(run) if run.slice == 0));
    }

    #[test]
    fn a_continuation_works_once() {
        let live = run(3, true, NOW);
        let on = |due| decide(&live, &request(Some(due)), NOW);
        assert_eq!(on(("r", 3)), Decision::Work(live.run.clone().unwrap()));
        for due in [("r", 2), ("r", 1), ("r", 4), ("other", 3)] {
            assert!(matches!(on(due), Decision::Drop(_)), "{due:?}");
        }
        assert!(matches!(decide(&Checkpoint::default(), &request(Some(("r", 3))), NOW), Decision::Drop(_)));
    }

    #[test]
    fn a_message_that_may_be_lost_is_sent_again() {
        let unsent = run(3, false, NOW);
        let found = unsent.run.clone().unwrap();
        assert_eq!(decide(&unsent, &request(Some(("r", 2))), NOW), Decision::Resend(found.clone()));
        assert_eq!(decide(&unsent, &request(None), NOW), Decision::Resend(found.clone()));
        assert_eq!(decide(&unsent, &request(Some(("r", 3))), NOW), Decision::Work(found));
        assert!(matches!(decide(&unsent, &request(Some(("r", 1))), NOW), Decision::Drop(_)));
    }

    #[test]
    fn slices_without_progress_are_counted() {
        let first = run(0, true, NOW).run.unwrap();
        let second = next(&next(&first, NOW, HOUR, false), NOW, HOUR, false);
        assert_eq!((second.slice, second.idle, second.due_at), (2, 2, time::after(NOW, HOUR)));
        assert_eq!(next(&second, NOW, HOUR, true).idle, 0);
    }
}
