//! A property of an object type.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The definition of a property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// The type of its values: `string`, `number`, `date`, `datetime`, `bool` or `enumeration`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How HubSpot's forms show it, such as `text` or `select`.
    pub field_type: String,
    /// The values of an enumeration, with their names for people.
    pub options: Vec<(String, String)>,
    /// True if HubSpot calculates it. Its changes do not move the modification time.
    pub calculated: bool,
}

impl Default for Property {
    fn default() -> Self {
        Self::new("", "string")
    }
}

impl Property {
    /// Returns a property of that type, with its name as the label.
    pub fn new(name: &str, kind: &str) -> Self {
        let field_type = if kind == "enumeration" { "select" } else { "text" };
        Self {
            name: name.to_owned(),
            label: name.to_owned(),
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            options: Vec::new(),
            calculated: false,
        }
    }

    /// Returns the property with these values, as an enumeration.
    #[must_use]
    pub fn with_options(self, options: &[(&str, &str)]) -> Self {
        let options = options.iter().map(|(value, label)| ((*value).to_owned(), (*label).to_owned())).collect();
        Self { kind: "enumeration".to_owned(), field_type: "select".to_owned(), options, ..self }
    }

    /// Returns the property as one that HubSpot calculates.
    #[must_use]
    pub fn calculated(self) -> Self {
        Self { calculated: true, ..self }
    }

    pub(crate) fn to_json(&self) -> Value {
        let option = |(index, (value, label)): (usize, &(String, String))| json!({"value": value, "label": label, "displayOrder": index, "hidden": false});
        let options: Vec<Value> = self.options.iter().enumerate().map(option).collect();
        json!({
            "name": self.name, "label": self.label, "type": self.kind, "fieldType": self.field_type,
            "groupName": "all", "description": "", "options": options, "calculated": self.calculated,
        })
    }
}
