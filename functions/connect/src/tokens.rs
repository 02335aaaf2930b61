//! The tokens of programs and operators, and their rights.

use aws_lc_rs::{constant_time, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use environment::config::{ConfigError, Variable};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The name of the token that may do everything.
const ADMIN: &str = "admin";

/// The shortest token, in characters.
const MIN_TOKEN_LENGTH: usize = 32;

/// The fewest different characters of a token. A random one in hexadecimal has more. A repeated word has fewer.
const MIN_DISTINCT_CHARACTERS: usize = 10;

/// The rights of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See how accounts are doing.
    Read,
    /// Make install links, and revoke them.
    Link,
    /// Everything.
    Admin,
}

impl Role {
    /// Returns true if this role has the rights of `needed`.
    pub(crate) fn may(self, needed: Self) -> bool {
        self == Self::Admin || self == needed
    }
}

/// A token that is accepted. Only its hash is kept.
#[derive(Clone)]
pub(crate) struct Known {
    /// Its name in logs and timelines.
    pub(crate) name: String,
    pub(crate) role: Role,
    hash: digest::Digest,
}

impl Known {
    fn new(name: String, role: Role, token: &SecretString) -> Self {
        Self { name, role, hash: hash(token.expose_secret()) }
    }

    /// Returns the hash as text. A session ends if its token is replaced, because this changes.
    pub(crate) fn print(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.hash)
    }
}

fn hash(token: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, token.as_bytes())
}

/// All tokens that are accepted.
#[derive(Clone)]
pub struct Tokens {
    admin: SecretString,
    known: Vec<Known>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.known.iter().map(|known| &known.name)).finish()
    }
}

/// A further token, beside the one that may do everything.
#[derive(Deserialize)]
struct Named {
    name: String,
    may: Role,
    token: SecretString,
}

#[derive(Deserialize)]
struct Written {
    token: SecretString,
    #[serde(default)]
    tokens: Vec<Named>,
}

impl Tokens {
    /// Reads a secret: the token that may do everything, as plain text or as `{"token": "..."}`. The JSON may name
    /// further tokens: `"tokens": [{"name": "shop", "may": "link", "token": "..."}]`.
    ///
    /// # Errors
    /// A token is too short or too simple, two tokens are the same, or a name cannot be used. The error quotes no
    /// token.
    pub fn read(variable: &Variable, secret: &SecretString) -> Result<Self, ConfigError> {
        let invalid = |reason: String| variable.invalid(reason);
        let text = secret.expose_secret().trim();
        // JSON that is not of this form must not become a token itself.
        let written = match text.starts_with('{') {
            // The message of serde may quote a token.
            true => serde_json::from_str(text).map_err(|_| invalid("it is no JSON with a token".to_owned()))?,
            false => Written { token: text.into(), tokens: Vec::new() },
        };
        let mut known: Vec<Known> = Vec::new();
        let admin = Named { name: ADMIN.to_owned(), may: Role::Admin, token: written.token.clone() };
        for Named { name, may, token } in std::iter::once(admin).chain(written.tokens) {
            let is_name = |name: &str| {
                (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if !is_name(&name) || known.iter().any(|other| other.name == name) {
                return Err(invalid("a token's name is not of letters, digits and hyphens, or there twice".to_owned()));
            }
            if let Some(weakness) = weakness(token.expose_secret()) {
                return Err(invalid(format!("the token {name} {weakness}")));
            }
            let new = Known::new(name, may, &token);
            if let Some(same) = known.iter().find(|other| other.hash.as_ref() == new.hash.as_ref()) {
                return Err(invalid(format!("the tokens {} and {} are the same", same.name, new.name)));
            }
            known.push(new);
        }
        Ok(Self { admin: written.token, known })
    }

    /// Returns the token that may do everything. The signing keys are derived from it.
    pub(crate) fn admin(&self) -> &SecretString {
        &self.admin
    }

    /// Returns the token that `given` is. Returns `None` if it is wrong. The time is the same for all wrong tokens of a
    /// length.
    pub(crate) fn find(&self, given: &str) -> Option<&Known> {
        let given = hash(given);
        let is_it =
            |known: &&Known| constant_time::verify_slices_are_equal(known.hash.as_ref(), given.as_ref()).is_ok();
        self.known.iter().filter(is_it).fold(None, |_, known| Some(known))
    }

    /// Returns the token of this name. Returns `None` if there is none.
    pub(crate) fn named(&self, name: &str) -> Option<&Known> {
        self.known.iter().find(|known| known.name == name)
    }
}

/// Returns why a token is easily guessed. Returns `None` if it is not.
fn weakness(token: &str) -> Option<String> {
    let different = token.chars().collect::<std::collections::BTreeSet<_>>().len();
    match token.len() {
        0..MIN_TOKEN_LENGTH => Some(format!("is shorter than {MIN_TOKEN_LENGTH} characters")),
        _ if different < MIN_DISTINCT_CHARACTERS => {
            Some(format!("has fewer than {MIN_DISTINCT_CHARACTERS} different characters"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "a secret of thirty-two characters";

    fn read(text: &str) -> Result<Tokens, ConfigError> {
        Tokens::read(&environment::variables::CONNECT_SECRET, &text.into())
    }

    #[test]
    fn a_secret_of_one_token_may_do_everything() {
        for text in [TOKEN.to_owned(), format!(r#"{{"token":"{TOKEN}"}}"#), format!(" {TOKEN}\n")] {
            let tokens = read(&text).unwrap();
            let known = tokens.find(TOKEN).unwrap();
            assert_eq!((known.name.as_str(), known.role), ("admin", Role::Admin));
            for other in [&TOKEN[1..], "", &format!("{TOKEN}\0"), &text.replace(TOKEN, "")] {
                assert!(tokens.find(other).is_none(), "{other:?}");
            }
        }
    }

    #[test]
    fn more_tokens_may_less() {
        let text = format!(
            r#"{{"token":"{TOKEN}","tokens":[{{"name":"shop","may":"link","token":"the shop's own, of 32 characters"}}]}}"#
        );
        let tokens = read(&text).unwrap();
        let shop = tokens.find("the shop's own, of 32 characters").unwrap();
        assert_eq!((shop.name.as_str(), shop.role), ("shop", Role::Link));
        assert!(shop.role.may(Role::Link) && !shop.role.may(Role::Read) && !shop.role.may(Role::Admin));
        assert!(tokens.named("admin").is_some_and(|admin| admin.role.may(Role::Link)));
    }

    #[test]
    fn tokens_that_are_easily_guessed_or_mixed_up_are_refused() {
        let more = |name: &str, token: &str| {
            format!(r#"{{"token":"{TOKEN}","tokens":[{{"name":"{name}","may":"read","token":"{token}"}}]}}"#)
        };
        let other = "another secret of thirty-two letters";
        assert!(read(&more("shop", other)).is_ok());
        for text in [
            "short",
            "changemechangemechangemechangeme",
            "{}",
            r#"{"token":"short"}"#,
            &format!(r#"{{"tokn":"{TOKEN}"}}"#),
            &more("shop", "short"),
            &more("shop", TOKEN),
            &more("admin", other),
            &more("", other),
            &more("a b", other),
            &more("shop", other).replace("read", "write"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("changeme") && !error.contains("secret of"), "{text}: {error}");
        }
    }
}
