//! Whose the MongoDB of the local stack is. One that `STACK_MONGODB_URI` names must hold no Domain but those of local
//! stacks: the local functions work on every Domain that they find, with a HubSpot and a KMS that are not real.

use anyhow::{Context, Result, ensure};
use mongodb::bson::{Document, doc};
use secrecy::{ExposeSecret, SecretString};
use store::{MongoConfig, Store, collection};

use crate::{parameters::mongodb_hosts, settings::Settings};

/// The field of a Domain that the local stack wrote.
pub const OURS: &str = "ofLocalStack";

/// Sees that the local stack may work on the MongoDB that it is given. It writes nothing.
///
/// # Errors
/// It is the one of the stack on AWS, or holds Domains of others, or cannot be reached.
pub async fn check(settings: &Settings) -> Result<()> {
    // Without one, a MongoDB is started that is the local stack's alone.
    let Some(uri) = &settings.mongodb_uri else { return Ok(()) };
    let hosts = |uri: &SecretString| mongodb_hosts(uri.expose_secret());
    let is_same = settings.aws.mongodb_uri.as_ref().is_some_and(|aws| hosts(aws) == hosts(uri))
        && settings.aws.database == settings.database;
    ensure!(
        !is_same,
        "STACK_MONGODB_URI is the database of MONGODB_URI, which is the one of the stack on AWS; the local stack needs its own"
    );
    let mongo = MongoConfig { uri: uri.clone(), database: settings.database.clone() };
    let domains = Store::connect(&mongo).await?.database().collection::<Document>(collection::DOMAINS);
    let others = domains.count_documents(doc! { OURS: { "$ne": true } }).await;
    let others = others.context("the MongoDB of STACK_MONGODB_URI cannot be read")?;
    ensure!(
        others == 0,
        "the database {} of STACK_MONGODB_URI holds {others} Domains that no local stack wrote; choose an empty one with \
         STACK_MONGODB_DATABASE",
        settings.database
    );
    Ok(())
}

/// Forgets the data keys that only the KMS of an earlier local stack could unwrap: it ended with that stack.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn forget_keys(store: &Store) -> Result<()> {
    let keys = store.database().collection::<Document>(collection::KEYS);
    keys.delete_many(doc! { "masterKey": { "$regex": LOCAL_ACCOUNT } }).await.context("the keys cannot be deleted")?;
    Ok(())
}

/// What the ARNs of a local AWS have in common.
const LOCAL_ACCOUNT: &str = ":000000000000:";
