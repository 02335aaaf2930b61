//! What is left of the values of an erased record.

use anyhow::{Context as _, Result, ensure};
use harness::world::HUB;
use model::object::ObjectType;
use mongodb::bson::{Document, doc};
use store::{Erasure, collection};

use super::{CONTACTS, compared};

/// A value may be guessed from its digest.
#[tokio::test]
async fn erased_record_has_no_digest_of_its_values() -> Result<()> {
    let world = compared("calculated_erased").await?;
    let contact = world.hubspot.world().ids(HUB, CONTACTS)[0];
    let erasure = Erasure::Record(world.account()?, ObjectType::CONTACTS, contact.to_string().try_into()?);
    let entry = async || {
        let of = doc! { "_id": format!("{}:contacts:{contact}", world.account()?) };
        let seen = world.store.database().collection::<Document>(collection::SEEN);
        seen.find_one(of).await?.context("it has an entry")
    };
    ensure!(entry().await?.contains_key("calculatedDigest"));
    world.store.request_erasures(std::slice::from_ref(&erasure)).await?;
    world.store.erase(&erasure).await?;
    let erased = entry().await?;
    ensure!(erased.contains_key("erasedAt") && !erased.contains_key("calculatedDigest"), "{erased}");
    world.end().await
}
