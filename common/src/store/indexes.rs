//! The indexes the service needs. They are made by an explicit step (`make migrate`), never by a cold start.

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

impl Store {
    /// Makes the indexes that are missing. Safe to run at any time and twice.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or what is stored violates an index.
    pub async fn migrate(&self) -> Result<(), Error> {
        let once = ObjectType::ALL.into_iter().zip(CREATED_ONCE).map(|(object, name)| created_once(object, name));
        let actions = self.database.collection::<Document>(collection::ACTIONS);
        actions
            .create_indexes(once.chain([index("by_domain_and_date", doc! { "domainId": 1, "actionDate": -1 })]))
            .await?;
        for object in ObjectType::ALL {
            let states = self.database.collection::<Document>(object.as_str());
            states.create_index(index("by_account", doc! { "domainId": 1, "hubId": 1 })).await?;
        }
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let live = doc! { "integrations.hubspot.status": 1, "_id": 1 };
        domains.create_index(index("live_hubspot", live)).await?;
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
