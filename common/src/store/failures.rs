//! Why messages were left to the dead-letter queues (collection `failures`), for whoever repairs them. SQS keeps a
//! message's id when it moves it there.

use std::collections::HashMap;

use futures::TryStreamExt;
use mongodb::{
    bson::{Document, doc},
    error::Error,
};

use super::{Store, bulk, collection};
use crate::time::DateTime;

impl Store {
    /// Notes why messages failed, by SQS's `messageId`; the latest reason counts. Reasons hold no secrets.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn note_failures(&self, failures: impl Iterator<Item = (String, String)>) -> Result<(), Error> {
        let now = DateTime::now();
        let note = |(message_id, reason)| {
            bulk::upsert(
                &doc! { "_id": message_id },
                &doc! { "$set": { "reason": reason, "at": now }, "$inc": { "times": 1 } },
            )
        };
        bulk::update(&self.database, collection::FAILURES, failures.map(note).collect::<Result<_, _>>()?).await?;
        Ok(())
    }

    /// Why messages failed, as far as that is known.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn failures(&self, message_ids: &[String]) -> Result<HashMap<String, String>, Error> {
        let failures = self.database.collection::<Document>(collection::FAILURES);
        let found: Vec<Document> = failures.find(doc! { "_id": { "$in": message_ids } }).await?.try_collect().await?;
        let text = |failure: &Document, name: &str| failure.get_str(name).ok().map(str::to_owned);
        Ok(found.iter().filter_map(|failure| Some((text(failure, "_id")?, text(failure, "reason")?))).collect())
    }
}
