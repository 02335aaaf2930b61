//! Disconnecting: the app is uninstalled and the grant given back before it is forgotten, at once or later.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hubspot_sim::FaultKind;
use model::time::{self, DateTime};
use mongodb::bson::{Bson, Document, doc};
use reqwest::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use store::{SealedTokens, collection};
use token_vault::revoke::GIVEN_UP_AFTER;

use harness::{
    front::{Front, TOKEN, Visitor},
    world::{DOMAIN, HUB, World, lambda},
};

const ENTRIES: &str = "integrations.hubspot.accounts";

async fn leaving(name: &str) -> Result<(World, Front)> {
    let mut world = World::new(name).await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    Ok((world, front))
}

async fn disconnect(front: &Front) -> Result<StatusCode> {
    let asked = json!({"domain": DOMAIN, "hubId": HUB.to_string()});
    Ok(front.post("/hubspot/disconnect").bearer_auth(TOKEN).json(&asked).send().await?.status())
}

fn answers(world: &World, path: &str, times: u32, status: u16) {
    world.fault(path, times, FaultKind::Answer { status, body: None, retry_after: None });
}

async fn set(world: &World, fields: Document) -> Result<()> {
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.update_one(doc! {}, doc! { "$set": fields }).await?;
    Ok(())
}

/// What the scheduler and the sync function do at a time when the next try is due.
async fn try_again(world: &World) -> Result<()> {
    set(world, doc! { format!("{ENTRIES}.0.revocation.retryAt"): DateTime::now() }).await?;
    let ticked = scheduler::handler(&world.scheduler().await?, lambda(scheduler::Tick { time: None })).await;
    ticked.map_err(|error| anyhow::anyhow!(error.error_message))?;
    let sync = world.sync().await?;
    for text in world.receive(&world.sync_queue).await? {
        let message: Value = serde_json::from_str(&text)?;
        world.deliver(&sync, &message).await.with_context(|| text.clone())?;
    }
    Ok(())
}

/// Whether nothing of a grant is left in the entries.
async fn is_forgotten(world: &World) -> Result<bool> {
    let text = world.all(collection::DOMAINS).await?.iter().map(Document::to_string).collect::<String>();
    Ok(!["Token", "revocation", "connectedWith"].iter().any(|left| text.contains(left)))
}

async fn told(front: &Front) -> Result<String> {
    front.sign_in().await?.page(&format!("/accounts/{DOMAIN}/{HUB}")).await
}

#[tokio::test]
async fn disconnect_uninstalls_app_and_revokes_grant() -> Result<()> {
    let (world, front) = leaving("leaving").await?;
    ensure!(disconnect(&front).await? == StatusCode::NO_CONTENT);
    ensure!(is_forgotten(&world).await?);
    ensure!(world.hubspot.world().portal(HUB).uninstalls == 1);
    ensure!(world.hubspot.world().portal(HUB).refresh_token.is_none());
    ensure!(world.entry().await?.get_str("state")? == "disconnected");
    // The access token may have expired long ago.
    Visitor::new(&front).connect(DOMAIN, HUB).await?;
    set(&world, doc! { format!("{ENTRIES}.0.expiresAt"): DateTime::from_millis(0) }).await?;
    ensure!(disconnect(&front).await? == StatusCode::NO_CONTENT);
    ensure!(world.hubspot.world().portal(HUB).uninstalls == 2);
    ensure!(is_forgotten(&world).await?);
    world.end().await
}

/// The revoked refresh token is enough.
#[tokio::test]
async fn disconnect_revokes_grant_when_uninstall_is_refused() -> Result<()> {
    let (world, front) = leaving("leaving_refused").await?;
    for status in [403, 404, 401, 400] {
        answers(&world, "/external-install", 1, status);
        ensure!(disconnect(&front).await? == StatusCode::NO_CONTENT, "{status}");
        ensure!(world.hubspot.world().portal(HUB).refresh_token.is_none() && is_forgotten(&world).await?, "{status}");
        ensure!(world.hubspot.world().portal(HUB).uninstalls == 0);
        Visitor::new(&front).connect(DOMAIN, HUB).await?;
    }
    world.end().await
}

