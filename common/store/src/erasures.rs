//! Erasures (collection `erasures`): records that HubSpot deleted for a person's privacy, and accounts of which an operator
//! deletes everything. An erasure is recorded first and then carried out. It is repeated for an hour, because a drain that
//! began before it may store something afterwards. Its document names ids and dates only, and stays as evidence: an action
//! that arrives later is not stored.
//!
//! `docs/decisions/0018-an-erasure-leaves-tombstones.md` explains the order of the steps.

mod account;
mod record;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use model::{
    account::AccountKey,
    action::record_key,
    ids::{DomainId, HubId, RecordId},
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::{
    bson::{Bson, Document, deserialize_from_document, doc},
    error::Error,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{
    Store, StoreError, bulk, collection,
    domains::{ACCOUNTS, entries_of},
    is_away,
};

/// For how long after it was first carried out an erasure is repeated. A drain in flight ends within half a minute, and its messages are
/// delivered again within 21 minutes (`template.yaml`).
const REPEATED_FOR: Duration = Duration::from_secs(3600);

/// The pause before the first repetition. Each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// The most erasures that are repeated at once, and of which a tick reads.
const MAX_CONCURRENT: usize = 4;
const MAX_PER_TICK: i64 = 2_000;

/// What is to be erased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Erasure {
    /// A contact or a company.
    Record(AccountKey, ObjectType, RecordId),
    /// Everything of an account, unless its Domain has an entry of it again.
    Account(AccountKey),
}

impl Erasure {
    /// Returns the key of its document. The one of an account ends with no digit, so it is no record's.
    fn id(&self) -> String {
        match self {
            Self::Record(account, object, record_id) => record_key(account, *object, record_id),
            Self::Account(account) => account_key(account),
        }
    }

    fn fields(&self) -> Document {
        let (Self::Record(account, ..) | Self::Account(account)) = self;
        let mut fields = doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() };
        if let Self::Record(_, object, record_id) = self {
            fields.extend(doc! { "object": object.as_str(), "recordId": record_id.as_str() });
        }
        fields
    }
}

/// Returns the key of an account's erasure.
fn account_key(account: &AccountKey) -> String {
    format!("{account}/account")
}

/// The stored document of an erasure.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Requested {
    #[serde(flatten)]
    account: AccountKey,
    object: Option<ObjectType>,
    record_id: Option<RecordId>,
    requested_at: DateTime,
    /// When it was first carried out.
    erased_at: Option<DateTime>,
    /// Whether anything was stored of the record before it was erased.
    #[serde(default)]
    was_known: bool,
    /// How often it was carried out.
    #[serde(default)]
    times: u32,
}

impl Requested {
    fn erasure(&self) -> Erasure {
        match (self.object, &self.record_id) {
            (Some(object), Some(record_id)) => Erasure::Record(self.account.clone(), object, record_id.clone()),
            _ => Erasure::Account(self.account.clone()),
        }
    }
}

/// What a tick did of the erasures that were due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErasureReport {
    /// How many were carried out.
    pub erased: usize,
    /// How many failed. They are tried again.
    pub failed: usize,
    /// How many are left to the next tick, of those that were read.
    pub left: usize,
}

