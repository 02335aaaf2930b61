//! The stack as a whole: started, deployed to, and stopped.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::{Context, Result, bail};
use common::{config::MongoConfig, store::Store};

use crate::{
    aws::Aws,
    layout, process,
    sam::{self, Build},
    servers,
    settings::Settings,
    simulator::Control,
};

/// The name of the deployed stack.
pub const NAME: &str = "hubspot-sync";

/// A stack that is up.
#[derive(Debug)]
pub struct Stack {
    /// Its database.
    pub store: Store,
    /// Its AWS.
    pub aws: Aws,
    /// What SAM deployed: names and addresses.
    pub outputs: BTreeMap<String, String>,
    /// How to reach MongoDB from this machine.
    pub mongodb_uri: String,
}

impl Stack {
    /// The stack `name`, as it is deployed: on the local AWS, or with `on_aws` on the one of the environment, with the
    /// MongoDB of `.env`.
    ///
    /// # Errors
    /// It is not there, or no MongoDB is named for AWS.
    pub async fn open(settings: &Settings, name: &str, on_aws: bool) -> Result<Self> {
        let port = settings.ports.aws;
        let mongodb_uri = match &settings.mongodb_uri {
            Some(uri) => uri.clone(),
            None if on_aws => bail!("MONGODB_URI is not set; put it into .env"),
            None => servers::mongodb_uri(settings.ports.mongodb),
        };
        let mongo = MongoConfig { uri: mongodb_uri.clone().into(), database: settings.database.clone() };
        let store = Store::connect(&mongo).await?;
        let (aws, environment) = match on_aws {
            true => (Aws::from_env().await, Vec::new()),
            false => (Aws::local(port).await, servers::aws_environment(port).to_vec()),
        };
        let outputs = sam::outputs(name, &environment).await?;
        Ok(Self { store, aws, outputs, mongodb_uri })
    }

    /// One of the outputs of the template.
    ///
    /// # Errors
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }
}

/// Stops what is left of an earlier stack, starts the servers, builds, deploys, and makes the indexes. A
/// new simulator has new records, so that what an earlier one left in a local MongoDB is thrown
/// away.
///
/// # Errors
/// Anything cannot be started or deployed.
pub async fn up(settings: &Settings) -> Result<Stack> {
    let state = layout::state();
    process::stop_all(&state).await?;
    if settings.hubspot.is_none() && state.join("mongodb").exists() {
        std::fs::remove_dir_all(state.join("mongodb"))?;
    }
    let start = async {
        if settings.mongodb_uri.is_none() {
            servers::start_mongod(&state, settings.ports.mongodb).await?;
        }
        servers::start_ministack(&state, settings.ports.aws).await?;
        if settings.hubspot.is_none() {
            servers::start_simulator(&state, settings.ports.hubspot).await?;
        }
        Ok(())
    };
    let mongodb_uri = settings.mongodb_uri.clone().unwrap_or_else(|| servers::mongodb_uri(settings.ports.mongodb));
    let mut starting = vec!["MiniStack (AWS in one process)"];
    starting.extend(settings.mongodb_uri.is_none().then_some("MongoDB"));
    starting.extend(settings.hubspot.is_none().then_some("the HubSpot simulator"));
    let started = async { tokio::try_join!(start, sam::build(&state, Build::Local)) };
    step(&format!("sam build, and starting {}", starting.join(", ")), started).await?;
    let environment = servers::aws_environment(settings.ports.aws);
    let mut parameters = parameters(settings, &mongodb_uri);
    parameters.insert("SqsEndpointUrl", format!("http://127.0.0.1:{}", settings.ports.aws));
    step("sam deploy (about 20 s)", sam::deploy(&state, Build::Local, NAME, &parameters, &environment)).await?;
    let stack = Stack::open(settings, NAME, false).await?;
    stack.store.migrate(settings.retention).await.context("the indexes cannot be made")?;
    if settings.hubspot.is_none() {
        let url = format!("{}/hubspot/webhooks", stack.output("ConnectUrl")?);
        Control::new(settings.ports.hubspot).send_webhooks_to(&url).await?;
    }
    Ok(stack)
}

/// Stops every process of the stack. Data and logs stay.
///
/// # Errors
/// Some do not end.
pub async fn down() -> Result<()> {
    let state = layout::state();
    let stopped = process::stop_all(&state).await?;
    println!("{stopped} processes stopped; data and logs stay in {}", relative(state).display());
    Ok(())
}

/// Builds and deploys to the AWS that the environment names, with the parameters that the environment and
/// `.env` give, and makes the indexes.
///
/// # Errors
/// The build or the deployment fails, or MongoDB cannot be reached from here.
pub async fn deploy(settings: &Settings) -> Result<()> {
    let state = layout::state();
    let uri = settings.mongodb_uri.clone().context("MONGODB_URI is not set; put it into .env")?;
    step("sam build", sam::build(&state, Build::Release)).await?;
    step("sam deploy (some minutes)", sam::deploy(&state, Build::Release, NAME, &parameters(settings, &uri), &[]))
        .await?;
    migrate(&uri, settings).await?;
    for (name, value) in sam::outputs(NAME, &[]).await? {
        println!("{name}: {value}");
    }
    Ok(())
}

