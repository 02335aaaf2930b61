//! Whether everybody is all right, at a glance: the pages' numbers, plots and rows, as the functions left them.

use anyhow::{Context, Result, ensure};
use model::{
    checkpoint::{LaneProblem, ProblemKind, hour},
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::bson::{Document, doc, serialize_to_document};
use reqwest::StatusCode;
use scheduler::Tick;
use store::{Resync, collection};

use harness::{
    crowd::crowd,
    front::{Front, READ_TOKEN},
    world::{DOMAIN, HUB, World, lambda},
};

/// One tick of the schedule.
async fn tick(world: &World) -> Result<()> {
    let handled = scheduler::handler(&world.scheduler().await?, lambda(Tick::default())).await;
    handled.map(drop).map_err(|error| anyhow::anyhow!(error.error_message))
}

/// What stands between the first `begin` of a page and the next `end`.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> Result<&'a str> {
    let (_, rest) = page.split_once(begin).with_context(|| format!("{begin} is not on the page: {page}"))?;
    Ok(rest.split_once(end).map_or(rest, |(inside, _)| inside))
}

/// The text of each cell of an element's rows.
fn cells(html: &str) -> Vec<Vec<String>> {
    let text = |cell: &str| {
        let cell = cell.split_once('>').map_or("", |(_, inside)| inside);
        let parts: Vec<&str> =
            cell.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
        parts.join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let row = |row: &str| {
        let cells = row.split("<td").flat_map(|part| part.split("<th"));
        cells.skip(1).map(text).collect::<Vec<_>>()
    };
    html.split("<tr>").skip(1).map(row).collect()
}

#[tokio::test]
async fn ticks_after_changes_show_them_by_hour_and_how_fresh_the_accounts_were() -> Result<()> {
    let mut world = World::new("dashboard_plots").await?;
    let front = Front::start(&mut world).await?;
    let mut visitor = front.sign_in().await?;
    let page = visitor.page("/").await?;
    ensure!(page.contains("No tick of the schedule has noted any yet"), "{page}");
    assert_eq!(page.matches("<td>–</td>").count(), 24 * (3 + 2), "nothing is made up: {page}");

    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.run().await?;
    world.hubspot.world().make_changes(HUB, 2, 3);
    world.run().await?;
    // The hour may end between two of them.
    for _ in 0..2 {
        tick(&world).await?;
    }
    // What an instance has read it keeps for some seconds.
    let other = Front::start(&mut world).await?;
    let page = other.sign_in().await?.page("/").await?;
    let actions = world.all(collection::ACTIONS).await?.len();
    ensure!(page.contains(&format!("{actions} changes in the last 24 hours")), "{page}");
    let rows = cells(between(&page, "id=\"changes-table\"", "</table>")?);
    let sum: usize = rows[1..].iter().flat_map(|row| &row[1..]).filter_map(|cell| cell.parse::<usize>().ok()).sum();
    assert_eq!((rows.len(), sum), (25, actions), "{rows:?}");
    ensure!(between(&page, "<svg", "</svg>")?.contains("<rect class=\"created\""), "{page}");
    let rows = cells(between(&page, "id=\"freshness-table\"", "</table>")?);
    ensure!(rows[1][1].ends_with(" s") && rows[1][2].ends_with(" s"), "{rows:?}");
    ensure!(page.contains("As of the schedule's last tick"), "{page}");
    world.end().await
}

#[tokio::test]
async fn accounts_that_need_somebody_come_first_each_with_what_to_do() -> Result<()> {
    let mut world = World::new("dashboard_needs").await?;
    crowd(&world, 20).await?;
    let front = Front::start(&mut world).await?;
    let page = front.sign_in().await?.page("/").await?;
    ensure!(page.contains("6 accounts need somebody.") && page.contains("21 accounts in all"), "{page}");
    for (count, name) in [(2, "Behind"), (2, "Failing"), (2, "Needs reconnecting"), (3, "Not read yet"), (6, "Fresh")] {
        ensure!(page.contains(&format!("<strong>{count}</strong> <span>{name}</span>")), "{count} {name}: {page}");
    }
    let list = between(&page, "<table class=\"rows\"", "</table>")?;
    let rows = cells(list);
    let needing: Vec<&str> = rows[1..7].iter().map(|row| row[1].as_str()).collect();
    for advice in
        ["Sync it now.", "Make a link and send it", "contacts: HubSpot answered 503", "Wait: it is tried again"]
    {
        assert_eq!(needing.iter().filter(|told| told.contains(advice)).count(), 2, "{advice}: {needing:?}");
    }
    assert_eq!(list.matches("class=\"advice\"").count(), 6, "the others need nobody: {list}");

    let failing = front.sign_in().await?.page("/?state=failing").await?;
    ensure!(failing.contains("aria-current=\"page\"") && failing.contains("Show all accounts"), "{failing}");
    ensure!(!failing.contains("<figure"), "a list that is sought has no plots: {failing}");
    world.end().await
}

#[tokio::test]
async fn everybody_all_right_is_said_in_a_sentence() -> Result<()> {
    let mut world = World::new("dashboard_right").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let page = front.sign_in().await?.page("/").await?;
    ensure!(page.contains("Everybody is all right.") && page.contains("1 account in all"), "{page}");
    world.end().await
}

#[tokio::test]
async fn an_account_has_a_row_for_each_object_type() -> Result<()> {
    let mut world = World::new("dashboard_rows").await?;
    let front = Front::start(&mut world).await?;
    let mut visitor = front.sign_in().await?;
    let path = format!("/accounts/{DOMAIN}/{HUB}");
    let rows = |page: &str| -> Result<Vec<Vec<String>>> {
        let rows = cells(between(page, "<table class=\"rows\"", "</table>")?);
        Ok(rows[1..].to_vec())
    };
    let unknown = |name: &str| [name, "–", "–", "–", "none", "none"].map(str::to_owned).to_vec();
    assert_eq!(rows(&visitor.page(&path).await?)?, [unknown("Companies"), unknown("Contacts")]);

    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.run().await?;
    let account = world.account()?;
    let odd = [("7".to_owned(), "its time cannot be read".to_owned())];
    world.store.set_aside(&account, ObjectType::CONTACTS, &odd, false).await?;
    let read = rows(&visitor.page(&path).await?)?;
    for (row, (records, set_aside)) in read.iter().zip([("2", "none"), ("3", "1 record")]) {
        assert_eq!((row[1].as_str(), row[4].as_str(), row[5].as_str()), (records, "none", set_aside), "{read:?}");
        ensure!(row[2].starts_with("Done 20") && row[3].starts_with("20"), "{read:?}");
    }

    // While the history is read again, the page shows progress, and no time left, which is not known yet.
    assert_eq!(world.store.resync(&account, ObjectType::CONTACTS, DateTime::from_millis(0)).await?, Resync::Due);
    let again = rows(&visitor.page(&path).await?)?;
    assert_eq!((again[1][1].as_str(), again[1][2].as_str()), ("–", "0 so far"), "{again:?}");
    world.end().await
}

#[tokio::test]
async fn buttons_that_cannot_be_taken_back_stand_apart() -> Result<()> {
    let mut world = World::new("dashboard_apart").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let path = format!("/accounts/{DOMAIN}/{HUB}");
    let page = front.sign_in().await?.page(&path).await?;
    let (usual, apart) =
        (between(&page, "class=\"buttons\"", "</div>")?, between(&page, "class=\"careful\"", "</section>")?);
    ensure!(usual.contains("Sync now") && usual.contains("Pause") && !usual.contains("Disconnect"), "{usual}");
    for operation in ["resync", "disconnect"] {
        ensure!(apart.contains(&format!("class=\"button danger\" href=\"{path}/{operation}\"")), "{apart}");
    }
    ensure!(!apart.contains("<form"), "what stands apart asks first: {apart}");
    let reader = front.sign_in_with(READ_TOKEN).await?.page(&path).await?;
    ensure!(!reader.contains("class=\"careful\"") && !reader.contains("Disconnect…"), "{reader}");
    world.end().await
}

#[tokio::test]
async fn a_refused_permission_is_told_with_what_the_customer_should_do() -> Result<()> {
    let mut world = World::new("dashboard_scope").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 1, 1, 1);
    world.run().await?;
    let (now, reason) = (DateTime::now(), "HubSpot refuses access".to_owned());
    let problem = LaneProblem { kind: ProblemKind::Forbidden, pass: None, reason, at: now, attempts: 1, retry_at: now };
    let set = doc! { "$set": { "lanes.contacts.lastError": serialize_to_document(&problem)? } };
    world.store.database().collection::<Document>(collection::CHECKPOINTS).update_one(doc! {}, set).await?;
    let mut visitor = front.sign_in().await?;
    for path in ["/", &format!("/accounts/{DOMAIN}/{HUB}")] {
        let page = visitor.page(path).await?;
        ensure!(page.contains("contacts: HubSpot refuses access"), "{path}: {page}");
        ensure!(page.contains("Ask the customer to let the app read contacts again"), "{path}: {page}");
    }
    ensure!(visitor.page("/").await?.contains("One account needs somebody."));
    world.end().await
}

