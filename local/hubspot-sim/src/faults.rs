//! Faults on demand, for the next requests of some kind.

use serde::{Deserialize, Serialize};

/// A fault that waits for requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The requests concerned: those whose path and query contain this text.
    pub path: String,
    /// How many of these requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many requests the fault affects.
    #[serde(default = "once")]
    pub times: u32,
    /// The kind of fault.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// The kinds of faults.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FaultKind {
    /// Another response. The request has no effect.
    Answer {
        /// The status.
        status: u16,
        /// The body. HubSpot's error envelope for the status if absent.
        body: Option<String>,
        /// A `Retry-After` header, in seconds.
        retry_after: Option<u64>,
    },
    /// An error in HubSpot's envelope with any `Retry-After`: a date, or nonsense. The request has no effect.
    Later {
        /// The status.
        status: u16,
        /// The header.
        retry_after: String,
    },
    /// The right response, late.
    Delay {
        /// The delay in milliseconds.
        millis: u64,
    },
    /// The connection is closed without a response. The request has no effect.
    Reset,
    /// The right response, cut off in the middle.
    Cut,
    /// The right response, 64 bytes at a time.
    Drip {
        /// The milliseconds before each of these parts.
        millis: u64,
    },
    /// Endless white space instead of a response.
    Endless,
}

fn once() -> u32 {
    1
}

/// Returns the fault for a request to `path_and_query`, and counts it as used. Returns `None` if there is none.
pub(crate) fn take_fault(faults: &mut Vec<Fault>, path_and_query: &str) -> Option<FaultKind> {
    let fault = faults.iter_mut().find(|fault| path_and_query.contains(&fault.path))?;
    if fault.skip > 0 {
        fault.skip -= 1;
        return None;
    }
    fault.times -= 1;
    let kind = fault.kind.clone();
    faults.retain(|fault| fault.times > 0);
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_as_often_as_it_says() {
        let fault: Fault =
            serde_json::from_str(r#"{"path": "/search", "skip": 1, "times": 2, "kind": "answer", "status": 500}"#)
                .unwrap();
        let mut faults = vec![fault];
        assert!(take_fault(&mut faults, "/oauth").is_none());
        let hits: Vec<bool> = (0..4).map(|_| take_fault(&mut faults, "/contacts/search").is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
        assert!(faults.is_empty());
    }
}
