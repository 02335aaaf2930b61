//! What HubSpot tells of accounts by webhook (collection `notifications`): many notifications become one look.

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

/// The least time between two looks at an account because of notifications.
const APART: Duration = Duration::from_secs(2);

/// HubSpot's search index may be behind its notifications: it is looked once more after this.
const AGAIN: Duration = Duration::from_secs(20);

/// A second look that comes at least so much after a notification is its second look.
const LAG: Duration = Duration::from_secs(10);

/// How many requests' delays are kept with an account, so that each of them reads its own.
const KEPT: i32 = 32;

/// How often it is tried to take note of an account that another request takes note of for the first time, too.
const ROUNDS: usize = 4;

impl Store {
    /// Takes note that HubSpot has told of an account, and gives the delays of the messages that are to be sent for
    /// that: none if messages that were sent before will come to it.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or does not take the note.
    pub async fn notified(&self, account: &AccountKey, of: Notified) -> Result<Vec<Duration>, Error> {
        let noted = self.notified_of_all(&[(account.clone(), of)]).await?.pop().flatten();
        noted.ok_or_else(|| Error::custom("the notification could not be noted"))
    }

    /// The same for many accounts, by one round trip there and another one back. An account has no delays if MongoDB does not
    /// take the note of it.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn notified_of_all(&self, told: &[(AccountKey, Notified)]) -> Result<Vec<Option<Vec<Duration>>>, Error> {
        let key = |(account, of): &(AccountKey, Notified)| match of {
            Notified::Changes => format!("{account}/changes"),
            Notified::Deletions => format!("{account}/deletions"),
        };
        let (by, keys) = (ObjectId::new(), told.iter().map(key).collect::<Vec<_>>());
        let (update, mut refused) = (taking_note(by), BTreeSet::new());
        let mut pending: Vec<usize> = (0..keys.len()).collect();
        for round in 1..=ROUNDS {
            let note = |index: usize| Ok((index, bulk::upsert(&doc! { "_id": &keys[index] }, &update)?));
            let notes = pending.into_iter().map(note).collect::<Result<Vec<_>, Error>>()?;
            let noted = bulk::update(&self.database, collection::NOTIFICATIONS, notes).await?;
            // Two first notifications of an account met, and the other one made the document.
            let (again, failed): (Vec<_>, Vec<_>) =
                (noted.refused.into_iter()).partition(|refused| refused.code == bulk::DUPLICATE_KEY && round < ROUNDS);
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
        // Where too many requests came in between, one look too many is better than none.
        let delays = |key: &String| found.get(key.as_str()).cloned().unwrap_or_else(|| vec![Duration::ZERO, AGAIN]);
        Ok(keys.iter().enumerate().map(|(at, key)| (!refused.contains(&at)).then(|| delays(key))).collect())
    }
}

/// The update that takes note of a notification, and of the delays that follow from it under the name `by`.
fn taking_note(by: ObjectId) -> Vec<Document> {
    let after = |duration| doc! { "$add": ["$$NOW", time::millis(duration)] };
    let before = doc! { "$subtract": ["$$NOW", time::millis(APART)] };
    let never = time::DateTime::from_millis(0);
    let (soon, again) = (doc! { "$ifNull": ["$soon", never] }, doc! { "$ifNull": ["$again", never] });
    // Of a message that is still to come, of one that was just sent, and of an old one.
    let first = |coming: Bson, just: Bson, old: Bson| {
        let was_just = doc! { "$cond": [{ "$gt": [&soon, &before] }, just, old] };
        doc! { "$cond": [{ "$gt": [&soon, "$$NOW"] }, coming, was_just] }
    };
    let comes_again = doc! { "$gt": [&again, after(LAG)] };
    let decided = doc! { "by": by, "soon": "$sendSoon", "again": "$sendAgain" };
    let sends = doc! { "$concatArrays": [{ "$ifNull": ["$sends", []] }, [decided]] };
    vec![
        doc! { "$set": {
            "at": "$$NOW",
            "soon": first(soon.clone().into(), after(APART).into(), "$$NOW".into()),
            "sendSoon": first(Bson::Null, time::millis(APART).into(), 0_i64.into()),
            "again": { "$cond": [&comes_again, &again, after(AGAIN)] },
            "sendAgain": { "$cond": [&comes_again, Bson::Null, time::millis(AGAIN)] },
        } },
        doc! { "$set": { "sends": { "$slice": [sends, -KEPT] } } },
    ]
}

/// The delays that a request finds under its name.
fn delays(found: &Document) -> Option<Vec<Duration>> {
    let own = found.get_array("sends").ok()?.first()?.as_document()?;
    let delay = |name: &str| u64::try_from(own.get_i64(name).ok()?).ok();
    Some([delay("soon"), delay("again")].into_iter().flatten().map(Duration::from_millis).collect())
}
