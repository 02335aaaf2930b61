//! What each token may do, and that the log names the token that did it.

use anyhow::{Context, Result};
use model::account::Unusable;
use reqwest::StatusCode;
use serde_json::{Value, json};
use store::collection;

use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    front::{Front, LINK_TOKEN, READ_TOKEN, TOKEN, request_event, tokens},
    world::{DOMAIN, HUB, World},
};

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;
const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;

#[tokio::test]
async fn token_may_do_only_what_its_rights_allow() -> Result<()> {
    let mut world = World::new("rights").await?;
    let front = Front::start(&mut world).await?;
    let (domain, hub) = (json!({"domain": DOMAIN}), json!({"domain": DOMAIN, "hubId": HUB.to_string()}));
    let account = format!("/api/accounts/{DOMAIN}/{HUB}");
    let asked: [(&str, Option<&Value>, [StatusCode; 3]); 5] = [
        ("/api/accounts", None, [OK, FORBIDDEN, OK]),
        (&account, None, [OK, FORBIDDEN, OK]),
        ("/api/install-links", Some(&domain), [FORBIDDEN, CREATED, CREATED]),
        ("/api/install-links/revoke", Some(&domain), [FORBIDDEN, NO_CONTENT, NO_CONTENT]),
        ("/hubspot/disconnect", Some(&hub), [FORBIDDEN, FORBIDDEN, NO_CONTENT]),
    ];
    for (path, body, expected) in asked {
        for (token, expected) in [READ_TOKEN, LINK_TOKEN, TOKEN].into_iter().zip(expected) {
            let request = body.map_or_else(|| front.get(path), |body| front.post(path).json(body));
            let answer = request.bearer_auth(token).send().await?;
            assert_eq!(answer.status(), expected, "{path} with {token}");
            if expected == FORBIDDEN {
                assert!(!answer.text().await?.contains(DOMAIN), "{path} with {token} says something");
            }
        }
    }
    world.end().await
}

#[tokio::test]
async fn read_token_sees_no_button_and_can_press_none() -> Result<()> {
    let mut world = World::new("rights_pages").await?;
    let front = Front::start(&mut world).await?;
    let refused = front.post("/sign-in").form(&[("token", LINK_TOKEN)]).send().await?;
    assert_eq!(refused.status(), FORBIDDEN, "a token that makes links shows nothing");
    assert!(world.all(collection::SESSIONS).await?.is_empty());

    let mut reader = front.sign_in_with(READ_TOKEN).await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    let page = reader.page(&account).await?;
    assert!(page.contains("<h2>Timeline</h2>") && !page.contains("What you can do"), "{page}");
    for operation in ["sync", "pause", "resync", "disconnect", "link"] {
        // The form's token of this session is on the page, for signing out.
        let answer = reader.submit_operation(&account, &format!("{account}/{operation}")).await?;
        assert_eq!(answer.status(), FORBIDDEN, "{operation}");
    }
    assert!(reader.page(&format!("{account}/disconnect")).await?.contains("Not allowed"));
    assert!(!matches!(world.store.account(&world.account()?).await?, Some(Err(Unusable::Paused))));
    assert!(world.receive(&world.sync_queue).await?.is_empty(), "nothing was asked for");
    world.end().await
}

