//! Handing on the rows of a page: what is new is turned into actions, queued and remembered, in batches of up
//! to 100. The order of effects is remember what is begun with, see that the lease is still held, send, remember what was
//! handed on, and then (by the caller) checkpoint: a crash between any two repeats the batch, and changes nothing that
//! is stored.

use std::{collections::HashMap, time::Duration};

use common::{
    account::AccountKey,
    action::{Action, ActionName},
    checkpoint::Announced,
    hubspot::{Record, Row},
    ids::RecordId,
    message::{ActionBatch, ActionsMessage, MAX_ACTIONS},
    object::ObjectType,
    queue::{MAX_MESSAGE_BYTES, QueueError},
    store::Seen,
    time::DateTime,
};
use serde_json::{Map, Value};

use crate::{
    error::SliceError,
    known::{Known, News},
    slice::Slice,
};

/// How many rows are handed on, and checkpointed, at once.
pub(crate) const BATCH: usize = MAX_ACTIONS;

/// The longest text that is kept where a single action would not fit into a message.
const SHORTENED: usize = 8_000;

/// Looks up what was handed on of a page's records before, and the companies of the contacts that changed, and remembers
/// which of the records are begun with.
pub(crate) async fn look_up(
    slice: &Slice<'_>,
    object: ObjectType,
    taken_over_from: Option<DateTime>,
    rows: &[Row],
) -> Result<Known, SliceError> {
    let mut known = Known::new(object, taken_over_from, seen(slice, object, rows).await?);
    let begun = known.beginnings(records(rows));
    let companies = async {
        match object {
            ObjectType::Contacts => {
                let changed = records(rows).filter(|record| known.is_changed(record));
                let changed: Vec<RecordId> = changed.map(|record| record.id.clone()).collect();
                Ok(slice.session.companies_of(&changed).await?)
            }
            ObjectType::Companies => Ok(HashMap::new()),
        }
    };
    let (companies, ()) = tokio::try_join!(companies, begin(slice, object, &begun))?;
    known.learn_companies(companies);
    Ok(known)
}

/// Looks up once more what was handed on of them.
pub(crate) async fn look_again(
    slice: &Slice<'_>,
    object: ObjectType,
    rows: &[Row],
    known: &mut Known,
) -> Result<(), SliceError> {
    known.look_again(seen(slice, object, rows).await?);
    Ok(())
}

fn records(rows: &[Row]) -> impl Iterator<Item = &Record> {
    rows.iter().filter_map(|row| row.record.as_ref().ok())
}

async fn seen(slice: &Slice<'_>, object: ObjectType, rows: &[Row]) -> Result<HashMap<RecordId, Seen>, SliceError> {
    let mut ids: Vec<RecordId> = records(rows).map(|record| record.id.clone()).collect();
    ids.extend(records(rows).flat_map(Record::merged_ids));
    match ids.is_empty() {
        true => Ok(HashMap::new()),
        false => Ok(slice.store().seen(slice.account(), object, ids.iter()).await?),
    }
}

/// Hands on one batch of rows.
pub(crate) async fn hand_on(
    slice: &Slice<'_>,
    object: ObjectType,
    rows: Vec<Row>,
    known: &mut Known,
) -> Result<(), SliceError> {
    let mut news = News::default();
    slice.tally.rows(rows.len());
    for row in rows {
        match row.record {
            Ok(record) => known.take_in(record, &mut news),
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
    let News { actions, lost, told } = news;
    let announced = announced(&actions);
    begin(slice, object, &lost).await?;
    if !actions.is_empty() {
        for message in messages(slice.account(), actions)? {
            slice.actions_queue().send_text(message, &slice.account().to_string(), Duration::ZERO).await?;
        }
    }
    remember(slice, object, &told).await?;
    slice.tally.announce(announced);
    Ok(())
}

fn announced(actions: &[Action]) -> Announced {
    let mut announced = Announced::default();
    for action in actions {
        let count = match action.action_name {
            ActionName::CompanyCreated | ActionName::ContactCreated => &mut announced.created,
            ActionName::CompanyUpdated | ActionName::ContactUpdated => &mut announced.updated,
            ActionName::CompanyDeleted | ActionName::ContactDeleted => &mut announced.deleted,
        };
        *count += 1;
    }
    announced
}

/// Remembers what is about to be told, while the lease is held. Whoever takes the lease next looks up what is remembered
/// only then, and so knows of it; a slice that was stopped until its lease was gone, and found out nothing of what the
/// next one told in the meantime, ends here.
async fn begin(slice: &Slice<'_>, object: ObjectType, records: &[(RecordId, Seen)]) -> Result<(), SliceError> {
    if !records.is_empty() {
        remember(slice, object, records).await?;
        slice.store().ensure_held(slice.leased).await?;
    }
    Ok(())
}

async fn remember(slice: &Slice<'_>, object: ObjectType, records: &[(RecordId, Seen)]) -> Result<(), SliceError> {
    if !records.is_empty() {
        slice.store().mark_seen(slice.account(), object, records).await?;
    }
    Ok(())
}

/// The messages that carry the actions: one, unless they are too many or too large for that.
fn messages(account: &AccountKey, mut actions: Vec<Action>) -> Result<Vec<String>, QueueError> {
    let batch = ActionBatch { account: account.clone(), actions: std::mem::take(&mut actions) };
    let message = ActionsMessage::V1(batch);
    let text = serde_json::to_string(&message)?;
    let ActionsMessage::V1(ActionBatch { mut actions, .. }) = message;
    if text.len() <= MAX_MESSAGE_BYTES && actions.len() <= MAX_ACTIONS {
        return Ok(vec![text]);
    }
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
    use crate::build;

    fn actions(count: usize, description: &str) -> Vec<Action> {
        let record = |id: usize| Record {
            id: RecordId::try_from(id.to_string()).unwrap(),
            created_at: DateTime::from_millis(1),
            modified_at: DateTime::from_millis(2),
            archived_at: None,
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
        assert_eq!(read(&messages(&account, actions(130, "x")).unwrap()), [65, 65]);
        assert_eq!(read(&messages(&account, actions(100, &"x".repeat(8_000))).unwrap()), [50, 50]);
        assert_eq!(read(&messages(&account, actions(2, &"ü".repeat(600_000))).unwrap()), [1, 1]);
    }
}
