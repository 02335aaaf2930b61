//! Reads environment variables. Each has a row in a table (`variables.rs`) with its default, which the reference page
//! shows. An error names the variable, never its value. A variable that must be chosen has no default.

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

/// A row of a table of variables. It is the only way to read a variable.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The kind of its value.
    pub kind: Kind,
    /// The value if the variable is not set.
    pub default: Option<&'static str>,
    /// Which functions read it.
    pub read_by: &'static [Function],
    /// Who sets it on AWS.
    pub set_by: SetBy,
    /// Its purpose.
    pub doc: &'static str,
}

/// The kind of a variable's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that must not be logged.
    Secret,
    /// An address that uses TLS or is on this machine (`tls.rs`).
    Address,
    /// Words, separated by commas or white space.
    List,
    /// A number.
    Number,
    /// A number of seconds.
    Seconds,
    /// A number of milliseconds.
    Milliseconds,
    /// `1`; `0` or empty.
    Flag,
}

/// A function of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `functions/scheduler`.
    Scheduler,
    /// `functions/sync`.
    Sync,
    /// `functions/actions`.
    Actions,
    /// `functions/connect`.
    Connect,
}

/// Who sets a variable of a function on AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// Whoever deploys, by this parameter of the template.
    Parameter(&'static str),
    /// The template, which knows its value.
    Template,
    /// Lambda.
    Lambda,
    /// Nobody. It is for development, or for deployments that need another value than the default.
    Nobody,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 4] = [Self::Scheduler, Self::Sync, Self::Actions, Self::Connect];

    /// Returns its name, which is also the name of its folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Sync => "sync",
            Self::Actions => "actions",
            Self::Connect => "connect",
        }
    }
}

impl Variable {
    /// Returns the variable's value in the environment, without the default. Returns `None` if it is not set, or empty.
    pub fn optional(&self) -> Option<String> {
        std::env::var(self.name).ok().filter(|value| !value.is_empty())
    }

    /// Returns the value, or the default.
    ///
    /// # Errors
    /// There is neither a value nor a default.
    pub fn required(&self) -> Result<String, ConfigError> {
        let value = self.optional().or_else(|| self.default.map(str::to_owned));
        value.ok_or(ConfigError::Missing(self.name))
    }

    /// Returns the value, kept out of logs.
    ///
    /// # Errors
    /// The variable is not set, or empty.
    pub fn secret(&self) -> Result<SecretString, ConfigError> {
        self.assert_is(Kind::Secret);
        self.required().map(SecretString::from)
    }

    /// Returns the value or the default, as another type.
    ///
    /// # Errors
    /// There is neither a value nor a default, or the value is not of that type.
    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Result<T, ConfigError> {
        self.required()?.parse().map_err(|error| self.invalid(error))
    }

    /// Returns the value or the default, in seconds. They may have a fraction.
    ///
    /// # Errors
    /// There is neither a value nor a default, or it is not a number of seconds.
    pub fn seconds(&self) -> Result<Duration, ConfigError> {
        self.assert_is(Kind::Seconds);
        Duration::try_from_secs_f64(self.parsed()?).map_err(|error| self.invalid(error))
    }

    /// Returns the value or the default, in milliseconds.
    ///
    /// # Errors
    /// There is neither a value nor a default, or it is not a number of milliseconds.
    pub fn milliseconds(&self) -> Result<Duration, ConfigError> {
        self.assert_is(Kind::Milliseconds);
        self.parsed().map(Duration::from_millis)
    }

    /// Returns true if the value is `1`.
    ///
    /// # Errors
    /// The value is not `1`, `0` or empty. Its meaning is not guessed.
    pub fn flag(&self) -> Result<bool, ConfigError> {
        self.assert_is(Kind::Flag);
        match self.optional().as_deref() {
            Some("1") => Ok(true),
            Some("0") | None => Ok(false),
            Some(_) => Err(self.invalid("it is neither 1 nor 0")),
        }
    }

    /// Returns the words of the value. Returns none if the variable is not set.
    pub fn list(&self) -> Vec<String> {
        self.assert_is(Kind::List);
        words(&self.optional().unwrap_or_default())
    }

