//! An event of a webhook.

use serde_json::{Value, json};

/// An event that is still to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) hub_id: u64,
    /// The event's JSON, except for the number of the attempt.
    pub(crate) json: Value,
}

impl Event {
    /// Returns the event's JSON for the attempt of that number, from 0.
    pub(crate) fn to_json(&self, attempt: u32) -> Value {
        let mut event = self.json.clone();
        event["attemptNumber"] = json!(attempt);
        event
    }
}
