//! What the function signs, and what it recognizes again: install links, sessions and forms. All keys are derived from the
//! one secret, so that rotating it ends every link and session.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{
    ids::DomainId,
    time::{self, DateTime},
};
use oauth2::CsrfToken;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

/// How long an install link may be used.
pub(crate) const LINK_HOLDS: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a signature is for: none can be used as another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// A link by which a customer connects an account.
    Install,
    /// A browser that has given the token.
    Session,
    /// A form that was shown to that browser.
    Form,
}

/// The keys of everything that is signed.
#[derive(Debug)]
pub(crate) struct Keys(hmac::Key);

impl Keys {
    pub(crate) fn new(secret: &SecretString) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()))
    }

    /// The signature of these parts, as text for a URL.
    pub(crate) fn sign(&self, purpose: Purpose, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, message(purpose, parts).as_bytes()))
    }

    /// Whether that is the signature of these parts. Takes as long for every wrong one.
    pub(crate) fn verify(&self, purpose: Purpose, parts: &[&str], signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        hmac::verify(&self.0, message(purpose, parts).as_bytes(), &signature).is_ok()
    }

    /// Whether that is the secret itself. Takes as long for every wrong one of a length.
    pub(crate) fn is_secret(&self, given: &str) -> bool {
        const ANY: &[u8] = b"the secret itself";
        let given = hmac::Key::new(hmac::HMAC_SHA256, given.as_bytes());
        hmac::verify(&self.0, ANY, hmac::sign(&given, ANY).as_ref()).is_ok()
    }
}

/// No two lists of parts have the same message.
fn message(purpose: Purpose, parts: &[&str]) -> String {
    let parts: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("{purpose:?} {parts}")
}

/// A link by which whoever holds it can connect a HubSpot account to `domain`, until `expires_at`; `base` is the
/// function's address and `secret` its token.
pub fn install_link(base: &Url, secret: &SecretString, domain: &DomainId, expires_at: DateTime) -> Url {
    link(base, &Keys::new(secret), domain, expires_at)
}

pub(crate) fn link(base: &Url, keys: &Keys, domain: &DomainId, expires_at: DateTime) -> Url {
    let expires = expires_at.timestamp_millis().div_euclid(1000).to_string();
    let signature = keys.sign(Purpose::Install, &[domain.as_str(), &expires]);
    let mut url = base.clone();
    url.set_path("/hubspot/install");
    let mut query = url.query_pairs_mut();
    query.append_pair("domain", domain.as_str()).append_pair("expires", &expires).append_pair("signature", &signature);
    drop(query);
    url
}

/// Whether an install link's signature is ours and its time has not passed.
pub(crate) fn may_install(keys: &Keys, domain: &str, expires: &str, signature: &str, now: DateTime) -> bool {
    let passed = expires.parse::<i64>().map_or(true, |expires| expires < now.timestamp_millis().div_euclid(1000));
    keys.verify(Purpose::Install, &[domain, expires], signature) && !passed
}

/// When a link that is made now ends.
pub(crate) fn link_end() -> DateTime {
    time::after(DateTime::now(), LINK_HOLDS)
}

/// A text that nobody can guess.
pub(crate) fn random() -> String {
    CsrfToken::new_random_len(32).into_secret()
}

/// What is stored of a text that must not be found in the database.
pub(crate) fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(&"a secret of thirty-two characters".into())
    }

    #[test]
    fn a_signature_is_good_for_one_purpose_and_its_parts_alone() {
        let signature = keys().sign(Purpose::Install, &["acme", "100"]);
        assert!(keys().verify(Purpose::Install, &["acme", "100"], &signature));
        assert!(!keys().verify(Purpose::Session, &["acme", "100"], &signature));
        for parts in [&["acme", "1000"][..], &["acm", "e100"], &["acme100"], &["acme", "100", ""]] {
            assert!(!keys().verify(Purpose::Install, parts, &signature), "{parts:?}");
        }
        assert!(!Keys::new(&"another secret".into()).verify(Purpose::Install, &["acme", "100"], &signature));
        assert!(!keys().verify(Purpose::Install, &["acme", "100"], ""));
        assert!(!keys().verify(Purpose::Install, &["acme", "100"], "no base64!"));
    }

    #[test]
    fn a_link_is_good_until_its_end() {
        let domain = DomainId::try_from("acme".to_owned()).unwrap();
        let link = link(&Url::parse("https://sync.example").unwrap(), &keys(), &domain, DateTime::from_millis(100_500));
        let values: Vec<String> = link.query_pairs().map(|(_, value)| value.into_owned()).collect();
        let may = |now| may_install(&keys(), &values[0], &values[1], &values[2], DateTime::from_millis(now));
        assert!(may(100_999));
        assert!(!may(101_000));
        assert!(!may_install(&keys(), "globex", &values[1], &values[2], DateTime::from_millis(0)));
    }

    #[test]
    fn the_secret_is_recognized() {
        assert!(keys().is_secret("a secret of thirty-two characters"));
        assert!(!keys().is_secret("a secret of thirty-two character"));
        assert!(!keys().is_secret(""));
    }
}
