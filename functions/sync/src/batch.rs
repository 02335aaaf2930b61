//! Publishes the rows of a page. New changes are turned into actions, queued and marked, in batches of up to 100.
//!
//! Effects happen in this order: mark as pending, check the lease, send, mark as published, checkpoint (by the caller).
//! A crash between any two of them repeats the batch, and changes nothing that is stored.

use std::time::Duration;

use hubspot::Row;
use model::{
    action::{Action, ActionKind},
    checkpoint::ActionCounts,
    ids::RecordId,
    message::{self, ActionBatch, MAX_ACTIONS},
    object::ObjectType,
};
use queue::{MAX_MESSAGE_BYTES, QueueError};
use serde_json::{Map, Value};

use crate::{
    association_checks,
    context::SliceContext,
    error::SliceError,
    ledger::{Batch, PublishLedger},
    own_marks::{Mark, OwnMarks},
    preparation::records,
};

/// How many rows are published, and then checkpointed, at once.
pub(crate) const BATCH_ROWS: usize = MAX_ACTIONS;

/// How many bytes the actions of a message take at most. The rest of the message is smaller than the difference.
const MAX_ACTIONS_BYTES: usize = MAX_MESSAGE_BYTES - 1_000;

/// The longest text that is kept, in bytes, if a single action does not fit into a message. If it still does not fit,
/// its texts are shortened further.
const LONGEST_TEXT_BYTES: usize = 16_384;

/// The result of publishing a batch.
#[derive(Debug)]
pub(crate) struct Published {
    /// The records that cannot be published, with the reasons.
    pub(crate) odd: Vec<(String, String)>,
    /// The marks that were made, except those as pending.
    pub(crate) marks: Vec<Mark>,
}

/// Returns the marks as pending to make before the first of these rows is published. Adds them to the slice's own
/// marks.
pub(crate) fn pending_marks(rows: &[Row], ledger: &mut PublishLedger, own: &mut OwnMarks) -> Vec<Mark> {
    add_own_marks(rows, ledger, own);
    let pending = ledger.unpublished(records(rows));
    own.add_pending(&pending);
    pending
}

/// Adds what the slice has published since the rows were looked up. Until these rows are published, only the caller
/// publishes.
pub(crate) fn add_own_marks(rows: &[Row], ledger: &mut PublishLedger, own: &OwnMarks) {
    ledger.add_own_marks(records(rows), own);
}

/// Publishes one batch of rows, except those that cannot be published. The caller has marked as pending the records of
/// which nothing was published.
///
/// # Errors
/// MongoDB or SQS failed, or the lease was lost.
pub(crate) async fn publish_rows(
    slice: &SliceContext<'_>,
    object: ObjectType,
    rows: Vec<Row>,
    ledger: &mut PublishLedger,
) -> Result<Published, SliceError> {
    let contact_score = slice.sync.config.contact_score.clone();
    let (mut batch, mut odd) = (Batch { contact_score, ..Batch::default() }, Vec::new());
    slice.tally.rows(object, rows.len());
    for row in rows {
        match row.record {
            Ok(record) => match ledger.lacks_companies(&record) {
                Some(reason) => odd.push((row.id, reason.clone())),
                None => ledger.apply(record, &mut batch),
            },
            Err(reason) => odd.push((row.id, reason)),
        }
    }
    let Batch { actions, first_seen, mut published, differing, .. } = batch;
    mark_pending(slice, object, &first_seen).await?;
    let gone = actions.iter().filter(|action| action.action_name.is_deleted());
    let gone: Vec<RecordId> = gone.map(|action| action.record_id.clone()).collect();
    let refused = send(slice, object, actions).await?;
    association_checks::note_consequences(slice, object, &gone, differing, ledger).await?;
    published.retain(|(id, _)| !refused.iter().any(|(refused, _)| refused == id.as_str()));
    mark(slice, object, &published).await?;
    odd.extend(refused);
    Ok(Published { odd, marks: [first_seen, published].concat() })
}

/// Sends actions in as few messages as possible. Returns the records whose action SQS does not accept in any message,
/// with the reasons.
async fn send(
    slice: &SliceContext<'_>,
    object: ObjectType,
    actions: Vec<Action>,
) -> Result<Vec<(String, String)>, SliceError> {
    let group = slice.account().to_string();
    let (mut pending, mut refused) = (packed(actions)?, Vec::new());
    while let Some(mut actions) = pending.pop() {
        let text = ActionBatch::encode(slice.account(), actions.iter().map(|(_, text)| &**text));
        let text = text.map_err(QueueError::from)?;
        match (slice.actions_queue().send_text(text, &group, Duration::ZERO).await, &actions[..]) {
            (Err(QueueError::Contents(reason)), [(action, _)]) => refused.push((action.record_id.to_string(), reason)),
            (Err(QueueError::Contents(_)), _) => {
                let rest = actions.split_off(actions.len() / 2);
                pending.extend([rest, actions]);
            }
            (sent, actions) => {
                sent?;
                slice.tally.announce(object, announced(actions.iter().map(|(action, _)| action)));
            }
        }
    }
    Ok(refused)
}

