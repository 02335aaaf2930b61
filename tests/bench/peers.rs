//! `make bench-peers`: other connectors, unmodified, beside this service, on the same simulator and the same changes.
//!
//! Their address of HubSpot is fixed, so each runs in a mount namespace of its own in which the hosts file names this
//! machine and the local CA is trusted. That takes root, and port 443 of 127.0.0.1.

mod connectors;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use harness::{
    bootstrap::usage,
    world::{HUB, World},
};
use hubspot_sim::{Object, Settings};
use mongodb::bson::{DateTime, Document, doc};
use ops::layout;
use serde_json::Value;
use store::collection;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use self::connectors::{BOTH, Peer, configured, peers, selected, write};
use crate::{
    backfill::limited,
    pool::{end_when, send, work},
};

const CONTACTS: usize = 24_000;
const CHANGED: usize = 15_000;
const OF_ONE_MILLISECOND: usize = 12_000;
const COMPANIES: usize = 3_000;
const COMPANIES_CHANGED: usize = 375;

/// How long each connector may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What a connector did.
#[derive(Debug, Default)]
struct Outcome {
    /// The records it delivered, and how often each.
    delivered: BTreeMap<(String, String), usize>,
    time: Duration,
    /// Processor time, in seconds.
    cpu: f64,
    peak_memory: u64,
    /// The longest time without a checkpoint.
    longest_gap: Duration,
    note: String,
}

pub(crate) async fn run() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("make bench-peers needs root: for a mount namespace, and port 443");
    }
    println!(
        "\n{CONTACTS} contacts of which {CHANGED} changed ({OF_ONE_MILLISECOND} in one millisecond), {COMPANIES} companies of which \
         {COMPANIES_CHANGED} changed; 50 ms a request; at most {} s each",
        LIMIT.as_secs()
    );
    for limits in [false, true] {
        println!("\nHubSpot's limits {}\n", if limits { "on: 5 searches/s, 110 requests/10 s" } else { "off" });
        println!(
            "| connector | delivered of expected | duplicates | requests | 429 | time, s | CPU, s | peak RSS, MB | longest without a checkpoint, s | |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        let (world, since) = scenario(limits).await?;
        let outcome = ours(&world, since).await?;
        print(&world, "this service (sync)", BOTH, since, &outcome);
        world.end().await?;
        let wanted = std::env::var("PEER").unwrap_or_default();
        for peer in peers().into_iter().filter(|peer| peer.name.contains(&wanted)) {
            let (mut world, since) = scenario(limits).await?;
            let outcome = theirs(&mut world, &peer, since).await?;
            print(&world, peer.name, peer.lanes, since, &outcome);
            world.end().await?;
        }
    }
    Ok(())
}

/// The account, and the moment from which on its changes are to be read.
async fn scenario(limits: bool) -> Result<(World, i64)> {
    let mut world = limited("bench_peers", 50).await?;
    if !limits {
        world.hubspot.world().settings = Settings { latency_ms: 50, ..Settings::unlimited() };
        world.config.limits.search_rps = std::num::NonZeroU32::new(1_000).context("it is not zero")?;
        world.config.limits.per_10s = std::num::NonZeroU32::new(10_000).context("it is not zero")?;
    }
    let since = {
        let mut hubspot = world.hubspot.world();
        let now = hubspot.now();
        let (old, since) = (now - 400 * 86_400_000, (now - 2 * 86_400_000) / 1000 * 1000);
        let person =
            |number: usize| BTreeMap::from([("email".to_owned(), format!("contact-{number}@company.example"))]);
        let mut company_ids = Vec::new();
        for number in 0..COMPANIES {
            let name = BTreeMap::from([("name".to_owned(), format!("Company {number}"))]);
            company_ids.push(hubspot.create(HUB, Object::COMPANIES, old + number as i64, name));
        }
        let mut contact_ids = Vec::new();
        for number in 0..CONTACTS {
            let id = hubspot.create(HUB, Object::CONTACTS, old + number as i64, person(number));
            hubspot.associate(HUB, id, vec![company_ids[number % COMPANIES]]);
            contact_ids.push(id);
        }
        for (number, id) in company_ids.iter().step_by(COMPANIES / COMPANIES_CHANGED).enumerate() {
            hubspot.update(
                HUB,
                Object::COMPANIES,
                *id,
                since + 60_000 + number as i64 * 1000,
                &[("country", "Norway")],
            );
        }
        for (number, id) in contact_ids.iter().take(CHANGED).enumerate() {
            let at =
                if number < OF_ONE_MILLISECOND { since + 3_600_000 } else { since + 60_000 + number as i64 * 1000 };
            hubspot.update(HUB, Object::CONTACTS, *id, at, &[("jobtitle", "CTO")]);
        }
        since
    };
    Ok((world, since))
}

