//! The status page with thousands of accounts: how long its function takes for it, and how large it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    bootstrap::{Bootstrap, Function, Invoked},
    front::{TOKEN, request_event, two_thousand},
    world::World,
};

/// How often each page is asked for.
const TIMES: usize = 20;

pub(crate) async fn run() -> Result<()> {
    println!("\nThe status page with 2,000 accounts, {TIMES} times each, from the event to the answer\n");
    println!("| page | p50, ms | longest, ms | kB |");
    println!("|---|---|---|---|");
    let world = World::new("bench_page").await?;
    two_thousand(&world).await?;
    let mut connect = Bootstrap::start_ungated(Function::Connect, &world).await?;
    let login = ask(&mut connect, &request_event("POST", "/sign-in", &[], &format!("token={TOKEN}"))).await?.0;
    let cookie = login["cookies"][0].as_str().or(login["headers"]["set-cookie"].as_str()).context("a session")?;
    let session = cookie.split(';').next().unwrap_or_default();
    for path in ["/", "/?search=0042", "/accounts/domain-0042/8000084"] {
        let (mut times, mut size) = (Vec::new(), 0);
        for _ in 0..TIMES {
            let (answer, time) = ask(&mut connect, &request_event("GET", path, &[("cookie", session)], "")).await?;
            ensure!(answer["statusCode"] == 200, "{path} is answered with {answer}");
            size = answer["body"].as_str().map_or(0, str::len);
            times.push(time);
        }
        times.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let (p50, longest) = (millis(times[TIMES / 2]), millis(times[TIMES - 1]));
        println!("| `{path}` | {p50:.0} | {longest:.0} | {:.0} |", size as f64 / 1e3);
    }
    world.end().await
}

async fn ask(connect: &mut Bootstrap, event: &Value) -> Result<(Value, Duration)> {
    match connect.invoke(event).await? {
        (Invoked::Answered(answer), time) => Ok((answer, time)),
        (other, _) => anyhow::bail!("the function answers {other:?}"),
    }
}
