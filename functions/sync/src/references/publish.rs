//! Publishes changes of reference data, in as few messages as possible.

use std::time::Duration;

use model::{
    message::{self, MAX_ACTIONS},
    reference::{ReferenceBatch, ReferenceChange, Source},
    time::DateTime,
};
use queue::{MAX_MESSAGE_BYTES, QueueError};
use serde_json::Value;

use crate::{context::SliceContext, error::SliceError};

/// How many bytes the changes in a message take at most. The rest of the message is smaller than the difference.
const MAX_ITEMS_BYTES: usize = MAX_MESSAGE_BYTES - 1_000;

/// The field of a definition that says that it has more parts than are stored.
const IS_CUT: &str = "isCut";

/// Sends changes of a list that was read at `read_at`.
///
/// # Errors
/// SQS failed.
pub(super) async fn publish(
    slice: &SliceContext<'_>,
    source: Source,
    read_at: DateTime,
    changes: Vec<ReferenceChange>,
) -> Result<(), SliceError> {
    let batch = ReferenceBatch { account: slice.account().clone(), source, read_at, items: Vec::new() };
    let group = slice.account().to_string();
    for items in packed(changes)? {
        let text = batch.encode(items.iter().map(String::as_str)).map_err(QueueError::from)?;
        slice.actions_queue().send_text(text, &group, Duration::ZERO).await?;
    }
    Ok(())
}

/// Returns the texts of changes, grouped into messages.
fn packed(changes: Vec<ReferenceChange>) -> Result<Vec<Vec<String>>, QueueError> {
    let (mut messages, mut size) = (Vec::<Vec<String>>::new(), 0);
    for change in changes {
        let text = encoded(change)?;
        match messages.last_mut() {
            Some(message) if message.len() < MAX_ACTIONS && size + text.len() < MAX_ITEMS_BYTES => {
                size += text.len() + 1;
                message.push(text);
            }
            _ => {
                size = text.len();
                messages.push(vec![text]);
            }
        }
    }
    Ok(messages)
}

/// Returns the text of a change. If it is too large for a message, its options or stages are cut.
fn encoded(mut change: ReferenceChange) -> Result<String, QueueError> {
    loop {
        let text = message::encode(&change)?;
        if text.len() <= MAX_ITEMS_BYTES {
            return Ok(text);
        }
        let Some(definition) = &mut change.definition else { return Ok(text) };
        let longest = definition.values_mut().filter_map(Value::as_array_mut).max_by_key(|parts| parts.len());
        match longest.filter(|parts| !parts.is_empty()) {
            Some(parts) => parts.truncate(parts.len() / 2),
            // Only a text can be that long, and no list of HubSpot's has one.
            None => definition.clear(),
        }
        tracing::warn!(item = change.id, "a definition is too large for a message; its options are cut");
        definition.insert(IS_CUT.to_owned(), true.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(options: usize) -> ReferenceChange {
        let option = |index: usize| json!({"value": format!("{index:050}"), "label": "\u{1}".repeat(50)});
        let definition = json!({"label": "A", "options": (0..options).map(option).collect::<Vec<_>>()});
        ReferenceChange {
            id: "a".to_owned(),
            revision: 1,
            digest: "0".to_owned(),
            action: None,
            definition: definition.as_object().cloned(),
        }
    }

    #[test]
    fn changes_are_as_few_messages_as_possible() {
        let count = |changes: Vec<ReferenceChange>| packed(changes).unwrap().iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(count(vec![change(1); 101]), [100, 1]);
        assert_eq!(count(vec![change(1000); 4]), [2, 2]);
        assert!(count(Vec::new()).is_empty());
    }

    #[test]
    fn a_definition_that_is_too_large_is_cut() {
        let text = packed(vec![change(10_000)]).unwrap().remove(0).remove(0);
        assert!(text.len() <= MAX_ITEMS_BYTES);
        let cut: ReferenceChange = serde_json::from_str(&text).unwrap();
        let definition = cut.definition.unwrap();
        assert_eq!(definition[IS_CUT], json!(true));
        assert_eq!(definition["options"].as_array().unwrap().len(), 2500);
    }
}