#[tokio::test]
async fn failed_revocation_is_shown_on_page_and_retried() -> Result<()> {
    let (world, front) = leaving("leaving_later").await?;
    answers(&world, "/revoke", 2, 500);
    let mut visitor = front.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    let answer = visitor.submit_operation(&format!("{account}/disconnect"), &format!("{account}/disconnect")).await?;
    let page =
        visitor.page(&format!("{account}?{}", harness::front::location(&answer)?.query().unwrap_or_default())).await?;
    ensure!(page.contains("could not be given back to HubSpot yet"), "{page}");
    let entry = world.entry().await?;
    ensure!(entry.get_str("state")? == "disconnected" && entry.contains_key("refreshToken"), "{entry}");
    let retry_at = *entry.get_document("revocation")?.get_datetime("retryAt")?;
    ensure!(retry_at > DateTime::now(), "a tick does not try at once");
    // The app is uninstalled by now, so that its grant is dead, and there is nothing left to revoke.
    world.hubspot.world().faults.clear();
    try_again(&world).await?;
    ensure!(is_forgotten(&world).await?);
    let page = told(&front).await?;
    ensure!(page.contains("Its access was given back to HubSpot") && !page.contains("tried again"), "{page}");
    world.end().await
}

#[tokio::test]
async fn failing_uninstall_is_retried_with_growing_pauses_and_then_grant_is_revoked() -> Result<()> {
    let (world, front) = leaving("leaving_growing").await?;
    // Switching the integration off changes nothing about what is owed.
    answers(&world, "/external-install", 100, 503);
    ensure!(disconnect(&front).await? == StatusCode::ACCEPTED);
    ensure!(disconnect(&front).await? == StatusCode::NOT_FOUND, "it is disconnected already");
    set(&world, doc! { "integrations.hubspot.status": false }).await?;
    let mut pauses = Vec::new();
    while !is_forgotten(&world).await? {
        ensure!(pauses.len() < 10, "it is never given back");
        let retry_at = *world.entry().await?.get_document("revocation")?.get_datetime("retryAt")?;
        pauses.push(time::between(DateTime::now(), retry_at));
        ensure!(world.hubspot.world().portal(HUB).refresh_token.is_some());
        try_again(&world).await?;
    }
    ensure!(pauses.len() == 3 && pauses.is_sorted() && pauses[2] > Duration::from_secs(120), "{pauses:?}");
    ensure!(world.hubspot.world().portal(HUB).refresh_token.is_none());
    world.end().await
}

#[tokio::test]
async fn revocation_failing_for_a_week_forgets_the_grant() -> Result<()> {
    let (world, front) = leaving("leaving_given_up").await?;
    world.fault("/external-install", 100, FaultKind::Reset);
    answers(&world, "/revoke", 100, 500);
    ensure!(disconnect(&front).await? == StatusCode::ACCEPTED);
    let nearly = time::before(DateTime::now(), GIVEN_UP_AFTER - Duration::from_secs(3600));
    set(&world, doc! { format!("{ENTRIES}.0.stateAt"): nearly }).await?;
    try_again(&world).await?;
    ensure!(!is_forgotten(&world).await?);
    set(&world, doc! { format!("{ENTRIES}.0.stateAt"): time::before(DateTime::now(), GIVEN_UP_AFTER) }).await?;
    try_again(&world).await?;
    ensure!(is_forgotten(&world).await?);
    let page = told(&front).await?;
    ensure!(page.contains("Its access was forgotten, but not given back to HubSpot: "), "{page}");
    world.end().await
}

/// A product that adds an entry for each connection: what each of them holds is given back.
#[tokio::test]
async fn disconnect_revokes_grants_of_both_entries_of_portal() -> Result<()> {
    let (world, front) = leaving("leaving_twice").await?;
    let mut older = doc! { "hubId": HUB.to_string(), "refreshToken": "plain-and-dead", "accessToken": "old" };
    older.insert("state", "reauthorize");
    for is_first in [true, false] {
        let mut entries = vec![Bson::from(world.entry().await?)];
        entries.insert(usize::from(is_first), older.clone().into());
        set(&world, doc! { ENTRIES: entries }).await?;
        answers(&world, "/external-install", 1, 404);
        ensure!(disconnect(&front).await? == StatusCode::NO_CONTENT);
        ensure!(is_forgotten(&world).await?);
        ensure!(world.hubspot.world().portal(HUB).refresh_token.is_none());
        world.hubspot.world().faults.clear();
        let connected = Visitor::new(&front).connect(DOMAIN, HUB).await?;
        ensure!(connected.status() == StatusCode::OK);
    }
    world.end().await
}

