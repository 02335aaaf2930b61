//! The list of all accounts, as JSON and as a page.

use anyhow::{Context, Result, ensure};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};

use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    crowd::{Member, crowd},
    front::{Front, TOKEN, Visitor, request_event},
    gate::Gate,
    proxy::mongodb::MongoProxy,
    world::{DOMAIN, HUB, World},
};

/// Asks a bootstrap as API Gateway does, and gives the body.
async fn ask(connect: &mut Bootstrap, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Value> {
    match connect.invoke(&request_event(method, path, headers, body)).await?.0 {
        Invoked::Answered(answer) => Ok(answer),
        other => anyhow::bail!("{path} is answered with {other:?}"),
    }
}

async fn list(connect: &mut Bootstrap, query: &str) -> Result<Value> {
    let bearer = [("authorization", &*format!("Bearer {TOKEN}"))];
    let answer = ask(connect, "GET", &format!("/api/accounts?{query}"), &bearer, "").await?;
    ensure!(answer["statusCode"] == 200, "{query}: {answer}");
    Ok(serde_json::from_str(answer["body"].as_str().context("a body")?)?)
}

/// The domain, id and state of each account of an answer.
fn told(answer: &Value) -> Vec<[&str; 3]> {
    let accounts = answer["accounts"].as_array().into_iter().flatten();
    accounts
        .map(|account| ["domain", "hubId", "state"].map(|name| account[name].as_str().unwrap_or_default()))
        .collect()
}

fn expected<'a>(members: impl IntoIterator<Item = &'a Member>) -> Vec<[&'a str; 3]> {
    members.into_iter().map(|member| [&*member.domain, &*member.hub, member.state]).collect()
}

#[tokio::test]
async fn list_of_20000_accounts_is_sorted_searched_and_paged_within_128_mb() -> Result<()> {
    let world = World::new("list_many").await?;
    let mut members = crowd(&world, 20_000).await?;
    members.push(Member {
        domain: DOMAIN.to_owned(),
        company: "Acme".to_owned(),
        hub: HUB.to_string(),
        state: "new",
        fresh_to: None,
    });
    members.sort_by(Member::order);
    let mut connect = Bootstrap::start_ungated(Function::Connect, &world).await?;

    let first = list(&mut connect, "").await?;
    assert_eq!((&first["total"], told(&first)), (&json!(20_001), expected(&members[..50])));
    let count = |state| members.iter().filter(|member| member.state == state).count();
    let counts = first["counts"].as_object().context("counts")?;
    assert_eq!(counts.len(), 8);
    for (state, told) in counts {
        assert_eq!(told, &json!(count(state)), "{state}");
    }
    for offset in [50, 1_950, 11_111, 19_900, 20_000] {
        let page = list(&mut connect, &format!("offset={offset}&limit=200")).await?;
        let until = members.len().min(offset + 200);
        assert_eq!((&page["total"], told(&page)), (&json!(20_001), expected(&members[offset..until])), "{offset}");
    }
    assert_eq!(told(&list(&mut connect, "offset=20001").await?).len(), 0);

    let behind: Vec<&Member> = members.iter().filter(|member| member.state == "behind").collect();
    let page = list(&mut connect, "state=behind&offset=1000").await?;
    assert_eq!((&page["total"], told(&page)), (&json!(2_000), expected(behind[1_000..1_050].iter().copied())));
    for search in ["COMPANY%2000421", "domain-00421", "8000421", "hub-8000421.example"] {
        let page = list(&mut connect, &format!("search={search}")).await?;
        assert_eq!((&page["total"], &page["accounts"][0]["company"]), (&json!(1), &json!("Company 00421")), "{search}");
    }
    let both = list(&mut connect, "search=company%20004&state=paused").await?;
    assert_eq!((&both["total"], &both["counts"]), (&json!(10), &first["counts"]));

    let form = format!("token={TOKEN}");
    let login = ask(&mut connect, "POST", "/sign-in", &[], &form).await?;
    let cookie = login["cookies"][0].as_str().and_then(|cookie| cookie.split(';').next()).context("a session")?;
    let page = ask(&mut connect, "GET", "/?offset=50", &[("cookie", cookie)], "").await?;
    let page = page["body"].as_str().context("a page")?;
    assert_eq!(page.matches("<th scope=\"row\">").count(), 50);
    assert!(page.contains("?offset=100") && page.contains("51 to 100 of 20001"), "{page}");
    assert!(page.len() < 100_000, "{} bytes", page.len());

    let peak = connect.usage()?.1;
    println!("20,000 accounts: {} MB", peak / 1_000_000);
    assert!(peak < 128_000_000, "{peak} bytes");
    world.end().await
}