/// A page and its script, which no other site can change.
#[tokio::test]
async fn a_link_is_copied_by_a_script_of_the_function() -> Result<()> {
    let mut world = World::new("dashboard_copy").await?;
    let front = Front::start(&mut world).await?;
    let path = format!("/accounts/{DOMAIN}/{HUB}");
    let answer = front.sign_in().await?.submit_operation(&path, &format!("{path}/link")).await?;
    let policy = answer.headers()["content-security-policy"].to_str()?.to_owned();
    ensure!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text().await?;
    ensure!(page.contains("<script src=\"/copy.js\" defer></script>"), "{page}");
    ensure!(page.contains("<button id=\"copy\" hidden>Copy</button>"), "without the script there is no button: {page}");
    let script = front.get("/copy.js").send().await?;
    assert_eq!(script.status(), StatusCode::OK);
    assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
    world.end().await
}

#[tokio::test]
async fn a_tick_notes_the_worst_of_its_hour_and_forgets_what_is_older_than_two_days() -> Result<()> {
    let world = World::new("health").await?;
    crowd(&world, 200).await?;
    let health = world.store.database().collection::<Document>(collection::HEALTH);
    let ago = |hours: u64| hour(time::before(DateTime::now(), std::time::Duration::from_secs(hours * 3600)));
    let kept = doc! { "freshness": { "oldest": 1_i64, "most": 1_i64 }, "actions": { "created": 5_i64 } };
    let mut hours = Document::new();
    for hours_ago in [40, 50, 1000] {
        hours.insert(ago(hours_ago), kept.clone());
    }
    health.insert_one(doc! { "_id": "hours", "hours": hours }).await?;
    // Ticks may come twice.
    for _ in 0..3 {
        tick(&world).await?;
    }
    let told = world.store.health().await?;
    ensure!(told.hours.keys().all(|hour| *hour >= ago(49)) && told.hours.contains_key(&ago(40)), "{told:?}");
    let (_, last) = told.hours.last_key_value().context("this hour")?;
    let freshness = last.freshness.context("accounts were looked at")?;
    // The one that is furthest behind was checked an hour and 191 s before the crowd was made.
    ensure!(freshness.oldest >= 3600 + 191 && freshness.most > 3600 && freshness.most <= freshness.oldest, "{told:?}");
    // Of 180 accounts with a checkpoint, 7 were updated in each hour, and none is counted twice.
    assert_eq!(last.actions.updated, 180 * 7, "{told:?}");
    assert_eq!(world.all(collection::HEALTH).await?.len(), 1);
    world.end().await
}