impl Store {
    /// Records erasures. One that was requested before is not changed, whether or not it is done.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn request_erasures(&self, erasures: &[Erasure]) -> Result<(), StoreError> {
        let now = DateTime::now();
        let request = |erasure: &Erasure| {
            let mut new = erasure.fields();
            new.extend(doc! { "requestedAt": now, "repeatAt": now });
            doc! { "$setOnInsert": new }
        };
        self.write_erasures(erasures, request).await
    }

    /// Records erasures, and has those repeated that were requested before.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses.
    pub async fn renew_erasures(&self, erasures: &[Erasure]) -> Result<(), StoreError> {
        let now = DateTime::now();
        let request = |erasure: &Erasure| {
            let mut new = erasure.fields();
            new.extend(doc! { "requestedAt": now, "repeatAt": now, "times": 0 });
            doc! { "$set": new, "$unset": { "doneAt": "", "erasedAt": "" } }
        };
        self.write_erasures(erasures, request).await
    }

    async fn write_erasures(
        &self,
        erasures: &[Erasure],
        update: impl Fn(&Erasure) -> Document,
    ) -> Result<(), StoreError> {
        let write = |erasure| Ok(((), bulk::upsert(&doc! { "_id": Erasure::id(erasure) }, &update(erasure))?));
        let writes = erasures.iter().map(write).collect::<Result<Vec<_>, Error>>()?;
        let refused = bulk::update(&self.database, collection::ERASURES, writes).await?.refused;
        // If another request was faster, the erasure is recorded.
        match refused.iter().find(|refused| refused.code != bulk::DUPLICATE_KEY) {
            Some(refused) => Err(StoreError::Refused(refused.code)),
            None => Ok(()),
        }
    }

    /// Carries an erasure out. Does nothing if it was not requested. May be repeated at any time.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or refuses. Any part may have been erased.
    pub async fn erase(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let (now, id) = (DateTime::now(), erasure.id());
        let requested = self.database.collection::<Requested>(collection::ERASURES);
        let Some(requested) = requested.find_one(doc! { "_id": &id }).await? else { return Ok(()) };
        match erasure {
            Erasure::Record(account, object, record_id) => {
                self.erase_record(account, *object, record_id, &requested).await?;
            }
            Erasure::Account(account) if self.erase_account(account).await? => {}
            Erasure::Account(account) => {
                tracing::warn!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
                    "an account is not erased, because its Domain has an entry of it again");
                let over = doc! { "$set": { "doneAt": now }, "$unset": { "repeatAt": "", "times": "" } };
                self.collection(collection::ERASURES).update_one(doc! { "_id": id }, over).await?;
                return Ok(());
            }
        }
        let mut update = doc! { "$min": { "erasedAt": now } };
        if requested.erased_at.is_some_and(|first| time::between(first, now) >= REPEATED_FOR) {
            update.extend(doc! { "$set": { "doneAt": now }, "$unset": { "repeatAt": "", "times": "" } });
        } else {
            let pause = time::doubled(FIRST_PAUSE, requested.times, REPEATED_FOR);
            update.extend(doc! { "$set": { "repeatAt": time::after(now, pause) }, "$inc": { "times": 1 } });
        }
        // It may have been requested once more meanwhile, and one that is done stays so.
        let same = doc! { "_id": id, "requestedAt": requested.requested_at, "repeatAt": { "$exists": true } };
        self.collection(collection::ERASURES).update_one(same, update).await?;
        Ok(())
    }

    /// Carries out the erasures that are due, until `ends`. The longest waiting are the first.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn finish_erasures(&self, ends: Instant) -> Result<ErasureReport, StoreError> {
        let due = timeout_at(ends, self.due_erasures()).await;
        let due = due.unwrap_or_else(|_| Err(Error::custom("the erasures that are due are not read in time")))?;
        let mut report = ErasureReport { left: due.len(), ..ErasureReport::default() };
        let carry_out = async |requested: Document| {
            let requested: Requested = deserialize_from_document(requested).map_err(Error::from)?;
            self.erase(&requested.erasure()).await
        };
        let mut carried_out = stream::iter(due).map(carry_out).buffer_unordered(MAX_CONCURRENT);
        while let Ok(Some(erased)) = timeout_at(ends, carried_out.next()).await {
            report.left -= 1;
            match erased {
                Ok(()) => report.erased += 1,
                Err(StoreError::Mongo(error)) if is_away(&error) => return Err(error.into()),
                Err(error) => {
                    report.failed += 1;
                    tracing::error!(error = %error, "an erasure failed; the next tick tries it again");
                }
            }
        }
        Ok(report)
    }

    async fn due_erasures(&self) -> Result<Vec<Document>, Error> {
        let due = doc! { "repeatAt": { "$lte": DateTime::now() } };
        let erasures = self.collection(collection::ERASURES);
        erasures.find(due).sort(doc! { "repeatAt": 1 }).limit(MAX_PER_TICK).await?.try_collect().await
    }

    /// Returns all accounts of these portals that a Domain has, or had: also those that are paused, disconnected or switched
    /// off, because what is stored of them is still there.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn holders_of_portals(&self, portals: &BTreeSet<&HubId>) -> Result<BTreeSet<AccountKey>, Error> {
        let ids: Vec<Bson> = portals.iter().flat_map(|portal| portal.bson_forms()).collect();
        let of = doc! { format!("{ACCOUNTS}.hubId"): { "$in": ids } };
        let domains = self.collection(collection::DOMAINS).find(of).projection(doc! { ACCOUNTS: 1 }).await?;
        let domains: Vec<Document> = domains.try_collect().await?;
        let mut holders = BTreeSet::new();
        for domain in &domains {
            let Some(Ok(domain_id)) = domain.get("_id").map(DomainId::from_bson) else { continue };
            let hubs = entries_of(domain).filter_map(|entry| HubId::from_bson(entry.get("hubId")?).ok());
            holders.extend(hubs.map(|hub_id| AccountKey { domain_id: domain_id.clone(), hub_id }));
        }
        // Of a Domain that has no entry any more, the checkpoint is still there.
        let hubs: Vec<&str> = portals.iter().map(|portal| portal.as_str()).collect();
        let checkpoints = doc! { "_id": { "$regex": format!(":({})$", hubs.join("|")) } };
        let found = self.collection(collection::CHECKPOINTS).find(checkpoints).projection(doc! { "_id": 1 }).await?;
        let checkpoints: Vec<Document> = found.try_collect().await?;
        let key = |checkpoint: &Document| {
            let (domain, hub) = checkpoint.get_str("_id").ok()?.rsplit_once(':')?;
            AccountKey::new(domain, hub).ok()
        };
        holders.extend(checkpoints.iter().filter_map(key));
        let claims = doc! { "_id": { "$in": portals.iter().map(|portal| portal.as_str()).collect::<Vec<_>>() } };
        let claims: Vec<Document> = self.collection(collection::PORTALS).find(claims).await?.try_collect().await?;
        let claimed =
            |claim: &Document| AccountKey::new(claim.get_str("domainId").ok()?, claim.get_str("_id").ok()?).ok();
        holders.extend(claims.iter().filter_map(claimed));
        holders.retain(|holder| portals.contains(&holder.hub_id));
        Ok(holders)
    }

    /// Returns which of these accounts are erased, by their places.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub(super) async fn erased_accounts(&self, accounts: &[&AccountKey]) -> Result<BTreeSet<usize>, Error> {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, account) in accounts.iter().enumerate() {
            places.entry(account_key(account)).or_default().push(place);
        }
        let ids: Vec<&String> = places.keys().collect();
        let erasures = self.collection(collection::ERASURES);
        let found = erasures.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 }).await?;
        let found: Vec<Document> = found.try_collect().await?;
        let mut erased = BTreeSet::new();
        for id in found.iter().filter_map(|found| found.get_str("_id").ok()) {
            let Some(of_account) = places.get(id) else { continue };
            if !self.has_entry(accounts[of_account[0]]).await? {
                erased.extend(of_account);
            }
        }
        Ok(erased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_account_has_the_key_of_a_record() {
        let record = |domain: &str, hub: u64, id: &str| {
            let id = RecordId::try_from(id.to_owned()).unwrap();
            Erasure::Record(AccountKey::new(domain, hub).unwrap(), ObjectType::CONTACTS, id).id()
        };
        assert_eq!(record("a", 1, "5"), "a:1:contacts:5");
        // The key of this account is that of the record.
        let account = AccountKey::new("a:1:contacts", 5).unwrap();
        assert_eq!(account.to_string(), record("a", 1, "5"));
        assert_eq!(Erasure::Account(account).id(), "a:1:contacts:5/account");
    }

    #[test]
    fn an_erasure_is_read_as_it_was_requested() {
        let account = AccountKey::new("acme", 7).unwrap();
        let record = RecordId::try_from("5".to_owned()).unwrap();
        let all = [Erasure::Record(account.clone(), ObjectType::COMPANIES, record), Erasure::Account(account)];
        for erasure in all {
            let mut stored = erasure.fields();
            stored.extend(doc! { "_id": erasure.id(), "requestedAt": DateTime::now(), "repeatAt": DateTime::now() });
            let read: Requested = deserialize_from_document(stored).unwrap();
            assert_eq!((read.erasure(), read.times, read.was_known), (erasure, 0, false));
        }
    }
}
