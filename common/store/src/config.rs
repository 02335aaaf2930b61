//! The configuration of MongoDB.

use environment::{config::ConfigError, variables::MONGODB_DATABASE};
use secrecy::SecretString;

/// How to reach MongoDB: `MONGODB_URI` or a secret, and `MONGODB_DATABASE`.
#[derive(Clone, Debug)]
pub struct MongoConfig {
    /// The connection string. It may contain a password.
    pub uri: SecretString,
    /// The name of the database.
    pub database: String,
}

impl MongoConfig {
    /// Reads the name of the database from the environment. `uri` is the connection string.
    ///
    /// # Errors
    /// The environment names no database, and there is no default.
    pub fn from_env(uri: SecretString) -> Result<Self, ConfigError> {
        Ok(Self { uri, database: MONGODB_DATABASE.required()? })
    }
}
