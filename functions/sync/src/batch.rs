//! Handing on the rows of a page: what is new is turned into actions, queued and remembered, in batches of up
//! to 100. The order of effects is send, remember, and then (by the caller) checkpoint: a crash between any
//! two repeats the batch, and changes nothing that is stored.

use std::{collections::HashMap, time::Duration};

use common::{
    account::AccountKey,
    action::Action,
    hubspot::{Record, Row},
    ids::RecordId,
    message::{ActionBatch, ActionsMessage, MAX_ACTIONS},
    object::ObjectType,
    queue::{MAX_MESSAGE_BYTES, QueueError},
    time::DateTime,
};
use serde_json::{Map, Value};

use crate::{build, error::SliceError, slice::Slice};

/// How many rows are handed on, and checkpointed, at once.
pub(crate) const BATCH: usize = MAX_ACTIONS;

/// The longest text that is kept where a single action would not fit into a message.
const SHORTENED: usize = 8_000;

/// What is known of a page's rows before they are handed on.
#[derive(Debug)]
pub(crate) struct Known {
    seen: HashMap<String, DateTime>,
    companies: HashMap<String, Vec<RecordId>>,
}

/// Looks up which rows of a page were handed on before, and the companies of the contacts that were not.
pub(crate) async fn look_up(slice: &Slice<'_>, object: ObjectType, rows: &[Row]) -> Result<Known, SliceError> {
    let records = || rows.iter().filter_map(|row| row.record.as_ref().ok());
    if records().next().is_none() {
        return Ok(Known { seen: HashMap::new(), companies: HashMap::new() });
    }
    let ids = records().map(|record| &record.id);
    let mut known = Known { seen: slice.store().seen(slice.account(), object, ids).await?, companies: HashMap::new() };
    if object == ObjectType::Contacts {
        let changed: Vec<RecordId> =
            records().filter(|record| known.is_new(record)).map(|record| record.id.clone()).collect();
        known.companies = slice.session.companies_of(&changed).await?;
    }
    Ok(known)
}

impl Known {
    /// Looks up once more which of the rows were handed on.
    pub(crate) async fn look_again(
        &mut self,
        slice: &Slice<'_>,
        object: ObjectType,
        rows: &[Row],
    ) -> Result<(), SliceError> {
        let ids = rows.iter().filter_map(|row| row.record.as_ref().ok()).map(|record| &record.id);
        self.seen = slice.store().seen(slice.account(), object, ids).await?;
        Ok(())
    }

    fn is_new(&self, record: &Record) -> bool {
        self.seen.get(record.id.as_str()).is_none_or(|at| *at < record.modified_at)
    }

    fn is_first(&self, record: &Record, taken_over_from: Option<DateTime>) -> bool {
        // What existed before the account was taken over was announced by whoever pulled it then.
        let announced = taken_over_from.is_some_and(|start| record.created_at < start);
        !announced && !self.seen.contains_key(record.id.as_str())
    }
}

/// Hands on one batch of rows.
pub(crate) async fn hand_on(
    slice: &Slice<'_>,
    object: ObjectType,
    taken_over_from: Option<DateTime>,
    rows: Vec<Row>,
    known: &mut Known,
) -> Result<(), SliceError> {
    let mut actions = Vec::with_capacity(rows.len());
    slice.tally.rows(rows.len());
    for row in rows {
        match row.record {
            Ok(record) if known.is_new(&record) => {
                let companies = known.companies.remove(record.id.as_str()).unwrap_or_default();
                let created = known.is_first(&record, taken_over_from);
                actions.push(build::action(object, record, companies, created));
            }
            Ok(_) => {}
            Err(reason) => {
                slice.tally.unreadable();
                tracing::warn!(
                    object = object.as_str(),
                    record.id = row.id,
                    reason,
                    "a record cannot be read and is left out"
                );
            }
        }
    }
    if actions.is_empty() {
        return Ok(());
    }
    let handed_on: Vec<(RecordId, DateTime)> =
        actions.iter().map(|action| (action.record_id.clone(), action.record_updated_at)).collect();
    for message in messages(slice.account(), actions)? {
        slice.actions_queue().send_text(message, &slice.account().to_string(), Duration::ZERO).await?;
    }
    slice.store().mark_seen(slice.account(), object, handed_on.iter().map(|(id, at)| (id, *at))).await?;
    slice.tally.actions(handed_on.len());
    Ok(())
}

/// The messages that carry the actions: one, unless they are too large for that.
fn messages(account: &AccountKey, mut actions: Vec<Action>) -> Result<Vec<String>, QueueError> {
    let batch = ActionBatch { account: account.clone(), actions: std::mem::take(&mut actions) };
    let message = ActionsMessage::V1(batch);
    let text = serde_json::to_string(&message)?;
    if text.len() <= MAX_MESSAGE_BYTES {
        return Ok(vec![text]);
    }
    let ActionsMessage::V1(ActionBatch { mut actions, .. }) = message;
    if actions.len() > 1 {
        let rest = actions.split_off(actions.len() / 2);
        let mut all = messages(account, actions)?;
        all.extend(messages(account, rest)?);
        return Ok(all);
    }
    actions.iter_mut().for_each(shorten);
    Ok(vec![serde_json::to_string(&ActionsMessage::V1(ActionBatch { account: account.clone(), actions }))?])
}

/// Shortens the longest texts of an action that is larger than a message may be.
fn shorten(action: &mut Action) {
    tracing::warn!(record.id = %action.record_id, "a record is too large for a message; its longest texts are shortened");
    let shorten = |properties: &mut Map<String, Value>| {
        for value in properties.values_mut() {
            if let Value::String(text) = value
                && text.len() > SHORTENED
            {
                text.truncate(text.floor_char_boundary(SHORTENED));
            }
        }
    };
    shorten(&mut action.user_properties);
    shorten(&mut action.company_properties);
    if let Some(record) = &mut action.record {
        shorten(&mut record.properties);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn actions(count: usize, description: &str) -> Vec<Action> {
        let record = |id: usize| Record {
            id: RecordId::try_from(id.to_string()).unwrap(),
            created_at: DateTime::from_millis(1),
            modified_at: DateTime::from_millis(2),
            properties: json!({"description": description}).as_object().unwrap().clone(),
        };
        (0..count).map(|id| build::action(ObjectType::Companies, record(id), vec![], true)).collect()
    }

    fn read(messages: &[String]) -> Vec<usize> {
        let count = |text: &String| {
            assert!(text.len() <= MAX_MESSAGE_BYTES);
            let ActionsMessage::V1(batch) = serde_json::from_str(text).unwrap();
            batch.actions.len()
        };
        messages.iter().map(count).collect()
    }

    #[test]
    fn a_batch_is_one_message_unless_it_is_too_large() {
        let account: AccountKey = serde_json::from_value(json!({"domainId": "d", "hubId": "7"})).unwrap();
        assert_eq!(read(&messages(&account, actions(100, "x")).unwrap()), [100]);
        assert_eq!(read(&messages(&account, actions(100, &"x".repeat(8_000))).unwrap()), [50, 50]);
        assert_eq!(read(&messages(&account, actions(2, &"ü".repeat(600_000))).unwrap()), [1, 1]);
    }
}
