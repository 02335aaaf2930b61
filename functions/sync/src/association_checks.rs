//! Requests checks of contacts' associations, because of what was read and published.

use std::collections::HashMap;

use hubspot::AssociationInput;
use model::{ids::RecordId, object::ObjectType};
use store::{AssociationCheck, UnfinishedAssociations};

use crate::{context::SliceContext, error::SliceError, ledger::PublishLedger};

/// Requests checks of contacts because of what was published: those of companies that are gone, those whose associations
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
    if object == ObjectType::Companies && !gone.is_empty() {
        store.check_contacts_of(account, gone).await?;
        slice.has_association_checks.set(true);
    }
    if !differing.is_empty() {
        store.request_association_checks(account, differing).await?;
        slice.has_association_checks.set(true);
    }
    store_unfinished(slice, ledger.take_unfinished(), &[]).await
}

/// Stores where the reading of contacts' associations stopped, to continue from there. `checks` are those for which
/// they were read.
///
/// # Errors
/// MongoDB failed.
pub(crate) async fn store_unfinished(
    slice: &SliceContext<'_>,
    unfinished: HashMap<String, AssociationInput>,
    checks: &[AssociationCheck],
) -> Result<(), SliceError> {
    if unfinished.is_empty() {
        return Ok(());
    }
    slice.has_association_checks.set(true);
    let part = |input: AssociationInput| {
        let check = checks.iter().find(|check| check.record_id == input.id);
        let part = UnfinishedAssociations { after: input.after?, before: input.before };
        Some((input.id, check.map(|check| check.noticed_at), part))
    };
    let parts = unfinished.into_values().filter_map(part).collect();
    Ok(slice.store().store_unfinished_associations(slice.account(), parts).await?)
}
