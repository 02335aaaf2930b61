//! Associations: the links from one record to others, each with its types. A record may be linked to another by several
//! types at once, for example as its primary company and by a label of the customer's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ids::RecordId, object::ObjectType};

/// A link from a record to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// The other record's object type.
    pub to: ObjectType,
    /// The other record's id.
    pub id: RecordId,
    /// How the two are linked.
    pub types: Vec<AssociationType>,
}

/// One way in which two records are linked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssociationType {
    /// Who has defined the type: `HUBSPOT_DEFINED`, `USER_DEFINED`, `INTEGRATOR_DEFINED` or `WORK`.
    pub category: String,
    /// The type's id, which is unique within its category.
    pub type_id: i64,
    /// The type's label. Absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The type of the association to a contact's primary company, of category `HUBSPOT_DEFINED`.
const PRIMARY_COMPANY_TYPE_ID: i64 = 1;

impl Association {
    /// Returns true if this is the link to a contact's primary company.
    pub fn is_primary(&self) -> bool {
        self.types.iter().any(|kind| kind.category == "HUBSPOT_DEFINED" && kind.type_id == PRIMARY_COMPANY_TYPE_ID)
    }
}

/// Returns associations in an order that does not depend on HubSpot's: the primary company first, then by id. Links to
/// one record become one link with all of their types.
pub fn in_order(associations: impl IntoIterator<Item = Association>) -> Vec<Association> {
    let mut by_record = BTreeMap::<(ObjectType, usize, RecordId), Vec<AssociationType>>::new();
    for Association { to, id, types } in associations {
        by_record.entry((to, id.as_str().len(), id)).or_default().extend(types);
    }
    let in_order = by_record.into_iter().map(|((to, _, id), mut types)| {
        types.sort();
        types.dedup();
        Association { to, id, types }
    });
    let mut associations: Vec<Association> = in_order.collect();
    associations.sort_by_key(|association| !association.is_primary());
    associations
}

/// Returns a digest of associations in the order of [`in_order`]: the first 16 hexadecimal digits of a SHA-256.
pub fn digest(associations: &[Association]) -> String {
    let mut hash = Sha256::new();
    for Association { to, id, types } in associations {
        hash.update(format!("{to}:{id}\n"));
        for AssociationType { category, type_id, label } in types {
            let label = label.as_deref().unwrap_or_default();
            hash.update(format!("{category}:{type_id}:{}:{label}\n", label.len()));
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn associations(of: Value) -> Vec<Association> {
        in_order(serde_json::from_value::<Vec<Association>>(of).unwrap())
    }

    fn company(id: u64, types: Value) -> Value {
        json!({"to": "companies", "id": id.to_string(), "types": types})
    }

    #[test]
    fn the_primary_company_comes_first_and_each_once() {
        let primary = json!([{"category": "HUBSPOT_DEFINED", "typeId": 1, "label": "Primary"}]);
        let labelled = json!([{"category": "USER_DEFINED", "typeId": 1, "label": "Advisor"}]);
        let plain = json!([{"category": "HUBSPOT_DEFINED", "typeId": 279}]);
        let of = json!([company(10, plain.clone()), company(9, labelled), company(8, plain), company(8, primary)]);
        let of = associations(of);
        let ids: Vec<&str> = of.iter().map(|association| association.id.as_str()).collect();
        assert_eq!(ids, ["8", "9", "10"]);
        assert_eq!(of[0].types.len(), 2);
    }

    #[test]
    fn a_digest_depends_on_records_types_and_labels_alone() {
        let of = |id, label: Value| company(id, json!([{"category": "USER_DEFINED", "typeId": 5, "label": label}]));
        let digest = |of: Value| digest(&associations(of));
        let both = digest(json!([of(1, json!("a")), of(2, json!(null))]));
        assert_eq!(both.len(), 16);
        assert_eq!(both, digest(json!([of(2, json!(null)), of(1, json!("a"))])));
        for other in [json!([]), json!([of(1, json!("a"))]), json!([of(1, json!("b")), of(2, json!(null))])] {
            assert_ne!(both, digest(other));
        }
    }
}
