//! A function's real bootstrap, as `sam build` made it, run by the Lambda Runtime API, with a gate between it and
//! MongoDB, SQS and HubSpot.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mongodb::bson::DateTime;
use nix::unistd::Pid;
use ops::{local, sam::Build};
use secrecy::ExposeSecret;
use serde_json::Value;
use stack::process::MARK;
use token_vault::MasterKey;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    gate::Gate,
    proxy::{
        http::{Api, HttpProxy},
        mongodb::MongoProxy,
    },
    stopwatch::Stopwatch,
    world::World,
};

/// The functions of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `functions/sync`.
    Sync,
    /// `functions/actions`.
    Actions,
    /// `functions/scheduler`.
    Scheduler,
    /// `functions/connect`.
    Connect,
}

impl Function {
    /// Returns its file, as `sam build` made it: the local build, or the one in the folder that `TEST_FUNCTIONS` names.
    pub fn bootstrap(self) -> PathBuf {
        let name = match self {
            Self::Sync => "SyncFunction",
            Self::Actions => "ActionsFunction",
            Self::Scheduler => "SchedulerFunction",
            Self::Connect => "ConnectStack/ConnectFunction",
        };
        let folder = std::env::var_os("TEST_FUNCTIONS").map_or_else(|| Build::Local.folder(), PathBuf::from);
        folder.join(name).join("bootstrap")
    }

    /// Returns its timeout in the template.
    fn timeout(self) -> Duration {
        match self {
            Self::Sync => Duration::from_secs(10),
            Self::Actions => Duration::from_secs(30),
            Self::Scheduler => Duration::from_secs(300),
            Self::Connect => Duration::from_secs(20),
        }
    }
}

/// The result of an invocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Invoked {
    /// The response.
    Answered(Value),
    /// The error.
    Failed(Value),
    /// The process died.
    Died,
}

impl Invoked {
    /// Returns true if SQS would count the messages as processed.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered(answer)
            if answer["batchItemFailures"].as_array().is_none_or(|failures| failures.is_empty()))
    }

    /// Returns the failed messages of the response, by id.
    pub fn failures(&self) -> Vec<String> {
        let Self::Answered(answer) = self else { return Vec::new() };
        let failures = answer["batchItemFailures"].as_array().map(Vec::as_slice).unwrap_or_default();
        failures.iter().filter_map(|failure| failure["itemIdentifier"].as_str().map(str::to_owned)).collect()
    }
}

struct Invocation {
    event: String,
    deadline: i64,
    ended: oneshot::Sender<Invoked>,
}

/// The state of the Runtime API's server.
#[derive(Clone)]
struct Runtime {
    waiting: Arc<AsyncMutex<mpsc::Receiver<Invocation>>>,
    under_way: Arc<Mutex<HashMap<String, oneshot::Sender<Invoked>>>>,
    /// When the bootstrap first requested an invocation.
    polled: Arc<OnceLock<Instant>>,
}

/// A running bootstrap.
#[derive(Debug)]
pub struct Bootstrap {
    /// The gate for its requests to the outside.
    pub gate: Gate,
    /// For how long its last invocation waited for a processor.
    pub waited: Duration,
    function: Function,
    spawned: Instant,
    polled: Arc<OnceLock<Instant>>,
    child: Child,
    invocations: mpsc::Sender<Invocation>,
    _server: JoinSet<std::io::Result<()>>,
    _proxies: Option<(MongoProxy, HttpProxy, HttpProxy)>,
}

impl Bootstrap {
    /// Starts a function for a test's world, with a gate.
    ///
    /// # Errors
    /// It was not built, or cannot be started.
    pub async fn start(function: Function, world: &World) -> Result<Self> {
        Self::start_behind_gate(function, world, None).await
    }

    /// Starts a function for a test's world, with a gate, while MongoDB is unavailable. The function waits for MongoDB
    /// only briefly.
    ///
    /// # Errors
    /// It was not built, or cannot be started.
    pub async fn start_without_mongodb(function: Function, world: &World) -> Result<Self> {
        let nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=10".to_owned();
        Self::start_behind_gate(function, world, Some(nowhere)).await
    }

    async fn start_behind_gate(function: Function, world: &World, mongodb_uri: Option<String>) -> Result<Self> {
        let gate = Gate::default();
        let mongodb = MongoProxy::start(world.mongodb_address()?, gate.clone()).await?;
        let hubspot = HttpProxy::start(Api::HubSpot, world.config.hubspot_base_url.clone(), gate.clone()).await?;
        let sqs = HttpProxy::start(Api::Sqs, std::env::var("AWS_ENDPOINT_URL")?, gate.clone()).await?;
        let ways = [
            ("MONGODB_URI", mongodb_uri.unwrap_or_else(|| mongodb.uri())),
            ("HUBSPOT_API_BASE_URL", hubspot.url.clone()),
            ("AWS_ENDPOINT_URL_SQS", sqs.url.clone()),
        ];
        let mut bootstrap = Self::spawn(function, world, &ways, gate).await?;
        bootstrap._proxies = Some((mongodb, hubspot, sqs));
        Ok(bootstrap)
    }

