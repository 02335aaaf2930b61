//! Privacy deletions. HubSpot reports that a person was erased only once and only here: neither its search nor its recycle bin
//! shows the record again. So the erasure is recorded before the request is answered, for every account of the portal.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use model::{
    ids::{HubId, RecordId, json_text},
    object::ObjectType,
};
use serde_json::Value;
use store::Erasure;
use tokio::time::{Instant, timeout_at};

use crate::{
    AppState,
    web::{AppError, internal_error},
};

/// The time after the beginning of the request within which erasures are carried out. HubSpot waits for five seconds.
const ERASING_TIMEOUT: Duration = Duration::from_millis(3_500);

/// The end of the names of events that a record was deleted for privacy.
const PRIVACY_DELETION: &str = ".privacyDeletion";

/// The records to erase, by portal.
type Erased = BTreeMap<HubId, BTreeSet<(ObjectType, RecordId)>>;

impl AppState {
    /// Records the erasures that the events ask for. Returns them.
    ///
    /// # Errors
    /// MongoDB does not record all of them. HubSpot sends the events again.
    pub(super) async fn request_erasures(&self, events: &[Value]) -> Result<Vec<Erasure>, AppError> {
        let (erased, unreadable) = erased(events);
        if unreadable > 0 {
            tracing::error!(events = unreadable, "HubSpot erased records that its events do not name");
        }
        if erased.is_empty() {
            return Ok(Vec::new());
        }
        let holders = self.store.holders_of_portals(&erased.keys().collect()).await.map_err(internal_error)?;
        let mut erasures = Vec::new();
        for holder in holders {
            let records = erased.get(&holder.hub_id).into_iter().flatten();
            tracing::info!(account.domain_id = %holder.domain_id, account.hub_id = %holder.hub_id,
                records = records.clone().count(), "HubSpot told of records that were erased");
            erasures.extend(records.map(|(object, id)| Erasure::Record(holder.clone(), *object, id.clone())));
        }
        self.store.request_erasures(&erasures).await.map_err(internal_error)?;
        Ok(erasures)
    }

    /// Carries out erasures that were recorded, as far as there is time. The schedule's next tick carries out the rest.
    pub(super) async fn erase(&self, erasures: &[Erasure], began: Instant) {
        for (done, erasure) in erasures.iter().enumerate() {
            let reason = match timeout_at(began + ERASING_TIMEOUT, self.store.erase(erasure)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "there is no more time".to_owned(),
            };
            tracing::warn!(reason, erasures = erasures.len() - done, "erasures are left to the next tick");
            return;
        }
    }
}

/// Returns the records that were erased, and the number of such events that name none.
fn erased(events: &[Value]) -> (Erased, usize) {
    let (mut erased, mut unreadable) = (Erased::new(), 0);
    for event in events {
        let mut kinds = ["subscriptionType", "eventType"].iter().filter_map(|name| event[name].as_str());
        let Some(of) = kinds.find_map(|kind| kind.strip_suffix(PRIVACY_DELETION)) else { continue };
        let portal = HubId::from_json(&event["portalId"]);
        let record = RecordId::try_from(json_text(&event["objectId"]));
        match (ObjectType::of_event(of, event["objectTypeId"].as_str()), portal, record) {
            (Some(object), Ok(portal), Ok(record)) => drop(erased.entry(portal).or_default().insert((object, record))),
            _ => unreadable += 1,
        }
    }
    (erased, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privacy_deletions_name_their_records_in_both_forms_of_subscription() {
        let events = r#"[{"portalId":7,"subscriptionType":"contact.privacyDeletion","objectId":151},
            {"portalId":"7","eventType":"object.privacyDeletion","objectTypeId":"0-2","objectId":"90071992547409931"},
            {"portalId":7,"subscriptionType":"contact.privacyDeletion","objectId":151},
            {"portalId":8,"subscriptionType":"object.privacyDeletion","objectTypeId":"0-1","objectId":1},
            {"portalId":8,"subscriptionType":"company.privacyDeletion","objectId":2},
            {"portalId":7,"subscriptionType":"contact.deletion","objectId":152}, 7]"#;
        let events: Vec<Value> = serde_json::from_str(events).unwrap();
        let (erased, unreadable) = erased(&events);
        let erased: Vec<String> = (erased.iter())
            .flat_map(|(portal, records)| records.iter().map(move |(object, id)| format!("{portal} {object} {id}")))
            .collect();
        assert_eq!(erased, ["7 companies 90071992547409931", "7 contacts 151", "8 companies 2", "8 contacts 1"]);
        assert_eq!(unreadable, 0);
    }

    #[test]
    fn privacy_deletions_that_name_no_record_are_counted() {
        let events = r#"[{"portalId":7,"subscriptionType":"contact.privacyDeletion"},
            {"portalId":7,"subscriptionType":"contact.privacyDeletion","objectId":"a@firm.example"},
            {"portalId":"x","subscriptionType":"contact.privacyDeletion","objectId":1},
            {"portalId":7,"subscriptionType":"object.privacyDeletion","objectTypeId":"0-99999","objectId":1}]"#;
        let events: Vec<Value> = serde_json::from_str(events).unwrap();
        assert_eq!(erased(&events), (Erased::new(), 4));
    }
}
