//! Builds the action that the product reads from a HubSpot record. Pure. It accepts any record.

use hubspot::Record;
use model::{
    action::{Action, ActionName, RecordState},
    association::Association,
    ids::RecordId,
    object::ObjectType,
    score::{ContactScore, number},
    time::DateTime,
};
use serde_json::{Map, Value};

/// Returns the action for a change of a record. `created` is true for the record's first action. `associations` are the
/// record's associations, a contact's primary company first, and when they were read. `None` if they are not known. `score`
/// says what a contact's score is.
pub(crate) fn action(
    object: ObjectType,
    record: Record,
    associations: Option<(Vec<Association>, DateTime)>,
    created: bool,
    score: &ContactScore,
) -> Action {
    let is_contact = object == ObjectType::CONTACTS;
    let (associations, associations_at) = associations.filter(|_| !object.spec().associations.is_empty()).unzip();
    let companies = associations.iter().flatten().filter(|to| is_contact && to.to == ObjectType::COMPANIES);
    let companies: Vec<RecordId> = companies.map(|company| company.id.clone()).collect();
    let (action_name, action_date) = match created {
        true => (ActionName::created(object), record.created_at),
        false => (ActionName::updated(object), record.modified_at),
    };
    let Fields { identity, user_properties, company_properties, properties } =
        Fields::of(object, &record, companies.first(), score);
    Action {
        object,
        action_name,
        action_date,
        record_updated_at: record.modified_at,
        include_in_analytics: 0,
        identity,
        user_properties,
        company_properties,
        properties,
        record_id: record.id,
        merged_into: None,
        associations_digest: None,
        properties_at: None,
        record: Some(RecordState {
            created_at: record.created_at,
            properties: record.properties,
            company_ids: companies,
            companies_unknown: is_contact && associations.is_none(),
            associations,
            associations_at,
            properties_at: None,
        }),
    }
}

/// Returns the action for a record that was deleted at `at`, with what the recycle bin still has of it.
pub(crate) fn deleted(object: ObjectType, record: Record, at: DateTime, score: &ContactScore) -> Action {
    let Fields { identity, user_properties, company_properties, properties } = Fields::of(object, &record, None, score);
    let deleted = gone(object, record.id, at);
    Action { identity, user_properties, company_properties, properties, ..deleted }
}

/// Returns the action for a record that was merged into another. The merge was first seen `at`.
pub(crate) fn merged(object: ObjectType, record_id: RecordId, into: RecordId, at: DateTime) -> Action {
    Action { merged_into: Some(into), ..gone(object, record_id, at) }
}

/// Returns the action for a record that was deleted at `at`, with its id alone.
fn gone(object: ObjectType, record_id: RecordId, at: DateTime) -> Action {
    Action {
        object,
        record_id,
        action_name: ActionName::deleted(object),
        action_date: at,
        record_updated_at: at,
        include_in_analytics: 0,
        identity: None,
        user_properties: Map::new(),
        company_properties: Map::new(),
        properties: Map::new(),
        merged_into: None,
        associations_digest: None,
        properties_at: None,
        record: None,
    }
}

/// What an action has of its record.
#[derive(Default)]
struct Fields {
    identity: Option<String>,
    user_properties: Map<String, Value>,
    company_properties: Map<String, Value>,
    properties: Map<String, Value>,
}

impl Fields {
    /// Returns the fields under the product's names for contacts and companies, and under HubSpot's names for everything
    /// else. `company` is a contact's primary company.
    fn of(object: ObjectType, record: &Record, company: Option<&RecordId>, score: &ContactScore) -> Self {
        match object {
            ObjectType::CONTACTS => Self {
                identity: text(record, "email").map(str::to_owned),
                user_properties: user_properties(record, company, score),
                ..Self::default()
            },
            ObjectType::COMPANIES => Self { company_properties: company_properties(record), ..Self::default() },
            _ => Self { properties: record.properties.clone(), ..Self::default() },
        }
    }
}

