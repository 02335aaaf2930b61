//! What is refused: links, states, sessions, forms and signatures that are not what they seem.

use std::time::Duration;

use anyhow::{Context, Result};
use hubspot_sim::CLIENT_SECRET;
use model::{
    account::AccountKey,
    time::{self, DateTime},
};
use mongodb::bson::{Document, doc};
use reqwest::{RequestBuilder, StatusCode, Url};
use serde_json::json;
use store::collection;

use harness::{
    front::{Front, TOKEN, Visitor, location, next_url},
    world::{DOMAIN, HUB, World},
};

const MINUTE: Duration = Duration::from_secs(60);

/// The status and the text of an answer.
async fn answer(request: RequestBuilder) -> Result<(StatusCode, String)> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

/// A link with another value in its query.
fn with(link: &Url, name: &str, value: &str) -> Url {
    let mut changed = link.clone();
    let pairs: Vec<(String, String)> = link.query_pairs().into_owned().collect();
    changed.query_pairs_mut().clear().extend_pairs(
        pairs.iter().map(|(found, old)| (found.as_str(), if found == name { value } else { old.as_str() })),
    );
    changed
}

#[tokio::test]
async fn forged_or_expired_link_is_refused() -> Result<()> {
    let mut world = World::new("refused_links").await?;
    let front = Front::start(&mut world).await?;
    let link = front.link(DOMAIN, MINUTE)?;
    let signature =
        |link: &Url| link.query_pairs().find(|(name, _)| name == "signature").map(|(_, value)| value.into_owned());
    let globex = signature(&front.link("globex", MINUTE)?).context("a link is signed")?;
    let by_another = connect::install_link(
        &front.url,
        &"another token, which is long enough to be one".into(),
        &DOMAIN.to_owned().try_into()?,
        time::after(DateTime::now(), MINUTE),
    );
    let mut old = front.link(DOMAIN, Duration::ZERO)?;
    old = with(&old, "expires", "1000");
    let cases = [
        ("no signature", with(&link, "signature", "")),
        ("another signature", with(&link, "signature", "AAAA")),
        ("another Domain", with(&link, "domain", "globex")),
        ("another Domain's signature", with(&link, "signature", &globex)),
        ("a later end", with(&link, "expires", "99999999999")),
        ("no end", with(&link, "expires", "")),
        ("a past end", old),
        ("another key", by_another),
        ("nothing", front.at("/hubspot/install")?),
        ("nothing, on the way on", front.at("/hubspot/begin")?),
    ];
    for (what, link) in cases {
        let answer = Visitor::new(&front).open(&link).await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{what}");
        assert!(answer.text().await?.contains("This link does not work"), "{what}");
    }
    let gone = Visitor::new(&front).open(&front.link("nobody", MINUTE)?).await?;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND, "a Domain that is not there");
    assert!(world.all(collection::CONNECTS).await?.is_empty());
    assert_eq!(Visitor::new(&front).open(&link).await?.status(), StatusCode::OK, "but the link itself works");
    world.end().await
}

/// Somebody may have passed the link on to another company's administrator.
#[tokio::test]
async fn link_names_company_and_begins_consent_only_in_browser_that_saw_it() -> Result<()> {
    let mut world = World::new("refused_consent").await?;
    let front = Front::start(&mut world).await?;
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.update_one(doc! { "_id": DOMAIN }, doc! { "$set": { "company.name": "Acme <Ltd>" } }).await?;
    world.hubspot.world().portal(HUB + 1);
    let link = front.link(DOMAIN, MINUTE)?;
    let mut customer = Visitor::new(&front);
    let page = customer.open(&link).await?.text().await?;
    assert!(page.contains("Acme &lt;Ltd&gt;") && page.contains("will see them"), "{page}");
    assert!(world.all(collection::CONNECTS).await?.is_empty(), "opening a link begins nothing");

    let on = next_url(&page)?;
    for (what, visitor, on) in [
        ("another browser", &mut Visitor::new(&front), on.clone()),
        ("no token", &mut customer.clone(), with(&on, "token", "")),
        ("another token", &mut customer.clone(), with(&on, "token", "AAAA")),
    ] {
        let answer = visitor.open(&on).await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{what}");
        assert!(answer.text().await?.contains("was not shown to you"), "{what}");
    }
    assert!(world.all(collection::CONNECTS).await?.is_empty());
    let connected = customer.connect(DOMAIN, HUB + 1).await?.text().await?;
    assert!(connected.contains("Acme &lt;Ltd&gt;") && connected.contains("To undo this"), "{connected}");
    world.end().await
}

