//! An account is marked as one to be connected again only on proof, and goes on by itself when it can.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use harness::{
    rows::{LANES, ROWS},
    world::{DOMAIN, HUB, World, lambda},
};
use hubspot::OAuthApp;
use hubspot_sim::{FaultKind, OTHER_CLIENT_ID, OTHER_CLIENT_SECRET};
use model::time::{before, between};
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::Value;
use stack::accounts::{oauth, private_app, write_domain};
use store::collection;

const HOUR: Duration = Duration::from_secs(3600);

const UNAUTHORIZED: FaultKind = FaultKind::Answer { status: 401, body: None, retry_after: None };

/// Delivers slices of the account one after another, whose waits pass at once.
async fn slices(world: &World, count: usize) -> Result<()> {
    let sync = world.sync().await?;
    for _ in 0..count {
        world.time_passes().await?;
        let message = world.due_message().await.unwrap_or_else(|_| world.tick());
        world.deliver(&sync, &message).await?;
    }
    Ok(())
}

/// Sets a field of the account's checkpoint, or of its entry.
async fn set(world: &World, collection: &str, field: &str, value: impl Into<Bson>) -> Result<()> {
    let documents = world.store.database().collection::<Document>(collection);
    documents.update_one(doc! {}, doc! { "$set": { field: value.into() } }).await?;
    Ok(())
}

async fn set_entry(world: &World, field: &str, value: impl Into<Bson>) -> Result<()> {
    set(world, collection::DOMAINS, &format!("integrations.hubspot.accounts.0.{field}"), value).await
}

async fn is_marked(world: &World) -> Result<bool> {
    Ok(world.entry().await?.get_str("state").is_ok_and(|state| state == "reauthorize"))
}

/// How many of the Domain's accounts are marked.
async fn marked(world: &World) -> Result<usize> {
    let domain = world.all(collection::DOMAINS).await?.pop().context("there is no Domain")?;
    let entries = domain.get_document("integrations")?.get_document("hubspot")?.get_array("accounts")?;
    Ok(entries.iter().filter_map(Bson::as_document).filter(|entry| entry.get("state").is_some()).count())
}

/// What a tick of the schedule sends. Continuations of runs may be due beside it.
async fn fan_out(world: &World) -> Result<Vec<Value>> {
    let done = scheduler::handler(&world.scheduler().await?, lambda(scheduler::Tick { time: None })).await;
    let done = done.map_err(|error| anyhow::anyhow!(error.error_message))?;
    let due = world.take(&world.sync_queue).await?;
    let messages: Vec<Value> = due.iter().map(|body| serde_json::from_str(body)).collect::<Result<_, _>>()?;
    let sent: Vec<Value> = messages.into_iter().filter(|message| message["run"].is_null()).collect();
    ensure!(sent.len() == done.sent, "{sent:?}");
    Ok(sent)
}

/// HubSpot's API takes no token for a while, though it gives new ones: the grant is proved to be alive each time.
#[tokio::test]
async fn refused_access_token_never_marks_account_while_refresh_succeeds() -> Result<()> {
    let world = World::of("marks_refused", &ROWS).await?;
    world.fill(4, &ROWS, 2, 1);
    world.fault("/search", 1_000, UNAUTHORIZED);
    for slice in 1..=12 {
        slices(&world, 1).await?;
        ensure!(world.entry().await?.get("state").is_none(), "it was marked by slice {slice}");
        ensure!(world.pause().await?.is_some_and(|pause| pause <= Duration::from_secs(900)));
    }
    ensure!(world.requests("oauth 200") >= 12, "each slice has refreshed the token");
    let tries = world.pause().await?.context("it waits")?;
    ensure!(tries >= Duration::from_secs(400), "its pauses do not grow: {tries:?}");
    // Not even when that goes on for hours.
    let refused_since = before(DateTime::now(), 30 * HOUR);
    set(&world, collection::CHECKPOINTS, "refused.since", refused_since).await?;
    slices(&world, 2).await?;
    ensure!(!is_marked(&world).await?);
    world.hubspot.world().faults.clear();
    ensure!(world.run_until_proved().await?.actions == 12);
    Ok(())
}

/// A world whose account has the token of a private app, and 12 records in lanes of every kind.
async fn private(name: &str) -> Result<World> {
    let world = World::new(name).await?;
    let token = world.hubspot.world().portal(HUB).private_token.clone();
    write_domain(world.store.database(), DOMAIN, "Acme", vec![private_app(HUB, &token)]).await?;
    world.choose_with_companies(&ROWS).await?;
    world.fill(4, &ROWS, 2, 1);
    Ok(world)
}

