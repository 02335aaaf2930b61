//! How MongoDB is reached.

use environment::{config::ConfigError, variables::MONGODB_DATABASE};
use secrecy::SecretString;

/// How to reach MongoDB: `MONGODB_URI` or a secret, and `MONGODB_DATABASE`.
#[derive(Clone, Debug)]
pub struct MongoConfig {
    /// The connection string; it may hold a password.
    pub uri: SecretString,
    /// The database.
    pub database: String,
}

impl MongoConfig {
    /// Reads the environment's database; `uri` is the connection string.
    ///
    /// # Errors
    /// It names none, and there is no default.
    pub fn from_env(uri: SecretString) -> Result<Self, ConfigError> {
        Ok(Self { uri, database: MONGODB_DATABASE.required()? })
    }
}