/// What was to be delivered.
fn expected(world: &World, lanes: &[&str], since: i64) -> Vec<(String, String)> {
    let hubspot = world.hubspot.world();
    let name = |object| if object == Object::COMPANIES { "companies" } else { "contacts" };
    let changes = hubspot.ledger.iter().filter(|change| change.at >= since);
    changes
        .map(|change| (name(change.object).to_owned(), change.id.to_string()))
        .filter(|(lane, _)| lanes.contains(&lane.as_str()))
        .collect()
}

fn print(world: &World, name: &str, lanes: &[&str], since: i64, outcome: &Outcome) {
    let expected = expected(world, lanes, since);
    let found = expected.iter().filter(|record| outcome.delivered.contains_key(*record)).count();
    let duplicates: usize = outcome.delivered.values().map(|times| times - 1).sum();
    let (mut all, mut refused) = (0, 0);
    for (request, count) in &world.hubspot.world().requests {
        all += count;
        refused += if request.ends_with(" 429") { *count } else { 0 };
    }
    println!(
        "| {name} | {found} of {} | {duplicates} | {all} | {:.1} % | {:.1} | {:.1} | {:.0} | {:.1} | {} |",
        expected.len(),
        refused as f64 / (all as f64).max(1.0) * 100.0,
        outcome.time.as_secs_f64(),
        outcome.cpu,
        outcome.peak_memory as f64 / 1e6,
        outcome.longest_gap.as_secs_f64(),
        outcome.note,
    );
}

/// This service's sync, by its real bootstrap, as an account taken over at `since`.
async fn ours(world: &World, since: i64) -> Result<Outcome> {
    world.set_pulled_until(DateTime::from_millis(since)).await?;
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    let done = AtomicBool::new(false);
    let began = Instant::now();
    send(world, world.tick().to_string()).await?;
    let (mut position, mut at, mut longest_gap) = (None, began, Duration::ZERO);
    let caught_up = async || {
        let checkpoint = checkpoints.find_one(doc! {}).await?.unwrap_or_default();
        let lanes = checkpoint.get("lanes").cloned();
        if lanes != position {
            longest_gap = longest_gap.max(at.elapsed());
            (position, at) = (lanes, Instant::now());
        }
        Ok(checkpoint.get_datetime("lastSuccessAt").is_ok())
    };
    let (time, worked) = tokio::try_join!(end_when(&done, began, LIMIT, caught_up), work(world, 1, &done))?;
    let mut outcome =
        Outcome { time, cpu: worked.cpu, peak_memory: worked.peak_memory, longest_gap, ..Outcome::default() };
    while let messages = world.take(&world.actions_queue).await?
        && !messages.is_empty()
    {
        for message in messages {
            let message: Value = serde_json::from_str(&message)?;
            for action in message["actions"].as_array().context("a message has actions")? {
                let text = |name: &str| action[name].as_str().unwrap_or_default().to_owned();
                *outcome.delivered.entry((text("object"), text("recordId"))).or_default() += 1;
            }
        }
    }
    Ok(outcome)
}

