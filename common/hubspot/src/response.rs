//! HubSpot's responses, and what all of them have in common.

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

/// A successful response.
pub(super) struct ApiResponse {
    /// HubSpot's time, from the `Date` header.
    pub(super) date: DateTime,
    /// How long the response took, from sending the request that succeeded.
    pub(super) took: Duration,
    pub(super) body: Vec<u8>,
    /// Counts the bodies that are not quite JSON.
    pub(super) tally: Arc<Tally>,
}

impl ApiResponse {
    /// Parses the body. Characters that no text can hold are replaced. If the body cannot be parsed, the error is
    /// `malformed` and quotes nothing of the body.
    pub(super) fn parse<T: DeserializeOwned>(&self, malformed: &str) -> Result<T, HubSpotError> {
        let (value, mended) = json::parse_leniently(&self.body)
            .map_err(|error| HubSpotError::Malformed(format!("{malformed} ({:?} error)", error.classify())))?;
        if mended {
            tracing::warn!("an answer of HubSpot's is not quite JSON; some characters are replaced");
            self.tally.mended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(value)
    }
}

/// How a list continues after this page.
#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    /// The next page, if there is one.
    pub(super) next: Option<Next>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Next {
    /// The cursor to request the next page with.
    #[serde(deserialize_with = "id")]
    pub(super) after: String,
}

/// Returns an id or cursor as text. HubSpot sends text in one place and a number in another, and its documents disagree
/// on which. Returns `None` for any other type.
pub(super) fn id_text(id: &Value) -> Option<String> {
    match id {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Deserializes an id or cursor by [`id_text`].
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    id_text(&Value::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("an id is neither text nor a number"))
}
