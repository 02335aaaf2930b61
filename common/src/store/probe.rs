//! Whether a server that speaks MongoDB's protocol is a MongoDB that the functions can work with.

use mongodb::{
    bson::doc,
    error::{Error, ErrorKind, WriteFailure},
};
use thiserror::Error;

use super::{Store, collection, describe};

/// A server that the functions cannot work with.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// It refuses what MongoDB 6.0 does, with this code.
    #[error(
        "this server is not MongoDB 6.0 or later: it refuses an update that the functions need (code {0}). Amazon \
         DocumentDB, Azure Cosmos DB and others that speak MongoDB's protocol cannot be used; MongoDB Atlas can"
    )]
    NotMongoDb(i32),
    /// It cannot be reached, or does not let this user write.
    #[error("MongoDB failed: {}", describe(.0))]
    Mongo(#[from] Error),
}

/// The codes of what has nothing to do with the server's kind: Unauthorized and AuthenticationFailed.
/// <https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>
const OF_THE_USER: [i32; 2] = [13, 18];

impl Store {
    /// Tries an update such as leases and merges are made of: by a pipeline, with the server's time (`$$NOW`) and an
    /// operator that came with MongoDB 5.2. Leaves nothing in the database.
    ///
    /// # Errors
    /// The server does not know it, or cannot be reached.
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let probes = self.collection(collection::FAN_OUT);
        let probe = doc! { "_id": "probe" };
        let sorted = doc! { "$sortArray": { "input": [2, 1], "sortBy": 1 } };
        let update = vec![doc! { "$replaceWith": { "_id": "probe", "at": "$$NOW", "sorted": sorted } }];
        let probed = probes.update_one(probe.clone(), update).upsert(true).await;
        probed.map_err(|error| refused_with(&error).map_or_else(|| error.into(), ProbeError::NotMongoDb))?;
        probes.delete_one(probe).await?;
        Ok(())
    }
}

/// The code with which a server refuses what it does not know. Returns `None` for every other error.
fn refused_with(error: &Error) -> Option<i32> {
    let code = match &*error.kind {
        ErrorKind::Command(refused) => refused.code,
        ErrorKind::Write(WriteFailure::WriteError(refused)) => refused.code,
        _ => return None,
    };
    (!OF_THE_USER.contains(&code) && !error.contains_label("RetryableWriteError")).then_some(code)
}
