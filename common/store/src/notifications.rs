//! HubSpot's webhooks about accounts (collection `notifications`). Many notifications cause one sync.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use futures::TryStreamExt;
use model::{account::AccountKey, message::Notified, time};
use mongodb::{
    bson::{Bson, Document, doc, oid::ObjectId},
    error::Error,
};

use super::{Store, bulk, collection};

/// The least time between two syncs of an account because of notifications.
const MIN_INTERVAL: Duration = Duration::from_secs(2);

/// When an account is synced once more after a notification, because HubSpot's search index may lag.
const RECHECK_DELAY: Duration = Duration::from_secs(20);

/// A recheck scheduled at least this long after a notification also covers that notification.
const RECHECK_MIN_GAP: Duration = Duration::from_secs(10);

/// The most requests whose delays are kept with an account, so that each of them reads its own.
const MAX_KEPT_SENDS: i32 = 32;

/// How many times the first notification of an account is recorded, if it races with another one.
const MAX_UPDATE_ROUNDS: usize = 4;

impl Store {
    /// Records a webhook for the account, and returns the delays of the sync messages to send. Empty if messages
    /// already scheduled will cover it.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses the update.
    pub async fn record_notification(&self, account: &AccountKey, of: Notified) -> Result<Vec<Duration>, Error> {
        let recorded = self.record_notifications(&[(account.clone(), of)]).await?.pop().flatten();
        recorded.ok_or_else(|| Error::custom("the notification could not be noted"))
    }

    /// Records webhooks for many accounts, with one write and one read. Returns no delays for an account whose update
    /// MongoDB refuses.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn record_notifications(
        &self,
        webhooks: &[(AccountKey, Notified)],
    ) -> Result<Vec<Option<Vec<Duration>>>, Error> {
        let key = |(account, of): &(AccountKey, Notified)| match of {
            Notified::Changes => format!("{account}/changes"),
            Notified::Deletions => format!("{account}/deletions"),
        };
        let (by, keys) = (ObjectId::new(), webhooks.iter().map(key).collect::<Vec<_>>());
        let (update, mut refused) = (recording_update(by), BTreeSet::new());
        let mut pending: Vec<usize> = (0..keys.len()).collect();
        for round in 1..=MAX_UPDATE_ROUNDS {
            let note = |index: usize| Ok((index, bulk::upsert(&doc! { "_id": &keys[index] }, &update)?));
            let notes = pending.into_iter().map(note).collect::<Result<Vec<_>, Error>>()?;
            let recorded = bulk::update(&self.database, collection::NOTIFICATIONS, notes).await?;
            // Two first notifications of an account raced, and the other one inserted the document.
            let (again, failed): (Vec<_>, Vec<_>) = (recorded.refused.into_iter())
                .partition(|refused| refused.code == bulk::DUPLICATE_KEY && round < MAX_UPDATE_ROUNDS);
            refused.extend(failed.into_iter().map(|refused| refused.key));
            pending = again.into_iter().map(|refused| refused.key).collect();
            if pending.is_empty() {
                break;
            }
        }
        let own = doc! { "$filter": { "input": "$sends", "cond": { "$eq": ["$$this.by", by] } } };
        let notifications = self.database.collection::<Document>(collection::NOTIFICATIONS);
        let found = notifications.find(doc! { "_id": { "$in": &keys } }).projection(doc! { "sends": own }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let found: HashMap<&str, Vec<Duration>> =
            found.iter().filter_map(|found| Some((found.get_str("_id").ok()?, delays(found)?))).collect();
        // If too many requests came in between, one sync too many is better than none.
        let delays =
            |key: &String| found.get(key.as_str()).cloned().unwrap_or_else(|| vec![Duration::ZERO, RECHECK_DELAY]);
        Ok(keys.iter().enumerate().map(|(at, key)| (!refused.contains(&at)).then(|| delays(key))).collect())
    }
}

/// Returns the update that records a notification, and stores the resulting delays under the name `by`.
fn recording_update(by: ObjectId) -> Vec<Document> {
    let after = |duration| doc! { "$add": ["$$NOW", time::millis(duration)] };
    let before = doc! { "$subtract": ["$$NOW", time::millis(MIN_INTERVAL)] };
    let never = time::DateTime::from_millis(0);
    let (soon, again) = (doc! { "$ifNull": ["$soon", never] }, doc! { "$ifNull": ["$again", never] });
    // The cases: a message is still scheduled, one was just sent, or the last one is old.
    let first = |coming: Bson, just: Bson, old: Bson| {
        let was_just = doc! { "$cond": [{ "$gt": [&soon, &before] }, just, old] };
        doc! { "$cond": [{ "$gt": [&soon, "$$NOW"] }, coming, was_just] }
    };
    let comes_again = doc! { "$gt": [&again, after(RECHECK_MIN_GAP)] };
    let decided = doc! { "by": by, "soon": "$sendSoon", "again": "$sendAgain" };
    let sends = doc! { "$concatArrays": [{ "$ifNull": ["$sends", []] }, [decided]] };
    vec![
        doc! { "$set": {
            "at": "$$NOW",
            "soon": first(soon.clone().into(), after(MIN_INTERVAL).into(), "$$NOW".into()),
            "sendSoon": first(Bson::Null, time::millis(MIN_INTERVAL).into(), 0_i64.into()),
            "again": { "$cond": [&comes_again, &again, after(RECHECK_DELAY)] },
            "sendAgain": { "$cond": [&comes_again, Bson::Null, time::millis(RECHECK_DELAY)] },
        } },
        doc! { "$set": { "sends": { "$slice": [sends, -MAX_KEPT_SENDS] } } },
    ]
}

/// Returns the delays that are stored under a request's name.
fn delays(found: &Document) -> Option<Vec<Duration>> {
    let own = found.get_array("sends").ok()?.first()?.as_document()?;
    let delay = |name: &str| u64::try_from(own.get_i64(name).ok()?).ok();
    Some([delay("soon"), delay("again")].into_iter().flatten().map(Duration::from_millis).collect())
}
