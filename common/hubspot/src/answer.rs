//! HubSpot's answers, and what all of them have in common.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use model::time::DateTime;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Value;

use super::{HubSpotError, Tally, json};

/// An answer.
pub(super) struct Answer {
    /// HubSpot's time.
    pub(super) date: DateTime,
    /// How long it took, from sending the request that was answered.
    pub(super) took: Duration,
    pub(super) body: Vec<u8>,
    /// Counts the body if it is not quite JSON.
    pub(super) tally: Arc<Tally>,
}

impl Answer {
    /// Reads the body. Characters that no text can hold are replaced. If it cannot be read, the error says `malformed`, and
    /// quotes nothing of it.
    pub(super) fn read<T: DeserializeOwned>(&self, malformed: &str) -> Result<T, HubSpotError> {
        let (value, mended) = json::read(&self.body)
            .map_err(|error| HubSpotError::Malformed(format!("{malformed} ({:?} error)", error.classify())))?;
        if mended {
            tracing::warn!("an answer of HubSpot's is not quite JSON; some characters are replaced");
            self.tally.mended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(value)
    }
}

/// What a list says of the pages behind it.
#[derive(Deserialize)]
pub(super) struct Paging {
    /// The next page, if there is one.
    pub(super) next: Option<Next>,
}

#[derive(Deserialize)]
pub(super) struct Next {
    /// The cursor to ask for it with.
    #[serde(deserialize_with = "id")]
    pub(super) after: String,
}

/// Ids and cursors are text in one place and numbers in another, and the documents disagree on which.
pub(super) fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Serde for the same.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    id_text(&Value::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("an id is neither text nor a number"))
}
