//! What must be known of rows before they are published: what was published of them before, and their associations.

use std::collections::HashMap;

use futures::future::try_join_all;
use hubspot::{AssociationInput, Associations, HubSpotError, Record, Row};
use model::{association, ids::RecordId, object::ObjectType, time::DateTime};
use store::LedgerEntry;

use crate::{
    context::SliceContext,
    error::SliceError,
    ledger::{PublishLedger, PublishTerms},
};

/// Rows to be prepared for publishing.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) rows: Vec<Row>,
    /// How many of them to prepare at most.
    pub(crate) size: usize,
    /// True if a record is suspected of causing transient failures.
    pub(crate) is_suspect: bool,
    /// As for [`hubspot::Session::associations`].
    pub(crate) each_for_itself: bool,
    /// True if the associations of all contacts are read. False if only those of contacts that changed are.
    pub(crate) of_all: bool,
    pub(crate) terms: PublishTerms,
}

/// Rows with what was published of them before.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) rows: Vec<Row>,
    pub(crate) ledger: PublishLedger,
    /// The rows after them, not prepared yet.
    pub(crate) rest: Vec<Row>,
}

/// Looks up what was published of rows before, and the companies of the contacts that changed. If HubSpot does not
/// return the companies and a record is suspected, prepares fewer rows, to find that record.
pub(crate) async fn prepare(
    slice: &SliceContext<'_>,
    object: ObjectType,
    preparation: Preparation,
) -> Result<Prepared, SliceError> {
    let Preparation { mut rows, mut size, is_suspect, each_for_itself, of_all, terms } = preparation;
    loop {
        size = size.min(rows.len());
        let each_for_itself = each_for_itself || (size == 1 && is_suspect);
        let reading = AssociationReading { each_for_itself, of_all };
        match load_ledger(slice, object, terms.clone(), &rows[..size], reading).await {
            Err(SliceError::HubSpot(error)) if size > 1 && is_suspect && error.is_transient() => size /= 2,
            ledger => {
                let rest = rows.split_off(size);
                return Ok(Prepared { rows, ledger: ledger?, rest });
            }
        }
    }
}

/// Which records' associations are read, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AssociationReading {
    /// As for [`hubspot::Session::associations`].
    pub(crate) each_for_itself: bool,
    /// True for all records, false for those that changed.
    pub(crate) of_all: bool,
}

/// Looks up what was published of rows before, and the associations of contacts.
///
/// # Errors
/// MongoDB or HubSpot failed, or there is no time.
pub(crate) async fn load_ledger(
    slice: &SliceContext<'_>,
    object: ObjectType,
    terms: PublishTerms,
    rows: &[Row],
    reading: AssociationReading,
) -> Result<PublishLedger, SliceError> {
    let mut ledger = PublishLedger::new(object, terms, seen(slice, object, rows).await?);
    if !object.spec().associations.is_empty() {
        let is_read = |record: &&Record| {
            let of_all = reading.of_all && record.archived_at.is_none();
            of_all || ledger.is_changed(record) || ledger.lacks_properties(record)
        };
        let read = records(rows).filter(is_read).map(|record| AssociationInput::first(record.id.clone())).collect();
        let read_at = DateTime::now();
        let read = read_associations(slice, object, read, reading.each_for_itself).await?;
        ledger.learn_associations(read.ok_or(SliceError::NoTime)?, read_at);
    }
    Ok(ledger)
}

