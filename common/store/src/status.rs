//! The status of accounts, for display: their entries in the Domains, without any token, and their checkpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{
    Stream, StreamExt, TryStreamExt,
    future::ready,
    stream::{self, TryChunksError},
};
use model::{
    account::{AccountKey, preference, used_indexes},
    catalogue::CATALOGUE,
    checkpoint::Checkpoint,
    ids::{DomainId, HubId},
    object::ObjectType,
    time::DateTime,
};
use mongodb::{
    bson::{Bson, Document, RawBsonRef, RawDocument, deserialize_from_slice, doc},
    error::Error,
};

use super::{Store, collection, domains::entries};

/// The number of accounts per query.
const ACCOUNTS_PER_QUERY: u32 = 1000;

/// The most queries at a time: while checkpoints are read, the next entries are read, too.
const QUERIES_IN_FLIGHT: usize = 2;

/// The status of an account.
#[derive(Clone, Debug)]
pub struct AccountStatus {
    /// The account's key.
    pub key: AccountKey,
    /// The name of the Domain's company.
    pub company: Option<String>,
    /// The account's domain in HubSpot.
    pub hub_domain: Option<String>,
    /// True if the Domain's integration is switched on.
    pub is_on: bool,
    /// The entry's `state`, if it has one.
    pub state: Option<String>,
    /// Why the account is in that state, and since when.
    pub state_reason: Option<String>,
    /// See [`Self::state_reason`].
    pub state_at: Option<DateTime>,
    /// When revoking its grant is next tried, if that is pending.
    pub revocation_at: Option<DateTime>,
    /// When it was paused.
    pub paused_at: Option<DateTime>,
    /// True if it has any token.
    pub has_token: bool,
    /// How many of its records are set aside, by object type. Empty unless a single account was requested.
    pub set_aside: BTreeMap<ObjectType, u64>,
    /// The checkpoint, or `None` before the first sync.
    pub checkpoint: Option<Box<Checkpoint>>,
}

impl Store {
    /// Returns the status of all accounts, unordered, as they are read. The checkpoints hold only what determines an
    /// account's state. Entries that are not accounts are left out.
    ///
    /// # Errors
    /// MongoDB cannot be reached, at once or while the stream is read.
    pub async fn statuses(&self) -> Result<impl Stream<Item = Result<AccountStatus, Error>>, Error> {
        let accounts = self.entries(doc! {}).await?.try_chunks(ACCOUNTS_PER_QUERY as usize);
        let accounts = accounts.map_err(|TryChunksError(_, error)| error);
        let joined = accounts.map_ok(|some| self.with_states(some)).try_buffered(QUERIES_IN_FLIGHT);
        Ok(joined.map_ok(|some| stream::iter(some).map(Ok)).try_flatten())
    }

    /// Returns the status of these accounts, in their order. Accounts that do not exist are left out.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn statuses_of(&self, keys: &[AccountKey]) -> Result<Vec<AccountStatus>, Error> {
        let place: HashMap<&AccountKey, usize> = keys.iter().enumerate().map(|(place, key)| (key, place)).collect();
        let ids: Vec<Bson> = keys.iter().flat_map(|key| key.domain_id.bson_forms()).collect();
        let entries = self.entries(doc! { "_id": { "$in": ids } }).await?;
        let wanted = entries.try_filter(|account| ready(place.contains_key(&account.key)));
        let mut accounts: Vec<AccountStatus> = wanted.try_collect().await?;
        accounts.sort_by_key(|account| place.get(&account.key).copied());
        self.with_checkpoints(accounts, doc! {}).await
    }

    /// Returns the status of one account. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn status(&self, key: &AccountKey) -> Result<Option<AccountStatus>, Error> {
        let Some(mut account) = self.statuses_of(std::slice::from_ref(key)).await?.pop() else { return Ok(None) };
        account.set_aside = self.count_set_aside(key).await?;
        Ok(Some(account))
    }

    /// Returns the accounts of these Domains, without their checkpoints.
    async fn entries(&self, of: Document) -> Result<impl Stream<Item = Result<AccountStatus, Error>>, Error> {
        // Tokens do not leave the database. Only their presence is read.
        let has = |name: &str| doc! { "$gt": [{ "$ifNull": [format!("$$entry.{name}"), ""] }, ""] };
        let shown = doc! {
            "hubId": "$$entry.hubId", "hubDomain": "$$entry.hubDomain",
            "state": "$$entry.state", "stateReason": "$$entry.stateReason", "stateAt": "$$entry.stateAt",
            "pausedAt": "$$entry.pausedAt", "revocationAt": "$$entry.revocation.retryAt",
            "hasToken": { "$or": [has("accessToken"), has("refreshToken")] },
        };
        let fields = doc! {
            "company": "$company.name",
            "isOn": "$integrations.hubspot.status",
            "entries": { "$map": { "input": entries(), "as": "entry", "in": shown } },
        };
        let found =
            self.collection(collection::DOMAINS).find(of).projection(fields).batch_size(ACCOUNTS_PER_QUERY).await?;
        let domains = stream::try_unfold(found, async |mut found| {
            let accounts = found.advance().await?.then(|| stream::iter(accounts(found.current())).map(Ok));
            Ok::<_, Error>(accounts.map(|accounts| (accounts, found)))
        });
        Ok(domains.try_flatten())
    }

    /// Adds the checkpoints of accounts, with what determines their states.
    async fn with_states(&self, accounts: Vec<AccountStatus>) -> Result<Vec<AccountStatus>, Error> {
        let accounts = self.with_checkpoints(accounts, of_state(&BTreeSet::new())).await?;
        let custom = |account: &AccountStatus| -> Vec<ObjectType> {
            let objects = account.checkpoint.iter().flat_map(|checkpoint| &checkpoint.objects);
            objects.copied().filter(|object| object.is_custom()).collect()
        };
        // Only now is it known which custom objects there are.
        let (again, mut accounts): (Vec<_>, Vec<_>) =
            accounts.into_iter().partition(|account| !custom(account).is_empty());
        if !again.is_empty() {
            let fields = of_state(&again.iter().flat_map(custom).collect());
            accounts.extend(self.with_checkpoints(again, fields).await?);
        }
        Ok(accounts)
    }

    /// Adds the checkpoints of accounts, with the fields in `fields`, or with all fields if none is named.
    async fn with_checkpoints(
        &self,
        mut accounts: Vec<AccountStatus>,
        fields: Document,
    ) -> Result<Vec<AccountStatus>, Error> {
        let keys: Vec<String> = accounts.iter().map(|account| account.key.to_string()).collect();
        let checkpoints = self.collection(collection::CHECKPOINTS);
        // With a limit one above the possible number, MongoDB reports in the first response that there are no more.
        let found =
            checkpoints.find(doc! { "_id": { "$in": &keys } }).projection(fields).batch_size(ACCOUNTS_PER_QUERY + 1);
        let (mut found, mut by_key) = (found.await?, HashMap::new());
        while found.advance().await? {
            let checkpoint: Checkpoint = deserialize_from_slice(found.current().as_bytes()).map_err(Error::from)?;
            let key = value(found.current(), "_id").and_then(RawBsonRef::as_str).map(str::to_owned);
            by_key.extend(key.map(|key| (key, Box::new(checkpoint.with_kept_state()))));
        }
        for (account, key) in accounts.iter_mut().zip(&keys) {
            account.checkpoint = by_key.remove(key);
        }
        Ok(accounts)
    }
}

