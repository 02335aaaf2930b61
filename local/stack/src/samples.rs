//! Runs the functions in containers with the sample events in `events/`, by `sam local invoke`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use model::time::DateTime;
use mongodb::bson::oid::ObjectId;
use ops::{
    aws::Aws,
    connect::Page,
    layout,
    layout::NAME,
    local, own, sam,
    settings::{Ports, Settings},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use store::{MongoConfig, Store};

use crate::{
    accounts::{SAMPLE, private_app, write_domain},
    events::Words,
    process::free_port,
    relay::Relays,
    servers,
    simulator::Control,
};

/// A sample event.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its file in `events/`, without the extension.
    pub event: &'static str,
    /// The function that it is for.
    pub function: &'static str,
    /// The function's answer. For an answer to a browser or a program, only its status.
    pub answer: Value,
}

impl Sample {
    /// Returns the path of its file.
    pub fn path(&self) -> PathBuf {
        layout::root().join(format!("events/{}.json", self.event))
    }

    /// Checks the function's answer. It may have further fields.
    ///
    /// # Errors
    /// The answer differs.
    pub fn check(&self, answer: &Value) -> Result<()> {
        let expected = self.answer.as_object().context("an answer has fields")?;
        let is_right = expected.iter().all(|(name, value)| answer.get(name) == Some(value));
        ensure!(is_right, "{} answered {} with {answer}, not {}", self.function, self.event, self.answer);
        Ok(())
    }
}

/// Returns the sample events, in an order in which each has what it needs: a link is made before it is opened.
pub fn samples() -> Vec<Sample> {
    let all_done = json!({"batchItemFailures": []});
    let second_failed = json!({"batchItemFailures": [{"itemIdentifier": "00000000-0000-4000-8000-000000000002"}]});
    let status = |status: u16| json!({ "statusCode": status });
    let all = [
        ("scheduler-tick", "SchedulerFunction", json!({"sent": 1, "skipped": 0, "resting": 0, "complete": true})),
        ("sync-tick", "SyncFunction", all_done.clone()),
        ("sync-continuation", "SyncFunction", all_done.clone()),
        ("actions-batch", "ActionsFunction", all_done.clone()),
        ("actions-deal", "ActionsFunction", all_done.clone()),
        ("actions-references", "ActionsFunction", all_done),
        ("actions-one-malformed", "ActionsFunction", second_failed),
        ("connect-link", CONNECT, status(201)),
        ("connect-install", CONNECT, status(200)),
        ("connect-callback", CONNECT, status(400)),
        ("connect-webhooks", CONNECT, status(204)),
        ("connect-webhooks-forged", CONNECT, status(401)),
        ("connect-status", CONNECT, status(200)),
    ];
    all.map(|(event, function, answer)| Sample { event, function, answer }).into()
}

/// The name of the connect function.
const CONNECT: &str = "ConnectFunction";

/// The variables of the functions in containers, and the relays that keep them valid.
struct Surroundings {
    env_vars: PathBuf,
    _relays: Relays,
}

