//! Whatever comes first: an erased record does not come back.

use anyhow::{Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::Object;
use model::object::ObjectType;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use store::collection;

use super::{PERSONAL, actions, ensure_erased, ensure_without_person, erase, names, person, rename, tick};

const CONTACTS: ObjectType = ObjectType::CONTACTS;

#[tokio::test]
async fn contact_erased_before_its_first_sync_has_no_action() -> Result<()> {
    let (world, id) = person("erased_first").await?;
    erase(&world, "contact.privacyDeletion", id).await?;
    // The index still shows it, and shows a later change, too.
    world.run().await?;
    rename(&world, id)?;
    world.run().await?;
    tick(&world).await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    ensure!(actions(&world, CONTACTS, id).await?.is_empty(), "it was told of");
    assert_eq!(world.all("contacts").await?.len(), 4, "the others are stored");
    world.end().await
}

#[tokio::test]
async fn contact_erased_while_its_first_action_is_queued_is_only_deleted() -> Result<()> {
    let (world, id) = person("erased_queued").await?;
    world.deliver(&world.sync().await?, &world.tick()).await?;
    erase(&world, "contact.privacyDeletion", id).await?;
    world.drain().await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    assert_eq!(names(&actions(&world, CONTACTS, id).await?), ["Contact Deleted"]);
    assert_eq!(world.all("contacts").await?.len(), 4, "the others are stored");
    world.end().await
}

#[tokio::test]
async fn late_page_and_recycle_bin_bring_no_erased_contact_back() -> Result<()> {
    let (world, id) = person("erased_late").await?;
    world.run().await?;
    erase(&world, "contact.privacyDeletion", id).await?;
    let before = world.all(collection::ACTIONS).await?;
    let is_silent = async || {
        world.deliver(&world.sync().await?, &world.tick()).await?;
        let published = world.take(&world.actions_queue).await?;
        ensure!(published.is_empty(), "something was published: {published:?}");
        world.run_on().await?;
        anyhow::Ok(())
    };
    rename(&world, id)?;
    is_silent().await?;
    let at = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, Object::CONTACTS, id, at);
    is_silent().await?;
    world.store.resync(&world.account()?, CONTACTS, mongodb::bson::DateTime::from_millis(0)).await?;
    world.run().await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, id).await?;
    assert_eq!(world.all(collection::ACTIONS).await?, before);
    world.end().await
}

/// Messages of other senders, and of older releases, may have no state of the record.
#[tokio::test]
async fn queued_action_without_state_of_erased_contact_is_not_stored() -> Result<()> {
    let (world, id) = person("erased_stateless").await?;
    world.deliver(&world.sync().await?, &world.tick()).await?;
    let queued = world.take(&world.actions_queue).await?;
    let mut without = Vec::new();
    for message in &queued {
        let mut message: Value = serde_json::from_str(message)?;
        for action in message["actions"].as_array_mut().into_iter().flatten() {
            action.as_object_mut().map(|action| action.remove("record"));
        }
        without.push(message.to_string());
    }
    ensure!(without.iter().any(|message| message.contains(PERSONAL[0])), "{without:?}");
    erase(&world, "contact.privacyDeletion", id).await?;
    harness::world::assert_accepted(world.store(&without).await)?;
    ensure_without_person(&world.everything().await?)?;
    assert_eq!(names(&actions(&world, CONTACTS, id).await?), ["Contact Deleted"]);
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 2 + 3 + 1, "the others are stored");
    world.end().await
}

/// A person who was in HubSpot twice, and whose contacts were merged: before the erasure, or as far as is known here after it.
#[tokio::test]
async fn contacts_merged_into_erased_contact_are_erased_too() -> Result<()> {
    for is_known in [true, false] {
        let (world, survivor) = person("erased_survivor").await?;
        let loser = world.hubspot.world().ids(HUB, Object::CONTACTS)[2];
        rename(&world, loser)?;
        world.run().await?;
        let merge = || {
            let mut hubspot = world.hubspot.world();
            let at = hubspot.now();
            hubspot.merge(HUB, Object::CONTACTS, (survivor, loser), at, false)
        };
        if is_known {
            ensure!(merge() == Some(survivor));
            world.run().await?;
        }
        erase(&world, "contact.privacyDeletion", survivor).await?;
        if !is_known {
            ensure!(merge() == Some(survivor));
            world.run().await?;
        }
        // The first one finds the merged record, the second one erases it at the latest.
        tick(&world).await?;
        tick(&world).await?;
        for id in [survivor, loser] {
            ensure_erased(&world, CONTACTS, id).await?;
        }
        ensure_without_person(&world.everything().await?)?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn merge_of_erased_contact_tells_nothing_of_it() -> Result<()> {
    let (world, loser) = person("erased_loser").await?;
    let survivor = world.hubspot.world().ids(HUB, Object::CONTACTS)[0];
    world.run().await?;
    erase(&world, "contact.privacyDeletion", loser).await?;
    let at = world.hubspot.world().now();
    ensure!(world.hubspot.world().merge(HUB, Object::CONTACTS, (survivor, loser), at, false).is_some());
    world.run().await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, CONTACTS, loser).await?;
    assert_eq!(names(&actions(&world, CONTACTS, loser).await?), ["Contact Created", "Contact Deleted"]);
    ensure!(names(&actions(&world, CONTACTS, survivor).await?).ends_with(&["Contact Updated"]));
    world.end().await
}

/// What an erased record leaves is not changed by what the drain knows of it.
#[tokio::test]
async fn tombstone_is_the_same_however_often_it_is_erased() -> Result<()> {
    let (world, id) = person("erased_again").await?;
    world.run().await?;
    erase(&world, "contact.privacyDeletion", id).await?;
    let tombstone = async |world: &World| {
        let contacts = world.store.database().collection::<Document>("contacts");
        anyhow::Ok((
            contacts.find_one(doc! { "recordId": id.to_string() }).await?,
            world.all(collection::ACTIONS).await?,
        ))
    };
    let before = tombstone(&world).await?;
    for _ in 0..2 {
        tick(&world).await?;
    }
    assert_eq!(tombstone(&world).await?, before);
    world.end().await
}