/// Another connector, in a namespace in which HubSpot is the simulator.
async fn theirs(world: &mut World, peer: &Peer, since: i64) -> Result<Outcome> {
    let folder = std::env::temp_dir().join(format!("bench-peers-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = observe(world, peer, since, &folder).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn observe(world: &mut World, peer: &Peer, since: i64, folder: &Path) -> Result<Outcome> {
    certificates(folder).await?;
    world.hubspot.listen_tls(443, &folder.join("cert.pem"), &folder.join("key.pem")).await.context("port 443")?;
    let since = DateTime::from_millis(since).try_to_rfc3339_string()?;
    let token = world.hubspot.world().portal(HUB).private_token.clone();
    (peer.configure)(folder, &since, &token)?;
    discover(peer, folder).await?;
    world.hubspot.world().requests.clear();

    let mut child = namespaced(peer, folder, &(peer.command)(folder))?.stderr(log(folder)?).spawn()?;
    let process = child.id().context("a process that runs has an id")?;
    let mut lines = BufReader::new(child.stdout.take().context("its output is read")?).lines();
    let (began, mut outcome) = (Instant::now(), Outcome::default());
    let (mut checkpoint, mut said) = (began, None);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
                match message["type"].as_str() {
                    Some("RECORD") => {
                        let (stream, id) = record(&message);
                        *outcome.delivered.entry((stream, id)).or_default() += 1;
                    }
                    Some("STATE") => {
                        outcome.longest_gap = outcome.longest_gap.max(checkpoint.elapsed());
                        checkpoint = Instant::now();
                    }
                    // Airbyte's connectors tell their errors here.
                    Some("TRACE") => {
                        let error = message["trace"]["error"]["message"].as_str();
                        said = error.map(str::to_owned).or(said);
                    }
                    _ => {}
                }
            }
            _ = ticks.tick() => {
                (outcome.cpu, outcome.peak_memory) = usage(process).unwrap_or((outcome.cpu, outcome.peak_memory));
                if began.elapsed() > LIMIT {
                    outcome.note = "was ended at the time limit".to_owned();
                    child.kill().await?;
                    break;
                }
            }
        }
    }
    let status = child.wait().await?;
    outcome.time = began.elapsed();
    outcome.longest_gap = outcome.longest_gap.max(checkpoint.elapsed());
    if !status.success() && outcome.note.is_empty() {
        let log = std::fs::read_to_string(folder.join("stderr.log"))?;
        let said = said.or_else(|| log.lines().rev().find(|line| line.contains("rror")).map(str::to_owned));
        let said: String = said.unwrap_or_default().replace(['|', '\n'], "/").chars().take(200).collect();
        outcome.note = format!("failed: {said}");
    }
    Ok(outcome)
}

/// A record's stream and id: Singer's form, or Airbyte's.
fn record(message: &Value) -> (String, String) {
    let (stream, data) = match message.get("stream") {
        Some(stream) => (stream, &message["record"]),
        None => (&message["record"]["stream"], &message["record"]["data"]),
    };
    let id = match &data["id"] {
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    (stream.as_str().unwrap_or_default().to_owned(), id)
}

/// Asks a connector for its catalog, and selects the lanes in it.
async fn discover(peer: &Peer, folder: &Path) -> Result<()> {
    let words = (peer.command)(folder);
    let config = folder.join("config.json").display().to_string();
    let words: Vec<String> = match peer.tool {
        "hubspot-node" => return Ok(()),
        "airbyte-source-hubspot" => vec![words[0].clone(), "discover".to_owned(), "--config".to_owned(), config],
        _ => vec![words[0].clone(), "--config".to_owned(), config, "--discover".to_owned()],
    };
    let output = namespaced(peer, folder, &words)?.stderr(log(folder)?).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let catalog = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let catalog = match catalog.into_iter().find(|message| message["type"] == "CATALOG") {
        Some(message) => configured(&message["catalog"], peer.lanes),
        None => selected(
            serde_json::from_str(&text).with_context(|| format!("{} gives no catalog", peer.name))?,
            peer.lanes,
        ),
    };
    write(folder, "catalog.json", &catalog)
}

/// The command in a mount namespace in which `api.hubapi.com` is this machine and its certificate is trusted.
fn namespaced(peer: &Peer, folder: &Path, words: &[String]) -> Result<Command> {
    let tool = layout::tools().join(peer.tool);
    ensure!(tool.exists(), "{} is missing; `make bench-peers` installs it", tool.display());
    let script = r#"mount --bind "$0/hosts" /etc/hosts
        if [ -n "$1" ]; then cat "$1" "$0/ca.pem" > "$0/bundle.pem" && mount --bind "$0/bundle.pem" "$1"; fi
        export NODE_EXTRA_CA_CERTS="$0/ca.pem"
        shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-ec", script]).arg(folder).arg(trusted(&tool).unwrap_or_default()).args(words);
    for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// The certificates that a Python environment trusts (`certifi`).
fn trusted(tool: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(tool.join("lib")).ok()?;
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("site-packages/certifi/cacert.pem")))
        .find(|path| path.exists())
}

fn log(folder: &Path) -> Result<Stdio> {
    Ok(std::fs::File::create(folder.join("stderr.log"))?.into())
}

/// A CA of this run's own, and a certificate for HubSpot's name.
async fn certificates(folder: &Path) -> Result<()> {
    let script = r#"cd "$0"
        printf '127.0.0.1 localhost api.hubapi.com\n' > hosts
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=bench-peers' -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj '/CN=api.hubapi.com' -keyout key.pem -out request.pem
        printf 'subjectAltName=DNS:api.hubapi.com\n' > extensions
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out cert.pem"#;
    let made = Command::new("bash").args(["-ec", script]).arg(folder).output().await?;
    ensure!(made.status.success(), "openssl failed: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