#[tokio::test]
async fn invalid_list_parameters_are_answered_with_400() -> Result<()> {
    let mut world = World::new("list_bad").await?;
    let front = Front::start(&mut world).await?;
    for bad in ["limit=0", "limit=201", "limit=x", "state=x", "offset=-1"] {
        let answer = front.get(&format!("/api/accounts?{bad}")).bearer_auth(TOKEN).send().await?;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    world.end().await
}

/// Requests that come together wait for one of them to read all accounts, and the next ones need not read them again.
#[tokio::test]
async fn concurrent_list_requests_share_one_read_of_all_accounts() -> Result<()> {
    let mut world = World::new("list_once").await?;
    crowd(&world, 2_500).await?;
    let gate = Gate::default();
    let mongodb = MongoProxy::start(world.mongodb_address()?, gate.clone()).await?;
    world.config.mongo.uri = mongodb.uri().into();
    let front = Front::start(&mut world).await?;
    // Each answer reads the Domains of its page; what is more are readings of all.
    let finds = || gate.effects().iter().filter(|effect| *effect == "mongodb find domains").count();
    let list = async || -> Result<Value> {
        let answer = front.get("/api/accounts?state=fresh").bearer_auth(TOKEN).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    };
    let together = futures::future::try_join_all((0..8).map(|_| list())).await?;
    assert!(together.iter().all(|answer| answer["total"] == 750), "{together:?}");
    // On a machine that stands still, they may have been read too long ago.
    assert!((9..=10).contains(&finds()), "{:?}", gate.effects());
    for _ in 0..5 {
        let before = finds();
        list().await?;
        if finds() == before + 1 {
            return world.end().await;
        }
    }
    anyhow::bail!("every request reads all accounts: {:?}", gate.effects())
}

#[tokio::test]
async fn operation_shows_in_next_answer_of_every_instance() -> Result<()> {
    let mut world = World::new("list_acted").await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let (one, other) = (Front::start(&mut world).await?, Front::start(&mut world).await?);
    let counts = async |front: &Front| -> Result<Value> {
        let answer = front.get("/api/accounts").bearer_auth(TOKEN).send().await?.error_for_status()?;
        Ok(answer.json::<Value>().await?["counts"].take())
    };
    let mut operator = one.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    let mut shown = account.clone();
    for (operation, state) in [("pause", "paused"), ("resume", "fresh"), ("disconnect", "disconnected")] {
        // Both have read the accounts, a moment ago.
        for front in [&one, &other] {
            assert!(counts(front).await?.get(state).is_none() || state == "fresh");
        }
        if operation == "disconnect" {
            shown = format!("{account}/disconnect");
        }
        let answer = operator.submit_operation(&shown, &format!("{account}/{operation}")).await?;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{operation}");
        for front in [&one, &other] {
            assert_eq!(counts(front).await?, json!({ state: 1 }), "{operation}");
            let page = operator.with_cookies(front.get("/")).send().await?.text().await?;
            assert!(page.contains(&format!("class=\"state {state}\"")), "{operation}: {page}");
        }
    }
    world.end().await
}

/// What the script of a page asks for.
async fn live(front: &Front, visitor: &Visitor<'_>, path: &str, tag: &str) -> Result<(StatusCode, String, String)> {
    let asked = visitor.with_cookies(front.get(path)).header("x-live", "1").header(header::IF_NONE_MATCH, tag);
    let answer = asked.send().await?;
    let tag = answer.headers().get(header::ETAG).context("a tag")?.to_str()?.to_owned();
    Ok((answer.status(), tag, answer.text().await?))
}

#[tokio::test]
async fn unchanged_page_is_answered_with_304() -> Result<()> {
    let mut world = World::new("list_same").await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let front = Front::start(&mut world).await?;
    let mut visitor = front.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    for path in ["/", "/?search=acme", account.as_str()] {
        let page = visitor.page(path).await?;
        let (status, tag, part) = live(&front, &visitor, path, "").await?;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(page.contains(&part) && !part.contains("<html"), "{path}: {part}");
        assert!(page.contains(&format!("data-tag=\"{}\"", tag.replace('"', "&quot;"))), "{path}: {tag} {page}");
        // How long ago something was is for the script to say: it changes by itself.
        assert!(part.contains("<time class=\"ago\" datetime=\"") && !part.contains(" ago<"), "{path}: {part}");
        for known in [tag.clone(), format!("W/{tag}")] {
            let same = live(&front, &visitor, path, &known).await?;
            assert_eq!(same, (StatusCode::NOT_MODIFIED, tag.clone(), String::new()), "{path}");
        }
        let (status, ..) = live(&front, &visitor, path, "\"another\"").await?;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    let (_, before, _) = live(&front, &visitor, "/", "").await?;
    visitor.submit_operation(&account, &format!("{account}/pause")).await?;
    let (status, after, part) = live(&front, &visitor, "/", &before).await?;
    assert!(
        status == StatusCode::OK && after != before && part.contains("<strong>1</strong> <span>Paused</span>"),
        "{part}"
    );
    // A page that is loaded is loaded, whatever the browser knows.
    let loaded = visitor.with_cookies(front.get("/")).header(header::IF_NONE_MATCH, after).send().await?;
    assert_eq!(loaded.status(), StatusCode::OK);
    world.end().await
}
