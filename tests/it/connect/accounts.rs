//! Connecting accounts, as a customer does it.

use anyhow::{Context, Result};
use hubspot_sim::FaultKind;
use model::account::AccountKey;
use mongodb::bson::{Bson, DateTime, Document, doc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use store::collection;

use harness::{
    front::{Front, TOKEN, Visitor, stored_token},
    world::{DOMAIN, HUB, World},
};

/// The account entries of a Domain.
async fn entries(world: &World, domain: &str) -> Result<Vec<Document>> {
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    let found = domains.find_one(doc! { "_id": domain }).await?.context("the Domain")?;
    let accounts = found.get_document("integrations")?.get_document("hubspot")?.get_array("accounts")?;
    Ok(accounts.iter().filter_map(Bson::as_document).cloned().collect())
}

async fn new_domain(world: &World, id: &str) -> Result<()> {
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.insert_one(doc! { "_id": id, "company": { "name": "Globex" }, "kept": 1 }).await?;
    Ok(())
}

#[tokio::test]
async fn connecting_account_stores_its_grant_and_queues_first_sync() -> Result<()> {
    let mut world = World::new("connect_new").await?;
    let front = Front::start(&mut world).await?;
    new_domain(&world, "globex").await?;
    world.hubspot.world().seed(HUB + 1, 2, 3, 1);
    let answer = Visitor::new(&front).connect("globex", HUB + 1).await?;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.text().await?.contains(&format!("portal-{}.example", HUB + 1)));

    let entries = entries(&world, "globex").await?;
    assert_eq!(entries.len(), 1);
    let account = AccountKey::new("globex", HUB + 1)?;
    assert_eq!(entries[0].get_str("hubId")?, account.hub_id.as_str());
    let grant = stored_token(&world, &account, "refreshToken", entries[0].get_str("refreshToken")?).await?;
    assert_eq!(entries[0].get_str("connectedWith")?, hubspot_sim::CLIENT_ID);
    assert_eq!(Some(grant), world.hubspot.world().portal(HUB + 1).refresh_token.clone());
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    assert_eq!(domains.find_one(doc! { "_id": "globex" }).await?.context("it")?.get_i32("kept")?, 1);

    let queued = world.receive(&world.sync_queue).await?;
    let message: Value = serde_json::from_str(queued.first().context("a first sync")?)?;
    assert_eq!((&message["domainId"], &message["hubId"]), (&json!("globex"), &json!(account.hub_id.as_str())));
    let sync = world.sync().await?;
    world.deliver(&sync, &message).await?;
    world.drain().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 5, "what the sealed token opens is read");
    world.end().await
}

#[tokio::test]
async fn grant_without_needed_scope_is_refused_and_scope_is_named() -> Result<()> {
    let mut world = World::new("connect_scopes").await?;
    let front = Front::start(&mut world).await?;
    new_domain(&world, "globex").await?;
    world.hubspot.world().portal(HUB + 1);
    let (contacts, companies) = ("crm.objects.contacts.read", "crm.objects.companies.read");
    for withheld in [vec![companies], vec![contacts, companies]] {
        world.hubspot.world().settings.withheld_scopes = withheld.iter().map(|scope| (*scope).to_owned()).collect();
        let answer = Visitor::new(&front).connect("globex", HUB + 1).await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{withheld:?}");
        let page = answer.text().await?;
        assert!(
            page.contains(&format!("({})", withheld.join(" and "))) && page.contains("Nothing was connected"),
            "{page}"
        );
        assert!(entries(&world, "globex").await.is_err(), "nothing is stored");
    }
    assert!(world.take(&world.sync_queue).await?.is_empty());
    world.hubspot.world().settings.withheld_scopes = vec!["oauth".to_owned()];
    assert_eq!(
        Visitor::new(&front).connect("globex", HUB + 1).await?.status(),
        StatusCode::OK,
        "that one is not needed"
    );
    // An answer that does not say what was granted is no reason to refuse it.
    let body = json!({"active": true, "hub_id": HUB + 1, "hub_domain": "a.example"}).to_string();
    world.fault("/introspect", 1, FaultKind::Answer { status: 200, body: Some(body), retry_after: None });
    assert_eq!(Visitor::new(&front).connect("globex", HUB + 1).await?.status(), StatusCode::OK);
    world.end().await
}

#[tokio::test]
async fn connecting_adds_second_portal_and_renews_known_one() -> Result<()> {
    let mut world = World::new("connect_again").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().portal(HUB + 1);
    assert_eq!(Visitor::new(&front).connect(DOMAIN, HUB + 1).await?.status(), StatusCode::OK);
    assert_eq!(entries(&world, DOMAIN).await?.len(), 2);

    // The grant is gone; the service notices, and the customer connects once more.
    world.hubspot.world().revoke(HUB);
    world.run().await?;
    let before = entries(&world, DOMAIN).await?;
    assert_eq!(before[0].get_str("state")?, "reauthorize");
    assert_eq!(Visitor::new(&front).connect(DOMAIN, HUB).await?.status(), StatusCode::OK);
    let after = entries(&world, DOMAIN).await?;
    assert_eq!(after.len(), 2);
    assert!(after[0].get("state").is_none() && after[0].get("stateReason").is_none(), "{after:?}");
    assert_ne!(after[0].get_str("refreshToken")?, before[0].get_str("refreshToken")?);
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    assert_eq!(world.proof().await?.actions, 2);
    world.end().await
}

