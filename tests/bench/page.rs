//! The status page with thousands of accounts: how long its function takes for it, how large it is, and how much memory that
//! takes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    crowd::crowd,
    front::{TOKEN, request_event},
    world::World,
};
use serde_json::Value;

/// How often each page is asked for.
const TIMES: usize = 20;

pub(crate) async fn run() -> Result<()> {
    println!(
        "\nThe status page, from the event to the answer: of a function that has just started, and {TIMES} times more\n"
    );
    println!("| accounts | page | first, ms | of it processor time, ms | p50, ms | longest, ms | kB | peak RSS, MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for accounts in [2_000, 20_000] {
        let world = World::new("bench_page").await?;
        crowd(&world, accounts).await?;
        for path in ["/", "/?search=0042", "/accounts/domain-00042/8000042"] {
            measure(&world, accounts, path).await?;
        }
        world.end().await?;
    }
    Ok(())
}

async fn measure(world: &World, accounts: i64, path: &str) -> Result<()> {
    let mut connect = Bootstrap::start_ungated(Function::Connect, world).await?;
    let login = ask(&mut connect, &request_event("POST", "/sign-in", &[], &format!("token={TOKEN}"))).await?.0;
    let cookie = login["cookies"][0].as_str().or(login["headers"]["set-cookie"].as_str()).context("a session")?;
    let session = cookie.split(';').next().unwrap_or_default();
    let (mut times, mut size, mut first_cpu) = (Vec::new(), 0, 0.0);
    for number in 0..=TIMES {
        let before = connect.usage()?.0;
        let (answer, time) = ask(&mut connect, &request_event("GET", path, &[("cookie", session)], "")).await?;
        ensure!(answer["statusCode"] == 200, "{path} is answered with {answer}");
        size = answer["body"].as_str().map_or(0, str::len);
        times.push(time);
        if number == 0 {
            first_cpu = (connect.usage()?.0 - before) * 1000.0;
        }
    }
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let first = millis(times.remove(0));
    times.sort_unstable();
    let (p50, longest) = (millis(times[TIMES / 2]), millis(times[TIMES - 1]));
    let (kilobytes, peak) = (size as f64 / 1e3, connect.usage()?.1 as f64 / 1e6);
    println!(
        "| {accounts} | `{path}` | {first:.0} | {first_cpu:.0} | {p50:.0} | {longest:.0} | {kilobytes:.0} | {peak:.0} |"
    );
    Ok(())
}

async fn ask(connect: &mut Bootstrap, event: &Value) -> Result<(Value, Duration)> {
    match connect.invoke(event).await? {
        (Invoked::Answered(answer), time) => Ok((answer, time)),
        (other, _) => anyhow::bail!("the function answers {other:?}"),
    }
}
