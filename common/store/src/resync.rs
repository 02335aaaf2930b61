//! Reading a lane again, on an operator's request.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use model::{
    account::AccountKey,
    checkpoint::{Backfilled, ListDoor, Part, Pass, Sweep, Window},
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::{
    bson::{Document, doc, serialize_to_bson},
    error::Error,
};
use tokio::time::{Instant, timeout_at};

use super::{
    Leased, RunDisposition, SliceReport, Store, StoreError, collection,
    seen::{PendingValues, records_of},
};

/// How long the lease is held while the checkpoint, or a part of a lane's ledger, is changed.
const RESYNC_LEASE: Duration = Duration::from_secs(30);

/// How many entries of a lane's ledger are changed before the lease is renewed. It takes about a second.
const PART: u64 = 10_000;

/// How many lanes are changed at once.
const LANES_AT_ONCE: usize = 4;

/// The result of a request to read a lane again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// The account's next slice begins with it.
    Due,
    /// A slice is under way. Try again.
    Busy,
    /// The lane has not been read yet, and will be read from its beginning.
    New,
}

/// The result of a request to read several lanes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LanesResync {
    /// A slice is under way. Try again.
    Busy,
    /// The account's next slice begins with it, or reads lanes that were not read yet from their beginning.
    Done {
        /// The lanes for which there was no time. Request it again for these.
        left: Vec<ObjectType>,
    },
}

impl Store {
    /// Makes a lane's records that were modified or deleted at or after `from` be read and published again. Stored
    /// actions are not stored twice, missing ones are stored as Updated. The rest of the lane's history is still read.
    /// May be requested again at any time.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn resync(&self, account: &AccountKey, object: ObjectType, from: DateTime) -> Result<Resync, StoreError> {
        let Some(leased) = self.lease(account, RESYNC_LEASE).await? else { return Ok(Resync::Busy) };
        let result = self.resync_lane(&leased, account, object, from).await?;
        self.release(&leased, RunDisposition::Unchanged, SliceReport::default()).await?;
        Ok(result)
    }

    /// Does the same for several lanes at once, until `ends`. A lane for which there was no time keeps what was done for it so
    /// far, and continues from there if it is requested again.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn resync_lanes(
        &self,
        account: &AccountKey,
        objects: &[ObjectType],
        from: DateTime,
        ends: Instant,
    ) -> Result<LanesResync, StoreError> {
        let Some(leased) = self.lease(account, RESYNC_LEASE).await? else { return Ok(LanesResync::Busy) };
        let lane = |object: ObjectType| {
            let leased = &leased;
            async move {
                match timeout_at(ends, self.resync_lane(leased, account, object, from)).await {
                    Ok(done) => done.map(|_| None),
                    Err(_) => Ok(Some(object)),
                }
            }
        };
        let lanes = stream::iter(objects.iter().copied().map(lane)).buffered(LANES_AT_ONCE);
        let left: Result<Vec<Option<ObjectType>>, StoreError> = lanes.try_collect().await;
        // The account must not wait until the lease expires, whatever happened.
        self.release(&leased, RunDisposition::Unchanged, SliceReport::default()).await?;
        Ok(LanesResync::Done { left: left?.into_iter().flatten().collect() })
    }

    async fn resync_lane(
        &self,
        leased: &Leased,
        account: &AccountKey,
        object: ObjectType,
        from: DateTime,
    ) -> Result<Resync, StoreError> {
        let mut lane = leased.checkpoint.lanes.get(object).clone();
        if lane.first_seen.is_none() {
            return Ok(Resync::New);
        }
        let from = from.max(Window::BEGINNING);
        let calculated = lane.kept.calculated.as_ref();
        let has_calculated = calculated.is_some_and(|calculated| !calculated.names.is_empty());
        let mut keys = records_of(account, object);
        let seen = self.database.collection::<Document>(collection::SEEN);
        loop {
            let last = seen.find_one(doc! { "_id": &keys }).sort(doc! { "_id": 1 }).skip(PART - 1);
            let last = last.projection(doc! { "_id": 1 }).await?;
            let last = last.and_then(|last| last.get_str("_id").map(str::to_owned).ok());
            let mut part = keys.clone();
            part.extend(last.iter().map(|last| ("$lte".to_owned(), last.into())));
            self.forget_since(&part, from, has_calculated).await?;
            // A large lane takes longer than a lease.
            let Some(last) = last else { break };
            self.renew_lease(leased, RESYNC_LEASE).await?;
            keys.insert("$gt", last);
        }
        if !lane.has_history_to_read() {
            lane.backfilled = Backfilled::default();
        }
        // Rows that are read again count twice, so the history cannot be counted as a whole.
        lane.backfilled.from = None;
        lane.backfill = Pass { windows: from_then_on(&lane.backfill.windows, from), ..Pass::default() };
        // The windows that are left may be cut at ids.
        lane.kept.lists = ListDoor { is_numeric: lane.kept.lists.is_numeric, ..ListDoor::default() };
        lane.sweep = Sweep::default();
        lane.last_error = None;
        self.save_lane(leased, object, &lane).await?;
        Ok(Resync::Due)
    }

    /// Lets the records with these keys be published again that were modified or deleted at or after `from`.
    async fn forget_since(&self, keys: &Document, from: DateTime, has_calculated: bool) -> Result<(), Error> {
        let seen = self.database.collection::<Document>(collection::SEEN);
        let since = |field: &str| doc! { "_id": keys, field: { "$gte": from } };
        // The time at which a merge was first seen is part of its action's id, so it is kept. HubSpot reports when
        // a record was deleted.
        let (mut deleted, mut merged) = (since("goneAt"), since("goneAt"));
        deleted.insert("into", doc! { "$exists": false });
        merged.insert("into", doc! { "$exists": true });
        seen.update_many(deleted, doc! { "$unset": { "goneAt": "" } }).await?;
        seen.update_many(merged, doc! { "$set": { "into": null } }).await?;
        if has_calculated {
            // A state that is stored keeps its values. The next comparison publishes those that differ.
            let several = PendingValues { digest: PendingValues::SEVERAL.to_owned(), seen_at: DateTime::now() };
            let several = serialize_to_bson(&several)?;
            seen.update_many(since("at"), doc! { "$set": { "pendingCalculated": several } }).await?;
        }
        let before = time::before(from, Duration::from_millis(1));
        seen.update_many(since("at"), doc! { "$set": { "at": before } }).await?;
        Ok(())
    }
}

