//! The writes of the drain for reference data: the current definitions (`hubspot_owners`, `hubspot_pipelines`,
//! `hubspot_schemas`), and the actions about their changes.
//!
//! Actions are stored before the definitions that they are about. So a message that is delivered again after a crash finds
//! the definitions of before, from which the actions' `changes` are computed.

use std::{
    collections::{BTreeSet, HashMap},
    iter,
};

use futures::TryStreamExt;
use model::{
    account::AccountKey,
    action::ActionKind,
    reference::{ReferenceBatch, ReferenceChange, Source},
    time::DateTime,
};
use mongodb::{
    bson::{Bson, Document, doc, serialize_to_document},
    error::Error,
};

use super::{Store, StoreReport, bulk, collection};

/// The fields of a current definition that are not HubSpot's.
const OWN_FIELDS: [&str; 9] =
    ["_id", "domainId", "hubId", "object", "id", "revision", "readAt", "storedAt", "deletedAt"];

/// How many times writes that conflict with concurrent ones are tried.
const ROUNDS: usize = 3;

impl Store {
    /// Stores changes of reference data: the actions, each once, and the current definitions, if no later ones are stored.
    /// A batch may be stored again, and batches in any order. Returns those that could not be stored, by their indexes in
    /// the batch, and how many actions are new. Nothing is stored of accounts that were erased.
    ///
    /// # Errors
    /// MongoDB cannot be reached. Any part may have been stored.
    pub async fn store_references(&self, batch: &ReferenceBatch) -> Result<StoreReport, Error> {
        let mut report = StoreReport::default();
        if !self.erased_accounts(&[&batch.account]).await?.is_empty() {
            return Ok(report);
        }
        let before = self.definitions(batch).await?;
        let now = DateTime::now();
        let actions = batch.items.iter().enumerate().filter_map(|(index, item)| {
            let before = before.get(&key(&batch.account, batch.source, &item.id));
            Some((index, action(batch, item, item.action?, before, now)))
        });
        report.added = self.upsert_references(collection::ACTIONS, actions, &mut report).await?;
        let definitions = batch.items.iter().enumerate().map(|(index, item)| (index, definition(batch, item, now)));
        let definitions: Vec<_> = definitions.filter(|(index, _)| !report.has_failed(*index)).collect();
        self.upsert_references(&batch.source.collection(), definitions.into_iter(), &mut report).await?;
        Ok(report)
    }

