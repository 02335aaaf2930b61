//! Access tokens: refreshed in time, by one, stored before they are used, and never against the customer's own doing.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use harness::{
    gate::{Effect, Verdict, When},
    rows::ROWS,
    service::Service,
    world::{HUB, World},
};
use mongodb::bson::{DateTime, Document, doc};
use store::collection;
use tokio::sync::Notify;

#[tokio::test]
async fn token_is_refreshed_before_expiry_and_stored_before_use() -> Result<()> {
    let mut service = Service::of_rows("token_order", 3).await?;
    service.tick();
    service.process_next().await?;
    let effects = service.sync[0].gate.effects();
    let place = |name: &str| effects.iter().position(|effect| effect == name).with_context(|| format!("no {name}"));
    let stored = place("mongodb update domains")?;
    ensure!(place("hubspot token")? < stored, "{effects:?}");
    for object in ROWS {
        ensure!(stored < place(&format!("hubspot search {}", object.name()))?, "{effects:?}");
    }
    // A minute before its end it is refreshed, and HubSpot never sees an expired one.
    let soon = doc! { "$set": { "integrations.hubspot.accounts.0.expiresAt": DateTime::from_millis(DateTime::now().timestamp_millis() + 60_000) } };
    service.world.store.database().collection::<Document>(collection::DOMAINS).update_one(doc! {}, soon).await?;
    service.tick();
    service.process_next().await?;
    ensure!(service.world.requests("oauth 200") == 2);
    ensure!(service.world.requests("search 401") == 0);
    Ok(())
}

#[tokio::test]
async fn domain_edits_during_token_refresh_are_kept() -> Result<()> {
    let mut service = Service::of_rows("token_edits", 3).await?;
    let domains = service.world.store.database().collection::<Document>(collection::DOMAINS);
    let editor = domains.clone();
    let mut edits = 0;
    service.sync[0].gate.set(move |effect: &Effect| {
        // Between each reading of the Domain and each writing to it.
        if effect.name == "mongodb update domains" && effect.when == When::Before {
            edits += 1;
            let (editor, edit, done) = (editor.clone(), edits, Arc::new(Notify::new()));
            let until = Verdict::Until(done.clone());
            tokio::spawn(async move {
                let rename =
                    doc! { "company.name": format!("renamed {edit}"), "integrations.hubspot.accounts.0.note": edit };
                // Others are put before it, so that its place changes.
                let other = doc! { "$each": [{ "hubId": format!("9{edit}") }], "$position": 0 };
                editor.update_one(doc! {}, doc! { "$set": rename }).await?;
                editor.update_one(doc! {}, doc! { "$push": { "integrations.hubspot.accounts": other } }).await?;
                done.notify_one();
                anyhow::Ok(())
            });
            return until;
        }
        Verdict::Pass
    });
    service.tick();
    service.process_next().await?;
    let domain = domains.find_one(doc! {}).await?.context("the Domain is gone")?;
    let accounts = domain.get_document("integrations")?.get_document("hubspot")?.get_array("accounts")?;
    let mine = |entry: &&Document| entry.get_str("hubId").is_ok_and(|hub| hub == HUB.to_string());
    let entry = accounts.iter().filter_map(|entry| entry.as_document()).find(mine).context("the account is gone")?;
    ensure!(entry.get_str("accessToken").is_ok() && entry.get_document("lastPulledDates").is_ok(), "{entry}");
    ensure!(accounts.len() > 1 && domain.get_document("company")?.get_str("name")?.starts_with("renamed"));
    let others = accounts.iter().filter_map(|entry| entry.as_document()).filter(|entry| !mine(entry));
    ensure!(others.into_iter().all(|entry| entry.get("accessToken").is_none()), "another account got the tokens");
    Ok(())
}

/// The customer connects the account again while its old token is refreshed: the new one is not overwritten.
#[tokio::test]
async fn reconnect_during_token_refresh_keeps_new_tokens() -> Result<()> {
    let mut service = Service::of_rows("token_anew", 3).await?;
    let domains = service.world.store.database().collection::<Document>(collection::DOMAINS);
    let mut once = true;
    let hubspot = service.world.hubspot.shared();
    service.sync[0].gate.set(move |effect: &Effect| {
        if effect.name == "hubspot token" && effect.when == When::After && std::mem::take(&mut once) {
            let domains = domains.clone();
            hubspot_sim::lock(&hubspot).portal(HUB).refresh_token = Some("na1-new".to_owned());
            let done = Arc::new(Notify::new());
            let until = Verdict::Until(done.clone());
            tokio::spawn(async move {
                let new = doc! { "$set": { "integrations.hubspot.accounts.0.refreshToken": "na1-new" } };
                domains.update_one(doc! {}, new).await?;
                done.notify_one();
                anyhow::Ok(())
            });
            return until;
        }
        Verdict::Pass
    });
    service.tick();
    service.process_next().await?;
    ensure!(service.world.requests("search 200") == 0, "the old token was used");
    ensure!(service.finish().await?.actions == 15);
    ensure!(service.world.entry().await?.get_str("refreshToken")? == "na1-new");
    Ok(())
}

#[tokio::test]
async fn revoked_account_ends_its_run_and_continues_after_reconnect() -> Result<()> {
    let world = World::of("token_revoked", &ROWS).await?;
    world.fill(4, &ROWS, 2, 1);
    world.hubspot.world().revoke(HUB);
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.entry().await?.get_str("state")? == "reauthorize");
    ensure!(world.take(&world.sync_queue).await?.is_empty(), "its chain goes on");
    world.hubspot.world().portal(HUB).refresh_token = Some("na1-again".to_owned());
    let again = doc! {
        "$set": { "integrations.hubspot.accounts.0.refreshToken": "na1-again" },
        "$unset": { "integrations.hubspot.accounts.0.state": "" },
    };
    world.store.database().collection::<Document>(collection::DOMAINS).update_one(doc! {}, again).await?;
    world.run().await?;
    ensure!(world.proof().await?.actions == 12);
    Ok(())
}

/// HubSpot's specification does not promise `hub_id` beside new tokens.
#[tokio::test]
async fn new_tokens_without_hub_id_are_identified_by_introspection() -> Result<()> {
    let world = World::of("token_unnamed", &ROWS).await?;
    world.hubspot.world().settings.names_hub = false;
    world.fill(4, &ROWS, 2, 1);
    world.run_on().await?;
    ensure!(world.proof().await?.actions == 12);
    // Another account's tokens are not used in this form either.
    world.hubspot.world().seed(HUB + 1, 5, 5, 1);
    let stolen = world.hubspot.world().portal(HUB + 1).refresh_token.clone();
    let swap = doc! { "$set": {
        "integrations.hubspot.accounts.0.refreshToken": stolen,
        "integrations.hubspot.accounts.0.expiresAt": DateTime::from_millis(0),
    } };
    world.store.database().collection::<Document>(collection::DOMAINS).update_one(doc! {}, swap).await?;
    let searches = world.requests("search 200");
    world.deliver(&world.sync().await?, &world.tick()).await?;
    ensure!(world.entry().await?.get_str("state")? == "reauthorize");
    ensure!(world.requests("search 200") == searches);
    Ok(())
}
