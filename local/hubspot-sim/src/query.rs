//! The query language of searches: filter groups, one sort rule, and pages by offset.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer};

use crate::{
    object::Object,
    settings::IdOrder,
    world::{Record, Version},
};

/// A search's body.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Query {
    #[serde(default)]
    pub(crate) filter_groups: Vec<Group>,
    #[serde(default)]
    pub(crate) sorts: Vec<Sort>,
    #[serde(default)]
    pub(crate) properties: Vec<String>,
    #[serde(default = "ten")]
    pub(crate) limit: usize,
    #[serde(default, deserialize_with = "offset")]
    pub(crate) after: usize,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Group {
    pub(crate) filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filter {
    property_name: String,
    operator: Operator,
    #[serde(default)]
    value: String,
    #[serde(default)]
    high_value: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operator {
    Eq,
    Neq,
    Lt,
    Lte,
    Gt,
    Gte,
    Between,
    In,
    NotIn,
    HasProperty,
    NotHasProperty,
    ContainsToken,
    NotContainsToken,
}

/// A sort rule: an object, or only the property's name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Sort {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Rule {
        property_name: String,
        #[serde(default)]
        direction: Direction,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Direction {
    #[default]
    Ascending,
    Descending,
}

fn ten() -> usize {
    10
}

/// An integer, as a number or as text.
fn offset<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Offset {
        Number(usize),
        Text(String),
    }
    match Offset::deserialize(deserializer)? {
        Offset::Number(number) => Ok(number),
        Offset::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

/// The parts of a row that a search compares.
pub(crate) struct Row<'a> {
    pub(crate) object: Object,
    pub(crate) record: &'a Record,
    pub(crate) version: &'a Version,
    pub(crate) order: IdOrder,
    /// True if it has a modification time.
    pub(crate) is_dated: bool,
}

/// A property's value.
enum Value<'a> {
    /// `hs_object_id`.
    Id(u64),
    /// A time, in milliseconds since the epoch.
    Time(i64),
    /// Anything else. Compared as a number if both sides are numbers.
    Text(&'a str),
}

impl Value<'_> {
    fn compare(&self, order: IdOrder, other: &str) -> Ordering {
        match self {
            Self::Id(id) if order == IdOrder::Lexical => id.to_string().as_str().cmp(other),
            Self::Id(id) => number(other).map_or(Ordering::Less, |other| i128::from(*id).cmp(&other)),
            Self::Time(time) => number(other).map_or(Ordering::Less, |other| i128::from(*time).cmp(&other)),
            Self::Text(text) => match (number(text), number(other)) {
                (Some(text), Some(other)) => text.cmp(&other),
                _ => text.to_lowercase().cmp(&other.to_lowercase()),
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Time(time) => time.to_string(),
            Self::Text(text) => (*text).to_owned(),
        }
    }
}

fn number(text: &str) -> Option<i128> {
    text.parse().ok()
}

impl<'a> Row<'a> {
    fn value(&self, property: &str) -> Option<Value<'a>> {
        match property {
            "hs_object_id" => Some(Value::Id(self.record.id)),
            name if name == self.object.created_property() => Some(Value::Time(self.record.created_at)),
            name if name == self.object.modified_property() => {
                self.is_dated.then_some(Value::Time(self.version.modified_at))
            }
            name => self.version.properties.get(name).map(|text| Value::Text(text)),
        }
    }

    fn passes(&self, filter: &Filter) -> bool {
        let Some(value) = self.value(&filter.property_name) else {
            return matches!(filter.operator, Operator::NotHasProperty | Operator::NotIn | Operator::NotContainsToken);
        };
        value.passes(filter, self.order)
    }

    /// Returns true if the row matches any of the groups.
    pub(crate) fn matches(&self, groups: &[Group]) -> bool {
        groups.is_empty() || groups.iter().any(|group| group.filters.iter().all(|filter| self.passes(filter)))
    }
}

impl Value<'_> {
    /// Returns true if the value passes the filter.
    fn passes(&self, filter: &Filter, order: IdOrder) -> bool {
        let against = |other: &str| self.compare(order, other);
        let contains = || self.text().to_lowercase().contains(&filter.value.trim_matches('*').to_lowercase());
        match filter.operator {
            Operator::Eq => against(&filter.value).is_eq(),
            Operator::Neq => against(&filter.value).is_ne(),
            Operator::Lt => against(&filter.value).is_lt(),
            Operator::Lte => against(&filter.value).is_le(),
            Operator::Gt => against(&filter.value).is_gt(),
            Operator::Gte => against(&filter.value).is_ge(),
            Operator::Between => against(&filter.value).is_ge() && against(&filter.high_value).is_le(),
            Operator::In => filter.values.iter().any(|other| against(other).is_eq()),
            Operator::NotIn => !filter.values.iter().any(|other| against(other).is_eq()),
            Operator::HasProperty => true,
            Operator::NotHasProperty => false,
            Operator::ContainsToken => contains(),
            Operator::NotContainsToken => !contains(),
        }
    }
}

