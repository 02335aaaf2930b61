//! Associations: `POST /crm/associations/{version}/contacts/companies/batch/read`.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
    time::Duration,
};

use model::ids::RecordId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    API_VERSION, HubSpotError, Session,
    response::{Paging, id, id_text},
    session::Kind,
};

/// The type of the association to a contact's primary company, of category `HUBSPOT_DEFINED`.
const PRIMARY_COMPANY_TYPE_ID: i64 = 1;

/// The most inputs that HubSpot accepts in one call.
const MAX_INPUTS: usize = 1000;

/// The most companies that are read of one contact.
const MAX_COMPANIES_PER_CONTACT: usize = 10_000;

/// The most contacts that may fail one by one while none succeeds. If more fail, the cause is not a single contact.
const MAX_SINGLE_FAILURES: usize = 5;

/// The time reserved for publishing the rows that were read.
const PUBLISHING_RESERVE: Duration = Duration::from_millis(500);

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

/// HubSpot's reason why some of the inputs have no result.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failure {
    #[serde(default)]
    category: String,
    /// Text in all responses seen, an object in HubSpot's own type definitions.
    #[serde(default)]
    sub_category: Value,
    /// The inputs concerned, under names that differ from error to error.
    #[serde(default)]
    context: HashMap<String, Value>,
}

