//! The calculated properties of a lane, and how far their values have been compared.

use serde::{Deserialize, Serialize};

use super::lane::Sweep;
use crate::time::DateTime;

/// The calculated properties that are read of an object type, and the comparison of their values with what was published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CalculatedProperties {
    /// Their names, in order.
    pub names: Vec<String>,
    /// When the names were taken from the list of definitions, by Lambda's clock. Absent if the list was never read.
    pub learned_at: Option<DateTime>,
    /// Compares the values of all records with what was published, at intervals of its own. The cursor is the last
    /// record's id.
    pub comparison: Sweep,
}
