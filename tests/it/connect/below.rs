//! The function below a path of its host, as behind a custom domain with the key of an API mapping.

use anyhow::{Context, Result, ensure};
use harness::{
    front::{Front, Visitor, location, tokens},
    world::{DOMAIN, HUB, World},
};
use reqwest::{StatusCode, Url, header};

/// The addresses that a page names.
fn named(page: &str) -> Vec<String> {
    let attributes = ["href=\"", "src=\"", "action=\""];
    let of = |attribute: &'static str| page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
    attributes.into_iter().flat_map(of).map(str::to_owned).collect()
}

#[tokio::test]
async fn connect_function_works_under_path_of_custom_domain() -> Result<()> {
    let mut world = World::new("below").await?;
    let front = Front::start_below(&mut world, &tokens(), "/crm/").await?;
    ensure!(front.url.path() == "/crm/", "{}", front.url);
    world.hubspot.world().seed(HUB + 1, 1, 1, 1);

    // A customer connects: the link, the page behind it, HubSpot's consent page, and back.
    let answer = Visitor::new(&front).connect(DOMAIN, HUB + 1).await?;
    ensure!(answer.status() == StatusCode::OK && answer.url().path() == "/crm/hubspot/callback", "{answer:?}");

    // Somebody signs in, and finds nothing that leads elsewhere.
    let refused = front.get("/").send().await?;
    ensure!(location(&refused)?.path() == "/crm/sign-in", "{refused:?}");
    let signed_in = front.post("/sign-in").form(&[("token", harness::front::TOKEN)]).send().await?;
    let cookie = signed_in.headers()[header::SET_COOKIE].to_str()?;
    ensure!(cookie.contains("Path=/crm;"), "other services of this host get the session: {cookie}");
    ensure!(location(&signed_in)?.path() == "/crm/", "{signed_in:?}");
    let mut visitor = front.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{}", HUB + 1);
    for path in ["/", "/?search=acme", &account, &format!("{account}/resync"), "/sign-in"] {
        let page = visitor.page(path).await?;
        let named = named(&page);
        ensure!(named.len() > 1, "{path}: {page}");
        let astray: Vec<&String> = named.iter().filter(|to| !to.starts_with("/crm/") && *to != "#main").collect();
        ensure!(astray.is_empty(), "{path} leads to {astray:?}");
    }
    for path in ["/style.css", "/live.js"] {
        ensure!(front.get(path).send().await?.status() == StatusCode::OK, "{path}");
    }
    let pressed = visitor.submit_operation(&account, &format!("{account}/pause")).await?;
    ensure!(location(&pressed)?.path() == format!("/crm{account}"), "{pressed:?}");
    let answer = visitor.submit_operation(&account, &format!("{account}/link")).await?.text().await?;
    let link = answer.split("value=\"").find_map(|rest| rest.split('"').next().filter(|value| value.contains("://")));
    let link = Url::parse(&link.context("a link")?.replace("&amp;", "&"))?;
    ensure!(link.path() == "/crm/hubspot/install", "{link}");
    ensure!(Visitor::new(&front).open_link(&link).await?.path() == "/oauth/authorize");

    // HubSpot signs the address that it was given.
    let event = format!(r#"[{{"portalId":{HUB},"subscriptionType":"contact.creation"}}]"#);
    ensure!(front.webhook(&event).send().await?.status() == StatusCode::NO_CONTENT);
    world.end().await
}