#[tokio::test]
async fn portal_of_another_domain_is_refused_until_disconnected() -> Result<()> {
    let mut world = World::new("connect_taken").await?;
    let front = Front::start(&mut world).await?;
    new_domain(&world, "globex").await?;
    let answer = Visitor::new(&front).connect("globex", HUB).await?;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert!(answer.text().await?.contains("connected to another customer"));
    assert_eq!(world.store.accounts_of(&world.account()?.hub_id).await?, [world.account()?]);

    let asked = json!({"domain": DOMAIN, "hubId": HUB.to_string()});
    let disconnect = || front.post("/hubspot/disconnect").bearer_auth(TOKEN).json(&asked).send();
    assert_eq!(disconnect().await?.status(), StatusCode::NO_CONTENT);
    assert_eq!(disconnect().await?.status(), StatusCode::NOT_FOUND, "once");
    let entry = &entries(&world, DOMAIN).await?[0];
    assert_eq!(entry.get_str("state")?, "disconnected");
    assert!(entry.get("refreshToken").is_none() && entry.get("accessToken").is_none());
    assert_eq!(world.hubspot.world().portal(HUB).refresh_token, None, "the grant was given back");
    assert_eq!(Visitor::new(&front).connect("globex", HUB).await?.status(), StatusCode::OK);
    assert_eq!(world.store.accounts_of(&world.account()?.hub_id).await?, [AccountKey::new("globex", HUB)?]);
    world.end().await
}

/// Two customers who connect one portal at the same time do not both get it.
#[tokio::test]
async fn portal_connected_by_two_domains_at_once_goes_to_one() -> Result<()> {
    let mut world = World::new("connect_race").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().portal(HUB + 1);
    for id in ["globex", "initech"] {
        new_domain(&world, id).await?;
    }
    for _ in 0..5 {
        let (mut one, mut other) = (Visitor::new(&front), Visitor::new(&front));
        let (one, other) = tokio::try_join!(one.connect("globex", HUB + 1), other.connect("initech", HUB + 1))?;
        let mut statuses = [one.status(), other.status()];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::OK, StatusCode::CONFLICT]);
        let connected = world.store.accounts_of(&AccountKey::new("globex", HUB + 1)?.hub_id).await?;
        assert_eq!(connected.len(), 1);
        world.store.disconnect(&connected[0], DateTime::now()).await?;
    }
    world.end().await
}

#[tokio::test]
async fn oauth_failure_during_connect_is_explained_and_stores_nothing() -> Result<()> {
    let mut world = World::new("connect_trouble").await?;
    let front = Front::start(&mut world).await?;
    new_domain(&world, "globex").await?;
    world.hubspot.world().portal(HUB + 1);
    for (path, status, body) in [
        ("/token", 503, None),
        ("/token", 200, Some("<html>")),
        ("/token", 400, Some(r#"{"error":"invalid_client"}"#)),
        ("/introspect", 500, None),
        ("/introspect", 200, Some(r#"{"active":true,"hub_id":12}"#)),
        ("/introspect", 200, Some(r#"{"active":false,"hub_id":7000002}"#)),
        ("/introspect", 200, Some(r#"{"active":false}"#)),
        ("/token", 400, Some(r#"{"status":"BAD_AUTH_CODE","message":"missing or unknown auth code"}"#)),
        ("/token", 400, Some(r#"{"status":"BAD_HUB","error":"access_denied"}"#)),
    ] {
        world.fault(path, 1, FaultKind::Answer { status, body: body.map(str::to_owned), retry_after: None });
        let answer = Visitor::new(&front).connect("globex", HUB + 1).await?;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{path} {status} {body:?}");
        assert!(answer.text().await?.contains("<h1>Not connected</h1>"));
        assert!(world.store.accounts_of(&AccountKey::new("globex", HUB + 1)?.hub_id).await?.is_empty());
        world.hubspot.world().faults.clear();
    }
    assert_eq!(Visitor::new(&front).connect("globex", HUB + 1).await?.status(), StatusCode::OK, "then it works");
    world.end().await
}

/// A link must not switch on what somebody has switched off.
#[tokio::test]
async fn switched_off_domain_refuses_connect_while_it_has_accounts() -> Result<()> {
    const STATUS: &str = "integrations.hubspot.status";
    let mut world = World::new("connect_off").await?;
    let front = Front::start(&mut world).await?;
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    let switch = async |on: bool| domains.update_one(doc! { "_id": DOMAIN }, doc! { "$set": { STATUS: on } }).await;
    let before_off = front.link(DOMAIN, std::time::Duration::from_secs(60))?;
    world.hubspot.world().portal(HUB + 1);
    // He is on HubSpot's consent page when it is switched off.
    let mut late = Visitor::new(&front);
    let back = late.consent(&before_off, HUB + 1).await?;
    switch(false).await?;
    let before = entries(&world, DOMAIN).await?;
    for answer in [late.open(&back).await?, Visitor::new(&front).open(&before_off).await?] {
        assert_eq!(answer.status(), StatusCode::CONFLICT);
        let page = answer.text().await?;
        assert!(page.contains("was switched off for Acme") && page.contains("Nothing was connected"), "{page}");
    }
    assert_eq!(entries(&world, DOMAIN).await?, before);
    let found = domains.find_one(doc! { "_id": DOMAIN }).await?.context("the Domain")?;
    assert!(!found.get_document("integrations")?.get_document("hubspot")?.get_bool("status")?);

    // Where no account is left that would be read again, it is switched on by the first one.
    let gone = doc! { "$set": { "integrations.hubspot.accounts.$[].state": "disconnected" } };
    domains.update_one(doc! { "_id": DOMAIN }, gone).await?;
    assert_eq!(Visitor::new(&front).connect(DOMAIN, HUB + 1).await?.status(), StatusCode::OK);
    let found = domains.find_one(doc! { "_id": DOMAIN }).await?.context("the Domain")?;
    assert!(found.get_document("integrations")?.get_document("hubspot")?.get_bool("status")?);
    world.end().await
}
