//! HubSpot accounts in the product's Domain documents. They are parsed leniently: one unusable entry never hides the
//! others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use bson::{Bson, Document};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    choice::Choice,
    ids::{DomainId, HubId, InvalidId},
    object::ObjectType,
    time::{self, DateTime},
};

/// The value of an account's `state` after HubSpot has proved that the customer must connect it again.
pub const REAUTHORIZE: &str = "reauthorize";

/// The value of an account's `state` after it was disconnected.
pub const DISCONNECTED: &str = "disconnected";

/// Identifies a HubSpot account of a customer: the unit that is scheduled, leased and synced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountKey {
    /// The customer.
    pub domain_id: DomainId,
    /// The customer's HubSpot account (portal).
    pub hub_id: HubId,
}

impl AccountKey {
    /// Returns the key of an account.
    ///
    /// # Errors
    /// One of the ids is invalid.
    pub fn new(domain_id: &str, hub_id: impl ToString) -> Result<Self, InvalidId> {
        Ok(Self { domain_id: domain_id.to_owned().try_into()?, hub_id: hub_id.to_string().try_into()? })
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.domain_id, self.hub_id)
    }
}

/// A HubSpot account, with everything needed to read it.
#[derive(Clone, Debug)]
pub struct Account {
    /// The account's key.
    pub key: AccountKey,
    /// How to authenticate.
    pub credentials: Credentials,
    /// `lastPulledDates`: until when the former worker has read each object type.
    pub pulled: BTreeMap<ObjectType, DateTime>,
    /// `objects` and `properties`: what is read of the account, if it differs from the stack's choice.
    pub choice: Choice,
    /// `lookEverySeconds`: how long the pause between two looks is, if the entry says so.
    pub look_every: Option<Duration>,
    /// `connectedWith`: the client id of the OAuth app that the grant belongs to, if known.
    pub connected_with: Option<String>,
}

/// An account that must be connected again. Its token is retried now and then, because the state may have been a
/// mistake of HubSpot's.
#[derive(Clone, Debug)]
pub struct Marked {
    /// The account.
    pub account: Account,
    /// When its token is retried.
    pub retry_at: DateTime,
}

/// How long after the mark, or after the last try, a marked account is retried, and the longer period over which such
/// accounts are spread.
const MARK_RETRY_DELAY: Duration = Duration::from_secs(5 * 3600);
const MARK_RETRY_SPREAD: Duration = Duration::from_secs(2 * 3600);

impl Account {
    /// Returns where the first pass of a lane starts, if the former worker has read the account.
    pub fn last_pulled(&self, object: ObjectType) -> Option<DateTime> {
        self.pulled.get(&object).copied()
    }

    /// Returns a number that changes with what the entry chooses: object types, properties, and the pause between looks.
    pub fn digest(&self) -> i64 {
        let mut hasher = DefaultHasher::new();
        (&self.choice, self.look_every).hash(&mut hasher);
        hasher.finish().cast_signed()
    }
}

/// How an account authenticates with HubSpot. The tokens are in stored form. The token vault opens them.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A private app's token, used until HubSpot rejects it.
    PrivateApp(SecretString),
    /// An OAuth grant: a refresh token, with the last access token and its expiry if known.
    OAuth {
        /// The refresh token.
        refresh_token: SecretString,
        /// The last access token.
        access_token: Option<SecretString>,
        /// When the access token expires.
        expires_at: Option<DateTime>,
    },
}

impl Credentials {
    /// Drops the last access token, so that the grant has to be refreshed.
    pub fn forget_access_token(&mut self) {
        if let Self::OAuth { access_token, .. } = self {
            *access_token = None;
        }
    }
}

