//! Makes, checks and revokes install links. A link is a signed text. Nothing of it is stored unless it is revoked.

use std::time::Duration;

use model::{
    ids::{DomainId, HubId},
    time::{self, DateTime},
};
use mongodb::error::Error as MongoError;
use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    AppState,
    address::below,
    auth::Actor,
    signing::{Keys, Purpose, hash},
};

/// How long a link is valid.
const LINK_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most by which the clocks of two instances of the function differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Returns a link by which anybody who has it can connect a HubSpot account to `domain`, until `expires_at`. `base` is
/// the function's address, and `secret` the token that may do everything.
pub fn install_link(base: &Url, secret: &SecretString, domain: &DomainId, expires_at: DateTime) -> Url {
    link(base, &Keys::new(secret), domain, None, expires_at)
}

fn link(base: &Url, keys: &Keys, domain: &DomainId, hub: Option<&HubId>, expires_at: DateTime) -> Url {
    let mut link =
        Link { domain: domain.to_string(), hub: hub.map(HubId::to_string).unwrap_or_default(), ..Link::default() };
    link.expires = expires_at.timestamp_millis().div_euclid(1000).to_string();
    link.signature = keys.sign(Purpose::Install, &link.signed());
    link.at(base, "/hubspot/install")
}

/// The contents of a link.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Link {
    /// The Domain to which an account is connected.
    #[serde(default)]
    pub(crate) domain: String,
    /// The HubSpot account that it is for. Empty for any account.
    #[serde(default)]
    pub(crate) hub: String,
    /// Until when it is valid, in seconds since 1970.
    #[serde(default)]
    expires: String,
    #[serde(default)]
    signature: String,
}

impl Link {
    /// Parses the address of a link. Returns `None` if it is not an address. The signature is not checked.
    pub(crate) fn read(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let mut link = Self::default();
        for (name, value) in url.query_pairs() {
            let field = match &*name {
                "domain" => &mut link.domain,
                "hub" => &mut link.hub,
                "expires" => &mut link.expires,
                "signature" => &mut link.signature,
                _ => continue,
            };
            *field = value.into_owned();
        }
        Some(link)
    }

    /// Returns the signed parts. A link for any account has two, as in earlier releases.
    fn signed(&self) -> Vec<&str> {
        let parts = [self.domain.as_str(), &self.expires, &self.hub];
        parts[..if self.hub.is_empty() { 2 } else { 3 }].to_vec()
    }

    /// Returns when the link expires. Returns `None` if its signature is not valid.
    pub(crate) fn end(&self, keys: &Keys) -> Option<DateTime> {
        let seconds: i64 = self.expires.parse().ok()?;
        keys.verify(Purpose::Install, &self.signed(), &self.signature)
            .then(|| DateTime::from_millis(seconds.saturating_mul(1000)))
    }

    /// Returns true if the signature is valid and the link has not expired. The last second is valid to its end.
    fn is_good(&self, keys: &Keys, now: DateTime) -> bool {
        self.end(keys).is_some_and(|end| end > time::before(now, Duration::from_secs(1)))
    }

    /// Returns the address at `path` with the link's contents.
    pub(crate) fn at(&self, base: &Url, path: &str) -> Url {
        let mut url = below(base, path);
        let parts = [("domain", &self.domain), ("expires", &self.expires), ("signature", &self.signature)];
        url.query_pairs_mut().extend_pairs(parts);
        if !self.hub.is_empty() {
            url.query_pairs_mut().append_pair("hub", &self.hub);
        }
        url
    }

    fn hash(&self) -> String {
        hash(&self.signature)
    }
}