/// Returns the associations of records with those of all object types that their row of the catalogue names. Returns
/// `None` if there is no time.
///
/// # Errors
/// HubSpot failed.
pub(crate) async fn read_associations(
    slice: &SliceContext<'_>,
    from: ObjectType,
    records: Vec<AssociationInput>,
    each_for_itself: bool,
) -> Result<Option<Associations>, HubSpotError> {
    if records.iter().any(|input| input.to.is_some()) {
        return continue_associations(slice, from, records, each_for_itself).await;
    }
    // One after the other, slow answers would leave no time for a record with several types.
    let reads = slice.association_types(from).map(|to| {
        let inputs = records.clone();
        async move {
            let read = read_pair(slice, (from, to), inputs, each_for_itself).await?;
            // Without time, other records would be published without a part of their associations.
            Ok::<_, HubSpotError>(read.map(|read| (to, read)))
        }
    });
    let read: Vec<_> = try_join_all(reads).await?.into_iter().flatten().collect();
    let read: Option<Vec<_>> = read.into_iter().map(|(to, read)| Some((to, read?))).collect();
    Ok(read.map(|read| together(&records, read)))
}

/// Reads the associations between two object types. Returns `None` if HubSpot gives no access to them, or has none, and
/// `Some(None)` if there is no time.
///
/// What HubSpot answers for a pair that an account has not defined is not documented. A rejection that speaks of associations
/// is taken for that, and so is any other one of all records that comes again at once: a passing one must not take associations
/// from records that have some.
///
/// # Errors
/// HubSpot failed.
async fn read_pair(
    slice: &SliceContext<'_>,
    pair: (ObjectType, ObjectType),
    inputs: Vec<AssociationInput>,
    each_for_itself: bool,
) -> Result<Option<Option<Associations>>, HubSpotError> {
    let (from, to) = pair;
    if slice.undefined_associations.borrow().contains(&pair) {
        return Ok(None);
    }
    for is_last in [false, true] {
        let read = slice.session.associations(from, to, inputs.clone(), slice.budget.work_ends(), each_for_itself);
        match read.await {
            Err(HubSpotError::Forbidden(_) | HubSpotError::UnknownObject(_)) if !to.is_default() => return Ok(None),
            // Contacts and companies are always associated.
            Err(error @ HubSpotError::Rejected { .. }) if !from.is_default() => {
                if is_last || error.is_about_associations() {
                    tracing::warn!(object = from.as_str(), to = to.as_str(), %error, "HubSpot has no such associations");
                    slice.undefined_associations.borrow_mut().insert(pair);
                    return Ok(None);
                }
            }
            read => return read.map(Some),
        }
    }
    Ok(None)
}

/// Puts the associations with several object types together, in their order.
fn together(records: &[AssociationInput], mut read: Vec<(ObjectType, Associations)>) -> Associations {
    let took = read.iter().map(|(_, read)| read.took).max().unwrap_or_default();
    let mut all = Associations { took, ..Associations::default() };
    'records: for AssociationInput { id, .. } in records {
        let mut found = Vec::new();
        for (to, read) in &mut read {
            if let Some(reason) = read.unread.remove(id.as_str()) {
                all.unread.insert(id.to_string(), reason);
                continue 'records;
            }
            if let Some(input) = read.unfinished.remove(id.as_str()) {
                // The next reading continues with this object type, and then with the later ones.
                let before = [found, input.before].concat();
                all.unfinished.insert(id.to_string(), AssociationInput { to: Some(*to), before, ..input });
                continue 'records;
            }
            let Some(with) = read.found.remove(id.as_str()) else { continue 'records };
            found.extend(with);
        }
        all.found.insert(id.to_string(), association::in_order(found));
    }
    all
}

