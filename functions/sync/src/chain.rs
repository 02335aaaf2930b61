//! One chain of slices per account: what a message is allowed to do, judged by the run in the checkpoint.
//!
//! At the end of a slice the checkpoint first says which slice is due, then its message is sent, then the
//! checkpoint says that it was sent. A crash between any two of them loses nothing: the message that ended
//! the slice is delivered again and sends the due one again. A copy of a message whose slice is done ends at
//! once, so that copies never become a second chain.

use std::time::Duration;

use common::{
    checkpoint::Run,
    message::{Continuation, SyncRequest},
    time::{self, DateTime},
};

/// How much later than planned a slice may be taken up before its run counts as dead.
const GRACE: Duration = Duration::from_secs(300);

/// What a message is allowed to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Work for one slice of this run.
    Work(Run),
    /// Send the message for the due slice again: it may have been lost.
    Resend(Run),
    /// Nothing.
    Drop(&'static str),
}

/// Judges a message by the checkpoint's run.
pub(crate) fn step(run: Option<&Run>, request: &SyncRequest, now: DateTime) -> Step {
    match (&request.run, run) {
        (None, Some(run)) if run.expected_by >= now => {
            if run.sent {
                Step::Drop("a run is live")
            } else {
                Step::Resend(run.clone())
            }
        }
        (None, _) => Step::Work(begin(now)),
        (Some(_), None) => Step::Drop("the run is over"),
        (Some(due), Some(run)) if due.run != run.id => Step::Drop("another run has taken over"),
        (Some(due), Some(run)) if due.slice == run.slice => Step::Work(run.clone()),
        (Some(due), Some(run)) if due.slice + 1 == run.slice && !run.sent => Step::Resend(run.clone()),
        (Some(_), Some(_)) => Step::Drop("the slice is done"),
    }
}

fn begin(now: DateTime) -> Run {
    let id = mongodb::bson::oid::ObjectId::new().to_hex();
    Run { id, slice: 0, sent: true, started_at: now, expected_by: now }
}

/// The run as it stands when its current slice is done and the next one waits for `delay`.
pub(crate) fn next(run: &Run, now: DateTime, delay: Duration) -> Run {
    Run { slice: run.slice + 1, sent: false, expected_by: time::after(now, delay + GRACE), ..run.clone() }
}

/// The message for the slice that is due.
pub(crate) fn message(request: &SyncRequest, run: &Run, attempt: u32) -> SyncRequest {
    let due = Continuation { run: run.id.clone(), slice: run.slice };
    SyncRequest { run: Some(due), attempt, ..request.clone() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_000_000_000);

    fn request(run: Option<(&str, i64)>) -> SyncRequest {
        SyncRequest {
            account: serde_json::from_value(json!({"domainId": "d", "hubId": "7"})).unwrap(),
            tick: NOW,
            run: run.map(|(run, slice)| Continuation { run: run.to_owned(), slice }),
            attempt: 0,
        }
    }

    fn run(slice: i64, sent: bool, late: bool) -> Run {
        let expected_by = if late { time::before(NOW, GRACE) } else { NOW };
        Run { id: "r".to_owned(), slice, sent, started_at: NOW, expected_by }
    }

    #[test]
    fn a_tick_begins_a_run_only_where_none_is_live() {
        let begins =
            |found: Option<Run>| matches!(step(found.as_ref(), &request(None), NOW), Step::Work(run) if run.slice == 0);
        assert!(begins(None));
        assert!(begins(Some(run(3, true, true))));
        assert!(!begins(Some(run(3, true, false))));
    }

    #[test]
    fn a_continuation_works_once() {
        let live = run(3, true, false);
        let on = |due| step(Some(&live), &request(Some(due)), NOW);
        assert_eq!(on(("r", 3)), Step::Work(live.clone()));
        for due in [("r", 2), ("r", 1), ("r", 4), ("other", 3)] {
            assert!(matches!(on(due), Step::Drop(_)), "{due:?}");
        }
        assert!(matches!(step(None, &request(Some(("r", 3))), NOW), Step::Drop(_)));
    }

    #[test]
    fn a_message_that_may_be_lost_is_sent_again() {
        let unsent = run(3, false, false);
        assert_eq!(step(Some(&unsent), &request(Some(("r", 2))), NOW), Step::Resend(unsent.clone()));
        assert_eq!(step(Some(&unsent), &request(None), NOW), Step::Resend(unsent.clone()));
        assert_eq!(step(Some(&unsent), &request(Some(("r", 3))), NOW), Step::Work(unsent.clone()));
        assert!(matches!(step(Some(&unsent), &request(Some(("r", 1))), NOW), Step::Drop(_)));
    }

    #[test]
    fn a_run_that_waits_is_not_dead() {
        let delay = Duration::from_secs(900);
        let next = next(&run(0, true, false), NOW, delay);
        assert!(matches!(step(Some(&next), &request(None), time::after(NOW, delay)), Step::Resend(_)));
        assert!(matches!(step(Some(&next), &request(None), time::after(NOW, delay + GRACE + GRACE)), Step::Work(_)));
    }
}
