//! HubSpot's rate limits: kept across the slices of a run, shared with other apps, and waited for without being billed.

use std::{num::NonZeroU32, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    extent::Extent,
    rows::{ASSOCIATIONS, LANES, LINKED, ROWS, SEARCH},
    stopwatch::{MAX_PROCESSOR_WAIT, Stopwatch},
    world::{HUB, World},
};
use hubspot::{HubSpot, Limits, OAuthApp, Session, Tally};
use hubspot_sim::{
    AssociationLimits, CLIENT_ID, CLIENT_SECRET, Distribution, Fault, FaultKind, Object, Settings, Simulator, Tier,
};
use model::{checkpoint::RateLimitState, object::ObjectType, time};
use mongodb::bson::{DateTime, Document, doc};
use secrecy::SecretString;
use store::collection;

use super::outcomes::LASTING;

async fn limited(name: &str, objects: &[Object], ours: u32, theirs: usize) -> Result<World> {
    let mut world = World::of(name, objects).await?;
    world.config.limits.search_rps = NonZeroU32::new(ours).context("it is not zero")?;
    world.hubspot.world().settings.search_rps = theirs;
    Ok(world)
}

/// Returns how many requests a limit lets through in the time of the stopwatch; any beyond that was too early. Whether
/// HubSpot refuses some depends on how evenly this machine lets them leave, and says nothing.
fn at_most(limit: u64, window: Duration, stopwatch: &Stopwatch) -> u64 {
    limit * (stopwatch.elapsed().as_secs_f64() / window.as_secs_f64()).ceil() as u64 + limit
}

/// All requests of a kind, answered or refused.
fn asked(world: &World, kind: &str) -> u64 {
    let requests = &world.hubspot.world().requests;
    requests.iter().filter(|(name, _)| name.starts_with(kind)).map(|(_, count)| count).sum()
}