/// Why an entry of a Domain's accounts is not synced.
#[derive(Debug, Error)]
pub enum Unusable {
    /// HubSpot does not accept the token. The customer must connect again. `None` if there is no token to retry.
    #[error("it must be connected again")]
    Reauthorize(Option<Box<Marked>>),
    /// The account was disconnected.
    #[error("it is disconnected")]
    Disconnected,
    /// An operator has paused the account (`pausedAt`).
    #[error("it is paused")]
    Paused,
    /// The Domain has another entry of the same portal, which is used instead.
    #[error("another entry of HubSpot account {0} in the same Domain is used")]
    Duplicate(HubId),
    /// The entry has neither an access token nor a refresh token.
    #[error("it has no credentials")]
    NoCredentials,
    /// The entry does not have the agreed form.
    #[error("it is malformed: {0}")]
    Malformed(String),
}

impl Unusable {
    /// Returns true if the account is skipped on purpose (disconnected or paused).
    pub fn is_intentional(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Paused)
    }
}

impl From<InvalidId> for Unusable {
    fn from(error: InvalidId) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Ranks an entry among the entries of one portal in one Domain. The greatest rank is used, the last entry among
/// equals. An active entry ranks above a stopped one, and one with a token above one without.
///
/// The service itself keeps one entry per portal. Others may add an entry each time the portal is connected.
pub fn preference(state: Option<&str>, has_token: bool) -> (bool, bool) {
    (!matches!(state, Some(REAUTHORIZE | DISCONNECTED)), has_token)
}

/// Returns the indexes of the entries that are used: the preferred one of each portal, and every entry that names no
/// portal. `of` returns an entry's portal and its [`preference`].
pub fn used_indexes<T>(entries: &[T], of: impl Fn(&T) -> Option<(HubId, (bool, bool))>) -> BTreeSet<usize> {
    let (mut used, mut best) = (BTreeSet::new(), BTreeMap::new());
    for (index, entry) in entries.iter().enumerate() {
        let Some((hub, preference)) = of(entry) else {
            used.insert(index);
            continue;
        };
        let best = best.entry(hub).or_insert((preference, index));
        *best = (*best).max((preference, index));
    }
    used.extend(best.into_values().map(|(_, index)| index));
    used
}

fn portal_and_preference(entry: &Bson) -> Option<(HubId, (bool, bool))> {
    let entry = entry.as_document()?;
    let hub = HubId::from_bson(entry.get("hubId")?).ok()?;
    let has_token =
        ["refreshToken", "accessToken"].iter().any(|name| entry.get_str(name).is_ok_and(|token| !token.is_empty()));
    Some((hub, preference(entry.get_str("state").ok(), has_token)))
}

/// Returns the entry that is used, of entries that all name one portal.
pub fn used_entry(entries: &[Bson]) -> Option<&Document> {
    let index = *used_indexes(entries, portal_and_preference).first()?;
    entries.get(index)?.as_document()
}

/// Returns the accounts of a Domain document, in stored order, each parsed by itself. One entry per portal is used
/// ([`preference`]). The others are [`Unusable::Duplicate`]. Returns none if the Domain's integration is switched off
/// (`integrations.hubspot.status`).
pub fn accounts(domain: &Document) -> Vec<Result<Account, Unusable>> {
    let Some(hubspot) =
        domain.get_document("integrations").ok().and_then(|integrations| integrations.get_document("hubspot").ok())
    else {
        return Vec::new();
    };
    if !hubspot.get_bool("status").unwrap_or(false) {
        return Vec::new();
    }
    match hubspot.get("accounts") {
        Some(Bson::Array(entries)) => {
            let used = used_indexes(entries, portal_and_preference);
            let read = |(index, entry)| match portal_and_preference(entry) {
                Some((hub, _)) if !used.contains(&index) => Err(Unusable::Duplicate(hub)),
                _ => account(domain, entry),
            };
            entries.iter().enumerate().map(read).collect()
        }
        Some(Bson::Null) | None => Vec::new(),
        Some(_) => vec![Err(Unusable::Malformed("accounts is no array".to_owned()))],
    }
}

fn account(domain: &Document, entry: &Bson) -> Result<Account, Unusable> {
    let entry = entry.as_document().ok_or_else(|| Unusable::Malformed("the entry is no document".to_owned()))?;
    let key = AccountKey {
        domain_id: DomainId::from_bson(domain.get("_id").unwrap_or(&Bson::Null))?,
        hub_id: HubId::from_bson(entry.get("hubId").unwrap_or(&Bson::Null))?,
    };
    let pulled = entry.get_document("lastPulledDates").into_iter().flatten();
    let pulled = pulled.filter_map(|(name, at)| Some((ObjectType::parse(name).ok()?, date(at)?))).collect();
    let account = |key| {
        Ok(Account {
            key,
            credentials: credentials(entry)?,
            pulled,
            choice: Choice::of_entry(entry),
            look_every: entry.get("lookEverySeconds").and_then(time::seconds),
            connected_with: entry.get_str("connectedWith").ok().map(str::to_owned),
        })
    };
    let is_paused = entry.get_datetime("pausedAt").is_ok();
    match entry.get_str("state") {
        Ok(REAUTHORIZE) => {
            let retry_at = retry_at(&key, entry);
            let marked = account(key).ok().filter(|_| !is_paused).map(|account| Marked { account, retry_at });
            Err(Unusable::Reauthorize(marked.map(Box::new)))
        }
        Ok(DISCONNECTED) => Err(Unusable::Disconnected),
        _ if is_paused => Err(Unusable::Paused),
        _ => account(key),
    }
}

/// Returns when a marked account is retried: at once if the time of the mark is unknown.
fn retry_at(key: &AccountKey, entry: &Document) -> DateTime {
    let at = |name: &str| entry.get(name).and_then(date);
    let Some(last) = at("stateAt").max(at("stateTriedAt")) else { return DateTime::MIN };
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let spread = Duration::from_secs(hasher.finish() % MARK_RETRY_SPREAD.as_secs());
    time::after(last, MARK_RETRY_DELAY + spread)
}

fn credentials(entry: &Document) -> Result<Credentials, Unusable> {
    let secret = |name: &str| {
        let text = entry.get_str(name).unwrap_or_default();
        (!text.is_empty()).then(|| SecretString::from(text))
    };
    match (secret("refreshToken"), secret("accessToken")) {
        (Some(refresh_token), access_token) => {
            Ok(Credentials::OAuth { refresh_token, access_token, expires_at: entry.get("expiresAt").and_then(date) })
        }
        (None, Some(access_token)) => Ok(Credentials::PrivateApp(access_token)),
        (None, None) => Err(Unusable::NoCredentials),
    }
}

fn date(value: &Bson) -> Option<DateTime> {
    match value {
        Bson::DateTime(date) => Some(*date),
        Bson::String(text) => time::parse(text),
        Bson::Int64(millis) => Some(DateTime::from_millis(*millis)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, oid::ObjectId};
    use secrecy::ExposeSecret;

    use super::*;

    fn domain(accounts: Bson) -> Document {
        doc! { "_id": ObjectId::new(), "integrations": { "hubspot": { "status": true, "accounts": accounts } } }
    }

    #[test]
    fn a_bad_entry_does_not_hide_the_others() {
        let read = accounts(&domain(Bson::Array(vec![
            doc! { "hubId": "1", "accessToken": "a" }.into(),
            doc! { "hubId": "2" }.into(),
            Bson::from("not a document"),
            doc! { "hubId": "x", "accessToken": "a" }.into(),
            doc! { "hubId": "3", "refreshToken": "r", "state": "reauthorize" }.into(),
            doc! { "hubId": 4, "refreshToken": "r", "accessToken": "a", "expiresAt": DateTime::from_millis(5) }.into(),
        ])));
        assert!(matches!(&read[0], Ok(Account { credentials: Credentials::PrivateApp(token), .. })
            if token.expose_secret() == "a"));
        assert!(matches!(read[1], Err(Unusable::NoCredentials)));
        assert!(matches!(read[2], Err(Unusable::Malformed(_))));
        assert!(matches!(read[3], Err(Unusable::Malformed(_))));
        assert!(matches!(&read[4], Err(Unusable::Reauthorize(Some(marked))) if marked.retry_at == DateTime::MIN));
        assert!(
            matches!(&read[5], Ok(Account { key, credentials: Credentials::OAuth { expires_at: Some(at), .. }, .. })
            if key.hub_id.as_str() == "4" && at.timestamp_millis() == 5)
        );
    }

    #[test]
    fn of_the_entries_of_a_portal_one_is_used() {
        let entry = |token: &str, state: Option<&str>| {
            let mut entry = doc! { "hubId": "7", "refreshToken": token };
            entry.extend(state.map(|state| ("state".to_owned(), state.into())));
            Bson::from(entry)
        };
        let (old, new, none) = (entry("old", None), entry("new", None), entry("", None));
        let (gone, taken) = (entry("gone", Some(REAUTHORIZE)), entry("taken", Some(DISCONNECTED)));
        let table = [
            (vec![&gone, &new], Some("new")),
            (vec![&new, &gone], Some("new")),
            (vec![&old, &new], Some("new")),
            (vec![&new, &none, &taken], Some("new")),
            (vec![&gone, &none], None),
            (vec![&gone, &taken], None),
        ];
        for (entries, expected) in table {
            let entries: Vec<Bson> = entries.into_iter().cloned().collect();
            let read = accounts(&domain(entries.clone().into()));
            let duplicates =
                read.iter().filter(|read| matches!(read, Err(Unusable::Duplicate(hub)) if hub.as_str() == "7"));
            assert_eq!(duplicates.count(), entries.len() - 1, "{entries:?}");
            let tokens: Vec<&str> = read
                .iter()
                .flatten()
                .map(|account| match &account.credentials {
                    Credentials::OAuth { refresh_token, .. } => refresh_token.expose_secret(),
                    Credentials::PrivateApp(token) => token.expose_secret(),
                })
                .collect();
            assert_eq!(tokens.first().copied(), expected, "{entries:?}");
        }
    }

    #[test]
    fn marked_accounts_are_tried_again_some_hours_later_and_not_all_at_once() {
        let at = DateTime::from_millis(1_800_000_000_000);
        let entry = |hub: i64| doc! { "hubId": hub, "refreshToken": "r", "state": "reauthorize", "stateAt": at };
        let after = |entry: Document| match &accounts(&domain(Bson::Array(vec![entry.into()])))[..] {
            [Err(Unusable::Reauthorize(marked))] => {
                marked.as_ref().map(|marked| time::between(at, marked.retry_at).as_secs() / 60)
            }
            other => panic!("{other:?}"),
        };
        let minutes: Vec<u64> = (1..=200).filter_map(|hub| after(entry(hub))).collect();
        assert!(minutes.len() == 200 && minutes.iter().all(|minutes| (300..420).contains(minutes)), "{minutes:?}");
        let different: std::collections::BTreeSet<u64> = minutes.into_iter().collect();
        assert!(different.len() > 60, "they are not spread: {different:?}");
        let mut tried = entry(1);
        tried.insert("stateTriedAt", time::after(at, Duration::from_secs(36_000)));
        assert!(after(tried) > Some(600 + 300 - 1));
        // A paused account and one without a token are not retried.
        let mut paused = entry(1);
        paused.insert("pausedAt", at);
        let mut empty = entry(1);
        empty.remove("refreshToken");
        assert_eq!((after(paused), after(empty)), (None, None));
    }

    #[test]
    fn a_domain_that_is_switched_off_has_no_accounts() {
        let mut off = domain(Bson::Array(vec![doc! { "hubId": "1", "accessToken": "a" }.into()]));
        off.insert("integrations", doc! { "hubspot": { "status": false, "accounts": [] } });
        assert!(accounts(&off).is_empty());
        assert!(accounts(&doc! { "_id": 1 }).is_empty());
        assert!(matches!(accounts(&domain(Bson::from("none")))[..], [Err(Unusable::Malformed(_))]));
    }

    #[test]
    fn a_debugged_account_shows_no_token() {
        let read = accounts(&domain(Bson::Array(vec![doc! { "hubId": "1", "accessToken": "pat-secret" }.into()])));
        assert!(!format!("{read:?}").contains("pat-secret"));
    }
}
