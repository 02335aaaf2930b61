//! Many writes to one collection by one round trip, on every version of the server: the `update` command
//! (the driver's own bulk write is for MongoDB 8 and later).

use mongodb::{
    Database,
    bson::{Bson, Document, doc},
    error::Error,
};

/// A write that the server refused, while it took the others.
#[derive(Debug)]
pub(super) struct Refused {
    /// Which of the writes.
    pub(super) index: usize,
    /// The server's error code.
    pub(super) code: i32,
    /// The server's reason, which may quote the document.
    pub(super) message: String,
}

/// The server's code for a violated unique index.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// One upsert.
pub(super) fn upsert(query: Document, update: impl Into<Bson>) -> Document {
    doc! { "q": query, "u": update.into(), "upsert": true }
}

/// Makes all the updates, in no order, and tells which were refused.
pub(super) async fn update(
    database: &Database,
    collection: &str,
    updates: Vec<Document>,
) -> Result<Vec<Refused>, Error> {
    if updates.is_empty() {
        return Ok(Vec::new());
    }
    run(database, doc! { "update": collection, "updates": updates, "ordered": false }).await
}

/// Inserts all the documents, in no order, and tells which were refused. Cheaper than upserts where none of
/// them is expected to be there.
pub(super) async fn insert(
    database: &Database,
    collection: &str,
    documents: Vec<Document>,
) -> Result<Vec<Refused>, Error> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    run(database, doc! { "insert": collection, "documents": documents, "ordered": false }).await
}

async fn run(database: &Database, mut command: Document) -> Result<Vec<Refused>, Error> {
    if let Some(concern) = database.write_concern() {
        command.insert("writeConcern", mongodb::bson::serialize_to_bson(concern)?);
    }
    let answer = database.run_command(command).await?;
    if let Ok(concern) = answer.get_document("writeConcernError") {
        return Err(Error::custom(format!(
            "the write is not yet safe: {}",
            concern.get_str("errmsg").unwrap_or_default()
        )));
    }
    let refused = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    Ok(refused.iter().filter_map(Bson::as_document).map(read).collect())
}

fn read(error: &Document) -> Refused {
    Refused {
        index: usize::try_from(error.get_i32("index").unwrap_or_default()).unwrap_or_default(),
        code: error.get_i32("code").unwrap_or_default(),
        message: error.get_str("errmsg").unwrap_or_default().to_owned(),
    }
}
