//! The indexes that the service needs. They are created by an explicit step (`make migrate`), never by a cold start.

use std::time::Duration;

use model::{action::ActionName, object::ObjectType, reference::Source};
use mongodb::{
    IndexModel,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::IndexOptions,
};

use super::{Store, collection};

/// The unique indexes that allow one Created action per record: of companies, of contacts, and of all other object types.
pub(super) const CREATED_ONCE: [&str; 3] = ["company_created_once", "contact_created_once", "created_once"];

/// The field by which the Created actions of other object types than companies and contacts are known.
pub(super) const CREATED: &str = "created";

/// How long reasons of failures are kept: as long as the dead-letter queues keep messages.
const FAILURES_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The index by which MongoDB deletes old actions.
const RETENTION_INDEX: &str = "retention";

impl Store {
    /// Creates the missing indexes. `docs/reference/data.md` names their queries. Actions are deleted when they have
    /// been stored for `retention`. Without it their present retention stays. Safe to run at any time, and twice.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or the stored documents violate an index.
    pub async fn migrate(&self, retention: Option<Duration>) -> Result<(), Error> {
        let named = ObjectType::DEFAULT.map(|object| doc! { "actionName": ActionName::created(object).to_string() });
        let created = named.into_iter().chain([doc! { CREATED: true }]);
        let once = created.zip(CREATED_ONCE).map(|(created, name)| created_once(created, name));
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
        if let Some(kept) = retention {
            self.retain(collection::ACTIONS, "storedAt", kept).await?;
        }
        self.retain(collection::FAILURES, "at", FAILURES_KEPT).await?;
        self.retain(collection::CONNECTS, "expiresAt", Duration::ZERO).await?;
        self.retain(collection::SESSIONS, "expiresAt", Duration::ZERO).await?;
        self.retain(collection::LINKS, "expiresAt", Duration::ZERO).await?;
        let pending = index("by_domain", doc! { "domainId": 1, "expiresAt": -1 });
        self.collection(collection::CONNECTS).create_index(pending).await?;
        self.retain(collection::NOTIFICATIONS, "at", DAY).await?;
        self.retain(collection::TIMELINE, "at", 30 * DAY).await?;
        for object in ObjectType::DEFAULT {
            self.index_states(object).await?;
        }
        for name in Source::COLLECTIONS {
            let by_account = doc! { "domainId": 1, "hubId": 1, "object": 1 };
            self.collection(name).create_index(index("by_account", by_account)).await?;
        }
        let contacts = self.database.collection::<Document>(&ObjectType::CONTACTS.collection());
        let of_company = doc! { "domainId": 1, "hubId": 1, "companyIds": 1 };
        contacts.create_index(index("by_company", of_company)).await?;
        let checks = self.database.collection::<Document>(collection::ASSOCIATION_CHECKS);
        checks.create_index(index("by_lane", doc! { "domainId": 1, "hubId": 1, "object": 1, "checkAt": 1 })).await?;
        let waiting = doc! { "domainId": 1, "hubId": 1, "object": 1, "retryAt": 1 };
        self.collection(collection::SET_ASIDE).create_index(index("by_lane", waiting)).await?;
        let erasures = self.collection(collection::ERASURES);
        erasures.create_index(partial("by_repetition", doc! { "repeatAt": 1 }, "repeatAt")).await?;
        let domains = self.database.collection::<Document>(collection::DOMAINS);
        let live = doc! { "integrations.hubspot.status": 1, "_id": 1 };
        let by_hub = index("by_hub", doc! { format!("{}.hubId", super::domains::ACCOUNTS): 1 });
        let retry_at = format!("{}.revocation.retryAt", super::domains::ACCOUNTS);
        let owed = partial("by_revocation", doc! { &retry_at: 1 }, &retry_at);
        domains.create_indexes([index("live_hubspot", live), by_hub, owed]).await?;
        let timeline = self.database.collection::<Document>(collection::TIMELINE);
        timeline.create_index(index("by_account", doc! { "account": 1, "at": -1 })).await?;
        Ok(())
    }

    /// Creates the missing indexes of an object type's current states. Safe to run at any time, and twice.
    async fn index_states(&self, object: ObjectType) -> Result<(), Error> {
        let by_survivor = doc! { "domainId": 1, "hubId": 1, "mergedInto": 1 };
        let by_survivor = partial("by_survivor", by_survivor, "mergedInto");
        let by_account = index("by_account", doc! { "domainId": 1, "hubId": 1 });
        self.collection(&object.collection()).create_indexes([by_account, by_survivor]).await?;
        Ok(())
    }

    /// Creates the missing indexes of an object type's current states before its first record is read. Does nothing for
    /// companies and contacts, which `make migrate` has done.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn index_states_once(&self, object: ObjectType) -> Result<(), Error> {
        if object.is_default() { Ok(()) } else { self.index_states(object).await }
    }

    /// Makes MongoDB keep actions forever from now on. Safe to run twice.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn keep_actions(&self) -> Result<(), Error> {
        if self.has_retention(collection::ACTIONS).await? {
            self.database.collection::<Document>(collection::ACTIONS).drop_index(RETENTION_INDEX).await?;
        }
        Ok(())
    }

    /// Makes MongoDB delete a collection's documents `kept` after the time in `field`.
    async fn retain(&self, collection: &str, field: &str, kept: Duration) -> Result<(), Error> {
        if self.has_retention(collection).await? {
            let index = doc! { "name": RETENTION_INDEX, "expireAfterSeconds": i64::try_from(kept.as_secs()).unwrap_or(i64::MAX) };
            self.database.run_command(doc! { "collMod": collection, "index": index }).await?;
            return Ok(());
        }
        let options = IndexOptions::builder().name(RETENTION_INDEX.to_owned()).expire_after(kept).build();
        let index = IndexModel::builder().keys(doc! { field: 1 }).options(options).build();
        self.database.collection::<Document>(collection).create_index(index).await?;
        Ok(())
    }

    async fn has_retention(&self, collection: &str) -> Result<bool, Error> {
        match self.database.collection::<Document>(collection).list_index_names().await {
            Ok(names) => Ok(names.iter().any(|name| name == RETENTION_INDEX)),
            // A missing collection has no indexes either.
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns true if MongoDB reports that there is no such collection (`NamespaceNotFound`).
fn is_missing(error: &Error) -> bool {
    matches!(&*error.kind, ErrorKind::Command(command) if command.code == 26)
}

fn created_once(created: Document, name: &str) -> IndexModel {
    let record = doc! { "domainId": 1, "hubId": 1, "object": 1, "recordId": 1 };
    let options = IndexOptions::builder().name(name.to_owned()).unique(true).partial_filter_expression(created).build();
    IndexModel::builder().keys(record).options(options).build()
}

fn index(name: &str, keys: Document) -> IndexModel {
    IndexModel::builder().keys(keys).options(IndexOptions::builder().name(name.to_owned()).build()).build()
}

/// Returns an index of the documents that have the field.
fn partial(name: &str, keys: Document, field: &str) -> IndexModel {
    let has = doc! { field: { "$exists": true } };
    let options = IndexOptions::builder().name(name.to_owned()).partial_filter_expression(has).build();
    IndexModel::builder().keys(keys).options(options).build()
}
