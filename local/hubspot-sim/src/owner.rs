//! A user to whom records are assigned, and a pipeline, whose stages records go through.

use serde::{Deserialize, Serialize};

/// A user of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The id, which `hubspot_owner_id` of a record names.
    pub id: u64,
    /// The address.
    pub email: String,
    /// The first name.
    pub first_name: String,
    /// The last name.
    pub last_name: String,
    /// True if the user left the account.
    pub archived: bool,
}

impl Owner {
    pub(crate) fn new(id: u64, email: &str, first_name: &str, last_name: &str) -> Self {
        let (email, first_name, last_name) = (email.to_owned(), first_name.to_owned(), last_name.to_owned());
        Self { id, email, first_name, last_name, archived: false }
    }
}

/// A pipeline of an object type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pipeline {
    /// The id, which a record's property of the pipeline has.
    pub id: String,
    /// The name for people.
    pub label: String,
    /// The ids and the names of its stages, in their order.
    pub stages: Vec<(String, String)>,
}

/// Returns the users of a new account.
pub(crate) fn first_owners() -> Vec<Owner> {
    vec![Owner::new(101, "ana@firm.example", "Ana", "Quintero"), Owner::new(102, "mei@firm.example", "Mei", "Chen")]
}
