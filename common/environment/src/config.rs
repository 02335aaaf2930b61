//! Configuration from environment variables. An error names the variable; what must be chosen has no default.

use std::{fmt::Display, str::FromStr, time::Duration};

use secrecy::SecretString;
use thiserror::Error;

/// A variable that is missing or cannot be read. Its value is not shown: it may be a secret.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// The variable has a value that cannot be used.
    #[error("the environment variable {name} cannot be used: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

/// The value of `name`, or `None` if it is not set or empty.
pub fn optional(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The value of `name`.
///
/// # Errors
/// It is not set, or empty.
pub fn required(name: &'static str) -> Result<String, ConfigError> {
    optional(name).ok_or(ConfigError::Missing(name))
}

/// The value of `name`, kept out of logs.
///
/// # Errors
/// It is not set, or empty.
pub fn secret(name: &'static str) -> Result<SecretString, ConfigError> {
    required(name).map(SecretString::from)
}

/// The value of `name`, or `default` if it is not set.
///
/// # Errors
/// The value is of another type.
pub fn or<T: FromStr<Err: Display>>(name: &'static str, default: T) -> Result<T, ConfigError> {
    match optional(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|error: T::Err| ConfigError::Invalid { name, reason: error.to_string() }),
    }
}

/// The value of `name` in seconds, or `default`.
///
/// # Errors
/// The value is no number of seconds.
pub fn seconds(name: &'static str, default: u32) -> Result<Duration, ConfigError> {
    Duration::try_from_secs_f64(or(name, f64::from(default))?)
        .map_err(|error| ConfigError::Invalid { name, reason: error.to_string() })
}

/// Whether the variable `name` is set to `1`.
pub fn flag(name: &'static str) -> bool {
    optional(name).is_some_and(|value| value == "1")
}

/// The words of `name`, separated by commas or white space; none if it is not set.
pub fn words(name: &'static str) -> Vec<String> {
    list(&optional(name).unwrap_or_default())
}

/// The words of a value, separated by commas or white space.
pub fn list(value: &str) -> Vec<String> {
    value.split([',', ' ', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