/// Short slices, so that there are many: each begins with what the one before has left.
#[tokio::test]
async fn slices_of_a_run_respect_search_limit_together() -> Result<()> {
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        short_slices_respect_search_limit(object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn short_slices_respect_search_limit(object: Object) -> Result<()> {
    let mut world = limited("keep_limit", &[object], 5, 5).await?;
    world.config.budget = Duration::from_millis(1_500);
    // With lists, there would be few slices.
    world.config.search_only = true;
    world.fill(100, &[object], 5_000, 1);
    let stopwatch = Stopwatch::start();
    let slices = world.run().await?;
    ensure!(slices >= 4, "{slices} slices are too few to tell");
    let (asked, most) = (asked(&world, "search"), at_most(5, Duration::from_secs(1), &stopwatch));
    ensure!(asked <= most, "{asked} searches in {:?}, in which the limit allows {most}", stopwatch.elapsed());
    ensure!(world.proof().await?.actions == 5_100);
    Ok(())
}

/// The first answer shows that HubSpot counts them so.
#[tokio::test]
async fn association_reads_respect_general_limit() -> Result<()> {
    let association_limits = AssociationLimits::General;
    let limits = |world: &mut World| world.config.limits.per_10s = FOUR;
    keep_four_in_ten_seconds(Settings { per_10s: Some(4), association_limits, ..Settings::unlimited() }, limits).await
}

#[tokio::test]
async fn association_reads_respect_their_own_limit() -> Result<()> {
    let limits = |world: &mut World| world.config.limits.associations_per_10s = FOUR;
    keep_four_in_ten_seconds(Settings { associations_per_10s: Some(4), ..Settings::unlimited() }, limits).await
}

const FOUR: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

async fn keep_four_in_ten_seconds(settings: Settings, limits: impl FnOnce(&mut World)) -> Result<()> {
    let mut world = World::of("keep_general", &LINKED).await?;
    limits(&mut world);
    world.hubspot.world().settings = settings;
    world.fill(0, &LINKED, 400, 1);
    let stopwatch = Stopwatch::start();
    world.run().await?;
    let (asked, most) = (asked(&world, "associations"), at_most(4, Duration::from_secs(10), &stopwatch));
    ensure!(asked <= most, "{asked} requests in {:?}, in which the limit allows {most}", stopwatch.elapsed());
    ensure!(world.proof().await?.actions == 1_200);
    Ok(())
}

/// HubSpot allows a free account fewer reads of associations than we make, and tells of that only by refusing one.
#[tokio::test]
async fn association_limit_below_ours_loses_nothing() -> Result<()> {
    let mut world = World::of("associations_lower", &LINKED).await?;
    world.config.limits.associations_per_10s = NonZeroU32::new(100).context("it is not zero")?;
    world.hubspot.world().settings.associations_per_10s = Some(2);
    world.fill(3, &LINKED, 200, 1);
    world.run().await?;
    let (taken, refused) = (world.requests("associations 207"), world.requests("associations 429"));
    // Lanes that ask at the same time are refused together.
    let most = 2 * u64::from(LANES);
    ensure!(taken >= 3 && (1..=most).contains(&refused), "{taken} taken, {refused} refused");
    ensure!(world.proof().await?.actions == 603);
    Ok(())
}

#[tokio::test]
async fn daily_association_limit_does_not_stop_companies_lane() -> Result<()> {
    let world = World::of("associations_daily", &ROWS).await?;
    world.hubspot.world().settings.associations_per_day = Some(1);
    world.fill(5, &ROWS, 100, 1);
    world.deliver(&world.sync().await?, &world.tick()).await?;
    ensure!(world.requests("associations 429") >= 1);
    let pauses = world.pauses().await?;
    ensure!(!pauses.is_empty() && pauses.values().all(|pause| *pause == Duration::from_secs(900)), "{pauses:?}");
    for object in [Object::COMPANIES, Object::PRODUCTS] {
        ensure!(!pauses.contains_key(object.name()), "{} waits, which has no associations", object.name());
    }
    world.hubspot.world().settings.associations_per_day = Some(0);
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 405);
    Ok(())
}

/// HubSpot's first answer names the limit, which is kept and used, whatever our own setting allows: no request is refused.
#[tokio::test]
async fn limit_of_each_token_kind_is_respected_without_refusal() -> Result<()> {
    use Distribution::{Marketplace, Private};
    let table = [
        (Tier::Starter, Marketplace, true, 110),
        (Tier::AddOn, Marketplace, true, 110),
        (Tier::Professional, Private, true, 190),
        (Tier::Starter, Marketplace, false, 100),
        (Tier::Professional, Marketplace, false, 190),
        (Tier::AddOn, Marketplace, false, 250),
    ];
    for ((tier, distribution, is_oauth, allowed), ours) in table.into_iter().zip([1_000, 20].into_iter().cycle()) {
        let settings = Settings { tier, distribution, ..Settings::default() };
        let hubspot = Simulator::start(0, settings).await?;
        let client = HubSpot::new(&hubspot.url())?;
        let token = match is_oauth {
            true => oauth_token(&hubspot, &client).await?,
            false => SecretString::from(hubspot.world().portal(HUB).private_token.clone()),
        };
        let ours = NonZeroU32::new(ours).context("it is not zero")?;
        let (limits, tally) =
            (Limits { search_rps: ours, per_10s: ours, associations_per_10s: ours }, Tally::default().into());
        let session = Session::new(client, token, limits, &RateLimitState::default(), tally);
        let (stopwatch, mut taken) = (Stopwatch::start(), 0);
        loop {
            let soon = tokio::time::Instant::now() + Duration::from_secs(1);
            if session.list_archived(ObjectType::CONTACTS, &[], None, 1, Some(soon)).await?.is_none() {
                break;
            }
            taken += 1;
        }
        let requests = hubspot.world().requests.clone();
        ensure!(!requests.contains_key("list 429"), "{tier:?} {distribution:?}: {requests:?}");
        // A machine that takes longer than that gets into the next ten seconds.
        let is_slow = stopwatch.elapsed() > Duration::from_secs(9);
        ensure!(taken == allowed || is_slow, "{tier:?} {distribution:?}: {taken} of {allowed} were made");
    }
    Ok(())
}

async fn oauth_token(hubspot: &Simulator, client: &HubSpot) -> Result<SecretString> {
    let grant = hubspot.world().portal(HUB).refresh_token.clone().context("a new portal has a grant")?;
    let app = OAuthApp { client_id: CLIENT_ID.to_owned(), client_secret: CLIENT_SECRET.into() };
    Ok(client.refresh(&app, &HUB.to_string().try_into()?, &grant.into()).await?.access_token)
}

/// When the account goes on, counted from now.
async fn goes_on_in(world: &World) -> Result<Duration> {
    let checkpoint = world.checkpoint().await?;
    Ok(time::between(DateTime::now(), *checkpoint.get_document("run")?.get_datetime("dueAt")?))
}

/// Another app uses all of the limit: what could not be asked in a slice is not tried again at once.
#[tokio::test]
async fn exhausted_search_limit_ends_slice_and_run_waits_in_queue() -> Result<()> {
    let world = limited("used_up", &ROWS, 5, 5).await?;
    world.fill(1, &ROWS, 1, 1);
    world.run().await?;
    let used = doc! { "$set": { "limits.search": { "requests": [DateTime::now()], "share": 0.01 } } };
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, used).await?;
    let asked_before = asked(&world, "search");
    world.deliver(&world.sync().await?, &world.tick()).await?;
    ensure!(asked(&world, "search") == asked_before);
    let pause = goes_on_in(&world).await?;
    ensure!(pause > Duration::from_secs(10), "it comes back in {pause:?}");
    Ok(())
}

