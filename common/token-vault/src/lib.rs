#![doc = include_str!("../README.md")]

mod cipher;
mod master;
mod reseal;
pub mod revoke;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, RandomizedNonceKey},
    rand,
};
use aws_sdk_kms::{error::ProvideErrorMetadata, primitives::Blob, types::DataKeySpec};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use environment::startup::{NoAnswer, wait_for};
use hubspot::Tokens;
use model::{account::AccountKey, time::DateTime};
use mongodb::bson::{Binary, Document, doc, spec::BinarySubtype};
use secrecy::{ExposeSecret, SecretString};
use store::{SealedTokens, Store};
use thiserror::Error;
use tokio::sync::Mutex;

pub use self::{master::MasterKey, reseal::Resealed};

use self::{
    cipher::{associated, decrypt, encrypt, wrapping},
    master::{LOCAL_NAME, local, place},
};

/// The prefix of a sealed token.
const SEALED_PREFIX: &str = "enc:v1:";

/// The name of KMS in the time spent waiting.
const KMS_NAME: &str = "KMS";

/// How long the version of the newest data key is cached.
const NEWEST_KEY_TTL: Duration = Duration::from_secs(300);

/// Why a token cannot be sealed or opened. No variant contains any part of the token.
#[derive(Debug, Error)]
pub enum VaultError {
    /// KMS refused, with this error code, or could not be reached.
    #[error("KMS does not unwrap the data key: {0}")]
    Kms(String),
    /// The token is sealed, but no key is configured.
    #[error("the token is sealed, and neither TOKEN_KMS_KEY_ID nor TOKEN_LOCAL_KEY is set")]
    NoKey,
    /// The newest data key is wrapped by a master key of another AWS account or region.
    #[error("the newest data key is wrapped by {0}, which is of another AWS account or region than {1}")]
    OtherMaster(String, String),
    /// The data key is not in the collection `keys`, or does not have the agreed form.
    #[error("data key {0} is missing or damaged")]
    NoDataKey(i32),
    /// The token was sealed for another account or field, with another key, or was changed afterwards.
    #[error("the token cannot be opened: it was not sealed for this account")]
    Unreadable,
    /// The token is not sealed, and only sealed ones are accepted.
    #[error("the token is not sealed, and TOKENS_SEALED_ONLY is set")]
    Plain,
    /// MongoDB cannot be reached.
    #[error("MongoDB failed: {}", store::describe(.0))]
    Mongo(#[from] mongodb::error::Error),
}

/// Whether the master key has moved to another AWS account or region on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It has not. A key of another place is a mistake.
    No,
    /// It has.
    Yes,
}

/// Seals and opens tokens.
#[derive(Debug)]
pub struct Vault {
    store: Store,
    master: Option<MasterKey>,
    kms: Option<aws_sdk_kms::Client>,
    sealed_only: bool,
    keys: Mutex<Keys>,
}

/// The unwrapped data keys.
#[derive(Debug, Default)]
struct Keys {
    by_version: HashMap<i32, Arc<RandomizedNonceKey>>,
    newest: Option<(i32, Instant)>,
}

impl Vault {
    /// Creates a vault whose data keys are in `store`, wrapped by `master`. KMS is first called when a key is needed.
    pub async fn new(store: Store, master: Option<MasterKey>) -> Self {
        let kms = match &master {
            Some(MasterKey::Kms(_)) => Some(aws_sdk_kms::Client::new(&aws_config::load_from_env().await)),
            _ => None,
        };
        Self { store, master, kms, sealed_only: false, keys: Mutex::default() }
    }

    /// Returns the vault. If `sealed_only` is true, it opens no plain token, so that whoever can write to the database
    /// cannot plant a token of another account.
    pub fn sealed_only(self, sealed_only: bool) -> Self {
        Self { sealed_only, ..self }
    }

    /// Creates a vault with a key of this KMS.
    pub fn with_kms(store: Store, kms: aws_sdk_kms::Client, key_id: String) -> Self {
        Self { store, master: Some(MasterKey::Kms(key_id)), kms: Some(kms), sealed_only: false, keys: Mutex::default() }
    }

