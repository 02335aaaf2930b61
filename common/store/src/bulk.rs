//! Many writes to one collection by one round trip, on every version of the server: the `update` and `insert`
//! commands (the driver's own bulk write is for MongoDB 8 and later). What is written is serialized once, straight
//! into the command.

use mongodb::{
    Database,
    bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, cstr, rawdoc, serialize_to_raw_document_buf},
    error::Error,
};
use serde::Serialize;

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

/// What became of a number of writes.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Those that were refused.
    pub(super) refused: Vec<Refused>,
    /// How many documents were changed; those that were inserted are not among them.
    pub(super) modified: usize,
    /// How many documents are new.
    pub(super) added: usize,
}

/// The server's code for a violated unique index.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// The most that one command carries, in bytes; the server takes 16 MiB.
const MAX_COMMAND: usize = 12 * 1024 * 1024;

/// A write as the server's commands take it.
pub(super) type Write = RawDocumentBuf;

/// One upsert.
///
/// # Errors
/// The update has no form that MongoDB can hold.
pub(super) fn upsert(query: &impl Serialize, update: &impl Serialize) -> Result<Write, Error> {
    operation(query, update, true)
}

fn operation(q: &impl Serialize, u: &impl Serialize, upsert: bool) -> Result<Write, Error> {
    #[derive(Serialize)]
    struct Operation<'a, Q, U> {
        q: &'a Q,
        u: &'a U,
        upsert: bool,
    }
    Ok(serialize_to_raw_document_buf(&Operation { q, u, upsert })?)
}

/// One insert.
///
/// # Errors
/// The document has no form that MongoDB can hold.
pub(super) fn document(document: &impl Serialize) -> Result<Write, Error> {
    Ok(serialize_to_raw_document_buf(document)?)
}

/// One update of a document that is there.
///
/// # Errors
/// The update has no form that MongoDB can hold.
pub(super) fn change(query: &impl Serialize, update: &impl Serialize) -> Result<Write, Error> {
    operation(query, update, false)
}

/// Makes all the updates, in no order.
#[tracing::instrument(level = "debug", skip_all, name = "bulk", fields(collection, writes = updates.len()))]
pub(super) async fn update(database: &Database, collection: &str, updates: Vec<Write>) -> Result<Written, Error> {
    run(database, updates, |updates| rawdoc! { "update": collection, "updates": updates, "ordered": false }).await
}

/// Inserts all the documents, in no order. Cheaper than upserts if none of
/// them is expected to be there.
#[tracing::instrument(level = "debug", skip_all, name = "bulk", fields(collection, writes = documents.len()))]
pub(super) async fn insert(database: &Database, collection: &str, documents: Vec<Write>) -> Result<Written, Error> {
    run(database, documents, |documents| rawdoc! { "insert": collection, "documents": documents, "ordered": false })
        .await
}

async fn run(
    database: &Database,
    writes: Vec<Write>,
    command: impl Fn(RawArrayBuf) -> RawDocumentBuf,
) -> Result<Written, Error> {
    let mut written = Written::default();
    let (mut first, mut writes) = (0, writes.into_iter().peekable());
    while writes.peek().is_some() {
        let (mut batch, mut count, mut size) = (RawArrayBuf::new(), 0, 0);
        while let Some(write) = writes.next_if(|write| count == 0 || size + write.as_bytes().len() < MAX_COMMAND) {
            size += write.as_bytes().len();
            count += 1;
            batch.push(write);
        }
        let mut command = command(batch);
        if let Some(concern) = database.write_concern() {
            command.append(cstr!("writeConcern"), serialize_to_raw_document_buf(concern)?);
        }
        let answer = database.run_raw_command(command).await?;
        let counted = |name| usize::try_from(answer.get_i32(name).unwrap_or_default()).unwrap_or_default();
        // Inserts count in `n` what was inserted, and updates what was found; what they inserted is listed.
        match answer.get_i32("nModified") {
            Ok(_) => {
                written.modified += counted("nModified");
                written.added += answer.get_array("upserted").map_or(0, Vec::len);
            }
            Err(_) => written.added += counted("n"),
        }
        written
            .refused
            .extend(refused(&answer)?.into_iter().map(|refused| Refused { index: first + refused.index, ..refused }));
        first += count;
    }
    Ok(written)
}

fn refused(answer: &Document) -> Result<Vec<Refused>, Error> {
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
