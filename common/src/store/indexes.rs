//! The indexes the service needs. They are made by an explicit step (`make migrate`), never by a cold start.

use std::time::Duration;

use mongodb::{
    IndexModel,
    bson::{Document, doc},
    error::Error,
    options::IndexOptions,
};

use super::{Store, collection};
use crate::{action::ActionName, object::ObjectType};

/// The unique indexes that allow each record one Created action, by object type.
pub(super) const CREATED_ONCE: [&str; 2] = ["company_created_once", "contact_created_once"];

/// How long reasons of failures are kept: as long as the dead-letter queues keep the messages.
const FAILURES_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The index by which MongoDB deletes old actions.
const RETENTION: &str = "retention";

impl Store {
    /// Makes the indexes that are missing; `docs/DATA.md` names the queries that they are for. Actions are deleted
    /// when they have been stored for `retention`; without it they are kept. Safe to run at any time and twice.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or what is stored violates an index.
    pub async fn migrate(&self, retention: Option<Duration>) -> Result<(), Error> {
        let once = ObjectType::ALL.into_iter().zip(CREATED_ONCE).map(|(object, name)| created_once(object, name));
        let by_company =
            |name: &str, field: &str| partial(name, doc! { "domainId": 1, field: 1, "actionDate": -1 }, field);
        let queries = [
            index("by_domain_and_date", doc! { "domainId": 1, "actionDate": -1 }),
            partial("by_identity", doc! { "domainId": 1, "identity": 1, "actionDate": -1 }, "identity"),
            by_company("by_contacts_company", "userProperties.company_id"),
            by_company("by_company", "companyProperties.company_id"),
        ];
        let actions = self.database.collection::<Document>(collection::ACTIONS);
        actions.create_indexes(once.chain(queries)).await?;
        self.retain(collection::ACTIONS, "storedAt", retention).await?;
        self.retain(collection::FAILURES, "at", Some(FAILURES_KEPT)).await?;
        self.retain(collection::CONNECTS, "expiresAt", Some(DAY)).await?;
        self.retain(collection::NOTIFICATIONS, "at", Some(DAY)).await?;
        self.retain(collection::TIMELINE, "at", Some(30 * DAY)).await?;
        for object in ObjectType::ALL {
            let states = self.database.collection::<Document>(object.as_str());
            states.create_index(index("by_account", doc! { "domainId": 1, "hubId": 1 })).await?;
        }
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let live = doc! { "integrations.hubspot.status": 1, "_id": 1 };
        let by_hub = index("by_hub", doc! { format!("{}.hubId", super::domains::ACCOUNTS): 1 });
        domains.create_indexes([index("live_hubspot", live), by_hub]).await?;
        let timeline = self.database.collection::<Document>(collection::TIMELINE);
        timeline.create_index(index("by_account", doc! { "account": 1, "at": -1 })).await?;
        Ok(())
    }

    /// Lets MongoDB delete a collection's documents so long after the time in `field`, or keep them.
    async fn retain(&self, collection: &str, field: &str, retention: Option<Duration>) -> Result<(), Error> {
        let documents = self.database.collection::<Document>(collection);
        // A collection that is not there has no indexes either.
        let names = documents.list_index_names().await.unwrap_or_default();
        let exists = names.iter().any(|name| name == RETENTION);
        match (retention, exists) {
            (Some(kept), true) => {
                let index =
                    doc! { "name": RETENTION, "expireAfterSeconds": i64::try_from(kept.as_secs()).unwrap_or(i64::MAX) };
                self.database.run_command(doc! { "collMod": collection, "index": index }).await?;
            }
            (Some(kept), false) => {
                let options = IndexOptions::builder().name(RETENTION.to_owned()).expire_after(kept).build();
                documents.create_index(IndexModel::builder().keys(doc! { field: 1 }).options(options).build()).await?;
            }
            (None, true) => documents.drop_index(RETENTION).await?,
            (None, false) => {}
        }
        Ok(())
    }
}

fn created_once(object: ObjectType, name: &str) -> IndexModel {
    let record = doc! { "domainId": 1, "hubId": 1, "object": 1, "recordId": 1 };
    let created = doc! { "actionName": ActionName::created(object).as_str() };
    let options = IndexOptions::builder().name(name.to_owned()).unique(true).partial_filter_expression(created).build();
    IndexModel::builder().keys(record).options(options).build()
}

fn index(name: &str, keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name.to_owned()).build()).build()
}

/// An index of the documents that have the field.
fn partial(name: &str, keys: Document, field: &str) -> IndexModel {
    let has = doc! { field: { "$exists": true } };
    let options = IndexOptions::builder().name(name.to_owned()).partial_filter_expression(has).build();
    IndexModel::builder().keys(keys).options(options).build()
}
