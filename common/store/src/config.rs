//! How MongoDB is reached.

use environment::config::optional;
use secrecy::SecretString;

/// How to reach MongoDB: `MONGODB_URI` or a secret, and `MONGODB_DATABASE` (default `hubspot_sync`).
#[derive(Clone, Debug)]
pub struct MongoConfig {
    /// The connection string; it may hold a password.
    pub uri: SecretString,
    /// The database.
    pub database: String,
}

impl MongoConfig {
    /// Reads the environment's database; `uri` is the connection string.
    pub fn from_env(uri: SecretString) -> Self {
        Self { uri, database: optional("MONGODB_DATABASE").unwrap_or_else(|| "hubspot_sync".to_owned()) }
    }
}
