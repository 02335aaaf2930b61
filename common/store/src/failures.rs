//! Why messages were sent to the dead-letter queues (collection `failures`), for whoever repairs them. SQS keeps a
//! message's id when it moves the message there.

use std::collections::HashMap;

use futures::TryStreamExt;
use model::time::DateTime;
use mongodb::{
    bson::{Document, doc},
    error::Error,
};

use super::{Store, bulk, collection};

impl Store {
    /// Records why messages failed, by SQS's `messageId`. The latest reason replaces earlier ones. Reasons contain no
    /// secrets. Returns how many times each message has failed so far.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn note_failures(
        &self,
        failures: impl Iterator<Item = (String, String)>,
    ) -> Result<HashMap<String, u32>, Error> {
        let (now, failures) = (DateTime::now(), failures.collect::<Vec<_>>());
        let ids: Vec<String> = failures.iter().map(|(message_id, _)| message_id.clone()).collect();
        let note = |(message_id, reason)| {
            let update = doc! { "$set": { "reason": reason, "at": now }, "$inc": { "times": 1 } };
            Ok(((), bulk::upsert(&doc! { "_id": message_id }, &update)?))
        };
        let notes = failures.into_iter().map(note).collect::<Result<Vec<_>, Error>>()?;
        bulk::update(&self.database, collection::FAILURES, notes).await?;
        let noted = self.database.collection::<Document>(collection::FAILURES);
        let noted = noted.find(doc! { "_id": { "$in": ids } }).projection(doc! { "times": 1 }).await?;
        let times = |noted: Document| {
            let times = noted.get_i32("times").ok().and_then(|times| u32::try_from(times).ok());
            Some((noted.get_str("_id").ok()?.to_owned(), times?))
        };
        Ok(noted.try_collect::<Vec<_>>().await?.into_iter().filter_map(times).collect())
    }

    /// Returns why messages failed. Messages without a recorded reason are omitted.
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