    /// Starts a function for a test's world, without a gate between it and the servers.
    ///
    /// # Errors
    /// It was not built, or cannot be started.
    pub async fn start_ungated(function: Function, world: &World) -> Result<Self> {
        Self::spawn(function, world, &[], Gate::default()).await
    }

    /// Starts a function for a test's world, with these variables.
    ///
    /// # Errors
    /// It was not built, or cannot be started.
    pub async fn start_with(function: Function, world: &World, variables: &[(&str, String)]) -> Result<Self> {
        Self::spawn(function, world, variables, Gate::default()).await
    }

    async fn spawn(function: Function, world: &World, ways: &[(&str, String)], gate: Gate) -> Result<Self> {
        let path = function.bootstrap();
        if !path.exists() {
            bail!("{} is missing; `make test` and `make bench` build it", path.display());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let api = listener.local_addr()?.to_string();
        let (invocations, waiting) = mpsc::channel(1);
        let runtime =
            Runtime { waiting: Arc::new(AsyncMutex::new(waiting)), under_way: Arc::default(), polled: Arc::default() };
        let polled = runtime.polled.clone();
        let mut server = JoinSet::new();
        server.spawn(axum::serve(listener, routes(runtime)).into_future());
        let port = local::port_of(&std::env::var("AWS_ENDPOINT_URL")?)?;
        let mut command = Command::new(path);
        command
            .env_clear()
            .envs(local::aws_environment(port))
            .envs(environment(world))
            .envs(ways.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", api)
            .envs(std::env::var_os(MARK).map(|stack| (MARK, stack)))
            .stdin(Stdio::null())
            .stdout(log(world)?)
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        let spawned = Instant::now();
        let child = command.spawn().context("the bootstrap cannot be started")?;
        let process = child.id().and_then(|id| i32::try_from(id).ok()).context("a process that runs has an id")?;
        gate.guard(Pid::from_raw(process));
        Ok(Self {
            gate,
            waited: Duration::ZERO,
            function,
            spawned,
            polled,
            child,
            invocations,
            _server: server,
            _proxies: None,
        })
    }

    /// Invokes the function with an event. Returns the result, and the time it took.
    ///
    /// # Errors
    /// There is no response within its timeout and some seconds more, after which Lambda would have ended it.
    pub async fn invoke(&mut self, event: &Value) -> Result<(Invoked, Duration)> {
        self.invoke_with(event.to_string()).await
    }

    /// Invokes the function with an event that is already text.
    ///
    /// # Errors
    /// See [`Self::invoke`].
    pub async fn invoke_with(&mut self, event: String) -> Result<(Invoked, Duration)> {
        self.started().await?;
        let stopwatch = Stopwatch::start_with(self.child.id());
        let (ended, answer) = oneshot::channel();
        let timeout = self.function.timeout();
        let deadline = DateTime::now().timestamp_millis() + i64::try_from(timeout.as_millis())?;
        self.invocations.send(Invocation { event, deadline, ended }).await?;
        let invoked = tokio::select! {
            invoked = answer => invoked.unwrap_or(Invoked::Died),
            _ = self.child.wait() => Invoked::Died,
            () = tokio::time::sleep(timeout + Duration::from_secs(20)) => bail!("the function does not answer"),
        };
        self.waited = stopwatch.waited();
        Ok((invoked, stopwatch.elapsed()))
    }

    /// Waits until the function has started. That is not part of an invocation, and Lambda does not count it either.
    async fn started(&mut self) -> Result<()> {
        const START_TIMEOUT: Duration = Duration::from_secs(60);
        while self.polled.get().is_none() && self.is_alive() {
            anyhow::ensure!(self.spawned.elapsed() < START_TIMEOUT, "the function does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Returns the time from starting the process to its first poll of the Runtime API. Returns `None` before that.
    pub fn cold_start(&self) -> Option<Duration> {
        Some(self.polled.get()?.duration_since(self.spawned))
    }

    /// Returns true if the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns the processor time that the process has used, in seconds, and its peak memory, in bytes.
    ///
    /// # Errors
    /// The process does not run any more.
    pub fn usage(&self) -> Result<(f64, u64)> {
        usage(self.child.id().context("the process has ended")?)
    }
}

/// Returns the processor time of a process, in seconds, and its peak memory, in bytes (`VmHWM`).
///
/// # Errors
/// The process does not run any more.
pub fn usage(process: u32) -> Result<(f64, u64)> {
    /// Linux's `USER_HZ`.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in brackets, may contain anything. `utime` and `stime` are the 12th and 13th fields after it.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak is told")?;
    let kilobytes: u64 = peak.split_whitespace().next().context("an empty line")?.parse()?;
    Ok((ticks / TICKS_PER_SECOND, kilobytes * 1024))
}

fn log(world: &World) -> Result<Stdio> {
    match &world.log {
        Some(path) => Ok(std::fs::OpenOptions::new().create(true).append(true).open(path)?.into()),
        None => Ok(Stdio::null()),
    }
}

fn environment(world: &World) -> HashMap<&'static str, String> {
    let config = &world.config;
    let mut variables = HashMap::from([
        ("AWS_LAMBDA_FUNCTION_NAME", "test".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "test".to_owned()),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "test".to_owned()),
        ("MONGODB_URI", config.mongo.uri.expose_secret().to_owned()),
        ("MONGODB_DATABASE", config.mongo.database.clone()),
        ("HUBSPOT_API_BASE_URL", config.hubspot_base_url.clone()),
        ("SYNC_QUEUE_URL", config.sync_queue_url.clone()),
        ("CONTINUATION_QUEUE_URL", config.continuation_queue_url.clone()),
        ("ACTIONS_QUEUE_URL", config.actions_queue_url.clone()),
        ("ACTIONS_DEAD_LETTER_QUEUE_URL", world.actions_dead_letters.clone()),
        ("CONNECT_SECRET", crate::front::TOKEN.to_owned()),
        ("SYNC_OVERLAP_SECONDS", config.overlap.as_secs().to_string()),
        ("SYNC_SETTLE_SECONDS", config.settle.as_secs().to_string()),
        ("SYNC_CLOCK_TOLERANCE_SECONDS", config.clock_tolerance.as_secs().to_string()),
        ("SYNC_ASSOCIATIONS_SECONDS", config.associations_every.map_or(0.0, |every| every.as_secs_f64()).to_string()),
        ("SYNC_CALCULATED_SECONDS", config.calculated_every.map_or(0.0, |every| every.as_secs_f64()).to_string()),
        ("SYNC_REFERENCES_SECONDS", config.references_every.map_or(0.0, |every| every.as_secs_f64()).to_string()),
        ("SYNC_QUIET_SECONDS", config.quiet.as_secs().to_string()),
        ("SYNC_SWEEP_SECONDS", config.sweep_every.map_or(0.0, |every| every.as_secs_f64()).to_string()),
        ("SYNC_BUDGET_MS", config.budget.as_millis().to_string()),
        ("HUBSPOT_SEARCH_RPS", config.limits.search_rps.to_string()),
        ("HUBSPOT_PER_10S", config.limits.per_10s.to_string()),
        ("HUBSPOT_ASSOCIATIONS_PER_10S", config.limits.associations_per_10s.to_string()),
    ]);
    if let Some(app) = &config.app {
        variables.insert("HUBSPOT_CLIENT_ID", app.client_id.clone());
        variables.insert("HUBSPOT_CLIENT_SECRET", app.client_secret.expose_secret().to_owned());
    }
    variables.insert("HUBSPOT_SEARCH_ONLY", u8::from(config.search_only).to_string());
    variables.insert("TOKENS_SEALED_ONLY", u8::from(config.sealed_only).to_string());
    match &config.token_key {
        Some(MasterKey::Local(key)) => variables.insert("TOKEN_LOCAL_KEY", key.expose_secret().to_owned()),
        Some(MasterKey::Kms(id)) => variables.insert("TOKEN_KMS_KEY_ID", id.clone()),
        None => variables.insert("TOKEN_PLAIN", "1".to_owned()),
    };
    variables.extend(std::env::var("TEST_LOG_LEVEL").map(|level| ("LOG_LEVEL", level)));
    variables
}

fn routes(runtime: Runtime) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .with_state(runtime)
}

async fn next(State(runtime): State<Runtime>) -> Response {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    runtime.polled.get_or_init(Instant::now);
    let Some(invocation) = runtime.waiting.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = format!("{:036}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let headers = [
        ("lambda-runtime-aws-request-id", id.clone()),
        ("lambda-runtime-deadline-ms", invocation.deadline.to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:test".to_owned()),
    ];
    runtime.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(id, invocation.ended);
    (headers, invocation.event).into_response()
}

async fn response(State(runtime): State<Runtime>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    end(&runtime, &id, Invoked::Answered(serde_json::from_slice(&body).unwrap_or_default()))
}

async fn error(State(runtime): State<Runtime>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    end(&runtime, &id, Invoked::Failed(serde_json::from_slice(&body).unwrap_or_default()))
}

fn end(runtime: &Runtime, id: &str, invoked: Invoked) -> StatusCode {
    let ended = runtime.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    // The caller may have given up.
    if let Some(ended) = ended {
        ended.send(invoked).ok();
    }
    StatusCode::ACCEPTED
}
