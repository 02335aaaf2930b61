//! What the functions say of themselves: metrics as CloudWatch, the alarms, the dashboard and `docs/reference/metrics.md` expect
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context, Result};
use hubspot::OAuthApp;
use hubspot_sim::FaultKind;
use ops::layout;
use serde_json::{Value, json};
use telemetry::NAMESPACE;

use harness::{
    bootstrap::{Bootstrap, Function},
    front::{TOKEN, request_event},
    service::Service,
    world::{HUB, World, message_event},
};

use crate::template;

const ALARM: &str = "AWS::CloudWatch::Alarm";

/// Metrics by their names, with their units.
type Metrics = BTreeMap<String, String>;

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{name}-{}.log", std::process::id()))
}

/// The metrics that the lines of a log carry, as CloudWatch reads them: each with a value, and all with one dimension.
fn metrics(log: &str) -> Result<Metrics> {
    let mut found = Metrics::new();
    for line in log.lines().filter(|line| line.contains("\"_aws\"")) {
        let line: Value = serde_json::from_str(line)?;
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().context("directives")? {
            assert_eq!(directive["Namespace"], NAMESPACE);
            assert_eq!(directive["Dimensions"], json!([["Stack"]]));
            assert_eq!(line["Stack"], "local");
            for metric in directive["Metrics"].as_array().context("metrics")? {
                let name = metric["Name"].as_str().context("a name")?;
                assert!(line[name].is_number(), "{name} has no value: {line}");
                found.insert(name.to_owned(), metric["Unit"].as_str().unwrap_or("None").to_owned());
            }
        }
    }
    Ok(found)
}

/// What `docs/reference/metrics.md` says of a value that no alarm and no dashboard reads.
const LINE_ONLY: &str = ", in the line only";

/// The rows of `docs/reference/metrics.md` that begin with a name, with their units: the metrics, and what is in the line
/// only.
fn documented() -> Result<(Metrics, Metrics)> {
    let text = fs::read_to_string(layout::root().join("docs/reference/metrics.md"))?;
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(cells);
    let rows = rows.map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].clone()));
    Ok(rows.partition(|(_, unit)| !unit.ends_with(LINE_ONLY)))
}

/// The names of the numbers of a log's lines with metrics that are no metrics.
fn in_lines_only(log: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for line in log.lines().filter(|line| line.contains("\"_aws\"")) {
        let line: Value = serde_json::from_str(line)?;
        let numbers = line.as_object().context("an object")?.iter().filter(|(_, value)| value.is_number());
        found.extend(numbers.map(|(name, _)| name.clone()));
    }
    let metrics = metrics(log)?;
    found.retain(|name| !metrics.contains_key(name));
    Ok(found)
}