#[tokio::test]
async fn log_records_actor_and_address_and_timeline_the_actor_of_each_operation() -> Result<()> {
    let mut world = World::new("rights_told").await?;
    let log = std::env::temp_dir().join(format!("rights-{}.log", std::process::id()));
    world.log = Some(log.clone());
    let secret = [("CONNECT_SECRET", tokens().to_string())];
    let mut connect = Bootstrap::start_with(Function::Connect, &world, &secret).await?;
    let mut ask = async |method: &str, path: &str, headers: &[(&str, &str)], body: &str| -> Result<Value> {
        match connect.invoke(&request_event(method, path, headers, body)).await?.0 {
            Invoked::Answered(answer) => Ok(answer),
            other => anyhow::bail!("{method} {path}: {other:?}"),
        }
    };
    let signed_in = ask("POST", "/sign-in", &[], &format!("token={TOKEN}")).await?;
    assert_eq!(signed_in["statusCode"], 303, "{signed_in}");
    let cookie = signed_in["cookies"][0].as_str().and_then(|cookie| cookie.split(';').next()).context("a cookie")?;
    let cookie = cookie.to_owned();
    let page = ask("GET", &format!("/accounts/{DOMAIN}/{HUB}"), &[("cookie", &cookie)], "").await?;
    let form = page["body"].as_str().and_then(|page| page.split("name=\"token\" value=\"").nth(1)).context("a form")?;
    let form = format!("token={}", form.split('"').next().unwrap_or_default());
    let paused = ask("POST", &format!("/accounts/{DOMAIN}/{HUB}/pause"), &[("cookie", &cookie)], &form).await?;
    assert_eq!(paused["statusCode"], 303, "{paused}");
    ask("POST", "/sign-out", &[("cookie", &cookie)], &form).await?;
    let json = ("content-type", "application/json");
    let shop = format!("Bearer {LINK_TOKEN}");
    let link = json!({"domain": DOMAIN}).to_string();
    let made = ask("POST", "/api/install-links", &[json, ("authorization", &shop)], &link).await?;
    assert_eq!(made["statusCode"], 201, "{made}");
    let admin = format!("Bearer {TOKEN}");
    let asked = json!({"domain": DOMAIN, "hubId": HUB.to_string()}).to_string();
    for (bearer, status) in [(&shop, 403), (&admin, 204)] {
        let answer = ask("POST", "/hubspot/disconnect", &[json, ("authorization", bearer)], &asked).await?;
        assert_eq!(answer["statusCode"], status, "{answer}");
    }
    ask("GET", "/api/accounts", &[("authorization", "Bearer guess")], "").await?;

    let text = std::fs::read_to_string(&log)?;
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (message, by) in [
        ("somebody has signed in", Some("admin")),
        ("a button was pressed", Some("admin")),
        ("somebody has signed out", Some("admin")),
        ("an install link was made", Some("shop")),
        ("a token was used for what it may not do", Some("shop")),
        ("an account was disconnected", Some("admin")),
        ("a wrong token was given", None),
    ] {
        let told: Vec<&Value> = lines.iter().filter(|line| line["message"] == message).collect();
        assert_eq!(told.len(), 1, "{message}: {text}");
        assert_eq!((told[0]["by"].as_str(), told[0]["source.ip"].as_str()), (by, Some("127.0.0.1")), "{}", told[0]);
    }
    for secret in [TOKEN, LINK_TOKEN, "guess", cookie.split('=').nth(1).context("a value")?] {
        assert!(!text.contains(secret), "{secret} is logged");
    }
    let events = world.store.timeline(&world.account()?, 10).await?;
    assert_eq!(events.iter().map(|event| event.by.as_deref()).collect::<Vec<_>>(), [Some("admin"); 2], "{events:?}");
    std::fs::remove_file(log)?;
    world.end().await
}

/// `lambda_http` panics at these.
#[tokio::test]
async fn malformed_request_url_is_answered_with_400() -> Result<()> {
    let world = World::new("rights_malformed").await?;
    let mut connect = Bootstrap::start_ungated(Function::Connect, &world).await?;
    let scheme = [("x-forwarded-proto", "a b")];
    let events = [
        request_event("GET", "/api/openapi.yaml?a=<", &[], ""),
        request_event("GET", "/api/openapi.yaml", &scheme, ""),
        request_event("GET", "/api/openapi.yaml", &[("host", "a b")], ""),
    ];
    for event in events {
        match connect.invoke(&event).await?.0 {
            Invoked::Answered(answer) => assert_eq!(answer["statusCode"], 400, "{answer}"),
            other => anyhow::bail!("{event}: {other:?}"),
        }
    }
    let Invoked::Answered(answer) = connect.invoke(&request_event("GET", "/api/openapi.yaml", &[], "")).await?.0 else {
        anyhow::bail!("nothing else is answered");
    };
    assert_eq!(answer["statusCode"], 200);
    world.end().await
}
