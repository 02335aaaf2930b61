//! What a record may hold: none of it concerns the records beside it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::{
    FaultKind, Object,
    odd::{BYTE, CONTROL, HALF, QUOTE},
};
use model::{choice::Choice, object::ObjectType, time};
use mongodb::bson::{DateTime, Document, doc};
use store::collection;

/// An account with a few contacts, and among them so many, one after the other, whose job title is this text.
async fn with_titles(name: &str, title: &str, count: usize) -> Result<(World, Vec<u64>)> {
    let world = World::new(name).await?;
    let ids = {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 2, 20, 1);
        let (at, properties) = (hubspot.now(), BTreeMap::from([("jobtitle".to_owned(), title.to_owned())]));
        let ids = (0..count).map(|_| hubspot.create(HUB, Object::CONTACTS, at, properties.clone())).collect();
        hubspot.seed(HUB, 0, 20, 2);
        ids
    };
    Ok((world, ids))
}

async fn state(world: &World, id: u64) -> Result<Document> {
    let states = world.store.database().collection::<Document>("contacts");
    states.find_one(doc! { "recordId": id.to_string() }).await?.context("the contact is not there")
}

/// SQS takes neither U+FFFE nor U+FFFF; some writers of JSON leave what no JSON text can hold.
#[tokio::test]
async fn every_character_arrives_or_is_replaced() -> Result<()> {
    let (half, control, byte) = (HALF.to_string(), CONTROL.to_string(), BYTE.to_string());
    let table = [
        ("\u{ffff}", "\u{ffff}"),
        ("\u{fffe}Ana", "\u{fffe}Ana"),
        ("\u{1}\u{8}\u{1f}\u{7f}\u{85}", "\u{1}\u{8}\u{1f}\u{7f}\u{85}"),
        ("\u{2028}\u{feff}\u{1f600}\u{10ffff}", "\u{2028}\u{feff}\u{1f600}\u{10ffff}"),
        (half.as_str(), "\u{fffd}"),
        (control.as_str(), "\u{1}"),
        (byte.as_str(), "\u{fffd}"),
    ];
    for (given, kept) in table {
        let (world, ids) = with_titles("odd_character", &format!("CTO {given}"), 1).await?;
        world.run().await?;
        ensure!(world.proof().await?.actions == 43, "{given:?}");
        let kept = format!("CTO {kept}");
        ensure!(state(&world, ids[0]).await?.get_document("properties")?.get_str("jobtitle")? == kept, "{given:?}");
        world.end().await?;
    }
    Ok(())
}

/// A time that cannot be read or sent is taken from the row, or left out.
#[tokio::test]
async fn unreadable_creation_time_stops_no_record() -> Result<()> {
    for created in ["2024-01-17", "253402300800000", "-99999999999999999", "10000-01-01T00:00:00Z", "soon"] {
        let world = World::new("odd_date").await?;
        {
            let mut hubspot = world.hubspot.world();
            hubspot.seed(HUB, 0, 5, 1);
            let (at, created) = (hubspot.now(), ("createdate".to_owned(), created.to_owned()));
            hubspot.create(HUB, Object::CONTACTS, at, BTreeMap::from([created]));
        }
        world.run().await?;
        ensure!(world.proof().await?.actions == 6, "{created}");
        world.end().await?;
    }
    Ok(())
}

/// Texts that are larger than a message together are shortened; a page of them that is larger than an answer may be is read
/// in smaller ones.
// Such answers take the simulator a while, and MongoDB's driver is to hear of its server meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabyte_texts_are_shortened_and_stop_no_record() -> Result<()> {
    let mut world = World::new("odd_size").await?;
    world.config.choice = Choice::default().with(ObjectType::CONTACTS, ["a", "b", "c"].map(str::to_owned));
    {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        let text = |name: &str, size: usize| (name.to_owned(), "\u{1}".repeat(size));
        hubspot.create(HUB, Object::CONTACTS, at, BTreeMap::from([text("a", 300_000), text("jobtitle", 1_000_000)]));
        for _ in 0..60 {
            let texts = ["a", "b", "c"].map(|name| (name.to_owned(), "x".repeat(200_000)));
            hubspot.create(HUB, Object::CONTACTS, at, BTreeMap::from(texts));
        }
    }
    ensure!(world.run_until_proved().await?.actions == 61);
    ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
    Ok(())
}

/// The answers that show them cannot be read, or never come: the others arrive, and these are read again later.
#[tokio::test]
async fn records_without_readable_answer_are_set_aside_alone_and_retried() -> Result<()> {
    for (unanswerable, count) in [(false, 4), (true, 2)] {
        let title = if unanswerable { String::new() } else { QUOTE.to_string() };
        let (world, ids) = with_titles("set_aside", &title, count).await?;
        if unanswerable {
            world.hubspot.world().settings.unanswerable = ids.clone();
        }
        world.run_on().await?;
        let stored = world.all(collection::ACTIONS).await?.len();
        ensure!(stored == 42, "{stored} actions are stored");
        let attempts = async || -> Result<Vec<i64>> {
            let entries = world.all(collection::SET_ASIDE).await?;
            Ok(entries.iter().map(|entry| entry.get_i64("attempts")).collect::<Result<_, _>>()?)
        };
        ensure!(attempts().await? == vec![1; count], "{:?}", attempts().await?);

        world.store.retry_set_aside().await?;
        world.run_on().await?;
        ensure!(attempts().await? == vec![2; count], "{:?}", attempts().await?);
        let entry = world.all(collection::SET_ASIDE).await?.pop().context("they are not set aside any more")?;
        ensure!(time::between(DateTime::now(), *entry.get_datetime("retryAt")?).as_secs() > 600, "{entry}");
        ensure!(world.store.count_set_aside(&world.account()?).await?.values().sum::<u64>() == count as u64);

        world.hubspot.world().settings.unanswerable.clear();
        let at = world.hubspot.world().now();
        // Nobody has to touch the records themselves if HubSpot mends its answer.
        for id in ids.iter().filter(|_| !unanswerable) {
            world.hubspot.world().update(HUB, Object::CONTACTS, *id, at, &[("jobtitle", "CTO")]);
        }
        world.store.retry_set_aside().await?;
        ensure!(world.run_until_proved().await?.missing.is_empty());
        ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
        world.end().await?;
    }
    Ok(())
}

