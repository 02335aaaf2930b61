//! What a record may hold: none of it concerns the records beside it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use harness::{
    extent::Extent,
    rows::{BY_ID, LINKED, ROWS, text_of},
    world::{HUB, World},
};
use hubspot_sim::{
    FaultKind, Object,
    odd::{BYTE, CONTROL, HALF, QUOTE},
};
use model::{object::ObjectType, time};
use mongodb::bson::{Bson, DateTime};
use store::collection;

/// Returns a world of these object types. Each has eight records, and `count` of them in a row have this text.
async fn with_texts(name: &str, objects: &[Object], text: &str, count: usize) -> Result<(World, Vec<(Object, u64)>)> {
    let world = World::of(name, objects).await?;
    world.fill(2, objects, 4, 1);
    let mut ids = Vec::new();
    {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        for object in objects {
            let properties = BTreeMap::from([(text_of(*object).to_owned(), text.to_owned())]);
            let mut create = || (*object, hubspot.create(HUB, *object, at, properties.clone()));
            ids.extend((0..count).map(|_| create()));
        }
    }
    world.fill(0, objects, 4, 2);
    Ok((world, ids))
}

/// The number of records of such a world besides those with the text.
fn others(objects: &[Object]) -> usize {
    2 + 8 * objects.len()
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
        let (world, ids) = with_texts("odd_character", &ROWS, &format!("CTO {given}"), 1).await?;
        world.run().await?;
        ensure!(world.proof().await?.actions == others(&ROWS) + ROWS.len(), "{given:?}");
        for (object, id) in ids {
            ensure!(world.stored_text(object, id, text_of(object)).await? == format!("CTO {kept}"), "{given:?}");
        }
        world.end().await?;
    }
    Ok(())
}

/// A time that cannot be read or sent is taken from the row, or left out.
#[tokio::test]
async fn unreadable_creation_time_stops_no_record() -> Result<()> {
    for created in ["2024-01-17", "253402300800000", "-99999999999999999", "10000-01-01T00:00:00Z", "soon"] {
        let world = World::of("odd_date", &ROWS).await?;
        world.fill(0, &ROWS, 5, 1);
        for object in ROWS {
            let mut hubspot = world.hubspot.world();
            let at = hubspot.now();
            let created = ["createdate", "hs_createdate"].map(|name| (name.to_owned(), created.to_owned()));
            hubspot.create(HUB, object, at, BTreeMap::from(created));
        }
        world.run().await?;
        ensure!(world.proof().await?.actions == 6 * ROWS.len(), "{created}");
        world.end().await?;
    }
    Ok(())
}

/// Texts that are larger than a message together are shortened; a page of them that is larger than an answer may be is read
/// in smaller ones.
// Such answers take the simulator a while, and MongoDB's driver is to hear of its server meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn megabyte_texts_are_shortened_and_stop_no_record() -> Result<()> {
    let objects = Extent::sample().some_of(ROWS.to_vec(), 1);
    let mut world = World::of("odd_size", &objects).await?;
    world.change_entry("properties", Bson::Null).await?;
    for object in &objects {
        let more = ["a", "b", "c", text_of(*object)].map(str::to_owned);
        world.config.choice = world.config.choice.clone().with(ObjectType::parse(object.name())?, more);
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        let text = |name: &str, size: usize| (name.to_owned(), "\u{1}".repeat(size));
        hubspot.create(HUB, *object, at, BTreeMap::from([text("a", 300_000), text(text_of(*object), 1_000_000)]));
        for _ in 0..60 {
            let texts = ["a", "b", "c"].map(|name| (name.to_owned(), "x".repeat(200_000)));
            hubspot.create(HUB, *object, at, BTreeMap::from(texts));
        }
    }
    ensure!(world.run_until_proved().await?.actions == 61 * objects.len());
    ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
    Ok(())
}