    /// Returns an error with the reason why the value cannot be used. The error does not contain the value.
    pub fn invalid(&self, reason: impl Display) -> ConfigError {
        ConfigError::Invalid { name: self.name, reason: reason.to_string() }
    }

    /// Makes sure that a variable is read as the kind that its row has.
    fn assert_is(&self, kind: Kind) {
        debug_assert_eq!(self.kind, kind, "{}", self.name);
    }
}

/// Returns the words of a text, separated by commas or white space.
pub fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Declares a table of variables: a static [`Variable`] for each row, and `ALL`. The doc comment of a row is the text
/// on the reference page.
///
/// ```text
/// /// How long a nap takes.
/// NAP_SECONDS: Seconds = "1.5", set_by Parameter("NapSeconds"), read_by &[Sync];
/// ```
#[macro_export]
macro_rules! variables {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $kind:ident $(= $default:literal)?, set_by $set_by:expr, read_by $read_by:expr;
    )+) => {
        $(
            $(#[doc = $doc])+
            pub static $name: $crate::config::Variable = $crate::config::Variable {
                name: stringify!($name),
                kind: $crate::config::Kind::$kind,
                // The first element: the default if there is one, or else `None`.
                default: [$(Some($default),)? None][0],
                read_by: $read_by,
                set_by: $set_by,
                doc: concat!($($doc),+),
            };
        )+

        /// All rows, in the order in which they are written.
        pub static ALL: &[&$crate::config::Variable] = &[$(&$name),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    mod table {
        #![expect(unreachable_pub, reason = "a table is for other crates")]
        use super::{Function::*, SetBy::*};

        variables! {
            /// One that no environment has.
            TEST_VARIABLE_OF_NOBODY: Seconds = "1.5", set_by Nobody, read_by &[];
            /// One without a default,
            /// which is said in two lines.
            TEST_VARIABLE_WITHOUT_DEFAULT: Number, set_by Parameter("Test"), read_by &[Sync, Connect];
        }
    }
    use table::{TEST_VARIABLE_OF_NOBODY, TEST_VARIABLE_WITHOUT_DEFAULT};

    #[test]
    fn a_variable_that_is_not_set_has_its_default_or_is_named_by_the_error() {
        assert_eq!(TEST_VARIABLE_OF_NOBODY.optional(), None);
        assert_eq!(TEST_VARIABLE_OF_NOBODY.seconds().unwrap(), Duration::from_millis(1500));
        let error = TEST_VARIABLE_WITHOUT_DEFAULT.parsed::<u32>().unwrap_err().to_string();
        assert_eq!(error, "the environment variable TEST_VARIABLE_WITHOUT_DEFAULT is not set");
    }

    #[test]
    fn a_value_of_another_type_is_not_shown() {
        // Cargo sets this variable for every process that it starts.
        static CARGO_MANIFEST_DIR: Variable =
            Variable { name: "CARGO_MANIFEST_DIR", kind: Kind::Flag, default: None, ..TEST_VARIABLE_OF_NOBODY };
        let value = CARGO_MANIFEST_DIR.required().unwrap();
        let errors = [CARGO_MANIFEST_DIR.parsed::<u32>().unwrap_err(), CARGO_MANIFEST_DIR.flag().unwrap_err()];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("CARGO_MANIFEST_DIR") && !error.contains(&value), "{error}");
        }
    }

    #[test]
    fn a_row_has_what_stands_above_it() {
        assert_eq!(
            table::ALL.iter().map(|variable| variable.name).collect::<Vec<_>>(),
            ["TEST_VARIABLE_OF_NOBODY", "TEST_VARIABLE_WITHOUT_DEFAULT"]
        );
        assert_eq!(TEST_VARIABLE_WITHOUT_DEFAULT.doc, " One without a default, which is said in two lines.");
        assert_eq!(TEST_VARIABLE_WITHOUT_DEFAULT.set_by, SetBy::Parameter("Test"));
        assert_eq!(TEST_VARIABLE_WITHOUT_DEFAULT.read_by, [Function::Sync, Function::Connect]);
    }
}
