//! A grant that lacks a scope: what it does allow is read, the account is not marked, and the page names the scope.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{
    front::{Front, TOKEN, Visitor},
    rows::{ROWS, text_of},
    world::{DOMAIN, HUB, World},
};
use hubspot_sim::Object;
use model::time::before;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::StatusCode;
use serde_json::Value;
use stack::accounts::{private_app, write_domain};
use store::collection;

const COMPANIES: &str = "crm.objects.companies.read";
const CONTACTS: &str = "crm.objects.contacts.read";

fn reason(scope: &str) -> String {
    format!("HubSpot refuses access: the scope {scope} is not granted")
}

fn is_marked(entry: &Document) -> bool {
    entry.contains_key("state")
}

#[tokio::test]
async fn missing_scope_is_named_and_lane_with_scope_is_read() -> Result<()> {
    let mut world = World::new("grants_one").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 3, 10, 1);
    world.hubspot.world().portal(HUB).scopes.retain(|scope| scope != COMPANIES);
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    world.drain().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == 10, "the contacts are read");
    ensure!(world.pause().await? == Some(Duration::from_secs(3_600)));

    // What an operator sees, from the first refusal on.
    let path = format!("/api/accounts/{DOMAIN}/{HUB}");
    let account: Value = front.get(&path).bearer_auth(TOKEN).send().await?.error_for_status()?.json().await?;
    let (problem, timeline) = (&account["problems"][0], account["timeline"].to_string());
    ensure!(problem["part"] == "companies" && problem["reason"] == reason(COMPANIES), "{account}");
    ensure!(account["state"] == "failing" && timeline.contains(COMPANIES), "{account}");
    let page = front.sign_in().await?.page(&format!("/accounts/{DOMAIN}/{HUB}")).await?;
    ensure!(page.contains(&reason(COMPANIES)), "{page}");

    // An hour later it is the same, and the account is left as it is.
    let asked = world.requests("search 403");
    world.time_passes().await?;
    world.hubspot.world().make_changes(HUB, 20, 2);
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.requests("search 403") == asked + 1, "it is tried once");
    ensure!(!is_marked(&world.entry().await?));

    // The customer connects once more, and allows everything.
    ensure!(Visitor::new(&front).connect(DOMAIN, HUB).await?.status() == StatusCode::OK);
    world.run_on().await?;
    world.proof().await?;
    ensure!(world.requests("search 403") == asked + 1);
    world.end().await
}

#[tokio::test]
async fn grant_without_any_scope_never_marks_account() -> Result<()> {
    for is_private in [false, true] {
        let world = World::new("grants_none").await?;
        world.hubspot.world().seed(HUB, 3, 10, 1);
        let token = world.hubspot.world().portal(HUB).private_token.clone();
        if is_private {
            write_domain(world.store.database(), DOMAIN, "Acme", vec![private_app(HUB, &token)]).await?;
        }
        let granted = |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let mut hubspot = world.hubspot.world();
            let portal = hubspot.portal(HUB);
            (portal.scopes, portal.private_scopes) = (scopes.clone(), scopes);
        };
        granted(&["oauth"]);
        let sync = world.sync().await?;
        for _ in 0..12 {
            world.time_passes().await?;
            world.deliver(&sync, &world.tick()).await?;
        }
        let checkpoint = world.checkpoint().await?;
        for (lane, scope) in [("companies", COMPANIES), ("contacts", CONTACTS)] {
            let problem = checkpoint.get_document("lanes")?.get_document(lane)?.get_document("lastError")?;
            ensure!(problem.get_str("reason")? == reason(scope) && problem.get_i64("attempts")? == 12, "{problem}");
        }
        // Nor if that goes on for days: the token itself is good.
        let since = doc! { "$set": { "refused": { "since": before(DateTime::now(), Duration::from_secs(200_000)), "times": 50_i64 } } };
        world.store.database().collection::<Document>(collection::CHECKPOINTS).update_one(doc! {}, since).await?;
        world.time_passes().await?;
        world.deliver(&sync, &world.tick()).await?;
        ensure!(!is_marked(&world.entry().await?), "{}", world.entry().await?);
        granted(&[COMPANIES, CONTACTS]);
        world.run_on().await?;
        ensure!(world.proof().await?.actions == 13);
        world.end().await?;
    }
    Ok(())
}

/// A scope that is taken away later holds up what needs it, and no more. A lane of another object type than companies and
/// contacts is left out meanwhile.
#[tokio::test]
async fn scope_withdrawn_between_ticks_stops_only_its_lane() -> Result<()> {
    let world = World::of("grants_later", &ROWS).await?;
    world.fill(3, &ROWS, 5, 1);
    world.run().await?;
    let all = world.hubspot.world().portal(HUB).scopes.clone();
    let mut expected = world.all(collection::ACTIONS).await?.len();
    for object in ROWS {
        let scopes = object.scopes();
        world.hubspot.world().portal(HUB).scopes.retain(|scope| !scopes.contains(scope));
        let mut changed = Vec::new();
        for other in [&[Object::COMPANIES], &ROWS[..]].concat() {
            let (id, at) = (world.ids(other)[0], world.hubspot.world().now());
            world.hubspot.world().update(HUB, other, id, at, &[(text_of(other), object.name())]);
            changed.push((other, id));
        }
        world.deliver(&world.sync().await?, &world.tick()).await?;
        world.drain().await?;
        expected += ROWS.len();
        ensure!(world.all(collection::ACTIONS).await?.len() == expected, "all but {object:?} are read");
        for (other, id) in changed {
            let stored = world.stored_text(other, id, text_of(other)).await.ok();
            ensure!((stored.as_deref() == Some(object.name())) == (other != object), "{other:?} without {scopes:?}");
        }
        let lane = world.lane(object).await?;
        let told = lane.get_document("lastError")?.get_str("reason")?;
        ensure!(scopes.iter().any(|scope| told == reason(scope)) || told.contains(&scopes[0]), "{told}");
        world.hubspot.world().portal(HUB).scopes.clone_from(&all);
        world.time_passes().await?;
        world.run_on().await.context("it goes on")?;
        expected += 1;
        ensure!(world.all(collection::ACTIONS).await?.len() == expected, "{object:?} is read again");
    }
    world.proof().await?;
    world.end().await
}
