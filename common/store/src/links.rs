//! Revoked install links (collection `links`). Each is kept until its link would have expired.

use model::{ids::DomainId, time::DateTime};
use mongodb::{bson::doc, error::Error};
use serde::Deserialize;

use super::{Store, collection};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Revoked {
    expires_at: DateTime,
}

fn of_domain(domain: &str) -> String {
    format!("domain:{domain}")
}

fn of_link(hash: &str) -> String {
    format!("link:{hash}")
}

impl Store {
    /// Revokes the links of a Domain that expire by `until`, and those created since the previous call.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn revoke_links(&self, domain: &DomainId, until: DateTime) -> Result<(), Error> {
        let later = doc! { "$max": [until, { "$add": ["$expiresAt", 1000] }] };
        let of = doc! { "_id": of_domain(domain.as_str()) };
        let links = self.collection(collection::LINKS);
        links.update_one(of, vec![doc! { "$set": { "expiresAt": later } }]).upsert(true).await?;
        Ok(())
    }

    /// Revokes one link, which expires at `ends`, by a hash of its signature.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn revoke_link(&self, hash: &str, ends: DateTime) -> Result<(), Error> {
        let set = doc! { "$set": { "expiresAt": ends } };
        self.collection(collection::LINKS).update_one(doc! { "_id": of_link(hash) }, set).upsert(true).await?;
        Ok(())
    }

    /// Returns the latest expiry of the links of a Domain that were revoked together.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn links_revoked_until(&self, domain: &DomainId) -> Result<Option<DateTime>, Error> {
        let links = self.database.collection::<Revoked>(collection::LINKS);
        let revoked = links.find_one(doc! { "_id": of_domain(domain.as_str()) }).await?;
        Ok(revoked.map(|revoked| revoked.expires_at))
    }

    /// Returns true if a link was revoked, alone or with the others of its Domain.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn is_link_revoked(&self, domain: &str, hash: &str, ends: DateTime) -> Result<bool, Error> {
        let with_others = doc! { "_id": of_domain(domain), "expiresAt": { "$gte": ends } };
        let found = doc! { "$or": [{ "_id": of_link(hash) }, with_others] };
        Ok(self.collection(collection::LINKS).find_one(found).await?.is_some())
    }
}