#[tokio::test]
async fn oauth_state_is_accepted_once_in_its_own_browser_before_it_expires() -> Result<()> {
    let mut world = World::new("refused_states").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().portal(HUB + 1);
    let link = front.link(DOMAIN, MINUTE)?;
    let refused = async |visitor: &mut Visitor<'_>, back: &Url| -> Result<StatusCode> {
        let answer = visitor.open(back).await?;
        let status = answer.status();
        let text = answer.text().await?;
        assert!(text.contains("<h1>"), "it is said in words: {text}");
        Ok(status)
    };

    let mut customer = Visitor::new(&front);
    let back = customer.consent(&link, HUB + 1).await?;
    assert_eq!(customer.open(&back).await?.status(), StatusCode::OK);
    assert_eq!(refused(&mut customer, &back).await?, StatusCode::BAD_REQUEST, "used twice");

    let back = customer.consent(&link, HUB + 1).await?;
    assert_eq!(
        refused(&mut Visitor::new(&front), &back).await?,
        StatusCode::FORBIDDEN,
        "in a browser without the cookie"
    );
    assert_eq!(refused(&mut customer, &back).await?, StatusCode::BAD_REQUEST, "which was its one time");

    // An attacker sends the victim the address with which he himself would have come back.
    let (mut attacker, mut victim) = (Visitor::new(&front), Visitor::new(&front));
    let attackers = attacker.consent(&link, HUB + 1).await?;
    victim.consent(&link, HUB).await?;
    assert_eq!(refused(&mut victim, &attackers).await?, StatusCode::FORBIDDEN, "in another customer's browser");

    let back = customer.consent(&link, HUB + 1).await?;
    let connects = world.store.database().collection::<Document>(collection::CONNECTS);
    connects.update_many(doc! {}, doc! { "$set": { "expiresAt": DateTime::from_millis(1) } }).await?;
    assert_eq!(refused(&mut customer, &back).await?, StatusCode::BAD_REQUEST, "too late");

    let back = customer.consent(&link, HUB + 1).await?;
    assert_eq!(refused(&mut customer, &with(&back, "state", "made-up")).await?, StatusCode::BAD_REQUEST, "made up");
    assert_eq!(refused(&mut customer, &front.at("/hubspot/callback")?).await?, StatusCode::BAD_REQUEST, "none at all");

    let back = customer.consent(&link, HUB + 1).await?;
    assert_eq!(refused(&mut customer, &with(&back, "code", "forged")).await?, StatusCode::BAD_GATEWAY, "a forged code");

    let back = customer.consent(&link, 0).await?;
    let denied = customer.open(&back).await?;
    assert_eq!(denied.status(), StatusCode::BAD_REQUEST);
    assert!(denied.text().await?.contains("did not allow"), "HubSpot's page said no");

    // A code that was made for another browser is not taken by HubSpot itself, because of PKCE.
    let mut other = Visitor::new(&front);
    let stolen = other.consent(&link, HUB + 1).await?;
    let code = stolen.query_pairs().find(|(name, _)| name == "code").context("a code")?.1.into_owned();
    let back = customer.consent(&link, HUB + 1).await?;
    assert_eq!(refused(&mut customer, &with(&back, "code", &code)).await?, StatusCode::BAD_GATEWAY, "a stolen code");
    world.end().await
}

