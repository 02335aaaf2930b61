//! What customers and operators do in a browser.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hubspot_sim::Settings;
use mongodb::bson::{Document, doc};
use ops::connect::Page;
use store::collection;

use harness::{
    crowd::{crowd, day},
    deployed::Deployed,
    world::{DOMAIN, HUB},
};

use crate::chromium::Browser;

/// The service, deployed, with a HubSpot as slow and as strict as the real one, and its page.
pub(crate) async fn deployed() -> Result<(Deployed, Page)> {
    let deployed = Deployed::shared("browser").await?;
    deployed.world.hubspot.world().settings = Settings { latency_ms: 150, ..Settings::default() };
    let page = deployed.page().await?;
    Ok((deployed, page))
}

pub(crate) async fn sign_in(browser: &Browser, page: &Page) -> Result<()> {
    browser.open(page.url.as_str()).await?;
    browser.types("#token", page.token()).await?;
    browser.press("Sign in").await?;
    browser.sees("Accounts").await?;
    Ok(())
}

pub(crate) fn account(page: &Page, domain: &str, hub: u64) -> String {
    format!("{}accounts/{domain}/{hub}", page.url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customer_connects_account_and_sees_its_data_arrive() -> Result<()> {
    let (deployed, page) = deployed().await?;
    deployed.world.hubspot.world().seed(HUB + 1, 1_000, 14_000, 1);
    let domains = deployed.world.store.database().collection::<Document>(collection::DOMAINS);
    domains.insert_one(doc! { "_id": "globex", "company": { "name": "Globex" } }).await?;
    let browser = Browser::start(1100, 520, false).await?;

    browser.open(&page.link("globex", None).await?).await?;
    browser.sees("Globex will see them").await?;
    browser.screenshot("install").await?;
    browser.press("Go on to HubSpot").await?;
    browser.sees("Which one?").await?;
    let began = Instant::now();
    browser.press(&format!("Account {}", HUB + 1)).await?;
    browser.sees(&format!("portal-{}.example is connected to Globex", HUB + 1)).await?;
    browser.screenshot("connected").await?;
    browser.client.set_window_size(1100, 950).await?;

    sign_in(&browser, &page).await?;
    browser.open(&account(&page, "globex", HUB + 1)).await?;
    // Some data is there when the day's changes are not zero any more.
    browser.find("progress").await?;
    let progress = async || -> Result<i64> {
        let value = browser.run("return document.querySelector('progress')?.value ?? -1").await?;
        value.as_i64().with_context(|| format!("{value} is no number of rows"))
    };
    let mut seen = vec![progress().await?];
    while seen.iter().all(|read| *read <= 0) {
        ensure!(began.elapsed().as_secs() < 300, "no data is seen: {seen:?}");
        seen.push(progress().await?);
    }
    println!("from consent to the first data on the page: {:.1} s", began.elapsed().as_secs_f32());
    // The bar moves, though nobody loads the page again.
    let first = seen.last().copied().unwrap_or_default();
    while seen.last().copied().unwrap_or_default() <= first {
        ensure!(began.elapsed().as_secs() < 300, "the bar does not move: {seen:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let read = progress().await?;
        // A page that is being replaced has none for a moment; a history that was read has none any more.
        if read < 0 && browser.text().await?.contains("Fresh") {
            break;
        }
        seen.push(read);
    }
    while !browser.text().await?.contains("All of its history was read") {
        ensure!(began.elapsed().as_secs() < 300, "the history is not read: {}", browser.text().await?);
        // The page shows the time left after the first slice.
        if browser.text().await?.contains(" left") {
            browser.screenshot("backfill").await?;
        }
    }
    deployed.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_finds_account_and_every_button_takes_effect() -> Result<()> {
    let (deployed, page) = deployed().await?;
    deployed.world.hubspot.world().seed(HUB, 20, 100, 1);
    deployed.tick(1).await?;
    let browser = Browser::start(1100, 1250, false).await?;
    crowd(&deployed.world, 20_000).await?;
    day(&deployed.world).await?;
    sign_in(&browser, &page).await?;
    browser.open(page.url.as_str()).await?;
    browser.sees("20\u{202f}001 accounts").await?;
    let timing =
        "const [page] = performance.getEntriesByType('navigation'); return [page.responseStart, page.transferSize]";
    println!("20,000 accounts, first byte after ms, bytes: {}", browser.run(timing).await?);
    browser.screenshot("accounts").await?;
    browser.types("#search", "acm").await?;
    browser.press("Search").await?;
    browser.press("Acme").await?;
    browser.sees("120 created").await?;

    browser.press("Sync now").await?;
    browser.sees("A sync was asked for.").await?;
    browser.press("Pause").await?;
    browser.sees("The account is paused.").await?;
    browser.press("Resume").await?;
    browser.sees("The account goes on.").await?;
    // Nothing happens to the account now, so the page is not sent again. What others do is seen on it all the same.
    let unchanged = "return performance.getEntriesByType('resource').some((asked) => asked.responseStatus === 304)";
    browser.holds(unchanged).await?;
    browser.sees(" s ago").await?;
    let account_key = deployed.world.account()?;
    ensure!(deployed.world.store.pause(&account_key, true).await?);
    browser.holds("return document.querySelector('.state').textContent === 'Paused'").await?;
    ensure!(deployed.world.store.pause(&account_key, false).await?);
    browser.sees("Sync now").await?;
    browser.client.set_window_size(1100, 1600).await?;
    browser.screenshot("account").await?;
    browser.press("Read everything again…").await?;
    browser.sees("is not stored twice").await?;
    browser.press("Cancel").await?;
    browser.press("Read everything again…").await?;
    browser.press("Read everything again").await?;
    browser.sees("Everything is read again.").await?;
    browser.press("Disconnect…").await?;
    browser.press("Disconnect").await?;
    browser.sees("The account is disconnected.").await?;

    browser.press("Sign out").await?;
    browser.sees("Access token").await?;
    browser.open(&account(&page, DOMAIN, HUB)).await?;
    browser.sees("Access token").await?;
    deployed.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_or_expired_state_is_explained_and_markup_runs_no_script() -> Result<()> {
    const NAME: &str = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let (deployed, page) = deployed().await?;
    let browser = Browser::start(420, 800, true).await?;
    browser.open(&format!("{}hubspot/callback?state=forged&code=forged", page.url)).await?;
    browser.sees("Please begin again").await?;

    // A state that has expired while the customer was on HubSpot's page.
    browser.open(&page.link(DOMAIN, None).await?).await?;
    browser.press("Go on to HubSpot").await?;
    browser.sees("Which one?").await?;
    let store = deployed.world.store.database();
    let connects = store.collection::<Document>(collection::CONNECTS);
    let past = mongodb::bson::DateTime::from_millis(1);
    connects.update_many(doc! {}, doc! { "$set": { "expiresAt": past } }).await?;
    browser.press(&format!("Account {HUB}")).await?;
    browser.sees("Too much time has passed").await?;

    sign_in(&browser, &page).await?;
    let set = doc! { "$set": { "company.name": NAME } };
    store.collection::<Document>(collection::DOMAINS).update_one(doc! { "_id": DOMAIN }, set).await?;
    browser.open(page.url.as_str()).await?;
    browser.sees("<img src=x").await?;
    browser.open(&account(&page, DOMAIN, HUB)).await?;
    browser.sees("<img src=x").await?;
    let title = browser.client.title().await?;
    ensure!(title.starts_with("<img src=x") && title.ends_with("HubSpot sync"), "the title is {title:?}");
    // What is used by keyboard comes first: the link to the content.
    let first = browser.run("document.querySelector('a').focus(); return document.activeElement.textContent").await?;
    ensure!(first.as_str().context("a text")?.starts_with("Skip to"), "{first}");
    deployed.end()
}
