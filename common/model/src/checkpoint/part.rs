//! The parts of a history that is read by ids: some by searches, the others by lists, side by side.

use serde::{Deserialize, Serialize};

use crate::time::DateTime;

/// What makes a window a part of a history. All of its parts have the same times, and are counted together in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// The raw id of the last row that can belong to the part. Absent if all rows after its start do.
    #[serde(default)]
    pub end_id: Option<String>,
    /// The rows that are counted in the end are those modified before this time, by HubSpot's clock. The search index had
    /// them when the reading began. The settled pass reads later ones once more.
    pub counted_to: DateTime,
    /// How many of those were read.
    #[serde(default)]
    pub countable: i64,
    /// True if all rows were read. The part then waits for the others.
    #[serde(default)]
    pub is_read: bool,
}

/// Whether a lane's history can be read by lists, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListDoor {
    /// The number of slices in a row in which a list failed, and might not fail again.
    pub failures: u32,
    /// Why no more lists are read. Absent if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
    /// True if searches are known to compare ids as numbers, as lists do. Before that, no history that was cut at ids is
    /// complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_numeric: bool,
    /// How often HubSpot failed to say how searches compare ids.
    pub order_failures: u32,
}

impl ListDoor {
    /// Returns true if nothing is known of the lists.
    pub(super) fn is_new(&self) -> bool {
        *self == Self::default()
    }
}
