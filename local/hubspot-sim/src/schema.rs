//! The schema of a custom object.

use serde::{Deserialize, Serialize};

/// The names of a custom object for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// Of one record.
    pub singular: String,
    /// Of several records.
    pub plural: String,
}

/// The schema of a custom object.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    /// The name, which begins with a letter. Paths accept it only with the account's prefix.
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) created_at: i64,
}