impl Failure {
    /// Returns true if the record does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.category == "OBJECT_NOT_FOUND"
    }

    /// Returns the ids that the failure names.
    pub(super) fn names(&self) -> Vec<String> {
        let is_ids = |name: &str| matches!(name, "id" | "ids" | "fromObjectId");
        let values = self.context.iter().filter(|(name, _)| is_ids(name)).map(|(_, value)| value);
        let ids = values.flat_map(|value| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice));
        ids.filter_map(id_text).collect()
    }

    /// Returns true if the contact has no companies, or does not exist any more.
    fn means_no_companies(&self) -> bool {
        self.is_not_found() || self.sub_category.as_str().is_some_and(|name| name.ends_with("NO_ASSOCIATIONS_FOUND"))
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

/// The companies of contacts.
#[derive(Debug, Default)]
pub struct Companies {
    /// The companies of each contact, the primary one first. A contact without companies has no entry.
    pub found: HashMap<String, Vec<RecordId>>,
    /// The contacts whose companies HubSpot does not return, with its error.
    pub unread: HashMap<String, String>,
}

impl Session {
    /// Returns the companies of each contact. If a contact has more companies than can be read before `latest`, returns
    /// those that were read. It is an error if HubSpot returns nobody's companies. With `each_for_itself`, a transient
    /// failure of a single contact counts as that contact's own failure. Returns `None` if there is no time to read the
    /// first page of every contact.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures that pass within a moment were already retried.
    #[tracing::instrument(level = "debug", skip_all, name = "associations", fields(contacts = contacts.len()))]
    pub async fn companies_of(
        &self,
        contacts: &[RecordId],
        latest: Instant,
        each_for_itself: bool,
    ) -> Result<Option<Companies>, HubSpotError> {
        let path = format!("/crm/associations/{API_VERSION}/contacts/companies/batch/read");
        let first = |contact: &RecordId| Input { id: contact.as_str().to_owned(), after: None };
        let pending = contacts.chunks(MAX_INPUTS).map(|contacts| contacts.iter().map(first).collect()).collect();
        let mut lookup = Lookup { pending, has_read_any: each_for_itself, ..Lookup::default() };
        let is_alone = each_for_itself && contacts.len() == 1;
        while let Some(inputs) = lookup.next(latest) {
            let result = match self.post(Kind::Association, &path, &Request { inputs: &inputs }, Some(latest)).await {
                Ok(Some(response)) => {
                    lookup.longest = lookup.longest.max(response.took);
                    response.parse::<Associations>("associations are not of their form")
                }
                Ok(None) if inputs.iter().all(|input| input.after.is_some()) => break,
                Ok(None) => return Ok(None),
                Err(error) => Err(error),
            };
            match result {
                Ok(response) => {
                    self.has_read_companies.store(true, Ordering::Relaxed);
                    lookup.leave_out(&response, &inputs)?;
                    lookup.take(response.results, inputs);
                }
                Err(error) if error.is_about_contents() || (is_alone && self.may_concern_one_contact(&error)) => {
                    split(inputs, &error, &mut lookup.pending, &mut lookup.unread);
                    if lookup.is_hopeless() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let found = lookup.found.into_iter().map(|(contact, companies)| (contact, primary_first(companies))).collect();
        Ok(Some(Companies { found, unread: lookup.unread }))
    }
}

/// The contacts whose companies are being read, and the companies found so far.
#[derive(Default)]
struct Lookup {
    pending: Vec<Vec<Input>>,
    /// The inputs of second and later pages.
    further: Vec<Input>,
    found: HashMap<String, Vec<Association>>,
    /// The contacts that are left out, and why.
    unread: HashMap<String, String>,
    /// The contacts that HubSpot has named in a failure. Each is requested once more.
    named_before: HashSet<String>,
    /// How long the slowest response took.
    longest: Duration,
    /// True once HubSpot has returned the companies of any contact.
    has_read_any: bool,
}

impl Lookup {
    /// Returns the inputs to request next. Returns `None` if nothing is left, or if there is no time to read further
    /// pages.
    fn next(&mut self, latest: Instant) -> Option<Vec<Input>> {
        if self.pending.is_empty() && !self.further.is_empty() {
            // Queueing the rows that were read takes time, too.
            if Instant::now() + 2 * self.longest + PUBLISHING_RESERVE > latest {
                tracing::warn!(
                    contacts = self.further.len(),
                    "contacts have more companies than can be read within a slice"
                );
                return None;
            }
            self.pending.push(std::mem::take(&mut self.further));
        }
        self.pending.pop()
    }

    /// Returns true if HubSpot returns nobody's companies. The cause is then not these contacts.
    fn is_hopeless(&self) -> bool {
        self.unread.len() > MAX_SINGLE_FAILURES && !self.has_read_any
    }

    /// Requests the contacts that the response does not cover once more. Leaves out those that an earlier response did
    /// not cover either.
    fn leave_out(&mut self, response: &Associations, inputs: &[Input]) -> Result<(), HubSpotError> {
        self.has_read_any |= !response.results.is_empty() || response.errors.iter().any(Failure::means_no_companies);
        let Some(failure) = response.errors.iter().find(|failure| !failure.means_no_companies()) else { return Ok(()) };
        let error = HubSpotError::Malformed(format!("its companies are left out ({})", shown(&failure.category)));
        let (named, others) = response.concerned(inputs);
        let (again, once): (Vec<Input>, Vec<Input>) =
            named.into_iter().partition(|input| !self.named_before.insert(input.id.clone()));
        self.unread.extend(again.into_iter().map(|input| (input.id, error.to_string())));
        self.pending.extend(Some(once).filter(|once| !once.is_empty()));
        split(others, &error, &mut self.pending, &mut self.unread);
        if self.is_hopeless() {
            let reason = format!("companies of many contacts cannot be read ({})", shown(&failure.category));
            return Err(HubSpotError::Transient { reason, retry_after: None });
        }
        Ok(())
    }

    /// Stores the companies of a response, and queues its further pages.
    fn take(&mut self, results: Vec<Associated>, mut inputs: Vec<Input>) {
        for Associated { from, to, paging } in results {
            let next = paging.and_then(|paging| paging.next).map(|next| next.after);
            let asked = inputs.iter_mut().find(|input| input.id == from.id).and_then(|input| input.after.take());
            let companies = self.found.entry(from.id.clone()).or_default();
            companies.extend(to);
            // A cursor that does not move would be followed forever.
            let goes_on =
                next.filter(|next| Some(next) != asked.as_ref() && companies.len() < MAX_COMPANIES_PER_CONTACT);
            self.further.extend(goes_on.map(|after| Input { id: from.id, after: Some(after) }));
        }
    }
}

/// Requests the inputs again in two halves. A single input is left out.
fn split(
    mut inputs: Vec<Input>,
    error: &HubSpotError,
    pending: &mut Vec<Vec<Input>>,
    unread: &mut HashMap<String, String>,
) {
    if inputs.is_empty() {
        // The failing contacts are not among the inputs.
    } else if inputs.len() > 1 {
        let rest = inputs.split_off(inputs.len() / 2);
        pending.extend([inputs, rest]);
    } else {
        unread.extend(inputs.into_iter().map(|input| (input.id, error.to_string())));
    }
}

impl Associations {
    /// Returns the inputs whose companies could not be read, which must not be taken for contacts without companies:
    /// first those that HubSpot names, then those that a failure without names may concern.
    fn concerned(&self, inputs: &[Input]) -> (Vec<Input>, Vec<Input>) {
        let failures = || self.errors.iter().filter(|failure| !failure.means_no_companies());
        let named: Vec<String> = failures().flat_map(Failure::names).collect();
        let is_unnamed = failures().any(|failure| failure.names().is_empty());
        let has_answer = |id: &str| self.results.iter().any(|result| result.from.id == id) || self.has_no_companies(id);
        // A failure without names may concern any input that has no result.
        let is_meant = |input: &&Input| is_unnamed && !has_answer(&input.id);
        let (named, others): (Vec<&Input>, Vec<&Input>) = inputs.iter().partition(|input| named.contains(&input.id));
        (named.into_iter().cloned().collect(), others.into_iter().filter(is_meant).cloned().collect())
    }

    /// Returns true if HubSpot reports that the contact has no companies.
    fn has_no_companies(&self, contact: &str) -> bool {
        self.errors
            .iter()
            .any(|failure| failure.means_no_companies() && failure.names().iter().any(|name| name == contact))
    }
}

fn shown(category: &str) -> String {
    category.chars().take(60).collect()
}

fn primary_first(mut companies: Vec<Association>) -> Vec<RecordId> {
    let is_primary = |company: &Association| {
        company
            .association_types
            .iter()
            .any(|kind| kind.category == "HUBSPOT_DEFINED" && kind.type_id == PRIMARY_COMPANY_TYPE_ID)
    };
    companies.sort_by_key(|company| !is_primary(company));
    let (mut ids, mut met) = (Vec::with_capacity(companies.len()), HashSet::new());
    for company in companies {
        match RecordId::try_from(company.to_object_id) {
            Ok(id) if met.insert(id.clone()) => ids.push(id),
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