/// Returns the windows that read everything from `from` on, and the rest of `left` before it. Windows are identified by
/// their beginnings, so one that reaches beyond `from` ends there. It is read from its start, because its counts
/// include rows of the other part.
fn from_then_on(left: &[Window], from: DateTime) -> Vec<Window> {
    let before = left.iter().filter(|window| window.from < from).map(|window| match window.to {
        Some(to) if to <= from => window.clone(),
        _ => {
            let again = |part: &Part| Part {
                end_id: part.end_id.clone(),
                counted_to: part.counted_to.min(from),
                countable: 0,
                is_read: false,
            };
            let (start_id, part) = (window.start_id.clone(), window.part.as_ref().map(again));
            // Half of a part is no part, and is counted by itself.
            let repairs = window.repairs;
            Window { start_id, part, repairs, ..Window::new(window.from, Some(from)) }
        }
    });
    before.chain([Window::new(from, None)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1000)
    }

    #[test]
    fn what_is_left_is_read_before_the_date_and_everything_after_it() {
        let half_read = |window| Window { last_id: Some("7".to_owned()), read: 7, expected: Some(9), ..window };
        let old = half_read(Window::new(at(10), Some(at(20))));
        let cut = Window { start_id: Some("5".to_owned()), ..half_read(Window::new(at(20), Some(at(40)))) };
        let left = [old.clone(), cut, Window::new(at(40), Some(at(50)))];
        let anew = Window { start_id: Some("5".to_owned()), ..Window::new(at(20), Some(at(30))) };
        assert_eq!(from_then_on(&left, at(30)), [old.clone(), anew.clone(), Window::new(at(30), None)]);
        // Repeats the split, with dates at the ends of windows.
        let again = from_then_on(&from_then_on(&left, at(30)), at(30));
        assert_eq!(again, [old.clone(), anew, Window::new(at(30), None)]);
        assert_eq!(from_then_on(&left, at(20)), [old, Window::new(at(20), None)]);
        assert_eq!(from_then_on(&left, at(10)), [Window::new(at(10), None)]);
        assert_eq!(from_then_on(&[], at(10)), [Window::new(at(10), None)]);
    }

    #[test]
    fn half_of_a_part_is_still_counted_by_itself() {
        let part = Part { end_id: None, counted_to: at(50), countable: 7, is_read: false };
        let half = Window { part: Some(part), repairs: 2, ..Window::new(at(20), Some(at(60))) };
        assert_eq!(from_then_on(&[half], at(30))[0].repairs, 2);
    }

    #[test]
    fn a_part_of_a_history_that_was_read_is_read_again_up_to_its_last_id() {
        let part =
            |countable, is_read, to| Part { end_id: Some("9".to_owned()), counted_to: at(to), countable, is_read };
        let read = Window { part: Some(part(7, true, 50)), read: 7, ..Window::new(at(20), Some(at(60))) };
        let again = Window { part: Some(part(0, false, 30)), ..Window::new(at(20), Some(at(30))) };
        assert_eq!(from_then_on(&[read], at(30)), [again, Window::new(at(30), None)]);
    }
}