/// A record that was deleted while it was set aside is not tried any more; one that an answer merely leaves out is.
#[tokio::test]
async fn deleted_record_that_is_set_aside_is_not_retried() -> Result<()> {
    let (world, ids) = with_titles("set_aside_gone", &QUOTE.to_string(), 2).await?;
    world.run_on().await?;
    // The searches meet the changes later.
    world.hubspot.world().settings.index_lag_min_ms = 60_000;
    let at = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, Object::CONTACTS, ids[0], at);
    world.hubspot.world().update(HUB, Object::CONTACTS, ids[1], at, &[("jobtitle", "CTO")]);
    let nothing = FaultKind::Answer { status: 200, body: Some(r#"{"results": []}"#.to_owned()), retry_after: None };
    world.fault("/contacts/batch/read", 1, nothing);
    world.store.retry_set_aside().await?;
    world.run_on().await?;
    ensure!(world.all(collection::SET_ASIDE).await?.len() == 2, "what an answer leaves out is taken for gone");
    world.store.retry_set_aside().await?;
    world.run_on().await?;
    ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
    ensure!(world.all(collection::ACTIONS).await?.len() == 43);
    Ok(())
}

/// If HubSpot does not tell some contacts' companies, they wait for them a while, alone.
#[tokio::test]
async fn contacts_with_unreadable_companies_are_set_aside_then_stored_without_them() -> Result<()> {
    let (world, ids) = with_titles("odd_association", "CTO", 8).await?;
    world.hubspot.world().settings.without_companies = ids.clone();
    world.run_on().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == 42);
    for _ in 0..6 {
        world.store.retry_set_aside().await?;
        world.run_on().await?;
    }
    ensure!(world.proof().await?.actions == 50, "in the end they are handed on without them");
    Ok(())
}

/// The same if there are no others on their page.
#[tokio::test]
async fn page_of_only_contacts_with_unreadable_companies_is_set_aside() -> Result<()> {
    let (world, ids) = with_titles("odd_page", "CTO", 8).await?;
    world.run_on().await?;
    world.hubspot.world().settings.without_companies = ids.clone();
    let at = world.hubspot.world().now();
    for id in &ids {
        world.hubspot.world().update(HUB, Object::CONTACTS, *id, at, &[("jobtitle", "CEO")]);
    }
    world.run_on().await?;
    ensure!(world.all(collection::SET_ASIDE).await?.len() == 8, "they are not set aside");
    world.hubspot.world().settings.without_companies.clear();
    world.store.retry_set_aside().await?;
    world.run_until_proved().await?;
    Ok(())
}

/// All of a contact's companies are read one page after another, in one slice.
#[tokio::test]
async fn contact_with_150_companies_stops_no_other_record() -> Result<()> {
    let world = World::new("odd_companies").await?;
    {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 150, 20, 1);
        let (companies, contacts) = (hubspot.ids(HUB, Object::COMPANIES), hubspot.ids(HUB, Object::CONTACTS));
        hubspot.associate(HUB, contacts[3], companies);
        (hubspot.settings.association_page, hubspot.settings.latency_ms) = (1, 60);
    }
    world.run_until_proved().await?;
    Ok(())
}

/// Odd values cost nothing: HubSpot is asked no more often than without them.
#[tokio::test]
async fn account_with_odd_values_needs_no_more_searches_than_another() -> Result<()> {
    let (mut asked, mut slices) = (Vec::new(), 0);
    for odd in [&[][..], &[HALF, CONTROL, BYTE, '\u{fffe}', '\u{ffff}'][..]] {
        let world = World::new("odd_share").await?;
        {
            let mut hubspot = world.hubspot.world();
            hubspot.seed(HUB, 0, 1_900, 1);
            let at = hubspot.now() - 3_600_000;
            for index in 0..100 {
                let odd = odd.get(index % odd.len().max(1)).map_or(String::new(), char::to_string);
                let title = ("jobtitle".to_owned(), format!("CTO {odd}"));
                hubspot.create(HUB, Object::CONTACTS, at, BTreeMap::from([title]));
            }
        }
        let began = std::time::Instant::now();
        slices += world.run().await? as u64;
        ensure!(world.proof().await?.actions == 2_000);
        println!("2,000 contacts, {} with odd values: {:?}", if odd.is_empty() { 0 } else { 100 }, began.elapsed());
        // A slow machine reads windows side by side, and cuts slices, which takes a few more.
        asked.push(world.requests("search 200"));
        ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
        world.end().await?;
    }
    ensure!(asked[0].abs_diff(asked[1]) <= 4 + 2 * slices, "{asked:?} searches in {slices} slices");
    Ok(())
}
