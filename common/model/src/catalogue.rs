//! What is known of each of HubSpot's object types: one row each. `docs/guide/objects.md` has the sources, and says how
//! a row is added.

mod rows;

pub use self::rows::CATALOGUE;
pub(crate) use self::rows::CUSTOM;

/// A row of the catalogue: everything that the service needs to know of an object type.
#[derive(Debug)]
pub struct ObjectSpec {
    /// The name in HubSpot's paths, in messages and in checkpoints.
    pub name: &'static str,
    /// HubSpot's id of the type (`0-3`), which webhooks name.
    pub type_id: &'static str,
    /// What one record is called in the names of actions (`Deal Created`).
    pub label: &'static str,
    /// What one record is called in subscriptions to webhooks and in their events (`deal.creation`). `None` if HubSpot
    /// has only generic subscriptions, in beta: then the schedule alone finds changes.
    pub webhooks: Option<&'static str>,
    /// The OAuth scopes to ask for. Sources differ on whether one of several is enough.
    pub scopes: &'static [&'static str],
    /// The property with the modification time, by which records are searched.
    pub modified_property: &'static str,
    /// The properties that are requested if no more are configured.
    pub default_properties: &'static [&'static str],
    /// True if records can be merged. The survivor then names the others.
    pub merges: bool,
    /// True if deleted records are listed with `archived=true`.
    pub has_recycle_bin: bool,
    /// The object types with which associations are read.
    pub associations: &'static [&'static str],
    /// True if records go through the stages of pipelines.
    pub has_pipelines: bool,
}

impl ObjectSpec {
    /// Returns true if records can be associated with others, whichever side the associations are read from.
    pub fn is_associated(&self) -> bool {
        !self.associations.is_empty() || CATALOGUE.iter().any(|row| row.associations.contains(&self.name))
    }
}

/// The scopes that every customer is asked for.
pub const REQUIRED_SCOPES: [&str; 3] = ["oauth", "crm.objects.contacts.read", "crm.objects.companies.read"];

/// The property of records that names their owner.
pub const OWNER_PROPERTY: &str = "hubspot_owner_id";

/// The scope for the list of owners.
pub const OWNERS_SCOPE: &str = "crm.objects.owners.read";

/// Returns the row of this name.
pub(crate) fn row(name: &str) -> Option<&'static ObjectSpec> {
    CATALOGUE.iter().find(|row| row.name == name)
}

/// Returns the row with this type id.
pub(crate) fn row_of_id(id: &str) -> Option<&'static ObjectSpec> {
    CATALOGUE.iter().find(|row| row.type_id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_told_apart_by_name_id_and_label() {
        let parts: [fn(&ObjectSpec) -> &str; 3] = [|row| row.name, |row| row.type_id, |row| row.label];
        for of in parts {
            assert_eq!(CATALOGUE.iter().map(of).collect::<BTreeSet<_>>().len(), CATALOGUE.len());
        }
    }
}
