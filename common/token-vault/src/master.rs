//! The master key, under which data keys are wrapped, as the environment names it.

use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use environment::{
    config::ConfigError,
    tls::is_in_sams_container,
    variables::{TOKEN_KMS_KEY_ID, TOKEN_LOCAL_KEY, TOKEN_PLAIN},
};
use secrecy::{ExposeSecret, SecretString};

use super::VaultError;

/// The name of the local master key in the collection `keys`.
pub(super) const LOCAL_NAME: &str = "local";

/// Which key wraps the data keys.
#[derive(Clone, Debug)]
pub enum MasterKey {
    /// `TOKEN_KMS_KEY_ID`: a key of KMS, by its ARN.
    Kms(String),
    /// `TOKEN_LOCAL_KEY`: 32 bytes in base64, for development without KMS.
    Local(SecretString),
}

impl MasterKey {
    /// Reads the environment. Returns `None` if tokens are to be stored as they are, which has to be asked for: `TOKEN_PLAIN=1`.
    /// (A container of `sam local invoke` reaches no KMS, and is not asked.)
    ///
    /// # Errors
    /// No key is named and `TOKEN_PLAIN` is not `1`, or the local key is not 32 bytes in base64.
    pub fn from_env() -> Result<Option<Self>, ConfigError> {
        let is_plain_allowed = TOKEN_PLAIN.flag()? || is_in_sams_container();
        if let Some(id) = TOKEN_KMS_KEY_ID.optional() {
            return Ok(Some(Self::Kms(id)));
        }
        let Some(text) = TOKEN_LOCAL_KEY.optional() else {
            if !is_plain_allowed {
                return Err(ConfigError::Missing(TOKEN_KMS_KEY_ID.name));
            }
            tracing::warn!("tokens are stored as they are: no key is configured, and TOKEN_PLAIN allows it");
            return Ok(None);
        };
        match STANDARD.decode(text.trim()) {
            Ok(key) if key.len() == AES_256_GCM.key_len() => Ok(Some(Self::Local(text.trim().into()))),
            _ => Err(TOKEN_LOCAL_KEY.invalid("it is not 32 bytes in base64")),
        }
    }

    /// Its name in the collection `keys`.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Kms(id) => id,
            Self::Local(_) => LOCAL_NAME,
        }
    }
}

/// The AWS account and region of a master key: its ARN without the key itself.
pub(super) fn place(name: &str) -> &str {
    if name.starts_with("arn:") { name.rsplit_once(':').map_or(name, |(place, _)| place) } else { name }
}

pub(super) fn local(key: &SecretString) -> Result<RandomizedNonceKey, VaultError> {
    let bytes = STANDARD.decode(key.expose_secret()).map_err(|_| VaultError::NoKey)?;
    RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| VaultError::NoKey)
}