    /// Returns the current definitions of a batch's items, by their keys.
    async fn definitions(&self, batch: &ReferenceBatch) -> Result<HashMap<String, Document>, Error> {
        let with_actions = batch.items.iter().filter(|item| item.action.is_some());
        let keys: Vec<String> = with_actions.map(|item| key(&batch.account, batch.source, &item.id)).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.collection(&batch.source.collection()).find(doc! { "_id": { "$in": keys } }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        Ok(found.into_iter().filter_map(|found| Some((found.get_str("_id").ok()?.to_owned(), found))).collect())
    }

    /// Writes upserts. Adds those that MongoDB refuses to `report`. Returns how many documents are new.
    async fn upsert_references(
        &self,
        collection: &str,
        writes: impl Iterator<Item = (usize, Result<bulk::Write, Error>)>,
        report: &mut StoreReport,
    ) -> Result<usize, Error> {
        let (mut pending, mut added) = (Vec::new(), 0);
        for (index, write) in writes {
            match write {
                Ok(write) => pending.push((index, write)),
                Err(_) => report.fail(index, 0),
            }
        }
        for _ in 0..ROUNDS {
            let copies: HashMap<usize, bulk::Write> = pending.iter().cloned().collect();
            let written = bulk::update(&self.database, collection, std::mem::take(&mut pending)).await?;
            added += written.added;
            for refused in written.refused {
                // Another delivery has inserted the document at the same time. The next try updates it.
                match copies.get(&refused.key).filter(|_| refused.code == bulk::DUPLICATE_KEY) {
                    Some(write) => pending.push((refused.key, write.clone())),
                    None => report.fail(refused.key, refused.code),
                }
            }
            if pending.is_empty() {
                return Ok(added);
            }
        }
        pending.iter().for_each(|(index, _)| report.fail(*index, bulk::DUPLICATE_KEY));
        Ok(added)
    }
}

/// Returns the `_id` of an item's current definition.
fn key(account: &AccountKey, source: Source, id: &str) -> String {
    format!("{}:{id}", source.key(account))
}

/// Returns the upsert of an item's current definition. It changes nothing if a later one is stored.
fn definition(batch: &ReferenceBatch, item: &ReferenceChange, now: DateTime) -> Result<bulk::Write, Error> {
    let id = key(&batch.account, batch.source, &item.id);
    let mut own = doc! {
        "domainId": batch.account.domain_id.as_str(),
        "hubId": batch.account.hub_id.as_str(),
        "id": &item.id,
        "revision": item.revision,
        "readAt": batch.read_at,
        "storedAt": now,
    };
    if let Some(object) = batch.source.object() {
        own.insert("object", object.as_str());
    }
    let new = match &item.definition {
        Some(definition) => {
            let mut new = serialize_to_document(definition)?;
            new.insert("_id", &id);
            new.extend(own);
            doc! { "$literal": new }
        }
        None => {
            own.insert("deletedAt", batch.read_at);
            doc! { "$mergeObjects": ["$$ROOT", { "$literal": own }] }
        }
    };
    let is_later = doc! { "$gt": [{ "$ifNull": ["$readAt", DateTime::MIN] }, batch.read_at] };
    let replace = doc! { "$replaceWith": { "$cond": [is_later, "$$ROOT", new] } };
    bulk::upsert(&doc! { "_id": id }, &vec![replace])
}

/// Returns the upsert of the action about a change. It changes nothing if the action is stored. `before` is the current
/// definition.
fn action(
    batch: &ReferenceBatch,
    item: &ReferenceChange,
    kind: ActionKind,
    before: Option<&Document>,
    now: DateTime,
) -> Result<bulk::Write, Error> {
    let definition = item.definition.as_ref().map(serialize_to_document).transpose()?;
    let mut action = doc! {
        "domainId": batch.account.domain_id.as_str(),
        "hubId": batch.account.hub_id.as_str(),
        "object": batch.source.kind(),
        "recordId": batch.source.item_id(&item.id),
        "actionName": format!("Property {}", kind.as_str()),
        "actionDate": batch.read_at,
        "recordUpdatedAt": batch.read_at,
        "includeInAnalytics": 0,
        "storedAt": now,
    };
    // Otherwise the state before is not known, or a later one is stored.
    let before = before.filter(|before| before.get_i64("revision").is_ok_and(|before| before + 1 == item.revision));
    if let (ActionKind::Updated, Some(before), Some(after)) = (kind, before, &definition) {
        action.insert("changes", changes(before, after));
    }
    action.extend(definition.map(|definition| ("definition".to_owned(), definition.into())));
    let id = doc! { "_id": item.action_id(&batch.account, batch.source) };
    bulk::upsert(&id, &doc! { "$setOnInsert": action })
}

/// Returns the difference between two definitions: `{field: {from, to}}`. A side without a value is left out.
fn changes(before: &Document, after: &Document) -> Document {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let own = |name: &&&String| !OWN_FIELDS.contains(&name.as_str());
    let changed = |name: &String| {
        let sides = [("from", before.get(name)), ("to", after.get(name))];
        let sides = sides.into_iter().filter_map(|(side, value)| Some((side.to_owned(), value?.clone())));
        (before.get(name) != after.get(name)).then(|| (name.clone(), Bson::Document(sides.collect())))
    };
    let mut changes: Document = names.iter().filter(own).filter_map(|name| changed(name)).collect();
    if before.contains_key("deletedAt") {
        // It is listed again. Nothing else may have changed.
        changes.extend(iter::once(("deletedAt".to_owned(), doc! { "from": before.get("deletedAt") }.into())));
    }
    changes
}
