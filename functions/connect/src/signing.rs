//! Signs and verifies install links, sessions and forms. The keys are derived from the one secret, one for each purpose
//! (HKDF, RFC 5869), so rotating the secret ends every link and session. Whoever has a link can try secrets against its
//! signature, which is hopeless for a long random secret.

use aws_lc_rs::{digest, hkdf, hmac};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth2::CsrfToken;
use secrecy::{ExposeSecret, SecretString};

/// What a signature is for. A signature for one purpose is not valid for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// A link by which a customer connects an account.
    Install,
    /// A session, as the database stores it.
    Session,
    /// A form that was shown in a session.
    Form,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Session => "session",
            Self::Form => "form",
        }
    }
}

/// The keys of all signatures.
pub(crate) struct Keys {
    /// The key from which the keys of the purposes are derived.
    root: hkdf::Prk,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Returns the keys that are derived from `secret`.
    pub(crate) fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        Self { root: hkdf::Salt::new(hkdf::HKDF_SHA256, b"hubspot-sync/v1").extract(secret) }
    }

    /// Returns the key of a purpose.
    ///
    /// # Panics
    /// Never: HKDF makes up to 255 times as many bytes as this.
    #[expect(clippy::expect_used, reason = "the length is a constant that HKDF can make")]
    fn key(&self, purpose: Purpose) -> hmac::Key {
        let info = [purpose.as_str().as_bytes()];
        self.root.expand(&info, hmac::HMAC_SHA256).expect("HKDF makes a key of this length").into()
    }

    /// Returns the signature of these parts, as text for a URL.
    pub(crate) fn sign(&self, purpose: Purpose, parts: &[&str]) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key(purpose), message(parts).as_bytes()))
    }

    /// Returns true if this is the signature of these parts. The time does not depend on the wrong signature.
    pub(crate) fn verify(&self, purpose: Purpose, parts: &[&str], signature: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        hmac::verify(&self.key(purpose), message(parts).as_bytes(), &signature).is_ok()
    }
}

/// Returns the signed message. No two lists of parts have the same message.
fn message(parts: &[&str]) -> String {
    parts.iter().map(|part| format!("{}:{part}", part.len())).collect()
}

/// Returns a random text that nobody can guess.
pub(crate) fn random() -> String {
    CsrfToken::new_random_len(32).into_secret()
}

/// Returns the hash of a text. The database stores it instead of the text itself, and it identifies a page's body.
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
    fn nothing_is_signed_with_the_secret_itself() {
        let by_secret = hmac::Key::new(hmac::HMAC_SHA256, b"a secret of thirty-two characters");
        let by_secret = hmac::sign(&by_secret, message(&["acme", "10"]).as_bytes());
        let signatures = [Purpose::Install, Purpose::Session, Purpose::Form].map(|of| keys().sign(of, &["acme", "10"]));
        assert!(!signatures.contains(&URL_SAFE_NO_PAD.encode(by_secret)));
        assert!(signatures[0] != signatures[1] && signatures[1] != signatures[2] && signatures[0] != signatures[2]);
    }
}
