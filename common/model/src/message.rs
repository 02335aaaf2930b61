//! The messages on the two queues: small, with a version in the tag.

use serde::{Deserialize, Serialize};

use crate::{
    account::AccountKey,
    action::Action,
    ids::{DomainId, HubId},
    reference::{ReferenceBatch, ReferenceChange, Source},
    time::{DateTime, rfc3339},
};

/// Encodes a message as JSON that SQS accepts.
///
/// SQS accepts only the characters of XML 1.0 ("SendMessage", docs.aws.amazon.com). JSON escapes all of the others but
/// two. Those two can only be inside texts, and are escaped here.
///
/// # Errors
/// The message cannot be written as JSON.
pub fn encode(message: &impl Serialize) -> serde_json::Result<String> {
    const FORBIDDEN_CHARACTERS: [(char, &str); 2] = [('\u{fffe}', "\\ufffe"), ('\u{ffff}', "\\uffff")];
    let mut text = serde_json::to_string(message)?;
    for (char, escape) in FORBIDDEN_CHARACTERS {
        if text.contains(char) {
            text = text.replace(char, escape);
        }
    }
    Ok(text)
}

/// A message on the sync queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum SyncMessage {
    /// Requests one slice of one account.
    #[serde(rename = "sync.v1")]
    V1(SyncRequest),
}

/// A request to sync one account: a tick of the schedule, a webhook, or a continuation of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncRequest {
    /// Which account.
    #[serde(flatten)]
    pub account: AccountKey,
    /// The tick of the schedule that caused this request.
    #[serde(with = "crate::time::rfc3339")]
    pub tick: DateTime,
    /// The run to continue. Absent on a tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Continuation>,
    /// The number of consecutive slices without progress before this one. The delay grows with it.
    #[serde(default)]
    pub attempt: u32,
    /// The webhook's content. Absent on a tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notified: Option<Notified>,
}

impl SyncRequest {
    /// Returns the request of a tick.
    pub fn tick(account: AccountKey, tick: DateTime) -> Self {
        Self { account, tick, run: None, attempt: 0, notified: None }
    }

    /// Returns the request of a sender that has a reason to sync the account now.
    pub fn notified(account: AccountKey, webhook: Notified) -> Self {
        Self { notified: Some(webhook), ..Self::tick(account, DateTime::now()) }
    }
}

/// HubSpot's webhook about an account, which is then synced at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Notified {
    /// Records were created or modified.
    Changes,
    /// Records were also deleted. The next run reads the recycle bin.
    Deletions,
}

/// The next slice of a run. In a message it is written `"run": "<id>/<slice>"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Continuation {
    /// The run's id.
    pub run: String,
    /// The number of the next slice, from 1. A second delivery of a finished slice ends at once.
    pub slice: i64,
}

impl From<Continuation> for String {
    fn from(due: Continuation) -> Self {
        format!("{}/{}", due.run, due.slice)
    }
}

impl TryFrom<String> for Continuation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text.rsplit_once('/').and_then(|(run, slice)| Some((run, slice.parse().ok()?)));
        match parsed {
            Some((run, slice)) if !run.is_empty() => Ok(Self { run: run.to_owned(), slice }),
            _ => Err(format!("{text:?} names no slice of a run")),
        }
    }
}

/// A message on the actions queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", try_from = "FlatMessage")]
pub enum ActionsMessage {
    /// The actions of one batch.
    #[serde(rename = "actions.v1")]
    V1(ActionBatch),
    /// Changes of reference data.
    #[serde(rename = "references.v1")]
    References(ReferenceBatch),
}

/// Up to [`MAX_ACTIONS`] actions of one account.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionBatch {
    /// The account of the actions.
    #[serde(flatten)]
    pub account: AccountKey,
    /// The actions, in the order of their records.
    pub actions: Vec<Action>,
}

impl ActionBatch {
    /// Returns the message of actions that are already encoded by [`encode`].
    ///
    /// # Errors
    /// The message cannot be written as JSON.
    pub fn encode<'a>(account: &AccountKey, actions: impl Iterator<Item = &'a str>) -> serde_json::Result<String> {
        let empty = encode(&ActionsMessage::V1(Self { account: account.clone(), actions: Vec::new() }))?;
        let around = empty.strip_suffix("]}").unwrap_or_default();
        let actions: Vec<&str> = actions.collect();
        Ok(format!("{around}{}]}}", actions.join(",")))
    }
}

impl ReferenceBatch {
    /// Returns the message of changes that are already encoded by [`encode`].
    ///
    /// # Errors
    /// The message cannot be written as JSON.
    pub fn encode<'a>(&self, items: impl Iterator<Item = &'a str>) -> serde_json::Result<String> {
        let empty = encode(&ActionsMessage::References(Self { items: Vec::new(), ..self.clone() }))?;
        let around = empty.strip_suffix("]}").unwrap_or_default();
        let items: Vec<&str> = items.collect();
        Ok(format!("{around}{}]}}", items.join(",")))
    }
}

