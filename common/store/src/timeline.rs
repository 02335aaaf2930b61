//! The events of an account, for people (collection `timeline`). Kept for thirty days.

use futures::TryStreamExt;
use model::{account::AccountKey, time::DateTime};
use mongodb::{
    bson::{Document, doc},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{Store, collection};

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TimelineEvent {
    /// The customer connected the account, for the first time or again.
    Connected,
    /// The account was disconnected.
    Disconnected,
    /// The grant of the disconnected account was revoked, after the first try had failed.
    GrantGivenBack,
    /// The grant of the disconnected account was deleted, although HubSpot had not accepted its revocation.
    GrantForgotten,
    /// HubSpot rejects the account's grant. The account must be connected again.
    Rejected,
    /// An operator requested a sync.
    SyncAsked,
    /// An operator requested that everything be read again.
    ResyncAsked,
    /// An operator paused the account.
    Paused,
    /// An operator resumed the account, or its mark was removed.
    Resumed,
    /// A lane was given up.
    Failed,
    /// All of the history was read. Never stored, because the checkpoint holds the time.
    BackfillDone,
}

/// An event of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it happened.
    pub at: DateTime,
    /// The kind of event.
    pub what: TimelineEvent,
    /// A detail for people, without secrets.
    #[serde(default)]
    pub detail: Option<String>,
    /// The name of the token whose holder caused the event, if it was caused on the status page or by its API.
    #[serde(default)]
    pub by: Option<String>,
}

impl Store {
    /// Records an event of an account.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn record_event(
        &self,
        account: &AccountKey,
        what: TimelineEvent,
        detail: Option<&str>,
    ) -> Result<(), Error> {
        self.note(account, what, detail, None).await
    }

    /// Records an event that the holder of the token `by` has caused.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn record_event_by(&self, account: &AccountKey, what: TimelineEvent, by: &str) -> Result<(), Error> {
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

    /// Returns true if anybody has changed any account on the status page or by its API at or after `time`.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn has_operator_acted_since(&self, time: DateTime) -> Result<bool, Error> {
        let events = self.collection(collection::TIMELINE);
        let done = doc! { "at": { "$gte": time }, "by": { "$type": "string" } };
        Ok(events.find_one(done).projection(doc! { "_id": 1 }).await?.is_some())
    }

    /// Returns the latest events of an account, newest first.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn timeline(&self, account: &AccountKey, limit: i64) -> Result<Vec<Event>, Error> {
        let events = self.database.collection::<Event>(collection::TIMELINE);
        let of = doc! { "account": account.to_string() };
        events.find(of).sort(doc! { "at": -1 }).limit(limit).await?.try_collect().await
    }
}
