//! What HubSpot tells of accounts by webhook (collection `notifications`): many notifications become one look.

use std::time::Duration;

use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
    options::ReturnDocument,
};

use super::{Store, collection};
use crate::{account::AccountKey, message::Notified, time};

/// The least time between two looks at an account because of notifications.
const APART: Duration = Duration::from_secs(2);

/// HubSpot's search index may be behind its notifications: it is looked once more after this.
const AGAIN: Duration = Duration::from_secs(20);

/// A second look that comes at least so much after a notification is its second look.
const LAG: Duration = Duration::from_secs(10);

impl Store {
    /// Takes note that HubSpot has told of an account, and gives the delays of the messages that are to be sent for
    /// that: none where messages that were sent before will come to it.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn notified(&self, account: &AccountKey, of: Notified) -> Result<Vec<Duration>, Error> {
        let kind = match of {
            Notified::Changes => "changes",
            Notified::Deletions => "deletions",
        };
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
        let update = vec![doc! { "$set": {
            "at": "$$NOW",
            "soon": first(soon.clone().into(), after(APART).into(), "$$NOW".into()),
            "sendSoon": first(Bson::Null, time::millis(APART).into(), 0_i64.into()),
            "again": { "$cond": [&comes_again, &again, after(AGAIN)] },
            "sendAgain": { "$cond": [&comes_again, Bson::Null, time::millis(AGAIN)] },
        } }];
        let notifications = self.database.collection::<Document>(collection::NOTIFICATIONS);
        let noted = notifications
            .find_one_and_update(doc! { "_id": format!("{account}/{kind}") }, update)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await?;
        let delay = |name: &str| u64::try_from(noted.as_ref()?.get_i64(name).ok()?).ok();
        Ok([delay("sendSoon"), delay("sendAgain")].into_iter().flatten().map(Duration::from_millis).collect())
    }
}
