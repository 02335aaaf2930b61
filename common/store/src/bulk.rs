//! Many writes to one collection in one round trip, on every version of the server. Uses the `update` and `insert`
//! commands, because the driver's own bulk write needs MongoDB 8. Documents are serialized once, directly into the
//! command.

use std::iter::Peekable;

use mongodb::{
    Database,
    bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, cstr, rawdoc, serialize_to_raw_document_buf},
    error::Error,
};
use serde::Serialize;

/// A write that the server refused, while it made the others.
#[derive(Debug)]
pub(super) struct Refused<K> {
    /// The caller's key of the write.
    pub(super) key: K,
    /// The server's error code.
    pub(super) code: i32,
    /// The server's reason. It may quote the document.
    pub(super) message: String,
}

/// The outcome of many writes.
#[derive(Debug)]
pub(super) struct Written<K> {
    /// The writes that were refused.
    pub(super) refused: Vec<Refused<K>>,
    /// How many documents were changed, without those inserted.
    pub(super) modified: usize,
    /// How many documents were inserted.
    pub(super) added: usize,
}

/// The server's code for a violated unique index.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// The most bytes of writes in one command. The server accepts 16 MiB.
const MAX_COMMAND_SIZE: usize = 12 * 1024 * 1024;

/// A write in the form of the server's commands.
pub(super) type Write = RawDocumentBuf;

/// Returns an upsert.
///
/// # Errors
/// The update cannot be written as BSON.
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

/// Returns an insert.
///
/// # Errors
/// The document cannot be written as BSON.
pub(super) fn document(document: &impl Serialize) -> Result<Write, Error> {
    Ok(serialize_to_raw_document_buf(document)?)
}

/// Returns an update of an existing document.
///
/// # Errors
/// The update cannot be written as BSON.
pub(super) fn change(query: &impl Serialize, update: &impl Serialize) -> Result<Write, Error> {
    operation(query, update, false)
}

/// Runs all updates, in no order. Each has a key of the caller's choice. Returns the refused writes with their keys.
///
/// # Errors
/// The server cannot be reached, or refuses the whole command. Any part may have been written.
#[tracing::instrument(level = "debug", skip_all, name = "bulk", fields(collection, writes = updates.len()))]
pub(super) async fn update<K>(
    database: &Database,
    collection: &str,
    updates: Vec<(K, Write)>,
) -> Result<Written<K>, Error> {
    run(database, updates, |updates| rawdoc! { "update": collection, "updates": updates, "ordered": false }).await
}

/// Inserts all documents, in no order. Each has a key of the caller's choice. Cheaper than upserts if none of them is
/// expected to exist. Returns the refused writes with their keys.
///
/// # Errors
/// The server cannot be reached, or refuses the whole command. Any part may have been written.
#[tracing::instrument(level = "debug", skip_all, name = "bulk", fields(collection, writes = documents.len()))]
pub(super) async fn insert<K>(
    database: &Database,
    collection: &str,
    documents: Vec<(K, Write)>,
) -> Result<Written<K>, Error> {
    run(database, documents, |documents| rawdoc! { "insert": collection, "documents": documents, "ordered": false })
        .await
}

async fn run<K>(
    database: &Database,
    writes: Vec<(K, Write)>,
    command: impl Fn(RawArrayBuf) -> RawDocumentBuf,
) -> Result<Written<K>, Error> {
    let mut written = Written { refused: Vec::new(), modified: 0, added: 0 };
    let mut writes = writes.into_iter().peekable();
    while writes.peek().is_some() {
        let (keys, batch) = next_batch(&mut writes);
        let mut command = command(batch);
        if let Some(concern) = database.write_concern() {
            command.append(cstr!("writeConcern"), serialize_to_raw_document_buf(concern)?);
        }
        let answer = database.run_raw_command(command).await?;
        let counted = |name| usize::try_from(answer.get_i32(name).unwrap_or_default()).unwrap_or_default();
        // Of an insert, `n` is how many documents were inserted. Of an update, it is how many were found, and the
        // inserted ones are listed.
        match answer.get_i32("nModified") {
            Ok(_) => {
                written.modified += counted("nModified");
                written.added += answer.get_array("upserted").map_or(0, Vec::len);
            }
            Err(_) => written.added += counted("n"),
        }
        written.refused.extend(refused(&answer, keys)?);
    }
    Ok(written)
}

/// Returns as many of the next writes as fit into one command, and their keys. A write that is too large is returned
/// alone.
fn next_batch<K>(writes: &mut Peekable<impl Iterator<Item = (K, Write)>>) -> (Vec<K>, RawArrayBuf) {
    let (mut keys, mut batch, mut size) = (Vec::new(), RawArrayBuf::new(), 0);
    let fits = |size: usize, write: &Write| size == 0 || size + write.as_bytes().len() < MAX_COMMAND_SIZE;
    while let Some((key, write)) = writes.next_if(|(_, write)| fits(size, write)) {
        size += write.as_bytes().len();
        keys.push(key);
        batch.push(write);
    }
    (keys, batch)
}

/// Returns which of the writes with these keys the server refused.
///
/// # Errors
/// The writes are not yet replicated to a majority.
fn refused<K>(answer: &Document, keys: Vec<K>) -> Result<Vec<Refused<K>>, Error> {
    if let Ok(concern) = answer.get_document("writeConcernError") {
        return Err(Error::custom(format!(
            "the write is not yet safe: {}",
            concern.get_str("errmsg").unwrap_or_default()
        )));
    }
    let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    let mut keys: Vec<Option<K>> = keys.into_iter().map(Some).collect();
    let read = |error: &Document| {
        let index = usize::try_from(error.get_i32("index").unwrap_or_default()).unwrap_or_default();
        Some(Refused {
            key: keys.get_mut(index)?.take()?,
            code: error.get_i32("code").unwrap_or_default(),
            message: error.get_str("errmsg").unwrap_or_default().to_owned(),
        })
    };
    Ok(errors.iter().filter_map(Bson::as_document).filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn a_refusal_names_its_write() {
        let answer = doc! { "n": 1, "writeErrors": [
            { "index": 2, "code": 11000, "errmsg": "third" },
            { "index": 0, "code": 121, "errmsg": "first" },
        ] };
        let refused = refused(&answer, vec!["a", "b", "c"]).unwrap();
        let read: Vec<_> = refused.iter().map(|refused| (refused.key, refused.code, &*refused.message)).collect();
        assert_eq!(read, [("c", 11000, "third"), ("a", 121, "first")]);
    }

    #[test]
    fn what_is_not_yet_safe_is_an_error() {
        let answer = doc! { "n": 1, "writeConcernError": { "errmsg": "waiting for replication timed out" } };
        assert!(refused(&answer, vec![()]).is_err());
    }

    #[test]
    fn a_command_carries_no_more_than_the_server_takes_and_each_key_goes_with_its_write() {
        let write = |size: usize| document(&doc! { "text": "x".repeat(size) }).unwrap();
        let sizes = [MAX_COMMAND_SIZE, 10, MAX_COMMAND_SIZE / 2, MAX_COMMAND_SIZE / 2, 10];
        let mut writes = sizes.into_iter().enumerate().map(|(key, size)| (key, write(size))).peekable();
        let mut batches = Vec::new();
        while writes.peek().is_some() {
            let (keys, batch) = next_batch(&mut writes);
            assert_eq!(keys.len(), batch.into_iter().count());
            batches.push(keys);
        }
        assert_eq!(batches, [vec![0], vec![1, 2], vec![3, 4]]);
    }
}
