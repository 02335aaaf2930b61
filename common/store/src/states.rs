//! The current state of each record (collections `companies`, `contacts`, `hubspot_deals` and so on). A state never moves back in time. The
//! changes of each step are kept until the action that describes them is certainly stored.
//!
//! A state is replaced only if it is still the one that was read. This closes the race between two drains of one
//! record: the second one changes nothing, notices that, and reads again.

mod plan;
mod state;

use futures::{TryStreamExt, future::join};
use model::object::ObjectType;
use mongodb::{
    bson::{DateTime, RawDocumentBuf, deserialize_from_slice, doc},
    error::Error,
};
use tokio::task::yield_now;

use self::plan::{Applied, Found, Plan, by_record, plan_changes, plan_retry};
pub(super) use self::plan::{StateChange, StateChanges};
use super::{
    Store,
    actions::{ActionRefs, StoreReport},
    bulk,
};

/// How many times a change that conflicts with another drain is tried.
const ROUNDS: usize = 8;

impl Store {
    /// Applies the actions to the states of one object type's records. Returns what each action changed. Actions that
    /// are older than the state, or the first of their record, have no changes.
    ///
    /// `insert` builds the inserts of actions that changed a state, while the server writes the states.
    ///
    /// # Errors
    /// MongoDB cannot be reached. Any part may have been stored.
    pub(super) async fn advance_states(
        &self,
        object: ObjectType,
        given: ActionRefs<'_>,
        now: DateTime,
        insert: impl Fn(usize, &StateChange) -> Result<bulk::Write, Error>,
    ) -> Result<(StoreReport, StateChanges), Error> {
        let (mut stored, mut changes) = (StoreReport::default(), StateChanges::new());
        let mut pending = by_record(object, given);
        for _ in 0..ROUNDS {
            if pending.is_empty() {
                return Ok((stored, changes));
            }
            let found = self.read_states(object, pending.keys()).await?;
            let plan = plan_changes(&pending, found, given, now);
            plan.failed.iter().for_each(|index| stored.fail(*index, 0));
            let mut applied = self.apply(object, plan, &insert).await?;
            changes.extend(std::mem::take(&mut applied.changes));
            pending = plan_retry(&pending, applied, &mut stored);
        }
        pending.values().flatten().for_each(|index| stored.fail(*index, bulk::DUPLICATE_KEY));
        Ok((stored, changes))
    }

    /// Writes states, and builds the inserts of their actions meanwhile.
    async fn apply<'a>(
        &self,
        object: ObjectType,
        plan: Plan<'a>,
        insert: impl Fn(usize, &StateChange) -> Result<bulk::Write, Error>,
    ) -> Result<Applied<'a>, Error> {
        let Plan { inserts, updates, mut changes, failed: _ } = plan;
        let replaced: Vec<&str> = updates.iter().map(|(key, _)| *key).collect();
        let written = async {
            let collection = object.collection();
            tokio::try_join!(
                bulk::insert(&self.database, &collection, inserts),
                bulk::update(&self.database, &collection, updates),
            )
        };
        let written = overlap_with_server(written, || {
            for (index, change) in changes.iter_mut().filter(|(_, change)| change.is_new) {
                change.insert = Some(insert(*index, change));
            }
        });
        let (inserted, updated) = written.await?;
        // The server counts the states that had changed since they were read, but does not name them.
        let are_all_replaced = updated.modified + updated.refused.len() >= replaced.len();
        let unsure = if are_all_replaced { Vec::new() } else { replaced };
        let refused = inserted.refused.into_iter().chain(updated.refused).collect();
        Ok(Applied { changes, refused, unsure })
    }

    /// Returns the existing states by key. Each is decoded separately: one that cannot be decoded fails only its own
    /// record.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    async fn read_states(&self, object: ObjectType, keys: impl Iterator<Item = &String>) -> Result<Found, Error> {
        let keys: Vec<&String> = keys.collect();
        let states = self.database.collection::<RawDocumentBuf>(&object.collection());
        let found: Vec<RawDocumentBuf> = states.find(doc! { "_id": { "$in": keys } }).await?.try_collect().await?;
        let read = |found: &RawDocumentBuf| {
            let key = found.get_str("_id").ok()?.to_owned();
            Some((key, deserialize_from_slice(found.as_bytes()).map_err(Error::from)))
        };
        Ok(found.iter().filter_map(read).collect())
    }
}

/// Runs CPU work while the server writes, and waits for the server. The work begins only after the commands are sent,
/// because it would otherwise delay them (`docs/decisions/0006-the-drain-compares-and-replaces.md`).
async fn overlap_with_server<T>(written: impl Future<Output = T>, work: impl FnOnce()) -> T {
    let work = async {
        // The first poll of `written` sends the commands. It comes before the second poll of this future.
        yield_now().await;
        work();
    };
    join(written, work).await.0
}
