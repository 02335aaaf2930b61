//! HubSpot's faults. Each is made to happen while a new account is read, and leads to one of a few outcomes; when it
//! is over, everything is stored.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use harness::{
    service::INVOCATION_LIMIT,
    stopwatch::{MAX_PROCESSOR_WAIT, Stopwatch},
    world::{HUB, World, assert_accepted},
};
use hubspot_sim::FaultKind;
use model::time;
use mongodb::bson::Document;
use serde_json::{Value, json};
use store::collection;

/// What a fault leads to.
#[derive(Clone, Debug)]
enum Then {
    /// The request is made again within the slice, which reads everything.
    GoesOn,
    /// The slice ends, and the lane goes on after so many seconds.
    Waits(RangeInclusive<u64>),
    /// The account is marked as one to be connected again, and its run ends.
    Reauthorize,
}

use Then::{GoesOn, Reauthorize, Waits};

/// A growing, jittered pause, as it is after a first failure.
const SOON: RangeInclusive<u64> = 0..=2;

/// For good, as far as one slice can tell.
const LASTING: u32 = 1_000;

fn answer(status: u16, retry_after: Option<u64>, body: Option<&str>) -> FaultKind {
    FaultKind::Answer { status, body: body.map(str::to_owned), retry_after }
}

fn plain(status: u16) -> FaultKind {
    answer(status, None, None)
}

fn limited(policy: &str) -> String {
    format!(r#"{{"status":"error","message":"You have reached your {policy} limit.","policyName":"{policy}"}}"#)
}

/// Makes a fault happen to requests for `path`, runs a slice, checks what came of it, and that nothing is lost. A slice that
/// MongoDB, SQS or the machine kept waiting at its end says nothing of the fault: then it is tried once more. A fault
/// that keeps HubSpot silent leaves MongoDB and SQS a quarter of a second, which a busy machine exceeds for minutes.
async fn meets(path: &str, times: u32, kind: FaultKind, then: Then) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(15 * 60);
    let what = format!("{kind:?} {times} times for {path}");
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        if is_met(&what, path, times, kind.clone(), &then).await? {
            return Ok(());
        }
    }
    bail!("{what}: no slice of {LIMIT:?} ended as it should, or could be judged")
}

/// Returns false if the slice could not be judged.
async fn is_met(what: &str, path: &str, times: u32, kind: FaultKind, then: &Then) -> Result<bool> {
    let world = World::new("fault").await?;
    world.hubspot.world().seed(HUB, 3, 120, 1);
    world.fault(path, times, kind);
    let sync = world.sync().await?;
    let stopwatch = Stopwatch::start();
    let slice = assert_accepted(world.slice(&sync, &world.tick()).await);
    ensure!(stopwatch.took() < INVOCATION_LIMIT, "{what}: the slice took {:?}", stopwatch.took());
    let waited = stopwatch.waited();
    let mut judged = slice.is_ok() && waited < 4 * MAX_PROCESSOR_WAIT;
    if !judged {
        println!("{what}: not judged; the machine kept the slice waiting for {waited:?}, and it ended with {slice:?}");
    }
    match then {
        // Its outcome is unknown; only that nothing is lost is checked.
        _ if !judged => world.expire_lease().await?,
        GoesOn => {
            ensure!(world.pause().await?.is_none(), "{what}: it waits for {:?}", world.pause().await?);
            judged = world.checkpoint().await?.get_datetime("lastSuccessAt").is_ok();
        }
        Waits(seconds) => {
            let pause = world.pause().await?.with_context(|| format!("{what}: it waits for nothing"))?.as_secs();
            ensure!(seconds.contains(&pause), "{what}: it waits for {pause} s");
            let checkpoint = world.checkpoint().await?;
            if checkpoint.get_document("run").is_ok() != (pause <= 900) {
                ensure!(
                    !is_other_lane_read(&checkpoint)?,
                    "{what}: there is a continuation though it waits long, or none"
                );
                println!("{what}: not judged; the other lane had no time, and goes on");
                judged = false;
            }
        }
        Reauthorize => {
            ensure!(world.entry().await?.get_str("state").ok() == Some("reauthorize"), "{what}: it is not marked");
            ensure!(world.checkpoint().await?.get_document("run").is_err(), "{what}: its run goes on");
        }
    }
    world.hubspot.world().faults.clear();
    world.run_on().await.with_context(|| what.to_owned())?;
    let marked = world.entry().await?.get("state").is_some();
    let may_mark = matches!(then, Reauthorize);
    ensure!(marked == may_mark || may_mark && !judged, "{what}: marked: {marked}");
    ensure!(marked || world.proof().await.with_context(|| what.to_owned())?.actions == 123);
    world.end().await?;
    Ok(judged)
}

