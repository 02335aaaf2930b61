//! An event of a webhook.

use serde_json::{Value, json};

/// An event that is still to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) hub_id: u64,
    /// The event's JSON, except for the number of the attempt.
    pub(crate) told: Value,
}

impl Event {
    /// Returns the event's JSON for the attempt of that number, from 0.
    pub(crate) fn told(&self, attempt: u32) -> Value {
        let mut told = self.told.clone();
        told["attemptNumber"] = json!(attempt);
        told
    }
}
