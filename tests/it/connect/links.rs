//! Install links: for one portal, revoked, and used again and again.

use std::time::Duration;

use anyhow::{Context, Result};
use model::account::AccountKey;
use mongodb::bson::Bson;
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use store::collection;

use harness::{
    front::{Front, LINK_TOKEN, Visitor, next_url},
    world::{DOMAIN, HUB, World},
};

async fn made(front: &Front, wanted: Value) -> Result<Url> {
    let asked = front.post("/api/install-links").bearer_auth(LINK_TOKEN).json(&wanted);
    let answer: Value = asked.send().await?.error_for_status()?.json().await?;
    Ok(Url::parse(answer["url"].as_str().context("a link")?)?)
}

async fn revoke(front: &Front, unwanted: Value) -> Result<StatusCode> {
    let asked = front.post("/api/install-links/revoke").bearer_auth(LINK_TOKEN).json(&unwanted);
    Ok(asked.send().await?.status())
}

async fn opens(front: &Front, link: &Url) -> Result<StatusCode> {
    Ok(Visitor::new(front).open(link).await?.status())
}

#[tokio::test]
async fn link_bound_to_portal_refuses_other_portal_and_revokes_its_grant() -> Result<()> {
    let mut world = World::new("links_bound").await?;
    let front = Front::start(&mut world).await?;
    for hub in [HUB + 1, HUB + 2] {
        world.hubspot.world().portal(hub);
    }
    let link = made(&front, json!({"domain": DOMAIN, "hubId": (HUB + 1).to_string()})).await?;
    let mut customer = Visitor::new(&front);
    let back = customer.consent(&link, HUB + 2).await?;
    let answer = customer.open(&back).await?;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let page = answer.text().await?;
    assert!(page.contains(&format!("for the HubSpot account {}", HUB + 1)), "{page}");
    assert!(world.store.accounts_of(&AccountKey::new(DOMAIN, HUB + 2)?.hub_id).await?.is_empty());
    assert!(world.all(collection::PORTALS).await?.is_empty(), "not even a claim is stored");
    {
        let mut hubspot = world.hubspot.world();
        let other = hubspot.portal(HUB + 2);
        assert!(other.uninstalls == 1 && other.refresh_token.is_none(), "what was not wanted is given back");
    }
    let mut freed = link.clone();
    let others = link.query_pairs().into_owned().filter(|(name, _)| name != "hub").collect::<Vec<_>>();
    freed.query_pairs_mut().clear().extend_pairs(others);
    assert_eq!(opens(&front, &freed).await?, StatusCode::FORBIDDEN, "the portal cannot be taken out of the link");

    let back = customer.consent(&link, HUB + 1).await?;
    assert_eq!(customer.open(&back).await?.status(), StatusCode::OK);
    let bad = front.post("/api/install-links").bearer_auth(LINK_TOKEN).json(&json!({"domain": DOMAIN, "hubId": "x"}));
    assert_eq!(bad.send().await?.status(), StatusCode::BAD_REQUEST);
    world.end().await
}

#[tokio::test]
async fn revoked_link_is_refused_and_new_link_works() -> Result<()> {
    let mut world = World::new("links_revoked").await?;
    let front = Front::start(&mut world).await?;
    let (one, other) = (made(&front, json!({"domain": DOMAIN})).await?, front.link(DOMAIN, Duration::from_secs(60))?);
    let mut begun = Visitor::new(&front);
    let on = next_url(&begun.open(&one).await?.text().await?)?;

    let no_link = json!({"domain": DOMAIN, "url": front.at("/hubspot/install?domain=acme&expires=1&signature=AAAA")?});
    assert_eq!(revoke(&front, no_link).await?, StatusCode::NOT_FOUND, "one that was not made here");
    assert_eq!(revoke(&front, json!({"domain": "nobody"})).await?, StatusCode::NOT_FOUND);
    assert_eq!(revoke(&front, json!({"domain": DOMAIN, "url": one})).await?, StatusCode::NO_CONTENT);
    assert_eq!(opens(&front, &one).await?, StatusCode::FORBIDDEN);
    assert_eq!(begun.open(&on).await?.status(), StatusCode::FORBIDDEN, "whoever has opened it gets no further");
    assert_eq!(opens(&front, &other).await?, StatusCode::OK, "the other one works");

    // Twice, because what is made in between, however fast, is revoked too.
    let mut before = vec![other];
    for _ in 0..2 {
        before.push(made(&front, json!({"domain": DOMAIN})).await?);
        assert_eq!(revoke(&front, json!({"domain": DOMAIN})).await?, StatusCode::NO_CONTENT);
        for link in &before {
            assert_eq!(opens(&front, link).await?, StatusCode::FORBIDDEN);
        }
        let new = made(&front, json!({"domain": DOMAIN})).await?;
        assert_eq!(opens(&front, &new).await?, StatusCode::OK, "a new one works");
        before.push(new);
    }
    world.end().await
}

