//! Tokens at rest: nothing in the database is one.

use anyhow::{Context, Result};
use model::{account::AccountKey, object::ObjectType};
use mongodb::bson::{Document, doc};
use ops::{aws::Aws, local};
use store::collection;
use token_vault::{Moved, Vault, VaultError};

use harness::{
    front::{Front, Visitor, token_key},
    world::{DOMAIN, HUB, World},
};

/// What would be a token: every access and refresh token, and code, that the simulator has given.
const TOKENS: [&str; 3] = ["simulated-access-", "simulated-refresh-", "pat-na1-simulated"];

#[tokio::test]
async fn database_holds_no_plain_token_after_connect_and_sync() -> Result<()> {
    let mut world = World::new("tokens_sealed").await?;
    assert!(TOKENS.iter().any(|token| everything_has(&world, token)), "the Domain is as the product wrote it");
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.hubspot.world().portal(HUB + 1);
    Visitor::new(&front).connect(DOMAIN, HUB + 1).await?;
    // The plain token of the old account is read, and sealed when it is refreshed.
    world.run().await?;
    assert_eq!(world.proof().await?.actions, 5);
    let all = world.everything().await?;
    assert!(all.contains("enc:v1:1:"), "{all}");
    for token in TOKENS {
        assert!(!all.contains(token), "{token} is in the database");
    }
    world.end().await
}

fn everything_has(world: &World, token: &str) -> bool {
    let grant = world.hubspot.world().portal(HUB).refresh_token.clone();
    grant.is_some_and(|grant| grant.contains(token))
}

async fn stored(world: &World, field: &str) -> Result<String> {
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    let domain = domains.find_one(doc! { "_id": DOMAIN }).await?.context("the Domain")?;
    let accounts = domain.get_document("integrations")?.get_document("hubspot")?.get_array("accounts")?;
    let entry = accounts.first().and_then(|entry| entry.as_document()).context("an account")?;
    Ok(entry.get_str(field)?.to_owned())
}

#[tokio::test]
async fn key_rotation_reseals_all_tokens_and_running_sync_still_opens_them() -> Result<()> {
    let mut world = World::new("tokens_rotated").await?;
    world.config.token_key = Some(token_key());
    world.hubspot.world().seed(HUB, 1, 1, 1);
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    assert!(stored(&world, "refreshToken").await?.starts_with("enc:v1:1:"));

    let vault = Vault::new(world.store.clone(), Some(token_key())).await;
    assert_eq!(vault.rotate(Moved::No).await?, 2);
    let resealed = vault.reseal(2).await?;
    assert_eq!((resealed.sealed, resealed.left, resealed.unreadable.len()), (2, 0, 0));
    let again = vault.reseal(2).await?;
    assert_eq!((again.sealed, again.left), (0, 2), "it may run twice");
    for field in ["accessToken", "refreshToken"] {
        assert!(stored(&world, field).await?.starts_with("enc:v1:2:"));
    }
    // A function that began before the rotation opens what was sealed behind it.
    world.receive(&world.sync_queue).await?;
    world.deliver(&sync, &world.tick()).await?;
    world.end().await
}

/// The functions could not unwrap it: nothing would be refreshed or connected any more.
#[tokio::test]
async fn data_key_under_foreign_master_key_stops_rotation_unless_move_is_confirmed() -> Result<()> {
    let world = World::new("tokens_moved").await?;
    let kms = Aws::local(local::port_of(&std::env::var("AWS_ENDPOINT_URL")?)?).await.kms().clone();
    let made = kms.create_key().send().await?.key_metadata.context("a key")?;
    let ours = made.arn.context("its ARN")?;
    let keys = world.store.database().collection::<Document>(collection::KEYS);
    let others = ["arn:aws:kms:us-east-1:111111111111:key/a", "arn:aws:kms:eu-west-1:000000000000:key/a", "local"];
    for other in others {
        keys.delete_many(doc! {}).await?;
        keys.insert_one(doc! { "_id": 1, "masterKey": other }).await?;
        let vault = Vault::with_kms(world.store.clone(), kms.clone(), ours.clone());
        let refused = vault.rotate(Moved::No).await;
        assert!(matches!(refused, Err(VaultError::OtherMaster(..))), "{other}: {refused:?}");
        assert_eq!(keys.count_documents(doc! {}).await?, 1, "nothing was written");
        assert_eq!(vault.rotate(Moved::Yes).await?, 2);
        // Now it is no other any more.
        assert_eq!(vault.rotate(Moved::No).await?, 3);
    }
    Ok(())
}

