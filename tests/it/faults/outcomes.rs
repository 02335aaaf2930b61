//! What a fault of HubSpot leads to, checked in lanes of every kind.

use std::{
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use futures::future::try_join_all;
use harness::{
    rows::{ASSOCIATIONS, LINKED, ROWS, SEARCH},
    service::INVOCATION_LIMIT,
    stopwatch::{MAX_PROCESSOR_WAIT, Stopwatch},
    world::{World, assert_accepted},
};
use hubspot_sim::{FaultKind, Object};
use mongodb::bson::Document;

/// What a fault leads to.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// The request is made again within the slice, which reads everything.
    GoesOn,
    /// The slice ends, and the lane goes on after so many seconds.
    Waits(RangeInclusive<u64>),
    /// The account is marked as one to be connected again, and its run ends.
    Reauthorize,
}

/// A growing, jittered pause, as it is after a first failure.
pub(super) const SOON: RangeInclusive<u64> = 0..=2;

/// For good, as far as one slice can tell.
pub(super) const LASTING: u32 = 1_000;

pub(super) fn answer(status: u16, retry_after: Option<u64>, body: Option<&str>) -> FaultKind {
    FaultKind::Answer { status, body: body.map(str::to_owned), retry_after }
}

pub(super) fn plain(status: u16) -> FaultKind {
    answer(status, None, None)
}

pub(super) fn limited(policy: &str) -> String {
    format!(r#"{{"status":"error","message":"You have reached your {policy} limit.","policyName":"{policy}"}}"#)
}

/// Makes a fault happen to requests for `path`, in each lane by itself if it is one of the lanes' own paths. Runs a slice,
/// checks what came of it, and that nothing is lost. A slice that
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
    let world = World::of("fault", &ROWS).await?;
    world.fill(3, &ROWS, 30, 1);
    let lanes: &[Object] = match path {
        SEARCH => &ROWS,
        ASSOCIATIONS => &LINKED,
        _ => &[],
    };
    let is_limit = matches!(kind, FaultKind::Answer { status: 429, .. });
    match lanes {
        [] => world.fault_each(path, &[Object::COMPANIES], times, &kind),
        lanes => world.fault_each(path, lanes, times, &kind),
    }
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
        Then::GoesOn => {
            ensure!(world.pauses().await?.is_empty(), "{what}: it waits for {:?}", world.pauses().await?);
            judged = world.checkpoint().await?.get_datetime("lastSuccessAt").is_ok();
        }
        Then::Waits(seconds) => {
            let pauses = world.pauses().await?;
            let pause = pauses.values().min().with_context(|| format!("{what}: it waits for nothing"))?.as_secs();
            ensure!(pauses.values().all(|pause| seconds.contains(&pause.as_secs())), "{what}: it waits for {pauses:?}");
            // A limit is the account's: once one lane has met it, the others ask for nothing.
            let waits = |lane: &Object| is_limit || pauses.contains_key(lane.name());
            ensure!(lanes.iter().all(waits), "{what}: only {pauses:?} wait");
            let checkpoint = world.checkpoint().await?;
            if checkpoint.get_document("run").is_ok() != (pause <= 900) {
                ensure!(
                    !are_other_lanes_read(&checkpoint)?,
                    "{what}: there is a continuation though it waits long, or none"
                );
                println!("{what}: not judged; another lane had no time, and goes on");
                judged = false;
            }
        }
        Then::Reauthorize => {
            ensure!(world.entry().await?.get_str("state").ok() == Some("reauthorize"), "{what}: it is not marked");
            ensure!(world.checkpoint().await?.get_document("run").is_err(), "{what}: its run goes on");
        }
    }
    world.hubspot.world().faults.clear();
    world.run_on().await.with_context(|| what.to_owned())?;
    let marked = world.entry().await?.get("state").is_some();
    let may_mark = matches!(then, Then::Reauthorize);
    ensure!(marked == may_mark || may_mark && !judged, "{what}: marked: {marked}");
    ensure!(marked || world.proof().await.with_context(|| what.to_owned())?.actions == 123);
    world.end().await?;
    Ok(judged)
}

/// Returns true if each lane that does not wait has been read.
fn are_other_lanes_read(checkpoint: &Document) -> Result<bool> {
    let lanes = checkpoint.get_document("lanes")?;
    let is_done = |lane: &Document| {
        let is_read = lane.get_document("fresh").is_ok_and(|fresh| fresh.get_datetime("mark").is_ok())
            && lane.get_document("backfill").is_ok_and(|pass| pass.get_array("windows").is_ok_and(Vec::is_empty));
        is_read || lane.get_document("lastError").is_ok()
    };
    let mut names = ROWS.iter().map(Object::name).chain(["companies"]);
    Ok(names.all(|name| lanes.get_document(name).is_ok_and(is_done)))
}

pub(super) async fn all_meet(rows: Vec<(&str, u32, FaultKind, Then)>) -> Result<()> {
    // As many at a time as keep the processors busy: each is mostly waiting.
    for rows in rows.chunks(2 * std::thread::available_parallelism()?.get()) {
        try_join_all(rows.iter().cloned().map(|(path, times, kind, then)| meets(path, times, kind, then))).await?;
    }
    Ok(())
}