impl Query {
    /// Returns the lowest id that can match, if ids are compared as numbers.
    pub(crate) fn first_id(&self) -> u64 {
        let [group] = &self.filter_groups[..] else { return 0 };
        let behind = |filter: &Filter| {
            let by_id = filter.property_name == "hs_object_id" && filter.operator == Operator::Gt;
            by_id.then(|| filter.value.parse().ok()).flatten()
        };
        group.filters.iter().filter_map(behind).max().unwrap_or(0)
    }

    /// Returns true if a record is counted of which only the modification time is known.
    pub(crate) fn counts(&self, object: Object, modified_at: i64) -> bool {
        let passes = |filter: &Filter| {
            let is_time = filter.property_name == object.modified_property();
            is_time && Value::Time(modified_at).passes(filter, IdOrder::Numeric)
        };
        let is_window =
            |group: &Group| group.filters.iter().filter(|filter| filter.property_name != "hs_object_id").all(passes);
        !self.filter_groups.is_empty() && self.filter_groups.iter().any(is_window)
    }

    /// Returns the status and message for an invalid query, in HubSpot's words if they are known. Returns `None` if the
    /// query is valid.
    pub(crate) fn problem(&self, length: usize) -> Option<(u16, String)> {
        let filters: usize = self.filter_groups.iter().map(|group| group.filters.len()).sum();
        let most = self.filter_groups.iter().map(|group| group.filters.len()).max().unwrap_or(0);
        let from_epoch = self.filter_groups.iter().flat_map(|group| &group.filters).any(|filter| {
            matches!(filter.operator, Operator::Gt | Operator::Gte)
                && filter.value == "0"
                && filter.property_name.ends_with("modifieddate")
        });
        if length > 3000 {
            Some((400, "The request body exceeds 3,000 characters".to_owned()))
        } else if self.filter_groups.len() > 5 || most > 6 || filters > 18 {
            Some((400, "Too many filters or filter groups".to_owned()))
        } else if self.sorts.len() > 1 {
            Some((400, "Only one sort is allowed".to_owned()))
        } else if self.limit > 200 {
            Some((400, format!("The limit {} is greater than the maximum of 200", self.limit)))
        } else if self.after + self.limit > 10_000 {
            Some((400, "The paging goes beyond the first 10,000 results".to_owned()))
        } else if from_epoch {
            Some((500, "internal error".to_owned()))
        } else {
            None
        }
    }

    /// Sorts the rows as the query asks. `noise` reorders rows of equal value, and, by up to `disorder` milliseconds,
    /// rows sorted by their modification time.
    pub(crate) fn sort(&self, rows: &mut [Row<'_>], disorder: i64, mut noise: impl FnMut() -> i64) {
        let (property, direction) = match self.sorts.first() {
            Some(Sort::Name(name)) => (name.as_str(), Direction::Ascending),
            Some(Sort::Rule { property_name, direction }) => (property_name.as_str(), *direction),
            None => (rows.first().map_or("createdate", |row| row.object.created_property()), Direction::Ascending),
        };
        match (property, rows.first().map(|row| row.order)) {
            // The records are stored in that order.
            ("hs_object_id", Some(IdOrder::Numeric)) => {}
            ("hs_object_id", _) => rows.sort_by_cached_key(|row| row.record.id.to_string()),
            _ => {
                let keyed = rows.iter().enumerate().map(|(index, row)| match row.value(property) {
                    Some(Value::Time(at)) if disorder > 0 && property == row.object.modified_property() => {
                        (Some(at + noise().rem_euclid(disorder)), String::new(), noise(), index)
                    }
                    Some(Value::Time(at)) => (Some(at), String::new(), noise(), index),
                    Some(Value::Text(text)) => (text.parse().ok(), text.to_lowercase(), noise(), index),
                    _ => (None, String::new(), noise(), index),
                });
                let mut keyed: Vec<(Option<i64>, String, i64, usize)> = keyed.collect();
                keyed.sort();
                let mut place = vec![0; rows.len()];
                keyed.iter().enumerate().for_each(|(to, (.., from))| place[*from] = to);
                permute(rows, &mut place);
            }
        }
        if direction == Direction::Descending {
            rows.reverse();
        }
    }
}

/// Moves each element to its place.
fn permute<T>(items: &mut [T], place: &mut [usize]) {
    for index in 0..items.len() {
        while place[index] != index {
            let to = place[index];
            items.swap(index, to);
            place.swap(index, to);
        }
    }
}
