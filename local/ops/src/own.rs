//! Checks the owner of the local stack's MongoDB. One that `STACK_MONGODB_URI` names must contain only Domains of local
//! stacks: the local functions work on every Domain that they find, with a HubSpot and a KMS that are not real.

use anyhow::{Context, Result, ensure};
use mongodb::bson::{Document, doc};
use secrecy::{ExposeSecret, SecretString};
use store::{MongoConfig, Store, collection};

use crate::{parameters::mongodb_hosts, settings::Settings};

/// The field that marks a Domain of a local stack.
pub const OURS: &str = "ofLocalStack";

/// Checks that the local stack may use its MongoDB. Writes nothing.
///
/// # Errors
/// The MongoDB is the one of the stack on AWS, contains other Domains, or cannot be reached.
pub async fn check(settings: &Settings) -> Result<()> {
    // If none is named, the local stack starts a MongoDB of its own.
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

/// Deletes the data keys of earlier local stacks. Only the KMS of such a stack could unwrap them, and it ended with the
/// stack.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn forget_keys(store: &Store) -> Result<()> {
    let keys = store.database().collection::<Document>(collection::KEYS);
    keys.delete_many(doc! { "masterKey": { "$regex": LOCAL_ACCOUNT } }).await.context("the keys cannot be deleted")?;
    Ok(())
}

/// The account id in the ARNs of a local AWS.
const LOCAL_ACCOUNT: &str = ":000000000000:";
