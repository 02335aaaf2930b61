//! AES-256-GCM. The associated data is the purpose for which a text is sealed.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use model::account::AccountKey;

/// Returns the associated data of a wrapped data key.
pub(super) fn wrapping(version: i32) -> String {
    format!("data key {version}")
}

/// Returns the associated data of a sealed token. Ids contain no line breaks, so it differs for every account and
/// field.
pub(super) fn associated(account: &AccountKey, field: &str) -> String {
    format!("{}\n{}\n{field}", account.domain_id, account.hub_id)
}

pub(super) fn encrypt(key: &RandomizedNonceKey, associated: &str, plain: &[u8]) -> Option<Vec<u8>> {
    let mut sealed = plain.to_vec();
    let nonce = key.seal_in_place_append_tag(Aad::from(associated), &mut sealed).ok()?;
    Some([nonce.as_ref().as_slice(), &sealed].concat())
}

pub(super) fn decrypt(key: &RandomizedNonceKey, associated: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    let mut sealed = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    Some(key.open_in_place(nonce, Aad::from(associated), &mut sealed).ok()?.to_vec())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::AES_256_GCM;

    use super::*;

    fn key() -> RandomizedNonceKey {
        RandomizedNonceKey::new(&AES_256_GCM, &[7; 32]).unwrap()
    }

    fn account(hub: &str) -> AccountKey {
        AccountKey::new("acme", hub).unwrap()
    }

    #[test]
    fn what_is_sealed_for_one_account_and_field_opens_there_alone() {
        let sealed = encrypt(&key(), &associated(&account("7"), "accessToken"), b"token").unwrap();
        let open = |hub: &str, field: &str| decrypt(&key(), &associated(&account(hub), field), &sealed);
        assert_eq!(open("7", "accessToken").as_deref(), Some(b"token".as_slice()));
        assert_eq!(open("8", "accessToken"), None);
        assert_eq!(open("7", "refreshToken"), None);
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let sealed = encrypt(&key(), "a", b"token").unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(decrypt(&key(), "a", &changed), None, "byte {index}");
        }
        assert_eq!(decrypt(&key(), "a", &sealed[..NONCE_LEN - 1]), None);
        let other = RandomizedNonceKey::new(&AES_256_GCM, &[8; 32]).unwrap();
        assert_eq!(decrypt(&other, "a", &sealed), None);
    }

    #[test]
    fn no_two_seals_of_a_token_are_alike() {
        assert_ne!(encrypt(&key(), "a", b"token"), encrypt(&key(), "a", b"token"));
    }
}