#[tokio::test]
async fn webhook_without_valid_signature_is_refused() -> Result<()> {
    let mut world = World::new("refused_webhooks").await?;
    let front = Front::start(&mut world).await?;
    let body = json!([{"portalId": HUB, "subscriptionType": "contact.creation"}]).to_string();
    let url = front.at("/hubspot/webhooks")?.to_string();
    let now = DateTime::now().timestamp_millis();
    let sent = |secret: &str, url: &str, signed: &str, signed_at: i64, sent_at: i64| {
        let signature = hubspot_sim::signature(secret, url, signed, &signed_at.to_string());
        let request = front.post("/hubspot/webhooks").body(body.clone());
        request.header("x-hubspot-signature-v3", signature).header("x-hubspot-request-timestamp", sent_at)
    };
    let cases = [
        ("no headers", front.post("/hubspot/webhooks").body(body.clone())),
        ("no signature", front.post("/hubspot/webhooks").body(body.clone()).header("x-hubspot-request-timestamp", now)),
        ("another secret", sent("another secret", &url, &body, now, now)),
        ("another address", sent(CLIENT_SECRET, &format!("{url}/more"), &body, now, now)),
        ("another body", sent(CLIENT_SECRET, &url, "[]", now, now)),
        ("another time", sent(CLIENT_SECRET, &url, &body, now, now + 1)),
        ("an old request", sent(CLIENT_SECRET, &url, &body, now - 301_000, now - 301_000)),
        ("one from the future", sent(CLIENT_SECRET, &url, &body, now + 310_000, now + 310_000)),
    ];
    for (what, request) in cases {
        assert_eq!(answer(request).await?.0, StatusCode::UNAUTHORIZED, "{what}");
    }
    assert_eq!(answer(front.webhook("no list")).await?.0, StatusCode::BAD_REQUEST, "signed, but no list of events");
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(answer(front.webhook(&large)).await?.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(world.receive(&world.sync_queue).await?.is_empty());
    assert!(world.all(collection::NOTIFICATIONS).await?.is_empty());
    world.end().await
}

#[tokio::test]
async fn api_without_valid_token_is_refused_and_reveals_nothing() -> Result<()> {
    let mut world = World::new("refused_api").await?;
    let front = Front::start(&mut world).await?;
    let visitor = front.sign_in().await?;
    let account = format!("/api/accounts/{DOMAIN}/{HUB}");
    for path in ["/api/accounts", account.as_str()] {
        let cases = [
            ("nothing", front.get(path)),
            ("another token", front.get(path).bearer_auth("another")),
            ("a part of it", front.get(path).bearer_auth(&TOKEN[1..])),
            ("another scheme", front.get(path).basic_auth("user", Some(TOKEN))),
            ("a session of the page", visitor.with_cookies(front.get(path))),
        ];
        for (what, request) in cases {
            let (status, text) = answer(request).await?;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} with {what}");
            assert!(!text.contains(DOMAIN), "{path} with {what} says {text}");
        }
        assert_eq!(answer(front.get(path).bearer_auth(TOKEN)).await?.0, StatusCode::OK);
    }
    let (domain, hub) = (json!({"domain": DOMAIN}), json!({"domain": DOMAIN, "hubId": HUB.to_string()}));
    for (path, body) in [("/api/install-links", domain), ("/hubspot/disconnect", hub)] {
        assert_eq!(answer(front.post(path).json(&body)).await?.0, StatusCode::UNAUTHORIZED, "{path}");
        let by_session = visitor.with_cookies(front.post(path).json(&body));
        assert_eq!(answer(by_session).await?.0, StatusCode::UNAUTHORIZED, "{path} with a session");
    }
    assert_eq!(world.store.accounts_of(&world.account()?.hub_id).await?.len(), 1, "nothing was disconnected");
    world.end().await
}

#[tokio::test]
async fn wrong_tokens_are_answered_with_429_after_ten_and_lock_nobody_out() -> Result<()> {
    let mut world = World::new("refused_tokens").await?;
    let front = Front::start(&mut world).await?;
    let mut statuses = Vec::new();
    for attempt in 0..12 {
        statuses.push(answer(front.get("/api/accounts").bearer_auth(format!("guess {attempt}"))).await?.0);
    }
    assert_eq!(statuses[..10], [StatusCode::UNAUTHORIZED; 10]);
    assert_eq!(statuses[10..], [StatusCode::TOO_MANY_REQUESTS; 2]);
    let guessed = answer(front.post("/sign-in").form(&[("token", "guess")])).await?;
    assert_eq!(guessed.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer(front.get("/api/accounts").bearer_auth(TOKEN)).await?.0, StatusCode::OK);
    front.sign_in().await?.page("/").await.map(|page| assert!(page.contains("<h1>Accounts</h1>")))?;
    world.end().await
}

