//! The sessions of the status page (collection `sessions`), by a hash of the browser's secret.

use model::time::DateTime;
use mongodb::{bson::doc, error::Error};
use serde::{Deserialize, Serialize};

use super::{Store, collection};

/// A browser's session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredSession {
    /// The name of the token that was used to sign in.
    pub by: String,
    /// A signature of the session and its token, which only connect can create.
    pub proof: String,
    /// When it ends, regardless of activity.
    pub ends_at: DateTime,
    /// When it ends without further activity. MongoDB then deletes it.
    pub expires_at: DateTime,
}

impl Store {
    /// Stores a session.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn begin_session(&self, id_hash: &str, session: &StoredSession) -> Result<(), Error> {
        let StoredSession { by, proof, ends_at, expires_at } = session;
        let session = doc! { "_id": id_hash, "by": by, "proof": proof, "endsAt": ends_at, "expiresAt": expires_at };
        self.collection(collection::SESSIONS).insert_one(session).await?;
        Ok(())
    }

    /// Returns a session that has not ended.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn session(&self, id_hash: &str) -> Result<Option<StoredSession>, Error> {
        let sessions = self.database.collection::<StoredSession>(collection::SESSIONS);
        sessions.find_one(doc! { "_id": id_hash, "expiresAt": { "$gt": DateTime::now() } }).await
    }

    /// Extends a session until `until`. A session that was ended in the meantime stays ended.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn keep_session(&self, id_hash: &str, until: DateTime) -> Result<(), Error> {
        let set = doc! { "$set": { "expiresAt": until } };
        self.collection(collection::SESSIONS).update_one(doc! { "_id": id_hash }, set).await?;
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn end_session(&self, id_hash: &str) -> Result<(), Error> {
        self.collection(collection::SESSIONS).delete_one(doc! { "_id": id_hash }).await?;
        Ok(())
    }
}
