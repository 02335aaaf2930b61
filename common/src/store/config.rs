//! How MongoDB is reached.

use secrecy::SecretString;

use crate::{
    config::{ConfigError, optional},
    secrets::Secrets,
};

/// How to reach MongoDB: `MONGODB_URI` or a secret, and `MONGODB_DATABASE` (default `hubspot_sync`).
#[derive(Clone, Debug)]
pub struct MongoConfig {
    /// The connection string; it may hold a password.
    pub uri: SecretString,
    /// The database.
    pub database: String,
}

impl MongoConfig {
    /// Reads the environment, and the secret if it names one.
    ///
    /// # Errors
    /// There is no connection string.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        Ok(Self {
            uri: secrets.mongodb_uri()?,
            database: optional("MONGODB_DATABASE").unwrap_or_else(|| "hubspot_sync".to_owned()),
        })
    }
}