/// Continues readings that stopped in the middle of a record's associations with one object type.
async fn continue_associations(
    slice: &SliceContext<'_>,
    from: ObjectType,
    records: Vec<AssociationInput>,
    each_for_itself: bool,
) -> Result<Option<Associations>, HubSpotError> {
    let (mut all, mut pending) = (Associations::default(), records);
    for (index, to) in slice.association_types(from).enumerate() {
        let (inputs, later): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|input| input.to.is_none_or(|next| next == to));
        pending = later;
        if inputs.is_empty() {
            continue;
        }
        match read_pair(slice, (from, to), inputs.clone(), each_for_itself).await? {
            Some(Some(read)) => {
                all.took = all.took.max(read.took);
                all.unread.extend(read.unread);
                let unfinished = read.unfinished.into_iter();
                all.unfinished.extend(unfinished.map(|(id, input)| (id, AssociationInput { to: Some(to), ..input })));
                let found = inputs.into_iter().filter_map(|input| {
                    let before = read.found.get(input.id.as_str())?.clone();
                    Some(AssociationInput { before, ..AssociationInput::first(input.id) })
                });
                pending.extend(found);
            }
            Some(None) if index == 0 => return Ok(None),
            // Reading may end between two types.
            Some(None) => {
                let unfinished = inputs.into_iter().map(|input| AssociationInput { to: Some(to), ..input });
                all.unfinished.extend(unfinished.map(|input| (input.id.to_string(), input)));
            }
            // The grant does not cover the other object type, or the portal has no such association. The records
            // themselves are readable.
            None => pending.extend(inputs.into_iter().map(|input| AssociationInput { to: None, after: None, ..input })),
        }
    }
    all.found = pending.into_iter().map(|input| (input.id.to_string(), input.before)).collect();
    Ok(Some(all))
}

/// Returns the rows' records that can be read.
pub(crate) fn records(rows: &[Row]) -> impl Iterator<Item = &Record> {
    rows.iter().filter_map(|row| row.record.as_ref().ok())
}

/// Returns the ledger entries of the rows' records, and of the records that were merged into them.
pub(crate) async fn seen(
    slice: &SliceContext<'_>,
    object: ObjectType,
    rows: &[Row],
) -> Result<HashMap<RecordId, LedgerEntry>, SliceError> {
    let mut ids: Vec<RecordId> = records(rows).map(|record| record.id.clone()).collect();
    ids.extend(records(rows).flat_map(Record::merged_ids));
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(slice.store().seen(slice.account(), object, ids.iter()).await?)
}

#[cfg(test)]
mod tests {
    use model::association::Association;
    use serde_json::json;

    use super::*;

    fn links(to: &str, ids: &[&str]) -> Vec<Association> {
        let link = |id: &&str| serde_json::from_value(json!({"to": to, "id": id, "types": []})).unwrap();
        ids.iter().map(link).collect()
    }

    #[test]
    fn record_of_which_one_object_type_is_unfinished_goes_on_with_that_type() {
        let records: Vec<AssociationInput> =
            ["1", "2", "3", "4"].map(|id| AssociationInput::first(id.to_owned().try_into().unwrap())).into();
        let [companies, contacts] = ObjectType::DEFAULT;
        let part = |id: &str, to, ids| AssociationInput {
            after: Some("next".to_owned()),
            before: links(to, ids),
            ..AssociationInput::first(id.to_owned().try_into().unwrap())
        };
        let mut with_companies = Associations::default();
        with_companies.found.extend(["1", "2", "4"].map(|id| (id.to_owned(), links("companies", &["50"]))));
        with_companies.unfinished.insert("3".to_owned(), part("3", "companies", &["51"]));
        let mut with_contacts = Associations::default();
        with_contacts.found.extend(["1", "3"].map(|id| (id.to_owned(), links("contacts", &["70"]))));
        with_contacts.unfinished.insert("2".to_owned(), part("2", "contacts", &["71"]));
        with_contacts.unread.insert("4".to_owned(), "no".to_owned());

        let all = together(&records, vec![(companies, with_companies), (contacts, with_contacts)]);
        assert_eq!(all.found.keys().collect::<Vec<_>>(), ["1"]);
        assert_eq!(all.found["1"], [links("companies", &["50"]), links("contacts", &["70"])].concat());
        let unfinished = |id: &str| (all.unfinished[id].to, all.unfinished[id].before.clone());
        let before = [links("companies", &["50"]), links("contacts", &["71"])].concat();
        assert_eq!(unfinished("2"), (Some(contacts), before));
        assert_eq!(unfinished("3"), (Some(companies), links("companies", &["51"])), "contacts are read later");
        assert_eq!(all.unread.keys().collect::<Vec<_>>(), ["4"]);
    }
}