/// The answers that show them cannot be read, or never come: the others arrive, and these are read again later.
#[tokio::test]
async fn records_without_readable_answer_are_set_aside_alone_and_retried() -> Result<()> {
    for (unanswerable, count) in [(false, 4), (true, 2)] {
        let text = if unanswerable { String::new() } else { QUOTE.to_string() };
        let (world, ids) = with_texts("set_aside", &ROWS, &text, count).await?;
        if unanswerable {
            world.hubspot.world().settings.unanswerable = ids.iter().map(|(_, id)| *id).collect();
        }
        let count = ids.len();
        world.run_on().await?;
        let stored = world.all(collection::ACTIONS).await?.len();
        ensure!(stored == others(&ROWS), "{stored} actions are stored");
        let attempts = async || -> Result<Vec<i64>> {
            let entries = world.all(collection::SET_ASIDE).await?;
            Ok(entries.iter().map(|entry| entry.get_i64("attempts")).collect::<Result<_, _>>()?)
        };
        ensure!(attempts().await? == vec![1; count], "{:?}", attempts().await?);

        world.store.retry_set_aside().await?;
        world.run_on().await?;
        ensure!(attempts().await? == vec![2; count], "{:?}", attempts().await?);
        for entry in world.all(collection::SET_ASIDE).await? {
            ensure!(time::between(DateTime::now(), *entry.get_datetime("retryAt")?).as_secs() > 600, "{entry}");
        }
        ensure!(world.store.count_set_aside(&world.account()?).await?.values().sum::<u64>() == count as u64);

        world.hubspot.world().settings.unanswerable.clear();
        let at = world.hubspot.world().now();
        // Nobody has to touch the records themselves if HubSpot mends its answer.
        for (object, id) in ids.iter().filter(|_| !unanswerable) {
            world.hubspot.world().update(HUB, *object, *id, at, &[(text_of(*object), "CTO")]);
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
    let (world, ids) = with_texts("set_aside_gone", &ROWS, &QUOTE.to_string(), 2).await?;
    world.run_on().await?;
    // The searches meet the changes later.
    world.hubspot.world().settings.index_lag_min_ms = 60_000;
    let at = world.hubspot.world().now();
    for pair in ids.chunks(2) {
        world.hubspot.world().archive(HUB, pair[0].0, pair[0].1, at);
        world.hubspot.world().update(HUB, pair[1].0, pair[1].1, at, &[(text_of(pair[1].0), "CTO")]);
    }
    let nothing = FaultKind::Answer { status: 200, body: Some(r#"{"results": []}"#.to_owned()), retry_after: None };
    world.fault_each(BY_ID, &ROWS, 1, &nothing);
    world.store.retry_set_aside().await?;
    world.run_on().await?;
    let set_aside = world.all(collection::SET_ASIDE).await?.len();
    ensure!(set_aside == ids.len(), "what an answer leaves out is taken for gone: {set_aside} are left");
    world.store.retry_set_aside().await?;
    world.run_on().await?;
    ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
    ensure!(world.all(collection::ACTIONS).await?.len() == others(&ROWS) + ROWS.len());
    Ok(())
}

/// If HubSpot does not return the associations of some records, they wait for them a while, alone.
#[tokio::test]
async fn contacts_with_unreadable_companies_are_set_aside_then_stored_without_them() -> Result<()> {
    let (world, ids) = with_texts("odd_association", &LINKED, "CTO", 4).await?;
    world.hubspot.world().settings.without_companies = ids.iter().map(|(_, id)| *id).collect();
    world.run_on().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == others(&LINKED));
    for _ in 0..6 {
        world.store.retry_set_aside().await?;
        world.run_on().await?;
    }
    ensure!(world.proof().await?.actions == others(&LINKED) + ids.len(), "in the end they are published without them");
    Ok(())
}

/// The same if there are no others on their page.
#[tokio::test]
async fn page_of_only_contacts_with_unreadable_companies_is_set_aside() -> Result<()> {
    let (world, ids) = with_texts("odd_page", &LINKED, "CTO", 4).await?;
    world.run_on().await?;
    world.hubspot.world().settings.without_companies = ids.iter().map(|(_, id)| *id).collect();
    let at = world.hubspot.world().now();
    for (object, id) in &ids {
        world.hubspot.world().update(HUB, *object, *id, at, &[(text_of(*object), "CEO")]);
    }
    world.run_on().await?;
    ensure!(world.all(collection::SET_ASIDE).await?.len() == ids.len(), "they are not set aside");
    world.hubspot.world().settings.without_companies.clear();
    world.store.retry_set_aside().await?;
    world.run_until_proved().await?;
    Ok(())
}

/// All of a record's companies are read one page after another, in one slice.
#[tokio::test]
async fn contact_with_150_companies_stops_no_other_record() -> Result<()> {
    for object in LINKED {
        let world = World::of("odd_companies", &[object]).await?;
        world.fill(150, &[object], 20, 1);
        {
            let mut hubspot = world.hubspot.world();
            let (companies, record) = (hubspot.ids(HUB, Object::COMPANIES), hubspot.ids(HUB, object)[3]);
            let at = hubspot.now();
            for company in companies {
                hubspot.link_records(HUB, (object, record), (Object::COMPANIES, company), at);
            }
            (hubspot.settings.association_page, hubspot.settings.latency_ms) = (1, 60);
        }
        world.run_until_proved().await?;
        world.end().await?;
    }
    Ok(())
}

/// Odd values cost nothing: HubSpot is asked no more often than without them.
#[tokio::test]
async fn account_with_odd_values_needs_no_more_searches_than_another() -> Result<()> {
    let (mut asked, mut slices) = (Vec::new(), 0);
    for odd in [&[][..], &[HALF, CONTROL, BYTE, '\u{fffe}', '\u{ffff}'][..]] {
        let world = World::of("odd_share", &ROWS).await?;
        world.fill(0, &ROWS, 475, 1);
        for object in ROWS {
            let mut hubspot = world.hubspot.world();
            let at = hubspot.now() - 3_600_000;
            for index in 0..25 {
                let odd = odd.get(index % odd.len().max(1)).map_or(String::new(), char::to_string);
                let text = (text_of(object).to_owned(), format!("CTO {odd}"));
                hubspot.create(HUB, object, at, BTreeMap::from([text]));
            }
        }
        let began = std::time::Instant::now();
        slices += world.run().await? as u64;
        ensure!(world.proof().await?.actions == 2_000);
        println!("2,000 records, {} with odd values: {:?}", if odd.is_empty() { 0 } else { 100 }, began.elapsed());
        // A slow machine reads windows side by side, and cuts slices, which takes a few more.
        asked.push(world.requests("search 200"));
        ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
        world.end().await?;
    }
    ensure!(asked[0].abs_diff(asked[1]) <= 4 + 2 * slices, "{asked:?} searches in {slices} slices");
    Ok(())
}
