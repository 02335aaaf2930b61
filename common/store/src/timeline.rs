//! What happened to an account, for people (collection `timeline`). Kept for thirty days.

use futures::TryStreamExt;
use model::{account::AccountKey, time::DateTime};
use mongodb::{
    bson::{Document, doc},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{Store, collection};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimelineEvent {
    /// The customer connected it, for the first time or again.
    Connected,
    /// It was disconnected.
    Disconnected,
    /// HubSpot took the grant of the disconnected account back, after it had not done so at first.
    GrantGivenBack,
    /// The grant of the disconnected account was forgotten, though HubSpot had not taken it back.
    GrantForgotten,
    /// HubSpot rejects its grant: it must be connected again.
    Rejected,
    /// An operator asked for a sync.
    SyncAsked,
    /// An operator asked for everything to be read again.
    ResyncAsked,
    /// An operator paused it.
    Paused,
    /// An operator let it go on, or its mark was taken away.
    Resumed,
    /// A lane does not get on.
    Failed,
    /// All of its history was read. Never stored: the checkpoint says when.
    BackfillDone,
}

/// Something that happened to an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub at: DateTime,
    /// What.
    pub what: TimelineEvent,
    /// More about it in words, without secrets.
    #[serde(default)]
    pub detail: Option<String>,
    /// The name of the token whose holder did it, if it was done on the status page or by its API.
    #[serde(default)]
    pub by: Option<String>,
}

impl Store {
    /// Notes what happened to an account.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn happened(&self, account: &AccountKey, what: TimelineEvent, detail: Option<&str>) -> Result<(), Error> {
        self.note(account, what, detail, None).await
    }

    /// Notes what the holder of the token `by` has done to an account.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn done_by(&self, account: &AccountKey, what: TimelineEvent, by: &str) -> Result<(), Error> {
        self.note(account, what, None, Some(by)).await
    }

    async fn note(
        &self,
        account: &AccountKey,
        what: TimelineEvent,
        detail: Option<&str>,
        by: Option<&str>,
    ) -> Result<(), Error> {
        let what = mongodb::bson::serialize_to_bson(&what)?;
        let event =
            doc! { "account": account.to_string(), "at": DateTime::now(), "what": what, "detail": detail, "by": by };
        self.database.collection::<Document>(collection::TIMELINE).insert_one(event).await?;
        Ok(())
    }

    /// Whether somebody has done something to any account, on the status page or by its API, at that time or later.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn has_anybody_acted_since(&self, time: DateTime) -> Result<bool, Error> {
        let events = self.collection(collection::TIMELINE);
        let done = doc! { "at": { "$gte": time }, "by": { "$type": "string" } };
        Ok(events.find_one(done).projection(doc! { "_id": 1 }).await?.is_some())
    }

    /// The latest that happened to an account, the newest first.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn timeline(&self, account: &AccountKey, limit: i64) -> Result<Vec<Event>, Error> {
        let events = self.database.collection::<Event>(collection::TIMELINE);
        let of = doc! { "account": account.to_string() };
        events.find(of).sort(doc! { "at": -1 }).limit(limit).await?.try_collect().await
    }
}