/// The same where associations cannot be asked for: pages of their records are not read again and again meanwhile.
#[tokio::test]
async fn exhausted_association_limit_ends_slice_and_run_waits_in_queue() -> Result<()> {
    let mut world = World::of("used_up_general", &LINKED).await?;
    world.config.limits.associations_per_10s = NonZeroU32::MIN;
    world.fill(1, &LINKED, 20, 1);
    let sync = world.sync().await?;
    let moving = FaultKind::Answer { status: 477, body: None, retry_after: Some(1) };
    world.fault_each(SEARCH, &LINKED, 1, &moving);
    world.deliver(&sync, &world.tick()).await?;
    world.time_passes().await?;
    let used = doc! { "$set": { "limits.associations": { "requests": [DateTime::now()], "share": 0.05 } } };
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_one(doc! {}, used).await?;
    world.deliver(&sync, &world.due_message().await?).await?;
    let pause = goes_on_in(&world).await?;
    ensure!(pause > Duration::from_secs(5), "it comes back in {pause:?}");
    Ok(())
}

/// A refusal that leaves no time for another try in its slice is no failure: what was read is published, and the next slice
/// makes the pause that HubSpot asked for.
#[tokio::test]
async fn late_refusal_ends_slice_and_is_no_failure() -> Result<()> {
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        late_refusal(object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn late_refusal(object: Object) -> Result<()> {
    let mut world = World::of("late_refusal", &[object]).await?;
    world.config.budget = Duration::from_millis(2_500);
    world.config.search_only = true;
    world.fill(0, &[object], 1_000, 1);
    let kind = FaultKind::Answer { status: 429, body: None, retry_after: Some(2) };
    let path = SEARCH.replace("{}", object.name());
    world.hubspot.world().faults.push(Fault { path, skip: 2, times: 1, kind });
    let stopwatch = Stopwatch::start();
    world.deliver(&world.sync().await?, &world.tick()).await?;
    ensure!(world.requests("search 429") == 1 && world.pauses().await?.is_empty(), "{:?}", world.pauses().await?);
    let checkpoint = world.checkpoint().await?;
    ensure!(checkpoint.get_document("limits")?.get_document("search")?.get_datetime("closedUntil").is_ok());
    let published = world.store.database().collection::<Document>(collection::SEEN).count_documents(doc! {}).await?;
    ensure!(published >= 200, "a page was read, and {published} records published");
    world.run_on().await?;
    ensure!(stopwatch.elapsed() >= Duration::from_secs(2), "the pause was not made");
    ensure!(world.proof().await?.actions == 1_000);
    Ok(())
}

/// HubSpot refuses every read of associations. Later slices have time for one try each, which counts as an attempt.
#[tokio::test]
async fn lasting_refusal_of_associations_is_a_failure_in_each_slice() -> Result<()> {
    let objects = Extent::sample().some_of(LINKED.to_vec(), 1);
    let world = World::of("refused_associations", &objects).await?;
    world.fill(1, &objects, 10, 1);
    let refused = FaultKind::Answer { status: 429, body: None, retry_after: None };
    world.fault_each(ASSOCIATIONS, &objects, LASTING, &refused);
    let sync = world.sync().await?;
    for attempts in 1..=3 {
        let message = world.due_message().await.unwrap_or_else(|_| world.tick());
        world.deliver(&sync, &message).await?;
        for object in &objects {
            let problem = world.lane(*object).await?.get_document("lastError")?.clone();
            ensure!(problem.get_i64("attempts")? == attempts, "{}: {problem}", object.name());
        }
        world.time_passes().await?;
    }
    world.hubspot.world().faults.clear();
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 11);
    Ok(())
}

/// One in seven would be refused if requests were counted when they leave.
#[tokio::test]
async fn requests_that_are_held_up_are_hardly_refused() -> Result<()> {
    let mut world = limited("held_up", &ROWS, 5, 5).await?;
    // Lists would take a part of the searches' rows.
    world.config.search_only = true;
    world.hubspot.world().settings.hold_up_ms = 250;
    world.fill(0, &ROWS, 2_000, 1);
    world.run_on().await?;
    let (taken, refused) = (world.requests("search 200"), world.requests("search 429"));
    ensure!(taken >= 40 && refused * 12 <= taken, "{taken} taken, {refused} refused");
    ensure!(world.proof().await?.actions == 8_000);
    Ok(())
}

/// Other apps of the same account use two of its five searches a second.
#[tokio::test]
async fn search_rate_adapts_to_share_taken_by_other_apps() -> Result<()> {
    let mut world = limited("others", &ROWS, 5, 3).await?;
    // Lists would leave less for searches to learn from.
    world.config.search_only = true;
    world.fill(0, &ROWS, 2_000, 1);
    let stopwatch = Stopwatch::start();
    world.run().await?;
    let (taken, refused) = (world.requests("search 200"), world.requests("search 429"));
    // Without a processor for three searches a second it never learns of the others.
    let slow = stopwatch.waited() > MAX_PROCESSOR_WAIT;
    ensure!(taken >= 40 && (refused > 0 || slow), "{taken} taken, {refused} refused");
    ensure!(refused * 4 < taken, "{refused} of {taken} searches were refused: it does not adapt");
    ensure!(world.proof().await?.actions == 8_000);
    Ok(())
}

#[tokio::test]
async fn daily_limit_is_tried_again_every_15_minutes_at_most() -> Result<()> {
    let world = World::of("daily", &ROWS).await?;
    world.fill(5, &ROWS, 5, 1);
    let daily = r#"{"status":"error","message":"You have reached your daily limit.","policyName":"DAILY"}"#;
    world.fault("/search", 1_000, FaultKind::Answer { status: 429, body: Some(daily.to_owned()), retry_after: None });
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    // While one lane's refusal holds up the others, the slice may end.
    while world.pauses().await?.len() < ROWS.len() + 1 {
        world.deliver(&sync, &world.due_message().await?).await?;
    }
    let asked = world.requests("search 429");
    ensure!(asked == u64::from(LANES), "one search a lane tells it, but there were {asked}");
    for _ in 0..5 {
        world.deliver(&sync, &world.tick()).await?;
    }
    ensure!(world.requests("search 429") == asked, "ticks ask HubSpot though it said no");
    ensure!(world.pause().await? == Some(Duration::from_secs(900)));
    // A quarter of an hour later it is asked once more, a lane.
    world.time_passes().await?;
    world.deliver(&sync, &world.due_message().await?).await?;
    let again = world.requests("search 429") - asked;
    ensure!((1..=asked).contains(&again), "{again} searches");
    world.hubspot.world().faults.clear();
    ensure!(world.run_until_proved().await?.actions == 25);
    Ok(())
}