/// Makes the indexes that are missing.
///
/// # Errors
/// MongoDB cannot be reached, or what is stored violates an index.
pub async fn migrate(uri: &str, settings: &Settings) -> Result<()> {
    let mongo = MongoConfig { uri: uri.into(), database: settings.database.clone() };
    step("making the indexes", async { Ok(Store::connect(&mongo).await?.migrate(settings.retention).await?) }).await
}

/// The parameters of the template that are taken from the environment or `.env` as they are.
const PARAMETERS: [(&str, &str); 31] = [
    ("MongoDbSecretArn", "MONGODB_SECRET_ARN"),
    ("HubSpotSecretArn", "HUBSPOT_SECRET_ARN"),
    ("HubSpotSearchRps", "HUBSPOT_SEARCH_RPS"),
    ("HubSpotPer10s", "HUBSPOT_PER_10S"),
    ("HubSpotCompanyProperties", "HUBSPOT_COMPANY_PROPERTIES"),
    ("HubSpotContactProperties", "HUBSPOT_CONTACT_PROPERTIES"),
    ("Connect", "CONNECT"),
    ("ConnectUrl", "CONNECT_URL"),
    ("ConnectSecretArn", "CONNECT_SECRET_ARN"),
    ("ConnectRequestsPerSecond", "CONNECT_REQUESTS_PER_SECOND"),
    ("TokenKeyArn", "TOKEN_KEY_ARN"),
    ("DeploymentPreference", "DEPLOYMENT_PREFERENCE"),
    ("ScheduleExpression", "SCHEDULE_EXPRESSION"),
    ("ScheduleState", "SCHEDULE_STATE"),
    ("SyncOverlapSeconds", "SYNC_OVERLAP_SECONDS"),
    ("SyncSettleSeconds", "SYNC_SETTLE_SECONDS"),
    ("SyncSweepSeconds", "SYNC_SWEEP_SECONDS"),
    ("SyncBudgetMs", "SYNC_BUDGET_MS"),
    ("SyncConcurrency", "SYNC_CONCURRENCY"),
    ("ActionsConcurrency", "ACTIONS_CONCURRENCY"),
    ("SchedulerMemory", "SCHEDULER_MEMORY"),
    ("SyncMemory", "SYNC_MEMORY"),
    ("ActionsMemory", "ACTIONS_MEMORY"),
    ("LogLevel", "LOG_LEVEL"),
    ("LogRetentionDays", "LOG_RETENTION_DAYS"),
    ("OtlpEndpoint", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("VpcSubnetIds", "VPC_SUBNET_IDS"),
    ("VpcSecurityGroupIds", "VPC_SECURITY_GROUP_IDS"),
    ("AlarmTopicArn", "ALARM_TOPIC_ARN"),
    ("FreshnessAlarmSeconds", "FRESHNESS_ALARM_SECONDS"),
    ("TickAlarmSeconds", "TICK_ALARM_SECONDS"),
];

fn parameters<'a>(settings: &Settings, mongodb_uri: &str) -> BTreeMap<&'a str, String> {
    let mut parameters = BTreeMap::from([("MongoDbDatabase", settings.database.clone())]);
    if common::config::optional("MONGODB_SECRET_ARN").is_none() {
        parameters.insert("MongoDbUri", mongodb_uri.to_owned());
    }
    let optional = common::config::optional;
    let (base_url, authorize_url, client) = match &settings.hubspot {
        Some(real) => (optional("HUBSPOT_API_BASE_URL"), optional("HUBSPOT_AUTHORIZE_URL"), real.client.clone()),
        None => {
            let url = format!("http://127.0.0.1:{}", settings.ports.hubspot);
            let authorize = Some(format!("{url}/oauth/authorize"));
            (Some(url), authorize, Some((hubspot_sim::CLIENT_ID.to_owned(), hubspot_sim::CLIENT_SECRET.to_owned())))
        }
    };
    parameters.extend(base_url.map(|url| ("HubSpotApiBaseUrl", url)));
    parameters.extend(authorize_url.map(|url| ("HubSpotAuthorizeUrl", url)));
    if let Some((id, secret)) = client.filter(|_| common::config::optional("HUBSPOT_SECRET_ARN").is_none()) {
        parameters.extend([("HubSpotClientId", id), ("HubSpotClientSecret", secret)]);
    }
    for (parameter, variable) in PARAMETERS {
        parameters.extend(common::config::optional(variable).map(|value| (parameter, value)));
    }
    parameters
}

/// Says what is being done, and how long it took.
///
/// # Errors
/// What the work says.
pub async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let began = Instant::now();
    print!("  {what} ... ");
    std::io::Write::flush(&mut std::io::stdout())?;
    let result = work.await;
    match &result {
        Ok(_) => println!("{:.1} s", began.elapsed().as_secs_f32()),
        Err(_) => println!("failed"),
    }
    result
}

fn relative(path: PathBuf) -> PathBuf {
    path.strip_prefix(layout::root()).map(|path| path.to_owned()).unwrap_or(path)
}