/// Returns the actions with their texts, grouped into messages. The last message comes first.
fn packed(actions: Vec<Action>) -> Result<Vec<Vec<(Action, String)>>, QueueError> {
    let (mut messages, mut size) = (Vec::<Vec<(Action, String)>>::new(), 0);
    for action in actions {
        let (action, text) = encoded(action)?;
        match messages.last_mut() {
            Some(message) if message.len() < MAX_ACTIONS && size + text.len() < MAX_ACTIONS_BYTES => {
                size += text.len() + 1;
                message.push((action, text));
            }
            _ => {
                size = text.len();
                messages.push(vec![(action, text)]);
            }
        }
    }
    messages.reverse();
    Ok(messages)
}

/// Returns an action and its text. If the action is too large for a message, its texts are shortened until it fits.
fn encoded(mut action: Action) -> Result<(Action, String), QueueError> {
    let mut longest = LONGEST_TEXT_BYTES;
    loop {
        let text = message::encode(&action)?;
        if text.len() <= MAX_ACTIONS_BYTES || longest == 0 {
            return Ok((action, text));
        }
        shorten(&mut action, longest);
        longest /= 8;
    }
}

/// Returns how many actions there are of each kind.
fn announced<'a>(actions: impl Iterator<Item = &'a Action>) -> ActionCounts {
    let mut announced = ActionCounts::default();
    for action in actions {
        let count = match action.action_name.kind() {
            ActionKind::Created => &mut announced.created,
            ActionKind::Updated => &mut announced.updated,
            ActionKind::Deleted => &mut announced.deleted,
        };
        *count += 1;
    }
    announced
}

/// Marks records as pending, and then checks that the lease is still held. The next holder of the lease reads the marks
/// only after taking it, so it sees these. A slice that was frozen until its lease expired fails here, before it can
/// publish without knowing what the next holder has published.
///
/// # Errors
/// MongoDB failed, or the lease was lost.
pub(crate) async fn mark_pending(
    slice: &SliceContext<'_>,
    object: ObjectType,
    marks: &[Mark],
) -> Result<(), SliceError> {
    if !marks.is_empty() {
        mark(slice, object, marks).await?;
        slice.store().ensure_held(slice.leased).await?;
    }
    Ok(())
}

/// Stores marks in the ledger.
async fn mark(slice: &SliceContext<'_>, object: ObjectType, marks: &[Mark]) -> Result<(), SliceError> {
    if !marks.is_empty() {
        slice.store().mark_seen(slice.account(), object, marks).await?;
    }
    Ok(())
}

/// Shortens the texts of an action to `longest` bytes each.
fn shorten(action: &mut Action, longest: usize) {
    tracing::warn!(record.id = %action.record_id, bytes = longest, "a record is too large for a message; its texts are shortened");
    let shorten = |properties: &mut Map<String, Value>| {
        for value in properties.values_mut() {
            if let Value::String(text) = value {
                text.truncate(text.floor_char_boundary(longest));
            }
        }
    };
    shorten(&mut action.user_properties);
    shorten(&mut action.company_properties);
    shorten(&mut action.properties);
    if let Some(record) = &mut action.record {
        shorten(&mut record.properties);
    }
}

#[cfg(test)]
mod tests {
    use hubspot::Record;
    use model::{account::AccountKey, score::ContactScore, time::DateTime};
    use serde_json::json;

    use model::message::ActionsMessage;

    use super::*;
    use crate::action_builder;

    fn actions(count: usize, description: &str) -> Vec<Action> {
        let record = |id: usize| Record {
            id: RecordId::try_from(id.to_string()).unwrap(),
            created_at: DateTime::from_millis(1),
            modified_at: DateTime::from_millis(2),
            archived_at: None,
            properties: json!({"description": description}).as_object().unwrap().clone(),
        };
        (0..count)
            .map(|id| action_builder::action(ObjectType::COMPANIES, record(id), None, true, &ContactScore::default()))
            .collect()
    }

    /// Returns how many actions each message has.
    fn carried(actions: Vec<Action>) -> Vec<usize> {
        let account = AccountKey::new("d", 7).unwrap();
        let count = |actions: Vec<(Action, String)>| {
            let text = ActionBatch::encode(&account, actions.iter().map(|(_, text)| &**text)).unwrap();
            assert!(text.len() <= MAX_MESSAGE_BYTES);
            let ActionsMessage::V1(batch) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
            assert!(batch.actions.iter().eq(actions.iter().map(|(action, _)| action)));
            actions.len()
        };
        packed(actions).unwrap().into_iter().map(count).collect()
    }

    #[test]
    fn a_batch_is_one_message_unless_it_is_too_large() {
        assert_eq!(carried(actions(100, "x")), [100]);
        assert_eq!(carried(actions(101, "x")), [1, 100]);
        assert_eq!(carried(actions(100, &"x".repeat(8_000))), [39, 61]);
        assert!(carried(Vec::new()).is_empty());
    }

    #[test]
    fn a_single_action_always_fits() {
        for description in ["ü".repeat(600_000), "\u{ffff}".repeat(600_000), "\u{1}".repeat(1_000_000)] {
            assert_eq!(carried(actions(2, &description)), [2]);
        }
        let mut many = actions(1, "");
        let properties = (0..500).map(|index| (format!("property_{index}"), Value::from("\u{1}".repeat(65_536))));
        many[0].record.as_mut().unwrap().properties = properties.collect();
        assert_eq!(carried(many), [1]);
    }
}
