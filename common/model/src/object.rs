//! The object types that are synced, with HubSpot's names for each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of HubSpot's CRM object types. In the sync, a lane of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectType {
    /// HubSpot's companies (`0-2`).
    Companies,
    /// HubSpot's contacts (`0-1`).
    Contacts,
}

impl ObjectType {
    /// Every object type that is synced.
    pub const ALL: [Self; 2] = [Self::Companies, Self::Contacts];

    /// Returns the name in HubSpot's paths and in messages, which is also the name of the current-state collection.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Companies => "companies",
            Self::Contacts => "contacts",
        }
    }

    /// Returns the property that holds the modification time. HubSpot's search also accepts the other type's name, but
    /// returns zero rows and no error (airbytehq/airbyte#85019).
    pub const fn modified_property(self) -> &'static str {
        match self {
            Self::Companies => "hs_lastmodifieddate",
            Self::Contacts => "lastmodifieddate",
        }
    }

    /// Returns the properties that are requested if no more are configured.
    pub const fn default_properties(self) -> &'static [&'static str] {
        match self {
            Self::Companies => &[
                "name",
                "domain",
                "country",
                "industry",
                "description",
                "annualrevenue",
                "numberofemployees",
                "hs_lead_status",
            ],
            Self::Contacts => &[
                "firstname",
                "lastname",
                "jobtitle",
                "email",
                "hubspotscore",
                "hs_lead_status",
                "hs_analytics_source",
                "hs_latest_source",
            ],
        }
    }

    /// Returns the default properties, followed by `more`, without duplicates.
    pub fn properties(self, more: Vec<String>) -> Vec<String> {
        let mut names: Vec<String> = self.default_properties().iter().map(|name| (*name).to_owned()).collect();
        for name in more {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
