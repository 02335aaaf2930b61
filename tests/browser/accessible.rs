//! Everybody can use the pages: axe (local/tools/axe) finds nothing on any of them, in light and in dark, at a desk and on a
//! phone; what a mouse does, the keyboard does as well; and without a script nothing is missing.

use anyhow::{Context, Result, bail, ensure};
use fantoccini::{Locator, key::Key};
use harness::{
    crowd::{crowd, day},
    deployed::Deployed,
    world::{DOMAIN, HUB},
};
use ops::{connect::Page, layout};
use serde_json::{Value, json};

use crate::{
    chromium::Browser,
    page::{account, deployed, sign_in},
};

/// Narrower than a phone of these years is.
const PHONE: (u32, u32) = (360, 1000);

const DESK: (u32, u32) = (1100, 1250);

/// Runs axe on the page that is shown.
async fn check(browser: &Browser, axe: &str, page: &str) -> Result<()> {
    browser.run(axe).await?;
    let run =
        "const done = arguments[arguments.length - 1]; axe.run(document).then(done, (error) => done(String(error)))";
    let found = browser.client.execute_async(run, vec![]).await?;
    let passes = found["passes"].as_array().with_context(|| format!("{page}: {found}"))?;
    ensure!(passes.len() > 10, "{page}: axe looked at nothing: {passes:?}");
    let violations = found["violations"].as_array().with_context(|| format!("{page}: {found}"))?;
    if violations.is_empty() {
        return Ok(());
    }
    let told = |rule: &Value| {
        let nodes = rule["nodes"].as_array().into_iter().flatten().take(5);
        let nodes: Vec<String> = nodes.map(|node| format!("{} {}", node["html"], node["failureSummary"])).collect();
        let id = rule["id"].as_str().unwrap_or_default();
        format!("{id}: {}\n  {}", rule["help"], nodes.join("\n  "))
    };
    bail!("{page}\n{}", violations.iter().map(told).collect::<Vec<_>>().join("\n"))
}

/// Nothing is wider than the window.
async fn fits(browser: &Browser, page: &str) -> Result<()> {
    let wide = "const width = document.documentElement.clientWidth;
        const all = [...document.querySelectorAll('main *')];
        return all.filter((it) => it.getBoundingClientRect().right > width + 1).map((it) => it.outerHTML.slice(0, 200))";
    let wide = browser.run(wide).await?;
    ensure!(wide == json!([]), "{page}: these are wider than the window: {wide:#}");
    Ok(())
}

/// The checker itself.
fn axe() -> Result<String> {
    std::fs::read_to_string(layout::tools().join("axe/node_modules/axe-core/axe.min.js"))
        .context("axe is not installed; `make browser` does that")
}

async fn check_all(browser: &Browser, page: &Page, mode: &str) -> Result<()> {
    let axe = axe()?;
    let own = account(page, DOMAIN, HUB);
    let (failing, rejected) = (account(page, "domain-00002", 8_000_002), account(page, "domain-00003", 8_000_003));
    browser.open(&page.link(DOMAIN, None).await?).await?;
    browser.sees("will see them").await?;
    check(browser, &axe, &format!("{mode}: a link")).await?;
    browser.open(page.url.as_str()).await?;
    browser.find("#token").await?;
    check(browser, &axe, &format!("{mode}: sign in")).await?;
    sign_in(browser, page).await?;
    let addresses = [
        ("the overview", page.url.to_string(), "need somebody"),
        ("a list", format!("{}?state=failing", page.url), "Show all accounts"),
        ("an account", own.clone(), "Records"),
        ("a failing account", failing, "Problems"),
        ("one to be connected again", rejected, "Make a link"),
        ("a question", format!("{own}/disconnect"), "Cancel"),
        ("an error", format!("{}nowhere", page.url), "nothing at this address"),
    ];
    for (name, address, text) in addresses {
        browser.open(&address).await?;
        browser.sees(text).await?;
        // What is folded is looked at, too.
        browser.run("document.querySelectorAll('details').forEach((details) => { details.open = true })").await?;
        check(browser, &axe, &format!("{mode}: {name}")).await?;
        fits(browser, &format!("{mode}: {name}")).await?;
    }
    browser.open(&own).await?;
    browser.press("Make a link for the customer").await?;
    browser.find("#copy").await?;
    check(browser, &axe, &format!("{mode}: a new link")).await?;
    fits(browser, &format!("{mode}: a new link")).await
}

