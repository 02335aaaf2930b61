//! Reads what is stored by object type, without the types that are not known here: a later release may have stored them,
//! and this one may have taken over again. They stay stored, because each type is saved by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::object::ObjectType;

/// Reads a map by object type.
pub(super) fn map<'de, D, V>(deserializer: D) -> Result<BTreeMap<ObjectType, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let all = BTreeMap::<String, V>::deserialize(deserializer)?;
    Ok(all.into_iter().filter_map(|(name, value)| Some((ObjectType::parse(&name).ok()?, value))).collect())
}

/// Reads a list of object types.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ObjectType>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| ObjectType::parse(name).ok()).collect())
}

#[cfg(test)]
mod tests {
    use bson::{deserialize_from_document, doc};

    use super::super::Checkpoint;
    use super::*;

    #[test]
    fn types_of_a_later_release_are_skipped() {
        let stored = doc! {
            "objects": ["contacts", "moons"],
            "lanes": { "contacts": { "pageSize": 50 }, "moons": { "pageSize": 7 } },
            "kept": { "moons": {}, "contacts": { "undated": true } },
            "changedAt": { "moons": bson::DateTime::from_millis(1) },
        };
        let checkpoint: Checkpoint = deserialize_from_document(stored).unwrap();
        assert_eq!(checkpoint.objects, [ObjectType::CONTACTS]);
        assert_eq!(checkpoint.lanes.get(ObjectType::CONTACTS).page_size, Some(50));
        assert!(checkpoint.with_kept_state().lanes.get(ObjectType::CONTACTS).kept.undated);
    }
}