/// An [`ActionsMessage`] that serde reads directly. For a tagged or flattened type serde first collects every value, which
/// took a tenth of the drain's time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FlatMessage {
    #[serde(rename = "type")]
    kind: ActionsKind,
    domain_id: DomainId,
    hub_id: HubId,
    actions: Option<Vec<Action>>,
    source: Option<Source>,
    #[serde(default, with = "rfc3339::option")]
    read_at: Option<DateTime>,
    items: Option<Vec<ReferenceChange>>,
}

#[derive(Deserialize)]
enum ActionsKind {
    #[serde(rename = "actions.v1")]
    V1,
    #[serde(rename = "references.v1")]
    References,
}

impl TryFrom<FlatMessage> for ActionsMessage {
    type Error = &'static str;

    fn try_from(flat: FlatMessage) -> Result<Self, Self::Error> {
        let account = AccountKey { domain_id: flat.domain_id, hub_id: flat.hub_id };
        match flat.kind {
            ActionsKind::V1 => {
                let actions = flat.actions.ok_or("a message of actions has none")?;
                Ok(Self::V1(ActionBatch { account, actions }))
            }
            ActionsKind::References => {
                let parts = flat.source.zip(flat.read_at).zip(flat.items);
                let ((source, read_at), items) = parts.ok_or("a message of reference data is not complete")?;
                Ok(Self::References(ReferenceBatch { account, source, read_at, items }))
            }
        }
    }
}

/// The most actions in one message.
pub const MAX_ACTIONS: usize = 100;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{action::ActionKind, object::ObjectType};

    #[test]
    fn a_tick_is_read_as_the_design_writes_it() {
        let text =
            json!({"type": "sync.v1", "domainId": "d", "hubId": "7", "tick": "2026-11-24T08:00:00Z", "attempt": 0});
        let SyncMessage::V1(request) = serde_json::from_value(text).unwrap();
        assert_eq!(request.run, None);
        assert_eq!(request.account.to_string(), "d:7");
    }

    #[test]
    fn a_continuation_survives_the_queue() {
        let message = SyncMessage::V1(SyncRequest {
            account: AccountKey::new("d", 7).unwrap(),
            tick: DateTime::from_millis(0),
            run: Some(Continuation { run: "r".to_owned(), slice: 3 }),
            attempt: 2,
            notified: None,
        });
        let text = serde_json::to_string(&message).unwrap();
        assert!(text.contains(r#""run":"r/3""#), "{text}");
        assert_eq!(serde_json::from_str::<SyncMessage>(&text).unwrap(), message);
    }

    #[test]
    fn a_batch_of_actions_survives_the_queue() {
        let account = AccountKey::new("d", 7).unwrap();
        let message = ActionsMessage::V1(ActionBatch { account, actions: vec![] });
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(text, r#"{"type":"actions.v1","domainId":"d","hubId":"7","actions":[]}"#);
        assert_eq!(serde_json::from_str::<ActionsMessage>(&text).unwrap(), message);
    }

    #[test]
    fn changes_of_reference_data_survive_the_queue() {
        let (account, read_at) = (AccountKey::new("d", 7).unwrap(), DateTime::from_millis(1_000));
        let gone = ReferenceChange {
            id: "amount".to_owned(),
            revision: 3,
            digest: String::new(),
            action: Some(ActionKind::Deleted),
            definition: None,
        };
        let listed = ReferenceChange {
            action: None,
            definition: json!({"label": "Amount"}).as_object().cloned(),
            ..gone.clone()
        };
        let source = Source::Schemas(ObjectType::CONTACTS);
        let batch = ReferenceBatch { account, source, read_at, items: vec![gone, listed] };
        let items: Vec<String> = batch.items.iter().map(|item| encode(item).unwrap()).collect();
        let text = batch.encode(items.iter().map(String::as_str)).unwrap();
        let message = ActionsMessage::References(batch);
        assert_eq!(text, encode(&message).unwrap());
        assert!(
            text.starts_with(r#"{"type":"references.v1","domainId":"d","hubId":"7","source":"schemas:contacts""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<ActionsMessage>(&text).unwrap(), message);
        let part = json!({"type": "references.v1", "domainId": "d", "hubId": "7", "source": "owners", "items": []});
        assert!(serde_json::from_value::<ActionsMessage>(part).is_err());
    }

    #[test]
    fn every_character_survives_the_queue() {
        let text: String = (0..=0x10FFFF_u32).filter_map(char::from_u32).collect();
        let encoded = encode(&text).unwrap();
        let is_taken = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}');
        assert!(encoded.chars().all(is_taken));
        assert_eq!(serde_json::from_str::<String>(&encoded).unwrap(), text);
    }

    #[test]
    fn an_unknown_version_is_an_error() {
        let text = json!({"type": "sync.v2", "domainId": "d", "hubId": "7", "tick": "2026-11-24T08:00:00Z"});
        assert!(serde_json::from_value::<SyncMessage>(text).is_err());
        let text = json!({"type": "actions.v2", "domainId": "d", "hubId": "7", "actions": []});
        assert!(serde_json::from_value::<ActionsMessage>(text).is_err());
        let text = json!({"type": "actions.v1", "domainId": "d", "hubId": "7"});
        assert!(serde_json::from_value::<ActionsMessage>(text).is_err());
        assert!(Continuation::try_from("r".to_owned()).is_err());
        assert!(Continuation::try_from("/1".to_owned()).is_err());
    }
}
