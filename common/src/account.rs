//! HubSpot accounts as they stand in the product's Domain documents, read leniently: one entry that
//! cannot be used never hides the others.

use std::fmt;

use mongodb::bson::{Bson, Document};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    ids::{DomainId, HubId, InvalidId},
    object::ObjectType,
    time::{self, DateTime},
};

/// The value of an account's `state` once its refresh token was rejected.
pub const REAUTHORIZE: &str = "reauthorize";

/// The value of an account's `state` once it was disconnected.
pub const DISCONNECTED: &str = "disconnected";

/// Which HubSpot account of which customer: the unit that is scheduled, leased and synced.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountKey {
    /// The customer.
    pub domain_id: DomainId,
    /// The customer's HubSpot account (portal).
    pub hub_id: HubId,
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.domain_id, self.hub_id)
    }
}

/// A HubSpot account with what is needed to read it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Which account.
    pub key: AccountKey,
    /// How to authenticate.
    pub credentials: Credentials,
    /// `lastPulledDates.companies`: where the former worker got to.
    pub companies_pulled: Option<DateTime>,
    /// `lastPulledDates.contacts`.
    pub contacts_pulled: Option<DateTime>,
}

impl Account {
    /// Where the first pull of a lane starts, if the account was pulled by others before.
    pub fn last_pulled(&self, object: ObjectType) -> Option<DateTime> {
        match object {
            ObjectType::Companies => self.companies_pulled,
            ObjectType::Contacts => self.contacts_pulled,
        }
    }
}

/// How an account authenticates with HubSpot. The tokens are as they are stored; a [`crate::vault::Vault`] opens them.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A private app's token: used as it is, for as long as HubSpot takes it.
    PrivateApp(SecretString),
    /// An OAuth grant: a refresh token, with the last access token and its expiry where they are known.
    OAuth {
        /// The grant itself.
        refresh_token: SecretString,
        /// The last access token.
        access_token: Option<SecretString>,
        /// When the access token expires.
        expires_at: Option<DateTime>,
    },
}

/// Why an entry of a Domain's accounts is not synced.
#[derive(Debug, Error)]
pub enum Unusable {
    /// The refresh token was rejected; the customer must connect again.
    #[error("it must be connected again")]
    Reauthorize,
    /// It was disconnected.
    #[error("it is disconnected")]
    Disconnected,
    /// An operator has paused it (`pausedAt`).
    #[error("it is paused")]
    Paused,
    /// Neither an access token nor a refresh token.
    #[error("it has no credentials")]
    NoCredentials,
    /// The entry is not of the agreed form.
    #[error("it is malformed: {0}")]
    Malformed(String),
}

impl Unusable {
    /// Whether somebody has asked for it, and nothing is wrong.
    pub fn is_wanted(&self) -> bool {
        matches!(self, Self::Disconnected | Self::Paused)
    }
}

impl From<InvalidId> for Unusable {
    fn from(error: InvalidId) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The accounts of a Domain document, each for itself, in the order in which they stand there.
/// A Domain whose integration is switched off (`integrations.hubspot.status`) has none.
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
        Some(Bson::Array(entries)) => entries.iter().map(|entry| account(domain, entry)).collect(),
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
    match entry.get_str("state") {
        Ok(REAUTHORIZE) => return Err(Unusable::Reauthorize),
        Ok(DISCONNECTED) => return Err(Unusable::Disconnected),
        _ => {}
    }
    if entry.get_datetime("pausedAt").is_ok() {
        return Err(Unusable::Paused);
    }
    let pulled = entry.get_document("lastPulledDates").ok();
    let pulled = |lane: ObjectType| pulled.and_then(|dates| date(dates.get(lane.as_str())?));
    Ok(Account {
        key,
        credentials: credentials(entry)?,
        companies_pulled: pulled(ObjectType::Companies),
        contacts_pulled: pulled(ObjectType::Contacts),
    })
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
    use mongodb::bson::{doc, oid::ObjectId};
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
        assert!(matches!(read[4], Err(Unusable::Reauthorize)));
        assert!(
            matches!(&read[5], Ok(Account { key, credentials: Credentials::OAuth { expires_at: Some(at), .. }, .. })
            if key.hub_id.as_str() == "4" && at.timestamp_millis() == 5)
        );
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