fn user_properties(record: &Record, company: Option<&RecordId>, score: &ContactScore) -> Map<String, Value> {
    let names: Vec<&str> = ["firstname", "lastname"].iter().filter_map(|name| text(record, name)).collect();
    let properties = [
        ("company_id", company.map(|id| Value::from(id.as_str()))),
        ("contact_name", (!names.is_empty()).then(|| Value::from(names.join(" ")))),
        ("contact_title", text(record, "jobtitle").map(Value::from)),
        ("contact_source", text(record, "hs_analytics_source").map(Value::from)),
        ("contact_status", text(record, "hs_lead_status").map(Value::from)),
        ("contact_score", score.of(&record.properties).map(Value::Number)),
    ];
    present(properties)
}

fn company_properties(record: &Record) -> Map<String, Value> {
    let property = |name| text(record, name).map(Value::from);
    let numeric = |name| number(&record.properties, name).map(Value::Number);
    let properties = [
        ("company_id", Some(Value::from(record.id.as_str()))),
        ("company_domain", property("domain")),
        ("company_industry", property("industry")),
        ("company_name", property("name")),
        ("company_country", property("country")),
        ("company_description", property("description")),
        ("company_annual_revenue", numeric("annualrevenue")),
        ("company_employees", numeric("numberofemployees")),
        ("company_lead_status", property("hs_lead_status")),
    ];
    present(properties)
}

fn present<const N: usize>(properties: [(&str, Option<Value>); N]) -> Map<String, Value> {
    properties.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Returns a property's text, trimmed. Returns `None` if it is absent or empty.
fn text<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    record.properties.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(properties: Value) -> Record {
        Record {
            id: RecordId::try_from("151".to_owned()).unwrap(),
            created_at: DateTime::from_millis(1000),
            modified_at: DateTime::from_millis(2000),
            archived_at: None,
            properties: properties.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn a_contact_becomes_the_documented_action() {
        let record =
            record(json!({"firstname": "Ana", "lastname": "Q", "jobtitle": "CTO", "email": "ana@firm.example",
            "hubspotscore": "17", "hs_lead_status": "NEW", "hs_analytics_source": "OFFLINE"}));
        let company = json!([{"to": "companies", "id": "51", "types": []}]);
        let companies = (serde_json::from_value(company).unwrap(), DateTime::from_millis(3000));
        let action = action(ObjectType::CONTACTS, record, Some(companies), true, &ContactScore::default());
        assert_eq!(action.action_name, ActionName::created(ObjectType::CONTACTS));
        assert_eq!(action.action_date, DateTime::from_millis(1000));
        assert_eq!(action.identity.as_deref(), Some("ana@firm.example"));
        let expected = json!({"company_id": "51", "contact_name": "Ana Q", "contact_title": "CTO",
            "contact_source": "OFFLINE", "contact_status": "NEW", "contact_score": 17});
        assert_eq!(Value::Object(action.user_properties), expected);
    }

    #[test]
    fn a_bare_contact_still_yields_its_action() {
        let bare = || record(json!({"hubspotscore": "n/a", "firstname": " "}));
        let action = |score: &ContactScore| action(ObjectType::CONTACTS, bare(), None, false, score);
        let named = action(&"my_score".parse().unwrap());
        assert_eq!(Value::Object(named.user_properties), json!({}));
        let action = action(&ContactScore::default());
        assert_eq!(action.action_name, ActionName::updated(ObjectType::CONTACTS));
        assert_eq!(action.action_date, DateTime::from_millis(2000));
        assert_eq!(action.identity, None);
        assert_eq!(Value::Object(action.user_properties), json!({"contact_score": 0}));
    }

    #[test]
    fn a_company_carries_numbers_only_where_they_are_numbers() {
        let record =
            record(json!({"name": "Ørsted & 東京", "annualrevenue": "1250000.5", "numberofemployees": "12;13"}));
        let action = action(ObjectType::COMPANIES, record, None, true, &ContactScore::default());
        let expected =
            json!({"company_id": "151", "company_name": "Ørsted & 東京", "company_annual_revenue": 1_250_000.5});
        assert_eq!(Value::Object(action.company_properties), expected);
        assert_eq!(action.identity, None);
    }
}
