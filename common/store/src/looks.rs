//! The accounts that ticks leave alone for a while (`nextLook` of their checkpoints).

use std::collections::HashMap;

use futures::TryStreamExt;
use model::{account::AccountKey, looks::NextLook, time::DateTime};
use mongodb::{
    bson::{Document, doc},
    error::Error,
};
use serde::Deserialize;

use super::{Store, collection};

impl Store {
    /// Returns those of the accounts that are not to be looked at before a later time than `now`, each with the digest of its
    /// entry at that time. The keys are those of the accounts as text.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn resting(&self, accounts: &[AccountKey], now: DateTime) -> Result<HashMap<String, i64>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Resting {
            #[serde(rename = "_id")]
            key: String,
            next_look: NextLook,
        }
        let keys: Vec<String> = accounts.iter().map(AccountKey::to_string).collect();
        let filter = doc! { "_id": { "$in": keys }, "run": null, "nextLook.at": { "$gt": now } };
        let checkpoints = self.database.collection::<Resting>(collection::CHECKPOINTS);
        let found: Vec<Resting> =
            checkpoints.find(filter).projection(doc! { "nextLook": 1 }).await?.try_collect().await?;
        Ok(found.into_iter().map(|found| (found.key, found.next_look.entry)).collect())
    }

    /// Makes the next tick look at an account, however quiet it is.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn look_soon(&self, account: &AccountKey) -> Result<(), Error> {
        let checkpoints = self.database.collection::<Document>(collection::CHECKPOINTS);
        let end = doc! { "$unset": { "nextLook": "" } };
        checkpoints.update_one(doc! { "_id": account.to_string() }, end).await?;
        Ok(())
    }
}
