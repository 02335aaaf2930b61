//! Domains of the local stack, in the form in which the product writes them.

use anyhow::{Context, Result};
use model::{account::AccountKey, object::ObjectType};
use mongodb::{
    Database,
    bson::{Bson, Document, doc},
};
use ops::own::OURS;
use store::{collection, records_of};

/// The Domain that the sample events in `events/` are about, with its account.
pub const SAMPLE: (&str, u64) = ("6562f1f77bcf86cd79943901", 7_000_001);

/// Writes a Domain with these account entries. Replaces a Domain of the same id. Only for a database of one's own.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn write_domain(database: &Database, id: impl Into<Bson>, name: &str, accounts: Vec<Document>) -> Result<()> {
    let domain = domain(id.into(), name, accounts);
    let domains = database.collection(collection::DOMAINS);
    domains.replace_one(doc! { "_id": domain.get("_id") }, domain).upsert(true).await?;
    Ok(())
}

/// Inserts a Domain with these account entries. Replaces one that an earlier local stack inserted.
///
/// # Errors
/// MongoDB cannot be reached, or somebody else wrote a Domain of the same id.
pub async fn insert_domain(
    database: &Database,
    id: impl Into<Bson>,
    name: &str,
    accounts: Vec<Document>,
) -> Result<()> {
    let mut domain = domain(id.into(), name, accounts);
    domain.insert(OURS, true);
    let domains = database.collection(collection::DOMAINS);
    domains.delete_one(doc! { "_id": domain.get("_id"), OURS: true }).await?;
    domains.insert_one(domain).await.with_context(|| format!("the Domain {name} cannot be inserted"))?;
    Ok(())
}

fn domain(id: Bson, name: &str, accounts: Vec<Document>) -> Document {
    doc! {
        "_id": id,
        "company": { "name": name, "website": format!("https://{}.example", name.to_lowercase()) },
        "integrations": { "hubspot": { "status": true, "accounts": accounts } },
    }
}

/// Deletes all documents of an account, so that it is new again. Its Domain stays.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn forget(database: &Database, account: &AccountKey) -> Result<()> {
    let own = doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() };
    database.collection::<Document>(collection::ACTIONS).delete_many(own.clone()).await?;
    let names = database.list_collection_names().await?;
    for object in names.iter().filter_map(|name| ObjectType::of_collection(name)) {
        database.collection::<Document>(&object.collection()).delete_many(own.clone()).await?;
        let seen = database.collection::<Document>(collection::SEEN);
        seen.delete_many(doc! { "_id": records_of(account, object) }).await?;
    }
    let checkpoint = doc! { "_id": account.to_string() };
    database.collection::<Document>(collection::CHECKPOINTS).delete_one(checkpoint).await?;
    Ok(())
}

/// Returns an account entry with an OAuth grant.
pub fn oauth(hub_id: impl ToString, refresh_token: &str) -> Document {
    doc! { "hubId": hub_id.to_string(), "hubDomain": "simulated.example", "refreshToken": refresh_token }
}

/// Returns an account entry with a private app's token.
pub fn private_app(hub_id: impl ToString, token: &str) -> Document {
    doc! { "hubId": hub_id.to_string(), "hubDomain": "simulated.example", "accessToken": token }
}