/// Opens relays to the servers, and writes the file for `sam local invoke --env-vars`.
async fn surroundings(
    state: &Path,
    settings: &Settings,
    outputs: &BTreeMap<String, String>,
    words: &Words,
) -> Result<Surroundings> {
    let mut relays = Relays::new().await?;
    let mongodb_uri = match &settings.mongodb_uri {
        Some(uri) => uri.expose_secret().to_owned(),
        None => format!("mongodb://{}/?directConnection=true", relays.open(settings.ports.mongodb).await?),
    };
    let mut variables = json!({
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DATABASE": settings.database,
        "AWS_ENDPOINT_URL_SQS": format!("http://{}", relays.open(settings.ports.aws).await?),
        "SYNC_QUEUE_URL": outputs.get("SyncQueueUrl"),
        "CONTINUATION_QUEUE_URL": outputs.get("ContinuationQueueUrl"),
        "ACTIONS_QUEUE_URL": outputs.get("ActionsQueueUrl"),
    });
    // In place of the secret, which a container cannot reach.
    variables["CONNECT_SECRET_ARN"] = json!("");
    variables["CONNECT_SECRET"] = json!(words.token.expose_secret());
    if settings.hubspot.is_none() {
        let hubspot = format!("http://{}", relays.open(settings.ports.hubspot).await?);
        variables["HUBSPOT_AUTHORIZE_URL"] = json!(format!("{hubspot}/oauth/authorize"));
        variables["HUBSPOT_API_BASE_URL"] = json!(hubspot);
        variables["HUBSPOT_CLIENT_ID"] = json!(hubspot_sim::CLIENT_ID);
        variables["HUBSPOT_CLIENT_SECRET"] = json!(hubspot_sim::CLIENT_SECRET);
    }
    // `sam local` does not resolve the parameters of a nested stack.
    let of_connect = json!({
        "MONGODB_SECRET_ARN": "", "MONGODB_PLAIN": "", "HUBSPOT_SECRET_ARN": "", "CONNECT_URL": "", "TOKEN_KMS_KEY_ID": "",
        "TOKENS_SEALED_ONLY": "", "HUBSPOT_OBJECTS": "companies,contacts", "HUBSPOT_OPTIONAL_OBJECTS": "",
        "HUBSPOT_PROPERTIES": "", "HUBSPOT_COMPANY_PROPERTIES": "", "HUBSPOT_CONTACT_PROPERTIES": "",
        "FRESHNESS_ALARM_SECONDS": "1800", "LOG_LEVEL": "info", "STACK_NAME": "local", "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    });
    let env_vars = state.join("env.json");
    let all = json!({"Parameters": variables, CONNECT: of_connect});
    layout::write_private(&env_vars, &serde_json::to_vec_pretty(&all)?)?;
    Ok(Surroundings { env_vars, _relays: relays })
}

/// Runs a function in a container with an event, beside the running stack, and prints its answer.
///
/// # Errors
/// The stack is not up, Docker does not run, or the function fails.
pub async fn invoke(settings: &Settings, function: &str, event: &str) -> Result<()> {
    own::check(settings).await?;
    let outputs = sam::outputs(NAME, &local::aws_environment(settings.ports.aws)).await;
    let outputs = outputs.context("is the stack up? `make up` starts it")?;
    let mut words = Words { token: TOKEN.into(), client_secret: client_secret(settings), link: None };
    if let (Some(url), Some(secret)) = (outputs.get("ConnectUrl"), outputs.get("ConnectSecretArn")) {
        let page = Page::at(url, &Aws::local(settings.ports.aws).await, secret).await?;
        words.token = page.token().into();
        words.link = page.link(SAMPLE.0, None).await.ok().and_then(|link| link.parse().ok());
    }
    let state = layout::state();
    let surroundings = surroundings(&state, settings, &outputs, &words).await?;
    println!("{}", local_invoke(&state, function, Path::new(event), &words, &surroundings).await?);
    Ok(())
}

fn client_secret(settings: &Settings) -> SecretString {
    let real = settings.hubspot.as_ref().and_then(|real| real.client.as_ref());
    real.map_or_else(|| hubspot_sim::CLIENT_SECRET.into(), |(_, secret)| secret.clone())
}

/// Replaces the words of an event, and runs a function in a container with it. Returns its answer.
async fn local_invoke(
    state: &Path,
    function: &str,
    event: &Path,
    words: &Words,
    surroundings: &Surroundings,
) -> Result<Value> {
    let text = std::fs::read_to_string(event).with_context(|| event.display().to_string())?;
    let filled = state.join("event.json");
    layout::write_private(&filled, words.put_into(&text, DateTime::now())?.to_string().as_bytes())?;
    sam::local_invoke(function, &filled.to_string_lossy(), &surroundings.env_vars).await
}

/// How many times a sample is tried.
const TRIES: u64 = 3;

/// The token of the status page if no connect function is deployed beside the containers.
const TOKEN: &str = "a-token-of-the-samples-with-more-than-32-characters";

/// Runs each function with its sample events, beside servers of their own, and compares the answers.
///
/// # Errors
/// A function cannot be invoked, or an answer differs.
pub async fn invoke_all(settings: &Settings, state: &Path) -> Result<ExitCode> {
    let ports = Ports { mongodb: free_port()?, aws: free_port()?, hubspot: free_port()? };
    servers::start_mongod(state, ports.mongodb).await?;
    servers::start_ministack(state, ports.aws).await?;
    servers::start_simulator(state, ports.hubspot).await?;
    let settings = Settings { ports, hubspot: None, mongodb_uri: None, ..settings.clone() };
    let uri = local::mongodb_uri(ports.mongodb);
    let mongo = MongoConfig { uri: uri.into(), database: settings.database.clone() };
    let store = Store::connect(&mongo).await?;
    store.migrate(None).await?;
    let (domain, hub) = SAMPLE;
    let connected = Control::new(ports.hubspot).seed(hub, 20, 80).await?;
    let entry = private_app(hub, &connected.private_token);
    write_domain(store.database(), ObjectId::parse_str(domain)?, "Sample", vec![entry]).await?;
    let aws = Aws::local(ports.aws).await;
    let mut outputs = BTreeMap::new();
    for (output, name) in
        [("SyncQueueUrl", "sync"), ("ContinuationQueueUrl", "continuations"), ("ActionsQueueUrl", "actions")]
    {
        outputs.insert(output.to_owned(), aws.create_queue(name).await?);
    }
    let mut words = Words { token: TOKEN.into(), client_secret: client_secret(&settings), link: None };
    let surroundings = surroundings(state, &settings, &outputs, &words).await?;
    // One for each object type's records, and one for each list of its properties, as far as there was time for them.
    let mut most = 4;
    for sample in samples() {
        let invoke = async || local_invoke(state, sample.function, &sample.path(), &words, &surroundings).await;
        let mut invoked = invoke().await;
        // On a busy machine, Docker may not start a container within SAM's timeout.
        for _ in 1..TRIES {
            let Err(error) = &invoked else { break };
            println!("once more: {error:#}");
            most += 4;
            invoked = invoke().await;
        }
        let answer = invoked?;
        sample.check(&answer)?;
        words.take_link(&answer);
        println!("sam local invoke {} --event events/{}.json: {}", sample.function, sample.event, sample.answer);
    }
    // The tick's slice has really read records: there is at least one message for the companies, and one for the contacts.
    let queued = aws.depth(outputs.get("ActionsQueueUrl").context("the actions queue")?).await?;
    ensure!((2..=most).contains(&queued), "{queued} messages of actions were queued, not 2 to {most}");
    Ok(ExitCode::SUCCESS)
}