/// They began before, and would bring the grant that was not wanted any more.
#[tokio::test]
async fn consent_under_way_when_link_is_revoked_is_refused() -> Result<()> {
    let mut world = World::new("links_late").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().portal(HUB + 1);
    for all in [false, true] {
        // Another link than the one before, which was revoked: two of one second are the same.
        let hub = all.then(|| (HUB + 1).to_string());
        let link = made(&front, json!({"domain": DOMAIN, "hubId": hub})).await?;
        let mut customer = Visitor::new(&front);
        let back = customer.consent(&link, HUB + 1).await?;
        let unwanted = if all { json!({"domain": DOMAIN}) } else { json!({"domain": DOMAIN, "url": link}) };
        assert_eq!(revoke(&front, unwanted).await?, StatusCode::NO_CONTENT);
        assert_eq!(customer.open(&back).await?.status(), StatusCode::FORBIDDEN, "all: {all}");
        assert!(world.store.accounts_of(&AccountKey::new(DOMAIN, HUB + 1)?.hub_id).await?.is_empty());
    }
    world.end().await
}

/// Whoever has a link may begin as often as they like.
#[tokio::test]
async fn link_begun_100_times_leaves_at_most_20_pending_connects() -> Result<()> {
    let mut world = World::new("links_many").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().portal(HUB + 1);
    let link = front.link(DOMAIN, Duration::from_secs(60))?;
    let mut somebody = Visitor::new(&front);
    let on = next_url(&somebody.open(&link).await?.text().await?)?;
    for _ in 0..100 {
        assert_eq!(somebody.open(&on).await?.status(), StatusCode::SEE_OTHER);
    }
    let pending = world.all(collection::CONNECTS).await?.len();
    assert!((1..=20).contains(&pending), "{pending} are pending");
    assert_eq!(Visitor::new(&front).connect(DOMAIN, HUB + 1).await?.status(), StatusCode::OK, "the newest works");
    world.end().await
}

#[tokio::test]
async fn account_page_makes_link_only_when_button_is_pressed() -> Result<()> {
    let mut world = World::new("links_button").await?;
    let front = Front::start(&mut world).await?;
    let mut visitor = front.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    assert!(!visitor.page(&account).await?.contains("signature="), "a link is made by looking");
    let page = visitor.submit_operation(&account, &format!("{account}/link")).await?.error_for_status()?.text().await?;
    let link =
        page.split("value=\"").find_map(|part| part.split('"').next().filter(|value| value.contains("signature=")));
    let link = Url::parse(&link.with_context(|| format!("a link: {page}"))?.replace("&amp;", "&"))?;
    assert!(link.query_pairs().any(|(name, value)| name == "hub" && value == HUB.to_string()), "{link}");
    assert_eq!(opens(&front, &link).await?, StatusCode::OK);
    world.end().await
}

/// An account that is connected or prepared may choose more than the stack. Its customer is asked for that, as far as the app
/// lists it.
#[tokio::test]
async fn consent_page_asks_for_scopes_of_accounts_own_choice() -> Result<()> {
    let mut world = World::new("links_choice").await?;
    let front = Front::offering(&mut world, &["companies", "contacts", "tickets"], &["deals"]).await?;
    let asked = async |wanted: Value| -> Result<String> {
        let consent = Visitor::new(&front).open_link(&made(&front, wanted).await?).await?;
        let asked = consent.query_pairs().find(|(name, _)| name == "optional_scope");
        Ok(asked.context("scopes are asked for")?.1.into_owned())
    };
    let (any, own, other) = (
        json!({"domain": DOMAIN}),
        json!({"domain": DOMAIN, "hubId": HUB.to_string()}),
        json!({"domain": DOMAIN, "hubId": (HUB + 1).to_string()}),
    );
    const OF_TICKETS: &str = "crm.objects.owners.read tickets";
    assert_eq!(asked(own.clone()).await?, OF_TICKETS, "the account chooses nothing");
    // HubSpot refuses a link with a scope that the app does not list, as that of leads.
    let chosen = ["companies", "contacts", "deals", "leads"].map(Bson::from);
    world.change_entry("objects", chosen.to_vec().into()).await?;
    let of_deals = format!("crm.objects.deals.read {OF_TICKETS}");
    assert_eq!(asked(own).await?, of_deals);
    assert_eq!(asked(any).await?, of_deals, "the link may be for this account");
    assert_eq!(asked(other).await?, OF_TICKETS);
    world.end().await
}