/// Whoever can write to the database could otherwise put the token of an account of theirs there.
#[tokio::test]
async fn plain_token_is_not_used_when_only_sealed_tokens_are_allowed() -> Result<()> {
    let mut world = World::new("tokens_plain").await?;
    world.config.token_key = Some(token_key());
    world.config.sealed_only = true;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    let sync = world.sync().await?;
    let slice = async || {
        world.deliver(&sync, &world.tick()).await?;
        world.drain().await?;
        anyhow::Ok(world.all(collection::ACTIONS).await?.len())
    };
    assert_eq!(slice().await?, 0, "a plain token was used");
    let checkpoint =
        world.store.status(&AccountKey::new(DOMAIN, HUB)?).await?.and_then(|status| status.checkpoint).context("it")?;
    let problem = checkpoint.lanes.get(ObjectType::CONTACTS).last_error.clone().context("what is wrong is kept")?;
    assert!(problem.reason.contains("TOKENS_SEALED_ONLY"), "{}", problem.reason);

    let vault = Vault::new(world.store.clone(), Some(token_key())).await;
    let version = vault.rotate(Moved::No).await?;
    vault.reseal(version).await?;
    world.store.clear_lane_errors(&AccountKey::new(DOMAIN, HUB)?).await?;
    world.run_on().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 2);
    world.end().await
}

#[tokio::test]
async fn sealed_token_copied_from_another_account_is_not_used() -> Result<()> {
    let mut world = World::new("tokens_copied").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().portal(HUB + 1);
    Visitor::new(&front).connect(DOMAIN, HUB + 1).await?;
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    let domain = domains.find_one(doc! { "_id": DOMAIN }).await?.context("the Domain")?;
    let accounts = domain.get_document("integrations")?.get_document("hubspot")?.get_array("accounts")?;
    let other = accounts[1].as_document().context("an account")?.clone();
    let copied = doc! {
        "integrations.hubspot.accounts.0.accessToken": other.get_str("accessToken")?,
        "integrations.hubspot.accounts.0.refreshToken": other.get_str("refreshToken")?,
        "integrations.hubspot.accounts.0.expiresAt": *other.get_datetime("expiresAt")?,
    };
    domains.update_one(doc! { "_id": DOMAIN }, doc! { "$set": copied }).await?;
    world.hubspot.world().seed(HUB + 1, 3, 3, 1);
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    world.drain().await?;
    assert!(world.all(collection::ACTIONS).await?.is_empty(), "no customer's data is read as another's");
    let status = world.store.status(&AccountKey::new(DOMAIN, HUB)?).await?.context("the account")?;
    let checkpoint = status.checkpoint.context("its checkpoint")?;
    let problem = checkpoint.lanes.get(ObjectType::CONTACTS).last_error.clone().context("what is wrong is kept")?;
    assert!(problem.reason.contains("was not sealed for this account"), "{}", problem.reason);
    let vault = Vault::new(world.store.clone(), Some(token_key())).await;
    let unreadable = vault.reseal(7).await?.unreadable;
    assert!(
        unreadable
            .iter()
            .any(|(account, _)| *account == AccountKey::new(DOMAIN, HUB).unwrap_or_else(|_| unreachable!()))
    );
    world.end().await
}