#[tokio::test]
async fn private_app_token_refused_for_hours_marks_account() -> Result<()> {
    let world = private("marks_private").await?;
    world.fault("/search", 1_000, UNAUTHORIZED);
    slices(&world, 12).await?;
    ensure!(!is_marked(&world).await?, "it was marked within a moment");
    let refused_since = before(DateTime::now(), 7 * HOUR);
    set(&world, collection::CHECKPOINTS, "refused.since", refused_since).await?;
    slices(&world, 1).await?;
    ensure!(is_marked(&world).await?, "it was not marked after hours");
    ensure!(world.checkpoint().await?.get_document("run").is_err(), "its run goes on");
    // Six hours later HubSpot takes the token again.
    ensure!(fan_out(&world).await?.is_empty(), "it is tried again at once");
    for _ in 0..2 {
        set_entry(&world, "stateAt", before(DateTime::now(), 8 * HOUR)).await?;
        set_entry(&world, "stateTriedAt", Bson::Null).await?;
        world.time_passes().await?;
        let sent = fan_out(&world).await?;
        world.deliver(&world.sync().await?, sent.first().context("it is tried again")?).await?;
        let is_left_alone = is_marked(&world).await? && world.checkpoint().await?.get_document("run").is_err();
        ensure!(is_left_alone || world.requests("search 200") > 0);
        world.hubspot.world().faults.clear();
    }
    ensure!(!is_marked(&world).await?);
    ensure!(world.run_until_proved().await?.actions == 12);
    Ok(())
}

#[tokio::test]
async fn private_app_token_refused_once_is_tried_again() -> Result<()> {
    let world = private("marks_once").await?;
    world.fault("/search", LANES, UNAUTHORIZED);
    world.run_on().await?;
    ensure!(world.entry().await?.get("state").is_none());
    ensure!(world.proof().await?.actions == 12);
    // The row of refusals is over.
    ensure!(world.checkpoint().await?.get_document("refused").is_err());
    Ok(())
}

#[tokio::test]
async fn deleted_portal_marks_its_account() -> Result<()> {
    for standard in [true, false] {
        let world = World::new("marks_deleted").await?;
        world.hubspot.world().settings.oauth_errors = standard;
        world.hubspot.world().delete_portal(HUB);
        slices(&world, 1).await?;
        let entry = world.entry().await?;
        ensure!(entry.get_str("state")? == "reauthorize");
        ensure!(entry.get_str("stateReason")?.contains("the HubSpot account is gone"), "{entry}");
    }
    Ok(())
}

/// A refusal that names nothing that is known: introspection tells whether the grant is alive.
#[tokio::test]
async fn unclear_token_refusal_is_decided_by_introspection() -> Result<()> {
    let world = World::of("marks_unclear", &ROWS).await?;
    world.fill(4, &ROWS, 2, 1);
    let body = r#"{"status":"error","category":"VALIDATION_ERROR","message":"it cannot be used"}"#;
    let unclear = || FaultKind::Answer { status: 400, body: Some(body.to_owned()), retry_after: None };
    world.fault("/token", 1, unclear());
    slices(&world, 1).await?;
    ensure!(!is_marked(&world).await?, "the grant is alive");
    world.hubspot.world().revoke(HUB);
    world.fault("/token", 1, unclear());
    slices(&world, 1).await?;
    ensure!(is_marked(&world).await?, "the grant is dead");
    Ok(())
}

/// A deploy with the credentials of another app, to which the customers have granted nothing.
#[tokio::test]
async fn credentials_of_another_app_mark_no_account() -> Result<()> {
    let mut world = World::new("marks_app").await?;
    let hubs: Vec<u64> = (HUB..HUB + 8).collect();
    let grant = |hub| world.hubspot.world().portal(hub).refresh_token.clone().context("a grant");
    let entries = hubs.iter().map(|hub| Ok(oauth(hub, &grant(*hub)?))).collect::<Result<_>>()?;
    write_domain(world.store.database(), DOMAIN, "Acme", entries).await?;
    let right = world.config.app.clone();
    world.config.app =
        Some(OAuthApp { client_id: OTHER_CLIENT_ID.to_owned(), client_secret: OTHER_CLIENT_SECRET.into() });
    let wrong = world.sync().await?;
    for round in 0..4 {
        world.time_passes().await?;
        world.expire_run().await?;
        let messages = fan_out(&world).await?;
        if round == 0 {
            // The first ones are marked before it is known that there are many.
            for message in &messages[..3] {
                world.deliver(&wrong, message).await?;
            }
            ensure!(marked(&world).await? == 3);
        }
        try_join_all(messages.iter().map(|message| world.deliver(&wrong, message))).await?;
        ensure!(marked(&world).await? == 0, "{} accounts are marked after round {round}", marked(&world).await?);
    }
    // The right ones are deployed: all go on by themselves.
    world.config.app = right;
    let sync = world.sync().await?;
    world.time_passes().await?;
    world.expire_run().await?;
    let sent = fan_out(&world).await?;
    ensure!(sent.len() == hubs.len());
    for message in sent {
        world.deliver(&sync, &message).await?;
    }
    ensure!(marked(&world).await? == 0);
    let caught_up = |checkpoint: &Document| checkpoint.get_datetime("lastSuccessAt").is_ok();
    ensure!(world.all(collection::CHECKPOINTS).await?.iter().all(caught_up));
    Ok(())
}

