//! Reading a lane again, where an operator asks for it.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use super::{Next, Store, StoreError, Told, collection};
use crate::{
    account::AccountKey,
    checkpoint::{Backfilled, Pass, Sweep, Window},
    object::ObjectType,
    time::{self, DateTime},
};

/// How long the lease holds while the checkpoint is changed.
const LEASE: Duration = Duration::from_secs(30);

/// What became of a wish to read a lane again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// The account's next slice begins with it.
    Due,
    /// A slice is under way; ask again.
    Busy,
    /// The lane has not been read yet, and will be from its beginning.
    New,
}

impl Store {
    /// Lets a lane's records that were modified or deleted at or after `from` be read and handed on again. What is
    /// stored of them is not stored twice, what is missing is stored as Updated. May be asked for again at any time.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn resync(&self, account: &AccountKey, object: ObjectType, from: DateTime) -> Result<Resync, StoreError> {
        let Some(leased) = self.lease(account, LEASE).await? else { return Ok(Resync::Busy) };
        let mut lane = leased.checkpoint.lanes.get(object).clone();
        let result = if lane.first_seen.is_some() {
            let from = from.max(Window::BEGINNING);
            // All keys of a lane begin with its own; `;` is the character behind `:`.
            let keys = doc! { "$gte": format!("{account}:{object}:"), "$lt": format!("{account}:{object};") };
            let seen = self.database.collection::<Document>(collection::SEEN);
            let since = |field: &str| doc! { "_id": &keys, field: { "$gte": from } };
            // When a merge was first seen names its action, and is kept; HubSpot itself says when a record was deleted.
            let (mut deleted, mut merged) = (since("goneAt"), since("goneAt"));
            deleted.insert("into", doc! { "$exists": false });
            merged.insert("into", doc! { "$exists": true });
            seen.update_many(deleted, doc! { "$unset": { "goneAt": "" } }).await?;
            seen.update_many(merged, doc! { "$set": { "into": null } }).await?;
            let before = time::before(from, Duration::from_millis(1));
            seen.update_many(since("at"), doc! { "$set": { "at": before } }).await?;
            lane.backfill = Pass { windows: vec![Window::new(from, None)], ..Pass::default() };
            lane.backfilled = Backfilled::default();
            lane.sweep = Sweep::default();
            lane.last_error = None;
            self.save_lane(&leased, object, &lane).await?;
            Resync::Due
        } else {
            Resync::New
        };
        self.release(&leased, Next::Unchanged, Told::default()).await?;
        Ok(result)
    }
}