#[tokio::test]
async fn every_metric_is_emitted_as_documented() -> Result<()> {
    let mut world = World::new("metrics").await?;
    let log = temporary("metrics");
    world.log = Some(log.clone());
    world.hubspot.world().seed(HUB, 30, 250, 1);
    // HubSpot is away for a moment, so that the run goes on after a pause.
    world.fault("/search", 40, FaultKind::Answer { status: 503, body: None, retry_after: None });
    let mut service = Service::new(world, 1, 1).await?;
    service.tick();
    service.deliver_next().await?;
    service.finish().await?;
    // A message that cannot be read, sent an hour ago.
    let mut unread = message_event(&["no JSON"]);
    let sent_at = mongodb::bson::DateTime::now().timestamp_millis() - 3_600_000;
    unread["Records"][0]["attributes"] = json!({"SentTimestamp": sent_at.to_string()});
    service.actions[0].invoke(&unread).await?;
    let waiting = fs::read_to_string(&log)?;
    let waiting = waiting.lines().find(|line| line.contains("\"OldestWaiting\":")).context("it waits")?;
    let waiting: Value = serde_json::from_str(waiting)?;
    assert!(waiting["OldestWaiting"].as_f64().is_some_and(|seconds| (3600.0..3700.0).contains(&seconds)), "{waiting}");
    let mut scheduler = Bootstrap::start_ungated(Function::Scheduler, &service.world).await?;
    scheduler.invoke(&json!({"time": "2026-11-24T08:00:00Z"})).await?;
    let mut connect = Bootstrap::start_ungated(Function::Connect, &service.world).await?;
    connect.invoke(&request_event("GET", "/api/accounts", &[("authorization", "Bearer guess")], "")).await?;
    connect.invoke(&request_event("POST", "/hubspot/webhooks", &[], "[]")).await?;
    let refused = fs::read_to_string(&log)?;
    for name in ["TokensRefused", "WebhooksRefused"] {
        let told = refused.lines().filter(|line| line.contains(&format!("\"{name}\":1"))).count();
        assert_eq!(told, 1, "{name}");
    }
    let text = fs::read_to_string(&log)?;
    let (emitted, (documented, in_line)) = (metrics(&text)?, documented()?);
    assert_eq!(emitted, documented);
    assert_eq!(in_lines_only(&text)?, in_line.into_keys().collect());
    fs::remove_file(log)?;

    // What is watched is among them, and nothing else is paid for.
    let watched = fs::read_to_string(layout::root().join("monitoring.yaml"))?;
    let shown = watched.match_indices("[\"HubSpotSync\", \"").map(|(at, prefix)| &watched[at + prefix.len()..]);
    let shown: Vec<&str> = shown.filter_map(|rest| rest.split('"').next()).collect();
    for name in &shown {
        assert!(emitted.contains_key(*name), "the dashboard shows {name}");
    }
    let monitoring = template::read("monitoring.yaml")?;
    let mut read: BTreeSet<String> = shown.into_iter().map(str::to_owned).collect();
    for (name, alarm) in template::of_type(&monitoring, ALARM)? {
        if alarm["Namespace"] == NAMESPACE {
            let metric = alarm["MetricName"].as_str().context("an alarm of a metric")?;
            assert!(emitted.contains_key(metric), "{name}");
            assert_eq!(alarm["Dimensions"][0]["Name"], "Stack", "{name}");
            read.insert(metric.to_owned());
        }
    }
    assert_eq!(emitted.into_keys().collect::<BTreeSet<_>>(), read, "CloudWatch bills each metric");
    Ok(())
}

#[test]
fn every_alarm_is_in_the_runbook() -> Result<()> {
    let runbook = fs::read_to_string(layout::root().join("docs/guide/runbook.md"))?;
    let monitoring = template::read("monitoring.yaml")?;
    let alarms = template::of_type(&monitoring, ALARM)?;
    assert!(alarms.len() > 15);
    for (name, alarm) in alarms {
        assert!(runbook.contains(&format!("`{name}`")), "{name} is not in the runbook");
        assert!(alarm["AlarmDescription"].is_string(), "{name} says nothing");
    }
    Ok(())
}