/// A service with accounts in all states, one of which has records.
async fn crowded() -> Result<(Deployed, Page)> {
    let (deployed, page) = deployed().await?;
    deployed.world.hubspot.world().seed(HUB, 20, 100, 1);
    deployed.tick(1).await?;
    crowd(&deployed.world, 60).await?;
    day(&deployed.world).await?;
    Ok((deployed, page))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_in_light_and_dark_at_a_desk_and_on_a_phone_is_accessible() -> Result<()> {
    let (deployed, page) = crowded().await?;
    for (width, height) in [DESK, PHONE] {
        for dark in [false, true] {
            let browser = Browser::start(width, height, dark).await?;
            let mode = format!("{width} wide, {}", if dark { "dark" } else { "light" });
            let seen = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches").await?;
            ensure!(seen == json!(dark), "{mode}: the page is not shown so");
            check_all(&browser, &page, &mode).await?;
            if dark {
                browser.open(page.url.as_str()).await?;
                browser.sees(" ago").await?;
                browser.screenshot(if width == PHONE.0 { "phone" } else { "dark" }).await?;
            }
        }
    }
    deployed.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_somebody_cannot_use_is_found_by_the_checker() -> Result<()> {
    let (deployed, page) = deployed().await?;
    let browser = Browser::start(DESK.0, DESK.1, false).await?;
    browser.open(page.url.as_str()).await?;
    browser.find("#token").await?;
    browser.run("document.querySelector('label').remove(); document.querySelector('p').style.color = '#aaa'").await?;
    let found = check(&browser, &axe()?, "sign in").await.err().context("nothing is found")?.to_string();
    ensure!(found.contains("\nlabel: ") && found.contains("\ncolor-contrast: "), "{found}");
    deployed.end()
}

/// Goes on with the tab key until something with that text has the focus.
async fn tab_to(browser: &Browser, text: &str) -> Result<()> {
    let focused = "const it = document.activeElement; return it.textContent || it.id";
    for _ in 0..60 {
        browser.keys(&[Key::Tab.into()]).await?;
        let seen = browser.run(focused).await?;
        if seen.as_str().is_some_and(|seen| seen.contains(text)) {
            return Ok(());
        }
    }
    bail!("{text} is not reached by keyboard; the page says {}", browser.text().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyboard_alone_filters_opens_a_table_and_copies_a_link() -> Result<()> {
    let (deployed, page) = crowded().await?;
    let browser = Browser::start(DESK.0, DESK.1, false).await?;
    browser.allow_clipboard(&page).await?;
    sign_in(&browser, &page).await?;
    browser.open(page.url.as_str()).await?;
    tab_to(&browser, "Show as a table").await?;
    browser.keys(&[Key::Enter.into()]).await?;
    browser.holds("return document.querySelector('#changes-table').open").await?;
    browser.open(page.url.as_str()).await?;
    tab_to(&browser, "Needs reconnecting").await?;
    browser.keys(&[Key::Enter.into()]).await?;
    browser.sees("6 accounts: Needs reconnecting").await?;
    tab_to(&browser, "Company 00003").await?;
    browser.keys(&[Key::Enter.into()]).await?;
    browser.sees("Make a link and send it to the customer.").await?;
    tab_to(&browser, "Make a link for the customer").await?;
    browser.keys(&[Key::Enter.into()]).await?;
    browser.sees("Send it to the customer.").await?;
    tab_to(&browser, "Copy").await?;
    browser.keys(&[Key::Enter.into()]).await?;
    browser.sees("The link is copied.").await?;
    let copied = "const done = arguments[arguments.length - 1]; navigator.clipboard.readText().then(done, (error) => done(String(error)))";
    let copied = browser.client.execute_async(copied, vec![]).await?;
    let shown = browser.find("#link").await?.prop("value").await?.context("a link")?;
    ensure!(copied == json!(shown) && shown.contains("/hubspot/install?"), "{copied}");
    deployed.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_script_the_pages_show_and_do_the_same() -> Result<()> {
    let (deployed, page) = crowded().await?;
    let browser = Browser::start_without_scripts(DESK.0, DESK.1).await?;
    // WebDriver runs its own scripts all the same, but the page's do not run.
    sign_in(&browser, &page).await?;
    browser.sees("18 accounts need somebody.").await?;
    ensure!(browser.client.find_all(Locator::Css("figure.plot svg rect")).await?.len() > 1, "there is no plot");
    browser.open(&account(&page, DOMAIN, HUB)).await?;
    browser.sees("120 created").await?;
    ensure!(!browser.text().await?.contains("Show changes as they happen"), "a switch without a use is shown");
    browser.press("Pause").await?;
    browser.sees("The account is paused.").await?;
    browser.press("Resume").await?;
    browser.press("Make a link for the customer").await?;
    browser.sees("Send it to the customer.").await?;
    let copy = browser.client.find(Locator::Css("#copy")).await?;
    ensure!(!copy.is_displayed().await?, "a button without a use is shown");
    deployed.end()
}
