//! Which of a contact's properties becomes the `contact_score` of its actions.
//!
//! HubSpot retired its own property `hubspotscore` on 2025-08-31 (developers.hubspot.com/changelog, "Deprecation of HubSpot
//! score properties"): scores are in properties that each portal creates for itself since then.

use std::str::FromStr;

use serde_json::{Map, Number, Value};
use thiserror::Error;

/// The property whose number is the `contact_score`, and what holds for a contact without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactScore {
    property: String,
    /// True if the score of a contact without a number is zero. False if there is none then.
    is_zero_without: bool,
}

/// A text that is neither the name of a property, nor one followed by `:0`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is neither the internal name of a property nor one followed by :0")]
pub struct InvalidScore(String);

impl ContactScore {
    /// What is read if nothing else is chosen: `hubspotscore`, and zero without a number, as the product's actions always had
    /// it.
    pub const DEFAULT: &str = "hubspotscore:0";

    /// Returns the name of the property.
    pub fn property(&self) -> &str {
        &self.property
    }

    /// Returns the score of a contact with these properties. Returns `None` if it has none.
    pub fn of(&self, properties: &Map<String, Value>) -> Option<Number> {
        number(properties, &self.property).or_else(|| self.is_zero_without.then(|| Number::from(0)))
    }
}

impl FromStr for ContactScore {
    type Err = InvalidScore;

    /// Reads the name of a property: `my_score`. With `:0` after it, a contact without a number has the score zero.
    fn from_str(text: &str) -> Result<Self, InvalidScore> {
        let (property, is_zero_without) = match text.strip_suffix(":0") {
            Some(property) => (property, true),
            None => (text, false),
        };
        let is_name = !property.is_empty() && property.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(InvalidScore(text.to_owned()));
        }
        Ok(Self { property: property.to_owned(), is_zero_without })
    }
}

impl Default for ContactScore {
    fn default() -> Self {
        let (property, _) = Self::DEFAULT.split_once(':').unwrap_or_default();
        Self { property: property.to_owned(), is_zero_without: true }
    }
}

/// Returns a property's number. Returns `None` if it is not a number: HubSpot has been seen to hold `id;id` in a
/// number's place.
pub fn number(properties: &Map<String, Value>, name: &str) -> Option<Number> {
    let text = properties.get(name)?.as_str()?.trim();
    text.parse::<i64>().map(Number::from).ok().or_else(|| Number::from_f64(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(score: &str, properties: Value) -> Option<Number> {
        score.parse::<ContactScore>().unwrap().of(properties.as_object().unwrap())
    }

    #[test]
    fn default_is_the_old_property_with_the_old_zero() {
        assert_eq!(ContactScore::DEFAULT.parse(), Ok(ContactScore::default()));
        assert_eq!(ContactScore::default().of(&Map::new()), Some(Number::from(0)));
    }

    #[test]
    fn contact_without_a_number_has_no_score_unless_zero_is_asked_for() {
        assert_eq!(of("my_score", json!({"my_score": "17", "hubspotscore": "3"})), Some(Number::from(17)));
        assert_eq!(of("my_score", json!({"my_score": " 1.5 "})), Number::from_f64(1.5));
        for properties in [json!({}), json!({"my_score": null}), json!({"my_score": "1;2"}), json!({"my_score": ""})] {
            assert_eq!(of("my_score", properties.clone()), None);
            assert_eq!(of("my_score:0", properties), Some(Number::from(0)));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", ":0", "my score", "my_score:1", "my_score:", "my_score:0:0"] {
            assert_eq!(text.parse::<ContactScore>(), Err(InvalidScore(text.to_owned())));
        }
    }
}