/// Returns the fields of a checkpoint that determine an account's state. (Reading one window instead of all of them,
/// which are few, would take MongoDB three times as long.)
fn of_state(custom: &BTreeSet<ObjectType>) -> Document {
    let of_lane = ["firstSeen", "fresh.mark", "backfill.windows", "lastError"];
    let lanes = CATALOGUE.iter().map(|row| row.name).chain(custom.iter().map(ObjectType::as_str));
    let names = lanes.flat_map(|lane| of_lane.map(|field| format!("lanes.{lane}.{field}")));
    names.chain(["objects".to_owned()]).map(|name| (name, Bson::from(1))).collect()
}

fn value<'a>(document: &'a RawDocument, name: &str) -> Option<RawBsonRef<'a>> {
    document.get(name).ok()?
}

/// Returns the accounts of a Domain, including unusable ones. Others write Domains, so nothing in them is guaranteed.
fn accounts(domain: &RawDocument) -> Vec<AccountStatus> {
    let id = |document: &RawDocument, name: &str| Bson::try_from(value(document, name)?).ok();
    let Some(domain_id) = id(domain, "_id").and_then(|id| DomainId::from_bson(&id).ok()) else { return Vec::new() };
    let text = |document: &RawDocument, name: &str| value(document, name)?.as_str().map(str::to_owned);
    let time = |document: &RawDocument, name: &str| value(document, name)?.as_datetime();
    let holds = |document: &RawDocument, name: &str| value(document, name).and_then(RawBsonRef::as_bool) == Some(true);
    let account = |entry: &RawDocument| {
        Some(AccountStatus {
            key: AccountKey { domain_id: domain_id.clone(), hub_id: HubId::from_bson(&id(entry, "hubId")?).ok()? },
            company: text(domain, "company").filter(|name| !name.is_empty()),
            hub_domain: text(entry, "hubDomain"),
            is_on: holds(domain, "isOn"),
            state: text(entry, "state"),
            state_reason: text(entry, "stateReason"),
            state_at: time(entry, "stateAt"),
            revocation_at: time(entry, "revocationAt"),
            paused_at: time(entry, "pausedAt"),
            has_token: holds(entry, "hasToken"),
            set_aside: BTreeMap::new(),
            checkpoint: None,
        })
    };
    let entries = domain.get_array("entries").into_iter().flatten().flatten();
    let accounts: Vec<AccountStatus> = entries.filter_map(|entry| account(entry.as_document()?)).collect();
    let of = |account: &AccountStatus| {
        Some((account.key.hub_id.clone(), preference(account.state.as_deref(), account.has_token)))
    };
    let used = used_indexes(&accounts, of);
    accounts.into_iter().enumerate().filter(|(index, _)| used.contains(index)).map(|(_, account)| account).collect()
}
