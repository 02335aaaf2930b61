//! HubSpot's faults. Each is made to happen while a new account is read, in lanes of every kind, and leads to one of a few
//! outcomes; when it is over, everything is stored.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use harness::{
    rows::{ASSOCIATIONS, ROWS, SEARCH, text_of},
    world::World,
};
use hubspot_sim::FaultKind;
use model::{object::ObjectType, time};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};
use store::collection;

use super::outcomes::{
    LASTING, SOON,
    Then::{GoesOn, Reauthorize, Waits},
    all_meet, answer, limited, plain,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspot_429_of_each_policy_maps_to_documented_wait() -> Result<()> {
    let (secondly, ten, daily) = (limited("secondly"), limited("TEN_SECONDLY_ROLLING"), limited("DAILY"));
    all_meet(vec![
        ("/search", 1, answer(429, None, Some(&secondly)), GoesOn),
        ("/search", 1, answer(429, Some(1), Some(&secondly)), GoesOn),
        (SEARCH, LASTING, answer(429, None, Some(&secondly)), Waits(SOON)),
        (SEARCH, LASTING, answer(429, Some(7), Some(&secondly)), Waits(7..=7)),
        (ASSOCIATIONS, 1, answer(429, None, Some(&ten)), Waits(10..=10)),
        // One lane at a time: the limit is the account's, and a slice has no time to be refused again and again.
        ("/associations/{version}/contacts/", 1, answer(429, Some(1), Some(&ten)), GoesOn),
        ("/associations/{version}/deals/", 1, answer(429, Some(1), Some(&ten)), GoesOn),
        ("/associations/{version}/2-7654321/", 1, answer(429, Some(1), Some(&ten)), GoesOn),
        (SEARCH, 1, answer(429, None, Some(&daily)), Waits(900..=900)),
        (SEARCH, 1, answer(429, Some(7200), Some(&daily)), Waits(7_200..=7_200)),
    ])
    .await
}

/// `Retry-After` as a date, in milliseconds (as HubSpot's own workflows count it), or senseless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_obeyed_within_documented_bounds() -> Result<()> {
    let (secondly, ten, daily) = (limited("secondly"), limited("TEN_SECONDLY_ROLLING"), limited("DAILY"));
    let soon = SystemTime::now() + Duration::from_secs(600);
    let later = |status, retry_after: String| FaultKind::Later { status, retry_after };
    all_meet(vec![
        (ASSOCIATIONS, 1, answer(429, Some(10_000), Some(&ten)), Waits(10..=10)),
        (SEARCH, LASTING, answer(429, Some(31_536_000), Some(&secondly)), Waits(120..=120)),
        (SEARCH, LASTING, answer(429, Some(u64::MAX), Some(&secondly)), Waits(120..=120)),
        (SEARCH, 1, answer(429, Some(u64::MAX), Some(&daily)), Waits(86_400..=86_400)),
        (SEARCH, LASTING, answer(423, Some(3_600), None), Waits(900..=900)),
        (SEARCH, LASTING, answer(503, Some(10_000), None), Waits(10..=10)),
        (SEARCH, LASTING, answer(503, Some(31_536_000), None), Waits(900..=900)),
        (SEARCH, LASTING, answer(408, Some(u64::MAX), None), Waits(900..=900)),
        (SEARCH, 1, answer(477, Some(7_200_000), None), Waits(7_200..=7_200)),
        (SEARCH, LASTING, later(503, httpdate::fmt_http_date(soon)), Waits(300..=600)),
        (SEARCH, LASTING, later(503, "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()), Waits(900..=900)),
        (SEARCH, LASTING, later(503, "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()), Waits(SOON)),
        (SEARCH, LASTING, later(503, "99999999999999999999999".to_owned()), Waits(900..=900)),
        (SEARCH, LASTING, later(503, "soon".to_owned()), Waits(SOON)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspot_4xx_maps_to_documented_wait() -> Result<()> {
    all_meet(vec![
        // A token that expired in the middle of a page is refreshed by the next slice.
        (ASSOCIATIONS, 1, plain(401), Waits(0..=0)),
        (SEARCH, 1, plain(403), Waits(3_600..=3_600)),
        (SEARCH, LASTING, plain(400), Waits(SOON)),
        // It may be what a record holds: smaller pages are tried.
        (SEARCH, 1, plain(400), GoesOn),
        (SEARCH, LASTING, plain(404), Waits(SOON)),
        (ASSOCIATIONS, 1, plain(409), GoesOn),
        (SEARCH, 1, plain(414), GoesOn),
        (SEARCH, 1, plain(423), GoesOn),
        (SEARCH, 1, plain(477), Waits(900..=900)),
        (SEARCH, 1, answer(477, Some(86_400), None), Waits(86_400..=86_400)),
        (SEARCH, 1, answer(477, Some(999_999), None), Waits(86_400..=86_400)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspot_5xx_is_retried_within_slice_or_continued_later() -> Result<()> {
    let mut rows = vec![
        (SEARCH, 2, answer(502, None, Some("<html>bad gateway</html>")), GoesOn),
        (SEARCH, LASTING, plain(503), Waits(SOON)),
        (SEARCH, LASTING, answer(503, Some(30), None), Waits(30..=30)),
    ];
    rows.extend([500, 503, 504, 521, 522, 523, 524, 530].map(|status| (SEARCH, 1, plain(status), GoesOn)));
    rows.extend([500, 504, 524].map(|status| (ASSOCIATIONS, 1, plain(status), GoesOn)));
    all_meet(rows).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_hubspot_connection_is_retried_or_continued_later() -> Result<()> {
    all_meet(vec![
        (SEARCH, 1, FaultKind::Reset, GoesOn),
        (ASSOCIATIONS, 1, FaultKind::Reset, GoesOn),
        (SEARCH, LASTING, FaultKind::Reset, Waits(SOON)),
        (SEARCH, 1, FaultKind::Cut, GoesOn),
        (ASSOCIATIONS, 1, FaultKind::Cut, GoesOn),
        (SEARCH, 1, FaultKind::Endless, GoesOn),
        (SEARCH, LASTING, FaultKind::Delay { millis: 30_000 }, Waits(SOON)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_hubspot_answer_is_retried_or_continued_later() -> Result<()> {
    let partly = json!({"status": "COMPLETE", "results": [], "numErrors": 1,
        "errors": [{"status": "error", "category": "INTERNAL_ERROR", "message": "no"}]});
    all_meet(vec![
        (SEARCH, LASTING, answer(200, None, Some("<html>welcome</html>")), Waits(SOON)),
        // It may be what a record holds: smaller pages are tried.
        (SEARCH, 1, answer(200, None, Some("<html>welcome</html>")), GoesOn),
        (SEARCH, 1, answer(200, None, Some("{\"records\": []}")), GoesOn),
        (SEARCH, 1, answer(200, None, Some("{\"total\": \"x\", \"results\": {}}")), GoesOn),
        (SEARCH, 1, answer(200, None, Some("")), GoesOn),
        (ASSOCIATIONS, 1, answer(200, None, Some("[]")), GoesOn),
        // Companies that could not be read are not taken for none.
        (ASSOCIATIONS, 1, answer(207, None, Some(&partly.to_string())), GoesOn),
        (ASSOCIATIONS, LASTING, answer(207, None, Some(&partly.to_string())), Waits(SOON)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_endpoint_fault_delays_account_and_only_dead_grant_marks_it() -> Result<()> {
    let migration = r#"{"message":"Migration in progress"}"#;
    let revoked = r#"{"error":"invalid_grant","status":"BAD_REFRESH_TOKEN","message":"it was revoked"}"#;
    all_meet(vec![
        ("/oauth/", 1, plain(429), Waits(SOON)),
        ("/oauth/", 1, plain(500), Waits(SOON)),
        ("/oauth/", 1, answer(503, None, Some("<html>")), Waits(SOON)),
        ("/oauth/", 1, answer(400, None, Some(migration)), Waits(SOON)),
        ("/oauth/", 1, answer(200, None, Some("<html>")), Waits(SOON)),
        ("/oauth/", 1, answer(200, None, Some("{\"token_type\":\"bearer\",\"access_token\":\"a\"}")), Waits(SOON)),
        ("/oauth/", 1, FaultKind::Reset, Waits(SOON)),
        ("/oauth/", 1, FaultKind::Cut, Waits(SOON)),
        ("/oauth/", 1, FaultKind::Endless, Waits(SOON)),
        ("/oauth/", 1, FaultKind::Delay { millis: 30_000 }, Waits(SOON)),
        ("/oauth/", 1, answer(429, Some(60), None), Waits(60..=60)),
        ("/oauth/", 1, answer(429, Some(31_536_000), None), Waits(120..=120)),
        ("/oauth/", 1, answer(503, Some(60), None), Waits(60..=60)),
        ("/oauth/", 1, answer(477, Some(7_200), None), Waits(7_200..=7_200)),
        ("/oauth/", 1, answer(400, None, Some(revoked)), Reauthorize),
    ])
    .await
}

/// A grant that is dead, a portal that is gone and credentials of the app that are wrong, in every form that was seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_endpoint_refusal_marks_account_only_for_dead_grant_or_gone_portal() -> Result<()> {
    let gone = r#"{"status":"BAD_HUB","message":"missing or unknown hub id","error":"access_denied"}"#;
    let gone_alone = r#"{"status":"BAD_HUB","message":"missing or unknown hub id","correlationId":"1"}"#;
    let dead_alone = r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#;
    let dead_in_words = r#"{"message":"refresh token is invalid, expired or revoked","category":"VALIDATION_ERROR"}"#;
    let app_alone = r#"{"status":"BAD_CLIENT_ID","message":"missing or unknown client id"}"#;
    all_meet(vec![
        ("/oauth/", 1, answer(400, None, Some(gone)), Reauthorize),
        ("/oauth/", 1, answer(403, None, Some(gone_alone)), Reauthorize),
        ("/oauth/", 1, answer(400, None, Some(dead_alone)), Reauthorize),
        ("/oauth/", 1, answer(400, None, Some(dead_in_words)), Reauthorize),
        ("/oauth/", 1, answer(400, None, Some(app_alone)), Waits(SOON)),
        ("/oauth/", 1, answer(401, None, Some(r#"{"error":"invalid_client"}"#)), Waits(SOON)),
        // What names nothing that is known is asked for by introspection, which knows the grant here.
        ("/oauth/", 1, answer(400, None, Some(r#"{"error":"invalid_request"}"#)), Waits(SOON)),
        ("/oauth/", 1, answer(403, None, Some("<html>forbidden</html>")), Waits(SOON)),
        ("/oauth/", 1, answer(503, None, Some(dead_alone)), Waits(SOON)),
    ])
    .await
}

#[tokio::test]
async fn refused_hubspot_connection_is_continued_later() -> Result<()> {
    let mut world = World::of("refused", &ROWS).await?;
    world.fill(3, &ROWS, 3, 1);
    let there = std::mem::replace(&mut world.config.hubspot_base_url, "http://127.0.0.1:1".to_owned());
    world.deliver(&world.sync().await?, &world.tick()).await?;
    ensure!(SOON.contains(&world.pause().await?.context("it waits")?.as_secs()));
    world.config.hubspot_base_url = there;
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 15);
    Ok(())
}

/// Lanes that HubSpot refuses are tried with growing pauses, then once an hour. Companies go on.
#[tokio::test]
async fn permanently_failing_lane_is_tried_eight_times_and_then_once_an_hour() -> Result<()> {
    let world = World::of("given_up", &ROWS).await?;
    world.fill(3, &ROWS, 3, 1);
    world.fault_each(SEARCH, &ROWS, LASTING, &plain(400));
    let sync = world.sync().await?;
    let mut attempts = [0; ROWS.len()];
    while attempts != [8; ROWS.len()] {
        let message = world.due_message().await.unwrap_or_else(|_| world.tick());
        world.deliver(&sync, &message).await?;
        let mut due = Document::new();
        for (object, attempts) in ROWS.into_iter().zip(&mut attempts) {
            let lane = world.lane(object).await.unwrap_or_default();
            // On a slow machine a slice has no time for some lanes.
            let Ok(problem) = lane.get_document("lastError") else { continue };
            let tried = problem.get_i64("attempts")?;
            ensure!((*attempts..=(*attempts + 1).min(8)).contains(&tried), "after {attempts} attempts: {problem}");
            *attempts = tried;
            let hours = time::between(*problem.get_datetime("at")?, *problem.get_datetime("retryAt")?).as_secs() / 3600;
            ensure!(hours == u64::from(tried == 8), "{problem}");
            if tried < 8 {
                due.insert(format!("lanes.{}.lastError.retryAt", object.name()), DateTime::now());
            }
        }
        if !due.is_empty() {
            let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
            checkpoints.update_one(doc! {}, doc! { "$set": due }).await?;
        }
    }
    // Companies were read; the others are left alone.
    world.drain().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == 3);
    ensure!(world.checkpoint().await?.get_document("run").is_err(), "nobody waits an hour for a message");
    let asked = world.requests("search 400");
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.requests("search 400") == asked, "they were read again");
    world.hubspot.world().faults.clear();
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 15);
    Ok(())
}

#[tokio::test]
async fn unreadable_record_stops_no_other_record_of_its_page() -> Result<()> {
    let mut world = World::of("unreadable", &ROWS).await?;
    world.config.settle = Duration::from_secs(3600);
    world.fill(0, &ROWS, 5, 1);
    for (index, object) in ROWS.into_iter().enumerate() {
        let id = |record: usize| format!("{}{record}", index + 1);
        let modified = ObjectType::parse(object.name())?.modified_property();
        let row = |id: Value, properties: Value| json!({"id": id, "properties": properties, "createdAt": "2024-01-01T00:00:00Z", "updatedAt": "2024-01-01T00:00:00Z"});
        let page = json!({"total": 4, "results": [
            row(json!(id(1)), json!({text_of(object): "Ana", modified: "2024-01-01T00:00:00Z"})),
            {"id": id(2), "properties": {text_of(object): "no times"}},
            row(json!(id(3).parse::<u64>()?), json!({text_of(object): {"odd": true}, "firstname": 7})),
            row(json!(format!("x{}", id(4))), json!({})),
        ]});
        world.fault_each(SEARCH, &[object], 1, &answer(200, None, Some(&page.to_string())));
    }
    world.run().await?;
    let mut records = Vec::new();
    for action in world.all(collection::ACTIONS).await? {
        records.push(action.get_str("recordId")?.to_owned());
    }
    records.sort();
    ensure!(records == ["11", "13", "21", "23", "31", "33", "41", "43"], "{records:?} were stored");
    ensure!(world.checkpoint().await?.get_datetime("lastSuccessAt").is_ok());
    Ok(())
}

/// A run that gets nowhere counts its slices, and says so from the fifth on; one that gets on forgets them.
#[tokio::test]
async fn run_counts_its_slices_without_progress() -> Result<()> {
    let world = World::of("idle", &ROWS).await?;
    world.fill(3, &ROWS, 3, 1);
    world.fault("/search", LASTING, plain(503));
    let sync = world.sync().await?;
    let mut message = world.tick();
    for slices in 1..=5 {
        world.deliver(&sync, &message).await?;
        ensure!(world.checkpoint().await?.get_document("run")?.get_i32("idle")? == slices);
        world.time_passes().await?;
        message = world.due_message().await?;
    }
    world.hubspot.world().faults.clear();
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 15);
    Ok(())
}