#[tokio::test]
async fn tick_reports_freshness_and_counts_skipped_accounts_by_reason() -> Result<()> {
    let mut world = World::new("freshness").await?;
    let log = temporary("freshness");
    world.log = Some(log.clone());
    world.hubspot.world().seed(HUB, 1, 1, 1);
    let database = world.store.database();
    let mut lost = stack::accounts::oauth(HUB + 2, "token");
    lost.insert("state", "reauthorize");
    lost.insert("stateAt", mongodb::bson::DateTime::now());
    let entries = vec![stack::accounts::private_app(HUB + 1, "token"), lost, mongodb::bson::doc! { "hubId": "?" }];
    stack::accounts::write_domain(database, "globex", "Globex", entries).await?;
    let mut scheduler = Bootstrap::start_ungated(Function::Scheduler, &world).await?;
    let tick = json!({"time": "2026-11-24T08:00:00Z"});
    scheduler.invoke(&tick).await?;
    world.take(&world.sync_queue).await?;
    world.run().await?;
    scheduler.invoke(&tick).await?;

    let text = fs::read_to_string(&log)?;
    let lines = text.lines().filter(|line| line.contains("\"AccountsSent\""));
    let ticks: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(ticks.len(), 2);
    for tick in &ticks {
        let counts = ["AccountsSent", "AccountsToReauthorize", "AccountsUnusable", "AccountsPaused"];
        assert_eq!(counts.map(|name| tick[name].as_i64()), [Some(2), Some(1), Some(1), Some(0)]);
    }
    assert_eq!(ticks.iter().map(|tick| tick["AccountsNeverSynced"].as_i64()).collect::<Vec<_>>(), [Some(2), Some(1)]);
    assert!(ticks[0].get("OldestFreshness").is_none(), "nothing is known before the first sync");
    assert!(ticks[1]["OldestFreshness"].as_f64().is_some_and(|seconds| (0.0..60.0).contains(&seconds)));
    fs::remove_file(log)?;
    world.end().await
}

/// The app's own secret is wrong: no account is marked for that, and the metric and the log tell, without secrets.
#[tokio::test]
async fn rejections_that_mark_no_account_are_logged_and_counted() -> Result<()> {
    let mut world = World::new("rejections").await?;
    let log = temporary("rejections");
    world.log = Some(log.clone());
    world.hubspot.world().seed(HUB, 1, 1, 1);
    let tick = message_event(&[world.tick().to_string()]);
    let right = world.config.app.clone();
    let wrong = "no-such-client-secret";
    world.config.app = Some(OAuthApp { client_id: hubspot_sim::CLIENT_ID.to_owned(), client_secret: wrong.into() });
    Bootstrap::start_ungated(Function::Sync, &world).await?.invoke(&tick).await?;
    assert!(world.entry().await?.get("state").is_none(), "it is marked");
    world.config.app = right;
    world.time_passes().await?;
    let due = message_event(&[world.due_message().await?.to_string()]);
    Bootstrap::start_ungated(Function::Sync, &world).await?.invoke(&due).await?;

    let text = fs::read_to_string(&log)?;
    let held: Vec<Value> =
        text.lines().filter(|line| line.contains("\"_aws\"")).map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(held.iter().map(|line| line["RejectionsHeld"].as_i64()).collect::<Vec<_>>(), [Some(1), Some(0)]);
    assert!(text.contains("HubSpot rejects the OAuth app: invalid_client, BAD_CLIENT_ID"), "{text}");
    let grant = world.hubspot.world().portal(HUB).refresh_token.clone().context("a grant")?;
    assert!(!text.contains(wrong) && !text.contains(&grant), "a secret is logged: {text}");
    fs::remove_file(log)?;
    world.end().await
}

/// At `trace`, the runtime writes whole events, and the SDK whole requests.
#[tokio::test]
async fn trace_level_logs_no_event_and_no_token() -> Result<()> {
    let mut world = World::new("trace").await?;
    let log = temporary("trace");
    world.log = Some(log.clone());
    let trace = [("LOG_LEVEL", "trace".to_owned())];
    let mut connect = Bootstrap::start_with(Function::Connect, &world, &trace).await?;
    let bearer = format!("Bearer {TOKEN}");
    connect.invoke(&request_event("GET", "/api/accounts?code=secretcode", &[("authorization", &bearer)], "")).await?;
    let mut actions = Bootstrap::start_with(Function::Actions, &world, &trace).await?;
    actions.invoke(&message_event(&["ana@firm.example"])).await?;

    let text = fs::read_to_string(&log)?;
    assert!(text.contains("a request was answered"), "{text}");
    for secret in ["raw JSON event", TOKEN, "secretcode", "ana@firm.example"] {
        assert!(!text.contains(secret), "{secret} is logged");
    }
    fs::remove_file(log)?;
    world.end().await
}
