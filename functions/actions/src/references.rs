//! Stores the changes of reference data in messages. Each message fails alone.

use model::{
    message::ActionsMessage,
    reference::{ReferenceBatch, ReferenceChange},
};
use queue::batch::Received;
use store::{Store, code, describe, is_away};
use tokio::time::{Instant, timeout_at};

use crate::drain::{Drained, Outcome};

/// Stores the reference data of all messages that have any, until the time `ends`.
pub(crate) async fn drain_references(
    store: &Store,
    messages: &[Received<ActionsMessage>],
    ends: Instant,
    drained: &mut Drained,
) {
    for (index, message) in messages.iter().enumerate() {
        let Ok(ActionsMessage::References(batch)) = &message.body else { continue };
        let outcome = match timeout_at(ends, store.store_references(batch)).await {
            Ok(Ok(stored)) => {
                drained.added += stored.added;
                let actions = batch.items.iter().filter(|item| item.action.is_some()).count();
                drained.actions += actions;
                drained.refused += stored.failed.iter().filter(|failed| has_action(batch, failed.index)).count();
                let failed = stored.failed.iter().map(|failed| outcome_of(batch, failed.index, failed.code));
                failed.fold(Outcome::Stored, worse)
            }
            Ok(Err(error)) if is_away(&error) => Outcome::Waits(describe(&error)),
            Ok(Err(error)) => Outcome::Refused(refusal(batch, code::of_error(&error))),
            Err(_) => Outcome::Waits("MongoDB does not answer in time".to_owned()),
        };
        if let Outcome::Refused(reason) | Outcome::Waits(reason) = &outcome {
            tracing::error!(message.id = message.message_id, account.domain_id = %batch.account.domain_id,
                account.hub_id = %batch.account.hub_id, source = %batch.source, reason,
                "MongoDB does not take reference data");
        }
        drained.outcomes[index] = outcome;
    }
}

fn has_action(batch: &ReferenceBatch, index: usize) -> bool {
    batch.items.get(index).is_some_and(|item: &ReferenceChange| item.action.is_some())
}

/// Returns what the refusal of one item means for its message.
fn outcome_of(batch: &ReferenceBatch, index: usize, code: i32) -> Outcome {
    if code::is_of_the_server(code) {
        return Outcome::Waits(format!("MongoDB takes no writes, for the reason of code {code}"));
    }
    let id = batch.items.get(index).map_or("", |item| item.id.as_str());
    Outcome::Refused(format!("{}: {id:?}", refusal(batch, code)))
}

/// Returns the reason of a refusal. It names the account between two spaces, as the erasure of an account looks for it.
fn refusal(batch: &ReferenceBatch, code: i32) -> String {
    format!("MongoDB refuses {} of {} with code {code}", batch.source, batch.account)
}

/// A message waits for MongoDB if any of its items has to.
fn worse(one: Outcome, other: Outcome) -> Outcome {
    match (&one, &other) {
        (Outcome::Waits(_), _) | (_, Outcome::Stored) => one,
        _ => other,
    }
}