/// Returns true if each lane that does not wait has been read.
fn is_other_lane_read(checkpoint: &Document) -> Result<bool> {
    let lanes = checkpoint.get_document("lanes")?;
    let is_done = |lane: &Document| {
        let is_read = lane.get_document("fresh").is_ok_and(|fresh| fresh.get_datetime("mark").is_ok())
            && lane.get_document("backfill").is_ok_and(|pass| pass.get_array("windows").is_ok_and(Vec::is_empty));
        is_read || lane.get_document("lastError").is_ok()
    };
    Ok(["companies", "contacts"].iter().all(|name| lanes.get_document(name).is_ok_and(is_done)))
}

async fn all_meet(rows: Vec<(&str, u32, FaultKind, Then)>) -> Result<()> {
    // As many at a time as keep the processors busy: each is mostly waiting.
    for rows in rows.chunks(2 * std::thread::available_parallelism()?.get()) {
        try_join_all(rows.iter().cloned().map(|(path, times, kind, then)| meets(path, times, kind, then))).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspot_429_of_each_policy_maps_to_documented_wait() -> Result<()> {
    let (secondly, ten, daily) = (limited("secondly"), limited("TEN_SECONDLY_ROLLING"), limited("DAILY"));
    all_meet(vec![
        ("/search", 1, answer(429, None, Some(&secondly)), GoesOn),
        ("/search", 1, answer(429, Some(1), Some(&secondly)), GoesOn),
        ("/contacts/search", LASTING, answer(429, None, Some(&secondly)), Waits(SOON)),
        ("/contacts/search", LASTING, answer(429, Some(7), Some(&secondly)), Waits(7..=7)),
        ("/associations/", 1, answer(429, None, Some(&ten)), Waits(10..=10)),
        ("/associations/", 1, answer(429, Some(1), Some(&ten)), GoesOn),
        ("/contacts/search", 1, answer(429, None, Some(&daily)), Waits(900..=900)),
        ("/contacts/search", 1, answer(429, Some(7200), Some(&daily)), Waits(7_200..=7_200)),
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
        ("/associations/", 1, answer(429, Some(10_000), Some(&ten)), Waits(10..=10)),
        ("/contacts/search", LASTING, answer(429, Some(31_536_000), Some(&secondly)), Waits(120..=120)),
        ("/contacts/search", LASTING, answer(429, Some(u64::MAX), Some(&secondly)), Waits(120..=120)),
        ("/contacts/search", 1, answer(429, Some(u64::MAX), Some(&daily)), Waits(86_400..=86_400)),
        ("/contacts/search", LASTING, answer(423, Some(3_600), None), Waits(900..=900)),
        ("/contacts/search", LASTING, answer(503, Some(10_000), None), Waits(10..=10)),
        ("/contacts/search", LASTING, answer(503, Some(31_536_000), None), Waits(900..=900)),
        ("/contacts/search", LASTING, answer(408, Some(u64::MAX), None), Waits(900..=900)),
        ("/contacts/search", 1, answer(477, Some(7_200_000), None), Waits(7_200..=7_200)),
        ("/contacts/search", LASTING, later(503, httpdate::fmt_http_date(soon)), Waits(300..=600)),
        ("/contacts/search", LASTING, later(503, "Fri, 31 Dec 9999 23:59:59 GMT".to_owned()), Waits(900..=900)),
        ("/contacts/search", LASTING, later(503, "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()), Waits(SOON)),
        ("/contacts/search", LASTING, later(503, "99999999999999999999999".to_owned()), Waits(900..=900)),
        ("/contacts/search", LASTING, later(503, "soon".to_owned()), Waits(SOON)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspot_4xx_maps_to_documented_wait() -> Result<()> {
    all_meet(vec![
        // A token that expired in the middle of a page is refreshed by the next slice.
        ("/associations/", 1, plain(401), Waits(0..=0)),
        ("/contacts/search", 1, plain(403), Waits(3_600..=3_600)),
        ("/contacts/search", LASTING, plain(400), Waits(SOON)),
        // It may be what a record holds: smaller pages are tried.
        ("/contacts/search", 1, plain(400), GoesOn),
        ("/contacts/search", LASTING, plain(404), Waits(SOON)),
        ("/associations/", 1, plain(409), GoesOn),
        ("/contacts/search", 1, plain(414), GoesOn),
        ("/contacts/search", 1, plain(423), GoesOn),
        ("/contacts/search", 1, plain(477), Waits(900..=900)),
        ("/contacts/search", 1, answer(477, Some(86_400), None), Waits(86_400..=86_400)),
        ("/contacts/search", 1, answer(477, Some(999_999), None), Waits(86_400..=86_400)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspot_5xx_is_retried_within_slice_or_continued_later() -> Result<()> {
    let mut rows = vec![
        ("/contacts/search", 2, answer(502, None, Some("<html>bad gateway</html>")), GoesOn),
        ("/contacts/search", LASTING, plain(503), Waits(SOON)),
        ("/contacts/search", LASTING, answer(503, Some(30), None), Waits(30..=30)),
    ];
    rows.extend([500, 503, 504, 521, 522, 523, 524, 530].map(|status| ("/contacts/search", 1, plain(status), GoesOn)));
    rows.extend([500, 504, 524].map(|status| ("/associations/", 1, plain(status), GoesOn)));
    all_meet(rows).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_hubspot_connection_is_retried_or_continued_later() -> Result<()> {
    all_meet(vec![
        ("/contacts/search", 1, FaultKind::Reset, GoesOn),
        ("/associations/", 1, FaultKind::Reset, GoesOn),
        ("/contacts/search", LASTING, FaultKind::Reset, Waits(SOON)),
        ("/contacts/search", 1, FaultKind::Cut, GoesOn),
        ("/associations/", 1, FaultKind::Cut, GoesOn),
        ("/contacts/search", 1, FaultKind::Endless, GoesOn),
        ("/contacts/search", LASTING, FaultKind::Delay { millis: 30_000 }, Waits(SOON)),
    ])
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_hubspot_answer_is_retried_or_continued_later() -> Result<()> {
    let partly = json!({"status": "COMPLETE", "results": [], "numErrors": 1,
        "errors": [{"status": "error", "category": "INTERNAL_ERROR", "message": "no"}]});
    all_meet(vec![
        ("/contacts/search", LASTING, answer(200, None, Some("<html>welcome</html>")), Waits(SOON)),
        // It may be what a record holds: smaller pages are tried.
        ("/contacts/search", 1, answer(200, None, Some("<html>welcome</html>")), GoesOn),
        ("/contacts/search", 1, answer(200, None, Some("{\"records\": []}")), GoesOn),
        ("/contacts/search", 1, answer(200, None, Some("{\"total\": \"x\", \"results\": {}}")), GoesOn),
        ("/contacts/search", 1, answer(200, None, Some("")), GoesOn),
        ("/associations/", 1, answer(200, None, Some("[]")), GoesOn),
        // Companies that could not be read are not taken for none.
        ("/associations/", 1, answer(207, None, Some(&partly.to_string())), GoesOn),
        ("/associations/", LASTING, answer(207, None, Some(&partly.to_string())), Waits(SOON)),
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
    let mut world = World::new("refused").await?;
    world.hubspot.world().seed(HUB, 3, 3, 1);
    let there = std::mem::replace(&mut world.config.hubspot_base_url, "http://127.0.0.1:1".to_owned());
    world.deliver(&world.sync().await?, &world.tick()).await?;
    ensure!(SOON.contains(&world.pause().await?.context("it waits")?.as_secs()));
    world.config.hubspot_base_url = there;
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 6);
    Ok(())
}

/// A lane that HubSpot refuses is tried with growing pauses, then once an hour. The other one goes on.
#[tokio::test]
async fn permanently_failing_lane_is_tried_eight_times_and_then_once_an_hour() -> Result<()> {
    let world = World::new("given_up").await?;
    world.hubspot.world().seed(HUB, 3, 3, 1);
    world.fault("/contacts/search", LASTING, plain(400));
    let sync = world.sync().await?;
    let mut message = world.tick();
    for attempts in 1..=8 {
        world.deliver(&sync, &message).await?;
        let checkpoint = world.checkpoint().await?;
        let problem = checkpoint.get_document("lanes")?.get_document("contacts")?.get_document("lastError")?;
        ensure!(problem.get_i64("attempts")? == attempts, "{problem}");
        let hours = time::between(*problem.get_datetime("at")?, *problem.get_datetime("retryAt")?).as_secs() / 3600;
        ensure!(hours == u64::from(attempts == 8), "{problem}");
        if attempts < 8 {
            world.time_passes().await?;
            message = world.due_message().await?;
        }
    }
    // Companies were read; contacts alone are left alone.
    world.drain().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == 3);
    ensure!(world.checkpoint().await?.get_document("run").is_err(), "nobody waits an hour for a message");
    let asked = world.requests("search 400");
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.requests("search 400") == asked, "contacts were read again");
    world.hubspot.world().faults.clear();
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 6);
    Ok(())
}

#[tokio::test]
async fn unreadable_record_stops_no_other_record_of_its_page() -> Result<()> {
    let mut world = World::new("unreadable").await?;
    world.config.settle = Duration::from_secs(3600);
    world.hubspot.world().seed(HUB, 0, 5, 1);
    let row = |id: Value, properties: Value| json!({"id": id, "properties": properties, "createdAt": "2024-01-01T00:00:00Z", "updatedAt": "2024-01-01T00:00:00Z"});
    let page = json!({"total": 4, "results": [
        row(json!("11"), json!({"email": "ana@firm.example", "lastmodifieddate": "2024-01-01T00:00:00Z"})),
        {"id": "12", "properties": {"email": "no times"}},
        row(json!(13), json!({"hubspotscore": {"odd": true}, "firstname": 7})),
        row(json!("x14"), json!({})),
    ]});
    world.fault("/contacts/search", 1, answer(200, None, Some(&page.to_string())));
    world.run().await?;
    let mut records = Vec::new();
    for action in world.all(collection::ACTIONS).await? {
        records.push(action.get_str("recordId")?.to_owned());
    }
    ensure!(records == ["11", "13"], "{records:?} were stored");
    ensure!(world.checkpoint().await?.get_datetime("lastSuccessAt").is_ok());
    Ok(())
}

/// A run that gets nowhere counts its slices, and says so from the fifth on; one that gets on forgets them.
#[tokio::test]
async fn run_counts_its_slices_without_progress() -> Result<()> {
    let world = World::new("idle").await?;
    world.hubspot.world().seed(HUB, 3, 3, 1);
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
    ensure!(world.proof().await?.actions == 6);
    Ok(())
}