    /// Opens the token that is stored in `field` of the account's entry.
    ///
    /// # Errors
    /// The token is sealed and cannot be opened, or is not sealed although it must be.
    pub async fn open(
        &self,
        account: &AccountKey,
        field: &str,
        stored: &SecretString,
    ) -> Result<SecretString, VaultError> {
        let Some(sealed) = stored.expose_secret().strip_prefix(SEALED_PREFIX) else {
            return if self.sealed_only { Err(VaultError::Plain) } else { Ok(stored.clone()) };
        };
        let (version, sealed) = sealed.split_once(':').ok_or(VaultError::Unreadable)?;
        let version = version.parse().map_err(|_| VaultError::Unreadable)?;
        let key = self.key(version).await?;
        let sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| VaultError::Unreadable)?;
        let token = decrypt(&key, &associated(account, field), &sealed).ok_or(VaultError::Unreadable)?;
        String::from_utf8(token).map(SecretString::from).map_err(|_| VaultError::Unreadable)
    }

    /// Returns the stored form of a token in `field` of the account's entry: the token itself if no key is configured.
    ///
    /// # Errors
    /// The newest data key cannot be read or unwrapped.
    pub async fn seal(&self, account: &AccountKey, field: &str, token: &SecretString) -> Result<String, VaultError> {
        if self.master.is_none() {
            return Ok(token.expose_secret().to_owned());
        }
        let (version, key) = self.newest().await?;
        let sealed = encrypt(&key, &associated(account, field), token.expose_secret().as_bytes());
        Ok(format!(
            "{SEALED_PREFIX}{version}:{}",
            URL_SAFE_NO_PAD.encode(sealed.ok_or(VaultError::NoDataKey(version))?)
        ))
    }

    /// Returns the stored form of an account's new tokens.
    ///
    /// # Errors
    /// See [`Self::seal`].
    pub async fn seal_tokens(&self, account: &AccountKey, tokens: &Tokens) -> Result<SealedTokens, VaultError> {
        Ok(SealedTokens {
            access_token: self.seal(account, "accessToken", &tokens.access_token).await?,
            refresh_token: self.seal(account, "refreshToken", &tokens.refresh_token).await?,
            expires_at: tokens.expires_at,
        })
    }

    /// Creates a new data key, under which tokens are sealed from now on, and returns its version. Running functions
    /// use it within five minutes. They cannot unwrap a data key of a master key that is not theirs.
    ///
    /// # Errors
    /// No key is configured; or the master key is in another AWS account or region than the newest data key's and
    /// `moved` does not allow that; or KMS or MongoDB does not respond.
    pub async fn rotate(&self, moved: Moved) -> Result<i32, VaultError> {
        let master = self.master.as_ref().ok_or(VaultError::NoKey)?;
        let newest = self.store.newest_data_key().await?;
        let old = newest.as_ref().map(|key| key.get_str("masterKey").unwrap_or_default());
        if let Some(old) = old.filter(|old| moved == Moved::No && place(old) != place(master.name())) {
            return Err(VaultError::OtherMaster(old.to_owned(), master.name().to_owned()));
        }
        let made = self.make(newest.map_or(0, version_of) + 1).await?;
        self.keys.lock().await.newest = Some((made, Instant::now()));
        Ok(made)
    }

    /// Returns true if the stored token is sealed under this version of the data key.
    pub fn is_sealed_under(stored: &str, version: i32) -> bool {
        stored
            .strip_prefix(SEALED_PREFIX)
            .and_then(|sealed| sealed.split_once(':'))
            .is_some_and(|(of, _)| of == version.to_string())
    }

    async fn newest(&self) -> Result<(i32, Arc<RandomizedNonceKey>), VaultError> {
        let kept = self.keys.lock().await.newest.filter(|(_, since)| since.elapsed() < NEWEST_KEY_TTL);
        let version = match kept {
            Some((version, _)) => version,
            None => {
                let version = match self.store.newest_data_key().await? {
                    Some(key) => version_of(key),
                    None => self.make(1).await?,
                };
                self.keys.lock().await.newest = Some((version, Instant::now()));
                version
            }
        };
        Ok((version, self.key(version).await?))
    }

    /// Creates a data key and stores it, wrapped. If another process was faster, uses its key.
    async fn make(&self, version: i32) -> Result<i32, VaultError> {
        let (name, wrapped) = match (self.master.as_ref().ok_or(VaultError::NoKey)?, &self.kms) {
            (MasterKey::Kms(id), Some(kms)) => {
                let (purpose, version) = context(version);
                let asked = kms.generate_data_key().key_id(id).key_spec(DataKeySpec::Aes256);
                let made = asked.encryption_context(purpose.0, purpose.1).encryption_context(version.0, version.1);
                let made = wait_for(KMS_NAME, made.send()).await.map_err(silent)?;
                let made = made.map_err(|error| kms_error(error.code()))?;
                (id.as_str(), made.ciphertext_blob.map(Blob::into_inner))
            }
            (MasterKey::Local(key), _) => {
                let mut data_key = [0; 32];
                rand::fill(&mut data_key).map_err(|_| VaultError::NoDataKey(version))?;
                (LOCAL_NAME, encrypt(&local(key)?, &wrapping(version), &data_key))
            }
            (MasterKey::Kms(_), None) => return Err(VaultError::NoKey),
        };
        let wrapped = Binary { subtype: BinarySubtype::Generic, bytes: wrapped.ok_or(VaultError::NoDataKey(version))? };
        let key = doc! { "_id": version, "masterKey": name, "wrapped": wrapped, "createdAt": DateTime::now() };
        self.store.add_data_key(&key).await?;
        Ok(version)
    }

    async fn key(&self, version: i32) -> Result<Arc<RandomizedNonceKey>, VaultError> {
        if let Some(key) = self.keys.lock().await.by_version.get(&version) {
            return Ok(key.clone());
        }
        let found = self.store.data_key(version).await?.ok_or(VaultError::NoDataKey(version))?;
        let bytes = self.unwrap(version, &found).await?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| VaultError::NoDataKey(version))?;
        let key = Arc::new(key);
        self.keys.lock().await.by_version.insert(version, key.clone());
        Ok(key)
    }

    async fn unwrap(&self, version: i32, found: &Document) -> Result<Vec<u8>, VaultError> {
        let damaged = || VaultError::NoDataKey(version);
        let wrapped = found.get_binary_generic("wrapped").map_err(|_| damaged())?;
        match (self.master.as_ref().ok_or(VaultError::NoKey)?, &self.kms) {
            (MasterKey::Kms(_), Some(kms)) => {
                // The key that wrapped it may be an older one than the environment's.
                let id = found.get_str("masterKey").map_err(|_| damaged())?;
                let (purpose, version) = context(version);
                let asked = kms.decrypt().key_id(id).ciphertext_blob(Blob::new(wrapped.as_slice()));
                let opened = asked.encryption_context(purpose.0, purpose.1).encryption_context(version.0, version.1);
                let opened = wait_for(KMS_NAME, opened.send()).await.map_err(silent)?;
                let opened = opened.map_err(|error| kms_error(error.code()))?;
                opened.plaintext.map(Blob::into_inner).ok_or_else(damaged)
            }
            (MasterKey::Local(key), _) => decrypt(&local(key)?, &wrapping(version), wrapped).ok_or_else(damaged),
            (MasterKey::Kms(_), None) => Err(VaultError::NoKey),
        }
    }
}

fn version_of(key: Document) -> i32 {
    key.get_i32("_id").unwrap_or_default()
}

type Pair = (&'static str, String);

/// Returns KMS's encryption context: it shows what the key is used for, to its users and in CloudTrail.
fn context(version: i32) -> (Pair, Pair) {
    (("purpose", "hubspot-tokens".to_owned()), ("version", version.to_string()))
}

fn kms_error(code: Option<&str>) -> VaultError {
    VaultError::Kms(code.unwrap_or("it cannot be reached").to_owned())
}

fn silent(_: NoAnswer) -> VaultError {
    kms_error(Some("it does not answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_told_by_the_stored_text() {
        assert!(Vault::is_sealed_under("enc:v1:3:abc", 3));
        for other in ["enc:v1:2:abc", "enc:v1:33:abc", "plain", "enc:v1:"] {
            assert!(!Vault::is_sealed_under(other, 3), "{other}");
        }
    }
}
