//! Calculated properties: HubSpot computes their values, and a new value does not move a record's modification time
//! (`docs/decisions/0027-calculated-properties-are-read-nightly.md`).

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Returns a digest of the values of these properties: the first 16 hexadecimal digits of a SHA-256. It is empty if the
/// record has none of them.
pub fn digest(properties: &Map<String, Value>, names: &[String]) -> String {
    let mut hash = Sha256::new();
    let mut is_empty = true;
    for name in names {
        let Some(value) = properties.get(name) else { continue };
        let value = value.to_string();
        hash.update(format!("{name}:{}:{value}\n", value.len()));
        is_empty = false;
    }
    if is_empty {
        return String::new();
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_digest_depends_on_the_values_of_the_named_properties_alone() {
        let names = ["margin", "score"].map(str::to_owned);
        let of = |properties: Value| digest(properties.as_object().unwrap(), &names);
        let both = of(json!({"margin": "4", "score": "7", "name": "a"}));
        assert_eq!(both.len(), 16);
        assert_eq!(both, of(json!({"score": "7", "name": "b", "margin": "4"})));
        let others = [json!({"margin": "7", "score": "4"}), json!({"margin": "4"}), json!({"score": "4"}), json!({})];
        assert!(others.into_iter().all(|other| of(other) != both));
        assert_eq!(of(json!({"name": "a"})), "");
    }
}
