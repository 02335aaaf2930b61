//! Data keys, wrapped (collection `keys`), and the tokens that are sealed under them.

use futures::{Stream, TryStreamExt, stream};
use model::{
    account::AccountKey,
    ids::{DomainId, HubId},
    time::DateTime,
};
use mongodb::{
    bson::{Document, doc},
    error::Error,
};

use super::{
    Store,
    checkpoints::is_duplicate_key,
    collection,
    domains::{ACCOUNTS, entries_of},
};

/// The fields of an account's entry that hold tokens.
const TOKEN_FIELDS: [&str; 2] = ["accessToken", "refreshToken"];

/// Tokens in stored form.
#[derive(Clone, Debug)]
pub struct SealedTokens {
    /// See `hubspot::Tokens`.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// When the access token expires.
    pub expires_at: DateTime,
}

impl Store {
    /// Returns the data key of the highest version. Returns `None` if there is no key yet.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn newest_data_key(&self) -> Result<Option<Document>, Error> {
        self.keys().find_one(doc! {}).sort(doc! { "_id": -1 }).await
    }

    /// Returns the data key of `version`. Returns `None` if there is none.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn data_key(&self, version: i32) -> Result<Option<Document>, Error> {
        self.keys().find_one(doc! { "_id": version }).await
    }

    /// Stores a data key, unless its version exists already.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn add_data_key(&self, key: &Document) -> Result<(), Error> {
        match self.keys().insert_one(key).await {
            Err(error) if !is_duplicate_key(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns all tokens of all Domains: the account, the field, and its stored text.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn stored_tokens(
        &self,
    ) -> Result<impl Stream<Item = Result<(AccountKey, &'static str, String), Error>> + use<>, Error> {
        let domains = self.database().collection::<Document>(collection::DOMAINS);
        let found = domains.find(doc! { ACCOUNTS: { "$exists": true } }).projection(doc! { ACCOUNTS: 1 }).await?;
        Ok(found.map_ok(|domain| stream::iter(tokens(&domain).into_iter().map(Ok))).try_flatten())
    }

    fn keys(&self) -> mongodb::Collection<Document> {
        self.database().collection(collection::KEYS)
    }
}

/// Returns the tokens of a Domain's entries. Entries that are not accounts are left out.
fn tokens(domain: &Document) -> Vec<(AccountKey, &'static str, String)> {
    let of = |entry: &Document| {
        let domain_id = DomainId::from_bson(domain.get("_id")?).ok()?;
        let account = AccountKey { domain_id, hub_id: HubId::from_bson(entry.get("hubId")?).ok()? };
        let stored = TOKEN_FIELDS.into_iter().filter_map(|field| Some((field, entry.get_str(field).ok()?)));
        let stored = stored.filter(|(_, stored)| !stored.is_empty());
        Some(stored.map(|(field, stored)| (account.clone(), field, stored.to_owned())).collect::<Vec<_>>())
    };
    entries_of(domain).filter_map(of).flatten().collect()
}
