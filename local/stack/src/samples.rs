//! The sample events in `events/`, given to the functions in containers by `sam local invoke`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use common::{config::MongoConfig, store::Store};
use mongodb::bson::oid::ObjectId;
use serde_json::{Value, json};

use crate::{
    accounts::{SAMPLE, private_app, write_domain},
    aws::Aws,
    layout,
    process::free_port,
    relay::Relays,
    sam, servers,
    settings::{Ports, Settings},
    simulator::Control,
    stack::NAME,
};

/// Each sample event, its function, and what the function answers.
fn samples() -> [(&'static str, &'static str, Value); 5] {
    let all_done = json!({"batchItemFailures": []});
    let second_failed = json!({"batchItemFailures": [{"itemIdentifier": "00000000-0000-4000-8000-000000000002"}]});
    [
        ("scheduler-tick", "SchedulerFunction", json!({"sent": 1, "skipped": 0, "complete": true})),
        ("sync-tick", "SyncFunction", all_done.clone()),
        ("sync-continuation", "SyncFunction", all_done.clone()),
        ("actions-batch", "ActionsFunction", all_done),
        ("actions-one-malformed", "ActionsFunction", second_failed),
    ]
}

/// The variables of the functions in containers, and what keeps them valid.
struct Surroundings {
    env_vars: PathBuf,
    _relays: Relays,
}

/// Lets containers reach the servers, and writes the file that `sam local invoke --env-vars` takes.
async fn surroundings(state: &Path, settings: &Settings, outputs: &BTreeMap<String, String>) -> Result<Surroundings> {
    let mut relays = Relays::new().await?;
    let mongodb_uri = match &settings.mongodb_uri {
        Some(uri) => uri.clone(),
        None => format!("mongodb://{}/?directConnection=true", relays.open(settings.ports.mongodb).await?),
    };
    let mut variables = json!({
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DATABASE": settings.database,
        "AWS_ENDPOINT_URL_SQS": format!("http://{}", relays.open(settings.ports.aws).await?),
        "SYNC_QUEUE_URL": outputs.get("SyncQueueUrl"),
        "ACTIONS_QUEUE_URL": outputs.get("ActionsQueueUrl"),
    });
    if settings.hubspot.is_none() {
        variables["HUBSPOT_API_BASE_URL"] = json!(format!("http://{}", relays.open(settings.ports.hubspot).await?));
        variables["HUBSPOT_CLIENT_ID"] = json!(hubspot_sim::CLIENT_ID);
        variables["HUBSPOT_CLIENT_SECRET"] = json!(hubspot_sim::CLIENT_SECRET);
    }
    let env_vars = state.join("env.json");
    std::fs::write(&env_vars, serde_json::to_vec_pretty(&json!({"Parameters": variables}))?)?;
    Ok(Surroundings { env_vars, _relays: relays })
}

/// Gives an event to a function in a container, beside the stack that is up, and shows what it answers.
///
/// # Errors
/// The stack is not up, Docker is not running, or the function fails.
pub async fn invoke(settings: &Settings, function: &str, event: &str) -> Result<()> {
    let outputs = sam::outputs(NAME, &servers::aws_environment(settings.ports.aws)).await;
    let outputs = outputs.context("is the stack up? `make up` starts it")?;
    let surroundings = surroundings(&layout::state(), settings, &outputs).await?;
    println!("{}", sam::local_invoke(function, event, &surroundings.env_vars).await?);
    Ok(())
}

/// Gives each sample event to its function, beside servers of their own, and compares the answers.
///
/// # Errors
/// A function cannot be invoked, or answers something else.
pub async fn invoke_all(state: &Path) -> Result<ExitCode> {
    let ports = Ports { mongodb: free_port()?, aws: free_port()?, hubspot: free_port()? };
    servers::start_mongod(state, ports.mongodb).await?;
    servers::start_ministack(state, ports.aws).await?;
    servers::start_simulator(state, ports.hubspot).await?;
    let settings = Settings { ports, hubspot: None, mongodb_uri: None, ..Settings::read()? };
    let uri = servers::mongodb_uri(ports.mongodb);
    let mongo = MongoConfig { uri: uri.into(), database: settings.database.clone() };
    let store = Store::connect(&mongo).await?;
    store.migrate(None).await?;
    let (domain, hub) = SAMPLE;
    let connected = Control::new(ports.hubspot).seed(hub, 20, 80).await?;
    let entry = private_app(hub, &connected.private_token);
    write_domain(store.database(), ObjectId::parse_str(domain)?, "Sample", vec![entry]).await?;
    let aws = Aws::local(ports.aws).await;
    let mut outputs = BTreeMap::new();
    for (output, name) in [("SyncQueueUrl", "sync"), ("ActionsQueueUrl", "actions")] {
        outputs.insert(output.to_owned(), aws.create_queue(name).await?);
    }
    let surroundings = surroundings(state, &settings, &outputs).await?;
    for (event, function, expected) in samples() {
        let answer = sam::local_invoke(function, &format!("events/{event}.json"), &surroundings.env_vars).await?;
        ensure!(answer == expected, "{function} answered {event} with {answer}, not {expected}");
        println!("sam local invoke {function} --event events/{event}.json: {answer}");
    }
    // The tick's slice pulled for real: one message for the companies, one for the contacts.
    let queued = aws.depth(outputs.get("ActionsQueueUrl").context("the actions queue")?).await?;
    ensure!(queued == 2, "{queued} messages of actions were queued, not 2");
    Ok(ExitCode::SUCCESS)
}
