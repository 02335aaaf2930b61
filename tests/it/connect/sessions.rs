//! How sessions begin and end.

use std::time::Duration;

use anyhow::{Context, Result};
use model::time::{self, DateTime};
use mongodb::bson::{Document, doc};
use reqwest::StatusCode;
use serde_json::json;
use store::collection;

use harness::{
    front::{Front, READ_TOKEN, TOKEN, Visitor, location, tokens},
    world::World,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Whether somebody with these cookies is shown the accounts; they are sent to `/sign-in` otherwise.
async fn is_in(front: &Front, visitor: &Visitor<'_>) -> Result<bool> {
    let answer = visitor.with_cookies(front.get("/")).send().await?;
    if answer.status() == StatusCode::OK {
        return Ok(answer.text().await?.contains("<h1>Accounts</h1>"));
    }
    assert_eq!((answer.status(), location(&answer)?.path()), (StatusCode::SEE_OTHER, "/sign-in"));
    Ok(false)
}

async fn set(world: &World, field: &str, time: DateTime) -> Result<()> {
    let sessions = world.store.database().collection::<Document>(collection::SESSIONS);
    sessions.update_many(doc! {}, doc! { "$set": { field: time } }).await?;
    Ok(())
}

#[tokio::test]
async fn sign_out_ends_its_session_in_every_copy_of_its_cookie() -> Result<()> {
    let mut world = World::new("sessions_sign_out").await?;
    let front = Front::start(&mut world).await?;
    let (mut visitor, other) = (front.sign_in().await?, front.sign_in().await?);
    assert!(visitor.page("/").await?.contains("<h1>Accounts</h1>"));
    for form in [vec![], vec![("token", "another")]] {
        let answer = visitor.with_cookies(front.post("/sign-out")).form(&form).send().await?;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "another site signs operators out");
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    let copied = visitor.clone();
    let stored = world.all(collection::SESSIONS).await?;
    assert_eq!(stored.len(), 2);
    assert!(!format!("{stored:?}").contains(&copied.cookies["session"]), "the database has what the browser has");
    let answer = visitor.submit_operation("/", "/sign-out").await?;
    let cookie = answer.headers()["set-cookie"].to_str()?;
    assert!(cookie.starts_with("session=;") && cookie.contains("Max-Age=0") && cookie.contains("HttpOnly"), "{cookie}");
    assert!(!is_in(&front, &copied).await?, "the cookie that was signed out");
    assert!(is_in(&front, &other).await?, "another session");
    world.end().await
}

#[tokio::test]
async fn session_expires_when_idle_and_after_12_hours() -> Result<()> {
    let mut world = World::new("sessions_idle").await?;
    let front = Front::start(&mut world).await?;
    let visitor = front.sign_in().await?;
    let end = async || -> Result<DateTime> {
        let sessions = world.all(collection::SESSIONS).await?;
        Ok(*sessions.first().context("a session")?.get_datetime("expiresAt")?)
    };
    let now = DateTime::now();
    let stored = world.all(collection::SESSIONS).await?;
    let lasts = time::between(now, *stored[0].get_datetime("endsAt")?);
    assert!(lasts <= 720 * MINUTE && lasts > 700 * MINUTE, "{lasts:?}");

    // A page that looks for changes by itself is nobody who does something.
    let soon = time::after(now, 10 * MINUTE);
    set(&world, "expiresAt", soon).await?;
    let by_itself = visitor.with_cookies(front.get("/")).header("x-live", "1").send().await?;
    assert_eq!((by_itself.status(), end().await?), (StatusCode::OK, soon));
    assert!(is_in(&front, &visitor).await?);
    assert!(end().await? >= time::after(now, 29 * MINUTE), "who does something stays");
    // But not for longer than half a day.
    set(&world, "expiresAt", soon).await?;
    set(&world, "endsAt", time::after(now, 15 * MINUTE)).await?;
    assert!(is_in(&front, &visitor).await?);
    assert_eq!(end().await?, time::after(now, 15 * MINUTE));
    set(&world, "expiresAt", time::before(now, MINUTE)).await?;
    assert!(!is_in(&front, &visitor).await?);
    world.end().await
}

#[tokio::test]
async fn session_ends_with_its_token_and_is_refused_when_altered_in_database() -> Result<()> {
    let mut world = World::new("sessions_tokens").await?;
    let front = Front::start(&mut world).await?;
    let (admin, reader) = (front.sign_in().await?, front.sign_in_with(READ_TOKEN).await?);
    let mut replaced = tokens();
    replaced["tokens"][0]["token"] = json!("another token of the monitoring, of 40 letters");
    let after = Front::start_with(&mut world, &replaced).await?;
    assert!(!is_in(&after, &reader).await? && is_in(&after, &admin).await?, "one token was replaced");
    let mut lowered = tokens();
    lowered["tokens"][0]["may"] = json!("link");
    let lower = Front::start_with(&mut world, &lowered).await?;
    assert!(!is_in(&lower, &reader).await? && is_in(&lower, &admin).await?, "it may not look any more");
    let gone = Front::start_with(&mut world, &json!({"token": TOKEN})).await?;
    assert!(!is_in(&gone, &reader).await? && is_in(&gone, &admin).await?, "it was taken away");
    let new = json!({"token": "a token in place of the old one, and long enough"});
    let anew = Front::start_with(&mut world, &new).await?;
    assert!(!is_in(&anew, &admin).await?, "the token that may do everything was replaced");

    // Who can write the database makes no session of an operator.
    let sessions = world.store.database().collection::<Document>(collection::SESSIONS);
    sessions.update_many(doc! { "by": "monitoring" }, doc! { "$set": { "by": "admin" } }).await?;
    assert!(!is_in(&front, &reader).await?);
    world.end().await
}