/// Eight accounts are rejected at the same moment: whoever marks one sees the others, or is seen by them.
#[tokio::test]
async fn many_simultaneous_rejections_mark_no_account() -> Result<()> {
    let world = World::new("marks_at_once").await?;
    let entries = (HUB..HUB + 8).map(|hub| oauth(hub, "na1-of-nobody")).collect();
    write_domain(world.store.database(), DOMAIN, "Acme", entries).await?;
    let sync = world.sync().await?;
    let messages = fan_out(&world).await?;
    try_join_all(messages.iter().map(|message| world.deliver(&sync, message))).await?;
    ensure!(marked(&world).await? == 0, "{} accounts are marked", marked(&world).await?);
    // After a day an account is marked all the same: the alarm has notified an operator.
    set(&world, collection::CHECKPOINTS, "refused.since", before(DateTime::now(), 25 * HOUR)).await?;
    world.time_passes().await?;
    world.expire_run().await?;
    let messages = fan_out(&world).await?;
    ensure!(messages.len() == 8, "all go on");
    for message in messages {
        world.deliver(&sync, &message).await?;
    }
    ensure!(marked(&world).await? == 1);
    Ok(())
}

#[tokio::test]
async fn mark_for_grant_to_another_app_names_that_app() -> Result<()> {
    let world = World::new("marks_other_app").await?;
    set_entry(&world, "connectedWith", "the-former-client-id").await?;
    world.hubspot.world().revoke(HUB);
    slices(&world, 1).await?;
    let entry = world.entry().await?;
    let reason = entry.get_str("stateReason")?;
    ensure!(reason.contains("granted to another OAuth app (client id the-former-client-id)"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn marked_account_is_tried_every_few_hours_and_recovers_by_itself() -> Result<()> {
    let world = World::of("marks_heal", &ROWS).await?;
    world.fill(4, &ROWS, 2, 1);
    let sync = world.sync().await?;
    let grant = world.hubspot.world().portal(HUB).refresh_token.take();
    slices(&world, 1).await?;
    ensure!(is_marked(&world).await?);
    ensure!(fan_out(&world).await?.is_empty(), "it is tried again at once");
    let tried = async |outage: bool| {
        set_entry(&world, "stateAt", before(DateTime::now(), 30 * HOUR)).await?;
        set_entry(&world, "stateTriedAt", before(DateTime::now(), 8 * HOUR)).await?;
        if outage {
            world.fault("/token", 1, FaultKind::Answer { status: 503, body: None, retry_after: None });
        }
        let sent = fan_out(&world).await?;
        world.deliver(&sync, sent.first().context("it is tried again")?).await
    };
    // Still dead: it is left alone for hours again, also by a message that was delivered twice.
    tried(false).await?;
    ensure!(is_marked(&world).await? && fan_out(&world).await?.is_empty());
    let at = *world.entry().await?.get_datetime("stateTriedAt")?;
    ensure!(between(at, DateTime::now()) < HOUR);
    let asked = world.requests("oauth 400");
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.requests("oauth 400") == asked, "it was tried twice");
    // Trouble at HubSpot proves nothing: the next tick tries again.
    world.hubspot.world().portal(HUB).refresh_token = grant;
    tried(true).await?;
    ensure!(is_marked(&world).await?);
    let sent = fan_out(&world).await?;
    world.deliver(&sync, sent.first().context("it is tried again")?).await?;
    let entry = world.entry().await?;
    ensure!(
        ["state", "stateReason", "stateAt", "stateTriedAt"].iter().all(|name| entry.get(name).is_none()),
        "{entry}"
    );
    ensure!(world.run_until_proved().await?.actions == 12);
    Ok(())
}
