//! Marks: the accounts that the customer must connect again (`state: "reauthorize"` in the entry), for how long HubSpot
//! has refused an account's token (the checkpoint's `refused`), and the accounts that HubSpot rejected recently
//! (collection `rejections`).
//!
//! `docs/decisions/0011-marks-need-proof.md` explains why a mark needs more than a refusal.

use std::time::Duration;

use model::{
    account::{AccountKey, DISCONNECTED, REAUTHORIZE},
    checkpoint::Refused,
    time::{self, DateTime},
};
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
    options::ReturnDocument,
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Leased, Store, StoreError, checkpoints::is_duplicate_key, collection, domains::field};

/// How long a rejection counts. An account that waits because many are rejected is retried within a quarter of an hour,
/// so all of them are counted while that lasts.
const REJECTION_WINDOW: Duration = Duration::from_secs(1800);

/// The most rejections that are stored.
const MAX_REJECTIONS: i32 = 100;

/// The key of the single document with the rejections.
const REJECTIONS_KEY: &str = "recent";

/// The fields that make up a mark.
const MARK_FIELDS: [&str; 4] = ["state", "stateReason", "stateAt", "stateTriedAt"];

/// The document with the rejections.
#[derive(Deserialize)]
struct Recent {
    accounts: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Rejected {
    #[serde(flatten)]
    account: AccountKey,
    at: DateTime,
}

impl Store {
    /// Marks an account as one that the customer must connect again, unless that has happened in the meantime, or the
    /// account was disconnected. `credential` is the field of the rejected token, and its stored text.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn mark(
        &self,
        account: &AccountKey,
        credential: (&str, &SecretString),
        reason: &str,
    ) -> Result<bool, Error> {
        let (name, token) = credential;
        let set = doc! {
            field("state"): REAUTHORIZE,
            field("stateReason"): reason,
            field("stateAt"): DateTime::now(),
        };
        let update = doc! { "$set": set, "$unset": { field("stateTriedAt"): "" } };
        // A disconnected account's token is refused because it was revoked.
        let of = doc! { format!("a.{name}"): token.expose_secret(), "a.state": { "$ne": DISCONNECTED } };
        self.update_account(account, of, update).await
    }

    /// Removes an account's mark, so that the next tick syncs it. Returns `false` if it has none.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn unmark(&self, account: &AccountKey) -> Result<bool, Error> {
        let update = doc! { "$unset": mark_fields() };
        self.update_account(account, doc! { "a.state": REAUTHORIZE }, update).await
    }

    /// Removes an account's mark if it was made recently. Returns `false` if there is no such mark.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn unmark_if_recent(&self, account: &AccountKey) -> Result<bool, Error> {
        let lately =
            doc! { "a.state": REAUTHORIZE, "a.stateAt": { "$gte": time::before(DateTime::now(), REJECTION_WINDOW) } };
        self.update_account(account, lately, doc! { "$unset": mark_fields() }).await
    }

    /// Records that a marked account was retried, and that HubSpot still does not accept its token.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn record_mark_retry(&self, account: &AccountKey) -> Result<(), Error> {
        let tried = doc! { "$set": { field("stateTriedAt"): DateTime::now() } };
        self.update_account(account, doc! { "a.state": REAUTHORIZE }, tried).await?;
        Ok(())
    }

    /// Records that HubSpot refused the account's token in one more slice. Returns the count of such consecutive
    /// slices.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn record_token_refusal(&self, leased: &Leased) -> Result<Refused, StoreError> {
        let before = leased.checkpoint.refused.unwrap_or(Refused { since: DateTime::now(), times: 0 });
        let Refused { since, times } = Refused { times: before.times.saturating_add(1), ..before };
        self.write(leased, doc! { "$set": { "refused": { "since": since, "times": times } } }).await?;
        Ok(Refused { since, times })
    }

    /// Resets the count of consecutive slices in which HubSpot refused the account's token.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn clear_token_refusals(&self, leased: &Leased) -> Result<(), StoreError> {
        self.write(leased, doc! { "$unset": { "refused": "" } }).await
    }

    /// Records that HubSpot rejected an account. Returns all accounts rejected recently, including this one.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn record_rejection(&self, account: &AccountKey) -> Result<Vec<AccountKey>, Error> {
        match self.note_rejection(account).await {
            // Two first rejections raced, and the other one inserted the document.
            Err(error) if is_duplicate_key(&error) => self.note_rejection(account).await,
            noted => noted,
        }
    }

    /// Returns all accounts that HubSpot rejected recently.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn recent_rejections(&self) -> Result<Vec<AccountKey>, Error> {
        let rejections = self.database().collection::<Recent>(collection::REJECTIONS);
        let recent = rejections.find_one(doc! { "_id": REJECTIONS_KEY }).await?.map(|recent| recent.accounts);
        let since = time::before(DateTime::now(), REJECTION_WINDOW);
        let lately = recent.into_iter().flatten().filter(|rejected| rejected.at > since);
        Ok(lately.map(|rejected| rejected.account).collect())
    }

    async fn note_rejection(&self, account: &AccountKey) -> Result<Vec<AccountKey>, Error> {
        let (domain, hub) = (doc! { "$literal": account.domain_id.as_str() }, account.hub_id.as_str());
        let is_other = doc! { "$or": [{ "$ne": ["$$one.domainId", &domain] }, { "$ne": ["$$one.hubId", hub] }] };
        let is_recent = doc! { "$gt": ["$$one.at", { "$subtract": ["$$NOW", time::millis(REJECTION_WINDOW)] }] };
        let others = doc! { "$filter": {
            "input": { "$ifNull": ["$accounts", []] }, "as": "one", "cond": { "$and": [is_recent, is_other] },
        } };
        let this = doc! { "domainId": domain, "hubId": hub, "at": "$$NOW" };
        let all = doc! { "$slice": [{ "$concatArrays": [others, [this]] }, -MAX_REJECTIONS] };
        let rejections = self.database().collection::<Recent>(collection::REJECTIONS);
        let noted = rejections
            .find_one_and_update(doc! { "_id": REJECTIONS_KEY }, vec![doc! { "$set": { "accounts": all } }])
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await?;
        Ok(noted.into_iter().flat_map(|recent| recent.accounts).map(|rejected| rejected.account).collect())
    }
}

/// Returns the fields to unset to remove a mark.
pub(super) fn mark_fields() -> Document {
    MARK_FIELDS.into_iter().map(|name| (field(name), Bson::from(""))).collect()
}
