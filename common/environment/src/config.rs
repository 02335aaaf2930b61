//! How environment variables are read: each by its row in a table (`variables.rs`), which has its default and which the
//! reference page shows. An error names the variable, never its value; what must be chosen has no default.

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

/// A row of a table of variables: the only way to read one.
#[derive(Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value that is used if it is not set.
    pub default: Option<&'static str>,
    /// Which functions read it.
    pub read_by: &'static [Function],
    /// Who sets it on AWS.
    pub set_by: SetBy,
    /// What it is for.
    pub doc: &'static str,
}

/// What the value of a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that is in no log.
    Secret,
    /// An address that is reached by TLS or is on this machine (`tls.rs`).
    Address,
    /// Words, separated by commas or white space.
    List,
    /// A number.
    Number,
    /// A number of seconds.
    Seconds,
    /// A number of milliseconds.
    Milliseconds,
    /// `1`, or `0` or nothing.
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
    /// Nobody. It is for development, or for whoever wants another value than the default.
    Nobody,
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scheduler, Self::Sync, Self::Actions, Self::Connect];

    /// Its name, and that of its folder.
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
    /// Returns what the environment says, without the default. Returns `None` if the variable is not set, or empty.
    pub fn optional(&self) -> Option<String> {
        std::env::var(self.name).ok().filter(|value| !value.is_empty())
    }

    /// Returns the value, or the default.
    ///
    /// # Errors
    /// There is neither.
    pub fn required(&self) -> Result<String, ConfigError> {
        let value = self.optional().or_else(|| self.default.map(str::to_owned));
        value.ok_or(ConfigError::Missing(self.name))
    }

    /// Returns the value, kept out of logs.
    ///
    /// # Errors
    /// It is not set, or empty.
    pub fn secret(&self) -> Result<SecretString, ConfigError> {
        self.assert_is(Kind::Secret);
        self.required().map(SecretString::from)
    }

    /// Returns the value or the default, as another type.
    ///
    /// # Errors
    /// There is neither, or it is not of that type.
    pub fn parsed<T: FromStr<Err: Display>>(&self) -> Result<T, ConfigError> {
        self.required()?.parse().map_err(|error| self.invalid(error))
    }

    /// Returns the value or the default, in seconds. They may have a fraction.
    ///
    /// # Errors
    /// There is neither, or it is no number of seconds.
    pub fn seconds(&self) -> Result<Duration, ConfigError> {
        self.assert_is(Kind::Seconds);
        Duration::try_from_secs_f64(self.parsed()?).map_err(|error| self.invalid(error))
    }

    /// Returns the value or the default, in milliseconds.
    ///
    /// # Errors
    /// There is neither, or it is no number of milliseconds.
    pub fn milliseconds(&self) -> Result<Duration, ConfigError> {
        self.assert_is(Kind::Milliseconds);
        self.parsed().map(Duration::from_millis)
    }

    /// Returns whether the value is `1`.
    ///
    /// # Errors
    /// It is something else than `1`, `0` or nothing: it is not guessed what was meant.
    pub fn flag(&self) -> Result<bool, ConfigError> {
        self.assert_is(Kind::Flag);
        match self.optional().as_deref() {
            Some("1") => Ok(true),
            Some("0") | None => Ok(false),
            Some(_) => Err(self.invalid("it is neither 1 nor 0")),
        }
    }

    /// Returns the words of the value: none if it is not set.
    pub fn list(&self) -> Vec<String> {
        self.assert_is(Kind::List);
        words(&self.optional().unwrap_or_default())
    }

    /// An error that says what is wrong with the value, without showing it.
    pub fn invalid(&self, reason: impl Display) -> ConfigError {
        ConfigError::Invalid { name: self.name, reason: reason.to_string() }
    }

    /// What the table says of a variable is how it is read.
    fn assert_is(&self, kind: Kind) {
        debug_assert_eq!(self.kind, kind, "{}", self.name);
    }
}

/// The words of a text, separated by commas or white space.
pub fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A table of variables: a [`Variable`] of each row's name, and `ALL`. What is written above a row is what the page shows.
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
                // The first of the two if there is one.
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
        // Every process that cargo starts has this variable.
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