#[tokio::test]
async fn pages_without_valid_session_redirect_to_sign_in() -> Result<()> {
    let mut world = World::new("refused_pages").await?;
    let front = Front::start(&mut world).await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    let confirm = format!("{account}/disconnect");
    let live = front.sign_in().await?.cookies["session"].clone();
    let forged = format!("{live}A");
    for session in ["", forged.as_str(), &live[1..], "9999999999999.AAAA", TOKEN] {
        let mut visitor = Visitor::new(&front);
        visitor.cookies.insert("session".to_owned(), session.to_owned());
        for path in ["/", account.as_str(), confirm.as_str()] {
            let answer = visitor.open(&front.at(path)?).await?;
            assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{path} with {session:?}");
            assert_eq!(location(&answer)?.path(), "/sign-in");
        }
    }
    assert_eq!(answer(front.get("/").bearer_auth(TOKEN)).await?.0, StatusCode::SEE_OTHER, "nor is a bearer token one");
    assert_eq!(answer(front.post("/sign-in").form(&[("token", "wrong")])).await?.0, StatusCode::UNAUTHORIZED);
    world.end().await
}

#[tokio::test]
async fn button_without_form_token_of_its_session_is_refused() -> Result<()> {
    let mut world = World::new("refused_forms").await?;
    let front = Front::start(&mut world).await?;
    let pause = format!("/accounts/{DOMAIN}/{HUB}/pause");
    let (one, mut other) = (front.sign_in().await?, front.sign_in().await?);
    let page = other.page(&format!("/accounts/{DOMAIN}/{HUB}")).await?;
    let others =
        page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).context("a form")?;
    let cases = [
        ("no form token", one.with_cookies(front.post(&pause)).form(&[("x", "y")]), StatusCode::FORBIDDEN),
        ("an empty one", one.with_cookies(front.post(&pause)).form(&[("token", "")]), StatusCode::FORBIDDEN),
        ("another session's", one.with_cookies(front.post(&pause)).form(&[("token", others)]), StatusCode::FORBIDDEN),
        ("the token itself", one.with_cookies(front.post(&pause)).form(&[("token", TOKEN)]), StatusCode::FORBIDDEN),
        ("no session", front.post(&pause).form(&[("token", others)]), StatusCode::SEE_OTHER),
    ];
    for (what, request, expected) in cases {
        assert_eq!(answer(request).await?.0, expected, "{what}");
        assert!(world.store.account(&world.account()?).await?.context("the account")?.is_ok(), "{what} pauses it");
    }
    let unknown = other.with_cookies(front.post(&format!("/accounts/{DOMAIN}/{HUB}/drop"))).form(&[("token", others)]);
    assert_eq!(answer(unknown).await?.0, StatusCode::BAD_REQUEST);
    let missing = other.with_cookies(front.post(&format!("/accounts/globex/{HUB}/pause"))).form(&[("token", others)]);
    assert_eq!(answer(missing).await?.0, StatusCode::NOT_FOUND, "an account of another Domain");
    world.end().await
}

#[tokio::test]
async fn markup_in_names_is_shown_as_text() -> Result<()> {
    const NAME: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";
    let mut world = World::new("refused_markup").await?;
    let front = Front::start(&mut world).await?;
    let set = doc! { "company.name": NAME, "integrations.hubspot.accounts.0.hubDomain": NAME };
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.update_one(doc! {}, doc! { "$set": set }).await?;
    world.store.record_event(&AccountKey::new(DOMAIN, HUB)?, store::TimelineEvent::Failed, Some(NAME)).await?;
    let mut visitor = front.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    for path in [
        "/",
        "/?search=%3Cscript%3E%22",
        account.as_str(),
        &format!("{account}/resync"),
        &format!("{account}?done=%3Cb%3E"),
    ] {
        let page = visitor.page(path).await?;
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<b>"), "{path}: {page}");
    }
    assert!(visitor.page(&account).await?.contains("&lt;script&gt;alert('x')"));
    let answer = visitor.open(&front.at("/")?).await?;
    let policy = answer.headers()["content-security-policy"].to_str()?;
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    world.end().await
}

#[tokio::test]
async fn unknown_path_is_answered_with_404() -> Result<()> {
    let mut world = World::new("refused_paths").await?;
    let front = Front::start(&mut world).await?;
    for path in ["/nothing", "/accounts", "/api", "/.env", "/accounts/acme/7/sync/more"] {
        assert_eq!(answer(front.get(path)).await?.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(answer(front.get("/hubspot/webhooks")).await?.0, StatusCode::METHOD_NOT_ALLOWED);
    world.end().await
}
