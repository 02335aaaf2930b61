//! The status of an object type: how far its history was read, and what is missing.

use std::time::Duration;

use model::{
    checkpoint::{Checkpoint, Lane, LastRun},
    object::ObjectType,
    time::{self, DateTime},
};

use super::{Backfill, problems::holds};

/// The status of an object type of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectStatus {
    pub(crate) object: ObjectType,
    /// True if HubSpot gives no access to it, or does not have it. It costs nothing then.
    pub(crate) is_left_out: bool,
    /// How many records HubSpot counted when their history was last read.
    pub(crate) records: Option<i64>,
    /// The progress of the backfill. `None` if the history is not being read.
    pub(crate) backfill: Option<Backfill>,
    /// How long the rest of the backfill takes at the current rate.
    pub(crate) left: Option<Duration>,
    /// When the backfill was completed.
    pub(crate) backfilled_at: Option<DateTime>,
    /// When a change was last published.
    pub(crate) changed_at: Option<DateTime>,
    /// In how many windows HubSpot counts more records than it returns.
    pub(crate) held: usize,
    /// How many records could not be published.
    pub(crate) set_aside: u64,
}

impl ObjectStatus {
    /// Returns the status of each object type. `set_aside` returns how many of its records are set aside.
    pub(super) fn all(checkpoint: &Checkpoint, set_aside: impl Fn(ObjectType) -> u64) -> Vec<Self> {
        let rate = checkpoint.last_run.as_ref().and_then(rate);
        let status = |object: &ObjectType| {
            let lane = checkpoint.lanes.get(*object);
            let others = checkpoint.live_lanes().filter(|other| !std::ptr::eq(*other, lane));
            let others: Vec<i64> = others.filter_map(missing).collect();
            Self {
                object: *object,
                is_left_out: lane.is_left_out(*object),
                records: lane.backfilled.total,
                backfill: backfill(lane),
                left: missing(lane).zip(rate).map(|(missing, rate)| time_left(missing, &others, rate)),
                backfilled_at: lane.backfill.completed_at.filter(|_| !lane.has_history_to_read()),
                changed_at: checkpoint.changed_at.get(object).copied(),
                held: holds(lane).len(),
                set_aside: set_aside(*object),
            }
        };
        checkpoint.objects().iter().map(status).collect()
    }
}

/// Returns the progress of a lane's backfill. Returns `None` if its history is not being read.
fn backfill(lane: &Lane) -> Option<Backfill> {
    let (is_begun, total) = (lane.first_seen.is_some(), lane.backfilled.total);
    let read = lane.backfilled.read;
    (is_begun && lane.has_history_to_read())
        .then(|| Backfill { read: total.map_or(read, |total| read.min(total)), total })
}

/// Returns how many records of a history are still to be read. Returns `None` if that is not known, or the history is
/// not being read.
fn missing(lane: &Lane) -> Option<i64> {
    let Backfill { read, total } = backfill(lane)?;
    Some(total? - read)
}

/// Returns how many records a second a run reads. Returns `None` if it is over, or too short to measure.
fn rate(run: &LastRun) -> Option<f64> {
    let seconds = time::between(run.started_at, run.ended_at).as_secs_f64();
    (!run.is_over && run.figures.records >= 100 && seconds >= 1.0).then(|| run.figures.records as f64 / seconds)
}

/// Returns how long it takes to read the missing records. The lanes are read in parallel and share HubSpot's limit
/// equally: until this one is done, each of the others reads as much as this one, or all that it misses.
fn time_left(missing: i64, others: &[i64], rate: f64) -> Duration {
    let meanwhile: i64 = others.iter().map(|other| missing.min(*other)).sum();
    Duration::from_secs_f64((missing + meanwhile) as f64 / rate)
}

#[cfg(test)]
mod tests {
    use model::checkpoint::{Backfilled, RunStats, Window};

    use super::*;

    const SECOND: i64 = 1000;

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * SECOND)
    }

    /// Returns an account of which 10 of 1,000 companies and 20 of 4,000 contacts were read.
    fn reading(records: i64, is_over: bool) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        for (object, (read, total)) in ObjectType::DEFAULT.into_iter().zip([(10, 1000), (20, 4000)]) {
            let lane = checkpoint.lanes.get_mut(object);
            lane.first_seen = Some(at(0));
            lane.backfill.windows = vec![Window::new(at(0), None)];
            lane.backfilled = Backfilled { read, total: Some(total), from: None };
        }
        let figures = RunStats { records, ..RunStats::default() };
        checkpoint.last_run =
            Some(LastRun { id: String::new(), started_at: at(0), ended_at: at(10), is_over, figures });
        checkpoint
    }

    fn left(checkpoint: &Checkpoint) -> Vec<Option<u64>> {
        let all = ObjectStatus::all(checkpoint, |_| 0);
        all.into_iter().map(|object| object.left.map(|left| left.as_secs())).collect()
    }

    #[test]
    fn two_lanes_that_are_read_share_the_time_until_one_is_done() {
        // At 100 records a second, 990 companies take twice as long while as many contacts are read in parallel.
        assert_eq!(left(&reading(1000, false)), [Some(19), Some(49)]);
        let mut alone = reading(1000, false);
        alone.lanes.get_mut(ObjectType::COMPANIES).backfill.windows.clear();
        assert_eq!(left(&alone), [None, Some(39)]);
    }

    #[test]
    fn a_time_that_is_not_known_is_not_told() {
        assert_eq!(left(&reading(99, false)), [None; 2], "too few records to tell");
        assert_eq!(left(&reading(1000, true)), [None; 2], "nothing is being read");
        assert_eq!(left(&Checkpoint::default()), [None; 2]);
        let mut uncounted = reading(1000, false);
        uncounted.lanes.get_mut(ObjectType::CONTACTS).backfilled.total = None;
        assert_eq!(left(&uncounted), [Some(9), None]);
    }

    #[test]
    fn a_history_that_was_read_has_an_end_and_no_progress() {
        let mut checkpoint = reading(1000, true);
        let lane = checkpoint.lanes.get_mut(ObjectType::CONTACTS);
        (lane.backfill.windows, lane.backfill.completed_at) = (Vec::new(), Some(at(9)));
        checkpoint.changed_at = [(ObjectType::CONTACTS, at(8))].into();
        let all = ObjectStatus::all(&checkpoint, |object| u64::from(object == ObjectType::CONTACTS));
        let [companies, contacts] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((companies.backfilled_at, companies.changed_at, companies.set_aside), (None, None, 0));
        assert_eq!(companies.backfill, Some(Backfill { read: 10, total: Some(1000) }));
        assert_eq!((contacts.backfilled_at, contacts.changed_at, contacts.set_aside), (Some(at(9)), Some(at(8)), 1));
        assert_eq!((contacts.backfill, contacts.records), (None, Some(4000)));
    }
}