impl AppState {
    /// Makes a link for an existing Domain. Returns it with its expiry. Fails if MongoDB cannot be reached.
    pub(crate) async fn make_link(
        &self,
        base: &Url,
        domain: &DomainId,
        hub: Option<&HubId>,
        actor: &Actor,
    ) -> Result<(Url, DateTime), MongoError> {
        let end = time::after(DateTime::now(), LINK_TTL);
        // It must expire after all revoked links: revoked links are recognized by their expiry.
        let revoked = self.store.links_revoked_until(domain).await?;
        let end = revoked.map_or(end, |until| end.max(time::after(until, Duration::from_secs(1))));
        tracing::info!(account.domain_id = %domain, account.hub_id = hub.map(HubId::as_str), ends = %end, by = actor.name,
            source.ip = actor.source.0, "an install link was made");
        Ok((link(base, &self.keys, domain, hub, end), end))
    }

    /// Returns true if the link is valid and was not revoked. Fails if MongoDB cannot be reached.
    pub(crate) async fn takes(&self, link: &Link) -> Result<bool, MongoError> {
        let Some(end) = link.end(&self.keys).filter(|_| link.is_good(&self.keys, DateTime::now())) else {
            return Ok(false);
        };
        let revoked = self.store.is_link_revoked(&link.domain, &link.hash(), end).await?;
        if revoked {
            tracing::warn!(account.domain_id = link.domain, "a link that was revoked was opened");
        }
        Ok(!revoked)
    }

    /// Returns the link's hash and expiry, by which a later request checks if it was revoked. Returns `None` if its
    /// signature is not valid.
    pub(crate) fn remembered(&self, link: &Link) -> Option<(String, DateTime)> {
        Some((link.hash(), link.end(&self.keys)?))
    }

    /// Revokes all links of a Domain that were made until now. Fails if MongoDB cannot be reached.
    pub(crate) async fn revoke_links(&self, domain: &DomainId, actor: &Actor) -> Result<(), MongoError> {
        self.store.revoke_links(domain, time::after(DateTime::now(), LINK_TTL + MAX_CLOCK_SKEW)).await?;
        tracing::info!(account.domain_id = %domain, by = actor.name, source.ip = actor.source.0,
            "the install links of a Domain were revoked");
        Ok(())
    }

    /// Revokes a link. Returns false if its signature is not valid. Fails if MongoDB cannot be reached.
    pub(crate) async fn revoke_link(&self, link: &Link, actor: &Actor) -> Result<bool, MongoError> {
        let Some(end) = link.end(&self.keys) else { return Ok(false) };
        self.store.revoke_link(&link.hash(), end).await?;
        tracing::info!(
            account.domain_id = link.domain,
            by = actor.name,
            source.ip = actor.source.0,
            "an install link was revoked"
        );
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new(&"a secret of thirty-two characters".into())
    }

    fn made(hub: Option<&str>) -> Link {
        let domain = DomainId::try_from("acme".to_owned()).unwrap();
        let hub = hub.map(|hub| HubId::try_from(hub.to_owned()).unwrap());
        let base = Url::parse("https://sync.example").unwrap();
        Link::read(link(&base, &keys(), &domain, hub.as_ref(), DateTime::from_millis(100_500)).as_str()).unwrap()
    }

    #[test]
    fn a_link_is_good_until_its_end() {
        let may = |link: &Link, now| link.is_good(&keys(), DateTime::from_millis(now));
        assert!(may(&made(None), 100_999));
        assert!(!may(&made(None), 101_000));
        assert!(!may(&Link { domain: "globex".to_owned(), ..made(None) }, 0));
        assert!(!may(&Link { expires: "99999999999".to_owned(), ..made(None) }, 0));
        assert!(!may(&Link::default(), 0));
    }

    #[test]
    fn a_link_for_one_account_is_for_no_other() {
        let may = |link: &Link| link.is_good(&keys(), DateTime::from_millis(0));
        assert!(may(&made(Some("7"))));
        assert!(!may(&Link { hub: "8".to_owned(), ..made(Some("7")) }));
        assert!(!may(&Link { hub: String::new(), ..made(Some("7")) }));
        assert!(!may(&Link { hub: "7".to_owned(), ..made(None) }));
    }
}
