//! Requests checks of records' associations, because of what was read and published.

use std::collections::HashMap;

use hubspot::AssociationInput;
use model::{ids::RecordId, object::ObjectType};
use store::{AssociationCheck, UnfinishedAssociations};

use crate::{context::SliceContext, error::SliceError, ledger::PublishLedger};

/// Requests checks of records because of what was published: contacts of companies that are gone, records whose associations
/// alone differ, and those of which there was no time to read all associations.
///
/// # Errors
/// MongoDB failed.
pub(crate) async fn note_consequences(
    slice: &SliceContext<'_>,
    object: ObjectType,
    gone: &[RecordId],
    differing: Vec<RecordId>,
    ledger: &mut PublishLedger,
) -> Result<(), SliceError> {
    let (store, account) = (slice.store(), slice.account());
    if object == ObjectType::COMPANIES && !gone.is_empty() {
        store.check_contacts_of(account, gone).await?;
        slice.note_association_checks(ObjectType::CONTACTS);
    }
    if !differing.is_empty() {
        store.request_association_checks(account, object, differing).await?;
        slice.note_association_checks(object);
    }
    store_unfinished(slice, object, ledger.take_unfinished(), &[]).await
}

/// Stores where the reading of records' associations stopped, to continue from there. `checks` are those for which
/// they were read.
///
/// # Errors
/// MongoDB failed.
pub(crate) async fn store_unfinished(
    slice: &SliceContext<'_>,
    object: ObjectType,
    unfinished: HashMap<String, AssociationInput>,
    checks: &[AssociationCheck],
) -> Result<(), SliceError> {
    if unfinished.is_empty() {
        return Ok(());
    }
    slice.note_association_checks(object);
    let part = |input: AssociationInput| {
        let check = checks.iter().find(|check| check.record_id == input.id);
        let part = UnfinishedAssociations { to: input.to?, after: input.after, before: input.before };
        Some((input.id, check.map(|check| check.noticed_at), part))
    };
    let parts = unfinished.into_values().filter_map(part).collect();
    Ok(slice.store().store_unfinished_associations(slice.account(), object, parts).await?)
}
