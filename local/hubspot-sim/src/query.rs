//! The search's own language: filter groups, one sort rule, and pages by offset.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer};

use crate::{
    settings::IdOrder,
    world::{Object, Record, Version},
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

/// A sort rule: an object, or the property's name alone.
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

/// What a search compares a row by.
pub(crate) struct Row<'a> {
    pub(crate) object: Object,
    pub(crate) record: &'a Record,
    pub(crate) version: &'a Version,
    pub(crate) order: IdOrder,
}

impl Row<'_> {
    fn value(&self, property: &str) -> Option<String> {
        match property {
            "hs_object_id" => Some(self.record.id.to_string()),
            "createdate" => Some(self.record.created_at.to_string()),
            name if name == self.object.modified_property() => Some(self.version.modified_at.to_string()),
            name => self.version.properties.get(name).cloned(),
        }
    }

    fn compare(&self, property: &str, left: &str, right: &str) -> Ordering {
        if property == "hs_object_id" && self.order == IdOrder::Lexical {
            return left.cmp(right);
        }
        match (left.parse::<i128>(), right.parse::<i128>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            _ => left.to_lowercase().cmp(&right.to_lowercase()),
        }
    }

    /// Whether the row is in any of the groups.
    pub(crate) fn matches(&self, groups: &[Group]) -> bool {
        groups.is_empty() || groups.iter().any(|group| group.filters.iter().all(|filter| self.passes(filter)))
    }

    fn passes(&self, filter: &Filter) -> bool {
        let name = filter.property_name.as_str();
        let Some(value) = self.value(name) else {
            return matches!(filter.operator, Operator::NotHasProperty | Operator::NotIn | Operator::NotContainsToken);
        };
        let against = |other: &str| self.compare(name, &value, other);
        let contains = || value.to_lowercase().contains(&filter.value.trim_matches('*').to_lowercase());
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
    /// What is wrong with the query, in HubSpot's words where they are known.
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

    /// Sorts the rows as the query asks. `noise` moves rows of equal value, and, by up to `disorder`
    /// milliseconds, rows sorted by their modification time.
    pub(crate) fn sort(&self, rows: &mut [Row<'_>], disorder: i64, mut noise: impl FnMut() -> i64) {
        let (property, direction) = match self.sorts.first() {
            Some(Sort::Name(name)) => (name.as_str(), Direction::Ascending),
            Some(Sort::Rule { property_name, direction }) => (property_name.as_str(), *direction),
            None => ("createdate", Direction::Ascending),
        };
        if property == "hs_object_id" {
            rows.sort_by(|left, right| {
                left.compare(property, &left.record.id.to_string(), &right.record.id.to_string())
            });
        } else {
            let key = |row: &Row<'_>| row.value(property).unwrap_or_default();
            let mut keyed: Vec<(String, i64, usize)> = rows
                .iter()
                .enumerate()
                .map(|(index, row)| match (disorder > 0, row.version.modified_at) {
                    (true, at) if property == row.object.modified_property() => {
                        ((at + noise().rem_euclid(disorder)).to_string(), noise(), index)
                    }
                    _ => (key(row), noise(), index),
                })
                .collect();
            keyed.sort_by(|left, right| rows[left.2].compare(property, &left.0, &right.0).then(left.1.cmp(&right.1)));
            let mut place = vec![0; rows.len()];
            keyed.iter().enumerate().for_each(|(to, (_, _, from))| place[*from] = to);
            permute(rows, &mut place);
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
