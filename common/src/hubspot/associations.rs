//! Associations: `POST /crm/associations/{version}/contacts/companies/batch/read`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    API_VERSION, HubSpotError, Session,
    answer::{Paging, id},
    session::Kind,
};
use crate::ids::RecordId;

/// The type of the association to a contact's primary company, of category `HUBSPOT_DEFINED`.
const PRIMARY: i64 = 1;

/// The most inputs that HubSpot takes in one call.
const MAX_INPUTS: usize = 1000;

#[derive(Serialize)]
struct Request<'a> {
    inputs: &'a [Input],
}

#[derive(Clone, Serialize)]
struct Input {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// A 200, or a 207 whose `errors` name the contacts without a company: those are simply not in `results`.
#[derive(Deserialize)]
struct Associations {
    results: Vec<Associated>,
    #[serde(default)]
    errors: Vec<Failure>,
}

/// Why some of the inputs have no result.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(default)]
    category: String,
    /// Text in the answers seen, an object in HubSpot's own types.
    #[serde(default)]
    sub_category: Value,
}

impl Failure {
    /// Whether it only says that there are no companies, or no such contact any more.
    fn means_none(&self) -> bool {
        self.category == "OBJECT_NOT_FOUND"
            || self.sub_category.as_str().is_some_and(|name| name.ends_with("NO_ASSOCIATIONS_FOUND"))
    }
}

#[derive(Deserialize)]
struct Associated {
    from: Object,
    #[serde(default)]
    to: Vec<Association>,
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(deserialize_with = "id")]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Association {
    #[serde(deserialize_with = "id")]
    to_object_id: String,
    #[serde(default)]
    association_types: Vec<AssociationType>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AssociationType {
    category: String,
    type_id: i64,
}

impl Session {
    /// The companies of each contact, the primary one first. A contact without companies is left out.
    ///
    /// # Errors
    /// See [`HubSpotError`]; failures that pass within a moment were tried again.
    #[tracing::instrument(level = "debug", skip_all, name = "associations", fields(contacts = contacts.len()))]
    pub async fn companies_of(&self, contacts: &[RecordId]) -> Result<HashMap<String, Vec<RecordId>>, HubSpotError> {
        let path = format!("/crm/associations/{API_VERSION}/contacts/companies/batch/read");
        let mut found: HashMap<String, Vec<Association>> = HashMap::new();
        let mut inputs: Vec<Input> =
            contacts.iter().map(|contact| Input { id: contact.as_str().to_owned(), after: None }).collect();
        while !inputs.is_empty() {
            let now = inputs.split_off(inputs.len().saturating_sub(MAX_INPUTS));
            let answer = self.post(Kind::Association, &path, &Request { inputs: &now }, None).await?;
            let answer = answer.ok_or_else(|| trouble("its rate limit leaves no time"))?;
            let answer: Associations = answer.read("associations are not of their form")?;
            // A contact whose companies could not be read must not be taken for one without.
            if let Some(failure) = answer.errors.iter().find(|failure| !failure.means_none()) {
                return Err(trouble(&format!("some associations cannot be read ({})", shown(&failure.category))));
            }
            for Associated { from, to, paging } in answer.results {
                let next = paging.and_then(|paging| paging.next).map(|next| next.after);
                // A cursor that does not move would be followed for ever.
                let asked = now.iter().find(|input| input.id == from.id).and_then(|input| input.after.as_ref());
                if next.is_some() && next.as_ref() == asked {
                    return Err(HubSpotError::Malformed("the paging of an association does not move".to_owned()));
                }
                inputs.extend(next.map(|after| Input { id: from.id.clone(), after: Some(after) }));
                found.entry(from.id).or_default().extend(to);
            }
        }
        Ok(found.into_iter().map(|(contact, companies)| (contact, primary_first(companies))).collect())
    }
}

fn trouble(reason: &str) -> HubSpotError {
    HubSpotError::Transient { reason: reason.to_owned(), retry_after: None }
}

fn shown(category: &str) -> String {
    category.chars().take(60).collect()
}

fn primary_first(mut companies: Vec<Association>) -> Vec<RecordId> {
    let is_primary = |company: &Association| {
        company.association_types.iter().any(|kind| kind.category == "HUBSPOT_DEFINED" && kind.type_id == PRIMARY)
    };
    companies.sort_by_key(|company| !is_primary(company));
    let mut ids: Vec<RecordId> = Vec::with_capacity(companies.len());
    for company in companies {
        match RecordId::try_from(company.to_object_id) {
            Ok(id) if !ids.contains(&id) => ids.push(id),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "an associated company is left out"),
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_primary_company_comes_first_and_each_once() {
        let to: Vec<Association> = serde_json::from_value(json!([
            {"toObjectId": 7, "associationTypes": [{"category": "HUBSPOT_DEFINED", "typeId": 279, "label": null}]},
            {"toObjectId": "9", "associationTypes": [{"category": "USER_DEFINED", "typeId": 1, "label": "x"}]},
            {"toObjectId": 8, "associationTypes": [
                {"category": "HUBSPOT_DEFINED", "typeId": 279}, {"category": "HUBSPOT_DEFINED", "typeId": 1}]},
            {"toObjectId": 7, "associationTypes": []}
        ]))
        .unwrap();
        let ids: Vec<String> = primary_first(to).into_iter().map(String::from).collect();
        assert_eq!(ids, ["8", "7", "9"]);
    }
}
