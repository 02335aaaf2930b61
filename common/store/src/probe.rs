//! Checks that a server that speaks MongoDB's protocol is a MongoDB that the functions can use.

use mongodb::{bson::doc, error::Error};
use thiserror::Error;

use super::{Store, code, collection, describe};

/// Why the functions cannot use a server.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// It refuses an update that MongoDB 6.0 performs, with this error code.
    #[error(
        "this server is not MongoDB 6.0 or later: it refuses an update that the functions need (code {0}). Amazon \
         DocumentDB, Azure Cosmos DB and others that speak MongoDB's protocol cannot be used; MongoDB Atlas can"
    )]
    NotMongoDb(i32),
    /// It cannot be reached, fails, or does not allow this user to write.
    #[error("MongoDB failed: {}", describe(.0))]
    Mongo(#[from] Error),
}

impl Store {
    /// Tries an update of the kind that leases and merges use: a pipeline with the server's time (`$$NOW`) and an
    /// operator of MongoDB 5.2. Leaves nothing in the database.
    ///
    /// # Errors
    /// The server does not support the update, or cannot be reached.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let probes = self.collection(collection::FAN_OUT);
        let probe = doc! { "_id": "probe" };
        let sorted = doc! { "$sortArray": { "input": [2, 1], "sortBy": 1 } };
        let update = vec![doc! { "$replaceWith": { "_id": "probe", "at": "$$NOW", "sorted": sorted } }];
        let probed = probes.update_one(probe.clone(), update).upsert(true).await;
        probed.map_err(|error| match code::of_error(&error) {
            0 => error.into(),
            code if code::is_of_the_server(code) => error.into(),
            code => ProbeError::NotMongoDb(code),
        })?;
        probes.delete_one(probe).await?;
        Ok(())
    }
}