/// HubSpot gives the same grant again, so that giving the former one back would end the new connection.
#[tokio::test]
async fn reconnect_before_pending_revocation_keeps_grant() -> Result<()> {
    let (world, front) = leaving("leaving_again").await?;
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.insert_one(doc! { "_id": "globex", "company": { "name": "Globex" } }).await?;
    for domain in [DOMAIN, "globex"] {
        answers(&world, "/external-install", 1, 500);
        ensure!(disconnect(&front).await? == StatusCode::ACCEPTED);
        ensure!(Visitor::new(&front).connect(domain, HUB).await?.status() == StatusCode::OK);
        ensure!(world.store.accounts_with_revocations(DateTime::MAX).await?.is_empty());
        try_again(&world).await.ok();
        let granted = world.hubspot.world().portal(HUB).refresh_token.clone();
        ensure!(granted.is_some(), "the new connection was given back");
        world.hubspot.world().faults.clear();
    }
    let former = domains.find_one(doc! { "_id": DOMAIN }).await?.context("the Domain")?.to_string();
    ensure!(!former.contains("refreshToken"), "{former}");
    world.end().await
}

/// The tokens of a legacy app that was replaced since: only that app's credentials could give them back.
#[tokio::test]
async fn grant_of_replaced_app_is_forgotten_and_reported_as_not_revoked() -> Result<()> {
    let (world, front) = leaving("leaving_other_app").await?;
    set(&world, doc! { format!("{ENTRIES}.0.connectedWith"): "the-app-before" }).await?;
    disconnect(&front).await?;
    ensure!(world.hubspot.world().portal(HUB).refresh_token.is_some() && is_forgotten(&world).await?);
    let page = told(&front).await?;
    ensure!(page.contains("not given back to HubSpot: it was given to the app the-app-before"), "{page}");
    world.end().await
}

/// A slice that was under way may find the token refused because it was given back, or refresh it.
#[tokio::test]
async fn running_slice_neither_marks_account_nor_drops_pending_revocation() -> Result<()> {
    let (world, front) = leaving("leaving_slice").await?;
    let account = world.account()?;
    answers(&world, "/external-install", 1, 503);
    ensure!(disconnect(&front).await? == StatusCode::ACCEPTED);
    let stored: SecretString = world.entry().await?.get_str("refreshToken")?.into();
    ensure!(!world.store.mark(&account, ("refreshToken", &stored), "it is refused").await?, "it was marked");
    ensure!(world.entry().await?.get_str("state")? == "disconnected");
    // What HubSpot gave in its place is owed from now on.
    let new = SealedTokens {
        access_token: world.entry().await?.get_str("accessToken")?.to_owned(),
        refresh_token: stored.expose_secret().to_owned(),
        expires_at: DateTime::from_millis(0),
    };
    ensure!(world.store.store_tokens(&account, &stored, &new).await?);
    ensure!(world.store.accounts_with_revocations(DateTime::MAX).await? == [account]);
    try_again(&world).await?;
    ensure!(is_forgotten(&world).await? && world.hubspot.world().portal(HUB).refresh_token.is_none());
    world.end().await
}

/// Lanes that wait do nothing, and what is owed is tried by the same function.
#[tokio::test]
async fn waiting_lanes_do_not_delay_pending_revocation() -> Result<()> {
    let (world, front) = leaving("leaving_waits").await?;
    answers(&world, "/crm/", 100, 403);
    world.run().await?;
    ensure!(world.pause().await?.is_some(), "no lane waits");
    answers(&world, "/external-install", 1, 503);
    ensure!(disconnect(&front).await? == StatusCode::ACCEPTED);
    try_again(&world).await?;
    ensure!(is_forgotten(&world).await?);
    world.end().await
}
