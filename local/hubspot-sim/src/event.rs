//! An event of a webhook.

use serde_json::{Value, json};

/// An event that is still to be told.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) hub_id: u64,
    /// What HubSpot sends of it, but for the number of the attempt.
    pub(crate) told: Value,
}

impl Event {
    /// The event as the attempt of that number tells it, from 0 on.
    pub(crate) fn told(&self, attempt: u32) -> Value {
        let mut told = self.told.clone();
        told["attemptNumber"] = json!(attempt);
        told
    }
}
