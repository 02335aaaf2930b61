//! `make deploy` and `make smoke TARGET=aws`, the very program, against a local AWS as if it were AWS: with each form of `.env`
//! that the documents show, the stack has what they promise.

mod architecture;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mongodb::{Client, bson::Document};
use ops::{
    aws::Aws,
    cloudformation::{self, Existing},
    local, parameters,
    sam::Build,
};
use stack::process::wait_until;
use store::collection;

use harness::{
    deployed::deploying,
    program::Program,
    world::{DOMAIN, HUB, World, secret},
};

use self::values::ALL;
use crate::template;

/// A client secret with everything that a shell, `.env`, YAML, or SAM might take for something else.
const CLIENT_SECRET: &str = r#"a"b c $d #e, \f: {g} %2B é"#;

/// A stack that is deployed by the program.
struct Rehearsal {
    program: Program,
    name: String,
    aws: Aws,
}

impl Rehearsal {
    async fn new(name: &str) -> Result<Self> {
        let port = local::port_of(&std::env::var("AWS_ENDPOINT_URL").context("these tests are run by `make test`")?)?;
        Ok(Self {
            program: Program::new(name)?.with_aws(port),
            name: format!("{name}-{}", std::process::id()),
            aws: Aws::local(port).await,
        })
    }

    async fn run(&self, command: &[&str], answer: &str) -> Result<harness::program::ProgramOutput> {
        self.program.run(&[&["--stack-name", &self.name], command].concat(), answer).await
    }

    /// Deploys with this `.env`.
    async fn deploy(&self, env: &str, more: &[&str], answer: &str) -> Result<harness::program::ProgramOutput> {
        self.deploy_build(&Build::Local.folder(), env, more, answer).await
    }

    /// Deploys another build.
    async fn deploy_build(
        &self,
        built: &Path,
        env: &str,
        more: &[&str],
        answer: &str,
    ) -> Result<harness::program::ProgramOutput> {
        self.program.write_env(env)?;
        let _deploying = deploying().await?;
        let command = ["deploy", "--built", built.to_str().context("a path in UTF-8")?];
        self.run(&[&command, more].concat(), answer).await
    }

    async fn stack(&self) -> Result<Existing> {
        cloudformation::existing(&self.aws, &self.name).await?.context("the stack is not there")
    }

    /// Deletes the stack. The local AWS reads no queue of anybody any more once a mapping's concurrency comes of a parameter.
    async fn delete(&self) -> Result<()> {
        self.aws.cloudformation().delete_stack().stack_name(&self.name).send().await?;
        wait_until("the stack is deleted", Duration::from_secs(60), async || {
            matches!(cloudformation::existing(&self.aws, &self.name).await, Ok(None))
        })
        .await
    }

    /// The variables of a function in the version that is live, which is the one that works.
    async fn live(&self, function: &str) -> Result<BTreeMap<String, String>> {
        let name =
            self.stack().await?.outputs.get(function).cloned().with_context(|| format!("no output {function}"))?;
        let asked = self.aws.lambda().get_function_configuration().function_name(name).qualifier("live");
        let variables = asked.send().await?.environment.and_then(|all| all.variables).context("variables")?;
        Ok(variables.into_iter().collect())
    }

    /// Sees that all is on, as the stack's parameters have it, or all is off. What CloudFormation says of the schedule stays.
    async fn ensure_switched(&self, is_on: bool) -> Result<()> {
        let stack = self.stack().await?;
        let output = |name: &str| stack.outputs.get(name).with_context(|| format!("no output {name}"));
        for function in ["SyncFunction", "ActionsFunction"] {
            let listed = self.aws.lambda().list_event_source_mappings();
            let listed = listed.function_name(format!("{}:live", output(function)?)).send().await?;
            let states: Vec<_> = listed.event_source_mappings().iter().filter_map(|mapping| mapping.state()).collect();
            let expected: &[&str] = if is_on { &["Enabled", "Enabling"] } else { &["Disabled", "Disabling"] };
            ensure!(
                !states.is_empty() && states.iter().all(|state| expected.contains(state)),
                "{function}: {states:?}"
            );
        }
        let asked = self.aws.lambda().get_function_concurrency().function_name(output("ConnectFunction")?);
        // With none, AWS answers nobody; the local API Gateway does not look at it.
        let reserved = asked.send().await?.reserved_concurrent_executions;
        assert_eq!(reserved, Some(if is_on { 20 } else { 0 }));
        let schedule = self.aws.cloudformation().describe_stack_resource().stack_name(&self.name);
        let schedule = schedule.logical_resource_id("SchedulerFunctionTick").send().await?;
        let name = schedule.stack_resource_detail.and_then(|found| found.physical_resource_id).context("its name")?;
        ensure!(name != "SchedulerFunctionTick", "the schedule has the same name in every stack");
        let schedule = self.aws.scheduler().get_schedule().name(name).send().await?;
        let state = schedule.state().map(|state| state.as_str());
        assert_eq!(state, Some(if is_on { "ENABLED" } else { "DISABLED" }));
        ensure!(schedule.schedule_expression() == Some("rate(30 days)") && schedule.target().is_some());
        Ok(())
    }

    /// The log levels with which the functions work.
    async fn log_levels(&self) -> Result<Vec<String>> {
        let mut levels = Vec::new();
        for function in ["SchedulerFunction", "SyncFunction", "ActionsFunction", "ConnectFunction"] {
            levels.push(self.live(function).await?.remove("LOG_LEVEL").with_context(|| format!("{function}'s level"))?);
        }
        Ok(levels)
    }

    /// Sees that the stack has the template's defaults but for these parameters. Secret ones show nothing.
    async fn ensure_parameters(&self, given: &[(&str, &str)]) -> Result<()> {
        let mut expected = BTreeMap::new();
        for (name, parameter) in template::read("template.yaml")?["Parameters"].as_mapping().context("parameters")? {
            let (name, default) = (name.as_str().context("a name")?, &parameter["Default"]);
            let default =
                default.as_str().map_or_else(|| default.as_u64().unwrap_or_default().to_string(), str::to_owned);
            if parameter["NoEcho"] != true && name != "Release" {
                expected.insert(name.to_owned(), default);
            }
        }
        for (name, value) in given {
            ensure!(expected.insert((*name).to_owned(), (*value).to_owned()).is_some(), "there is no parameter {name}");
        }
        let mut found = self.stack().await?.parameters;
        found.retain(|name, _| expected.contains_key(name));
        assert_eq!(found, expected);
        Ok(())
    }
}

/// Reads the arguments of all processes until `is_over`. Returns those of SAM that name `stack`.
fn arguments_of_sam(stack: &str, is_over: &AtomicBool) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    while !is_over.load(Ordering::Relaxed) {
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            if arguments.contains("bin/sam\0deploy") && arguments.contains(stack) {
                seen.insert(arguments);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    seen
}

fn mongodb(database: &str) -> Result<String> {
    Ok(format!("MONGODB_URI='{}'\nMONGODB_DATABASE={database}\n", std::env::var("TEST_MONGODB_URI")?))
}

/// Every variable that a parameter has, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_variable_reaches_its_parameter() -> Result<()> {
    let documented: BTreeSet<(&str, &str)> = parameters::variables().collect();
    let elsewhere =
        ["MongoDbUri", "MongoDbSecretArn", "HubSpotClientSecret", "HubSpotSecretArn", "DeploymentPreference"];
    let covered: BTreeSet<(&str, &str)> = ALL.iter().map(|(name, variable, _)| (*name, *variable)).collect();
    let missing: Vec<_> = documented.difference(&covered).filter(|(name, _)| !elsewhere.contains(name)).collect();
    ensure!(missing.is_empty() && covered.is_subset(&documented), "{missing:?}");

    let (rehearsal, database) = (Rehearsal::new("every").await?, format!("every_{}", std::process::id()));
    let (mut env, mut given) = (format!("{}HUBSPOT_CLIENT_SECRET=secret\n", mongodb(&database)?), Vec::new());
    for (parameter, variable, value) in ALL {
        let value = if *parameter == "MongoDbDatabase" { &database } else { *value };
        env.push_str(&format!("{variable}='{value}'\n"));
        given.push((*parameter, value));
    }
    rehearsal.deploy(&env, &["--yes"], "").await?.expect_success()?;
    rehearsal.ensure_parameters(&given).await?;
    rehearsal.delete().await?;
    Client::with_uri_str(std::env::var("TEST_MONGODB_URI")?).await?.database(&database).drop().await?;
    Ok(())
}

/// The service is at work then, with HubSpot's and SQS's addresses as they are given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployed_stack_passes_smoke_test_and_rolls_back_stops_and_starts() -> Result<()> {
    let world = World::new("smoke").await?;
    world.hubspot.world().seed(HUB, 5, 20, 1);
    let rehearsal = Rehearsal::new("smoke").await?;
    let env = format!(
        "{}HUBSPOT_CLIENT_ID={}\nHUBSPOT_CLIENT_SECRET={}\nHUBSPOT_API_BASE_URL={}\nAWS_ENDPOINT_URL_SQS={}\n\
         SCHEDULE_EXPRESSION='rate(30 days)'\n",
        mongodb(world.store.database().name())?,
        hubspot_sim::CLIENT_ID,
        hubspot_sim::CLIENT_SECRET,
        world.hubspot.url(),
        std::env::var("AWS_ENDPOINT_URL")?,
    );
    rehearsal.deploy(&env, &["--yes", "--config-env", "staging"], "").await?.expect_success()?;
    let expected = [("environment", "staging"), ("service", "hubspot-sync")];
    assert_eq!(rehearsal.stack().await?.tags, expected.map(|(name, value)| (name.into(), value.into())).into());
    ensure!(rehearsal.run(&["smoke", "--aws"], "").await?.expect_success()?.contains("A change goes through."));
    assert_eq!(world.proof().await?.actions, 25);
    let sealed = "2 tokens are sealed under data key 2";
    ensure!(rehearsal.run(&["rotate-keys", "--aws"], "").await?.expect_success()?.contains(sealed));
    // A release that is not wanted: the one before takes over again, connect's too, and the service works.
    ensure!(rehearsal.run(&["rollback", "--aws"], "").await?.expect_failure()?.contains("has no version before"));
    let debug = format!("{env}LOG_LEVEL=debug\n");
    rehearsal.deploy(&debug, &["--yes"], "").await?.expect_success()?;
    assert_eq!(rehearsal.log_levels().await?, ["debug"; 4]);
    let said = rehearsal.run(&["rollback", "--aws", "--dry"], "").await?.expect_success()?;
    ensure!(said.contains("would work with version"));
    assert_eq!(rehearsal.log_levels().await?, ["debug"; 4]);
    rehearsal.run(&["rollback", "--aws"], "").await?.expect_success()?;
    assert_eq!(rehearsal.log_levels().await?, ["info"; 4]);
    ensure!(rehearsal.deploy(&debug, &["--yes"], "").await?.expect_success()?.contains("it was taken back"));
    ensure!(rehearsal.run(&["rollback", "--aws"], "").await?.expect_failure()?.contains("nothing was taken back"));
    let said = rehearsal.run(&["link", "--aws", "--domain", DOMAIN], "").await?.expect_success()?;
    ensure!(said.contains("/hubspot/install?"), "{said}");
    // It is switched off, twice, and on again.
    for _ in 0..2 {
        rehearsal.run(&["stop", "--aws"], "").await?.expect_success()?;
    }
    rehearsal.ensure_switched(false).await?;
    rehearsal.run(&["start", "--aws"], "").await?.expect_success()?;
    rehearsal.ensure_switched(true).await?;
    rehearsal.run(&["smoke", "--aws"], "").await?.expect_success()?;
    // The same `.env` is not for AWS itself, and is refused before anybody is asked anything.
    let on_aws = Program::new("smoke_on_aws")?;
    on_aws.write_env(&env)?;
    let built = Build::Local.folder();
    let built = built.to_str().context("a path in UTF-8")?;
    for command in [["deploy", "--check"].as_slice(), &["deploy", "--built", built]] {
        let said = on_aws.run(command, "").await?.expect_failure()?;
        ensure!(said.contains("error: MONGODB_URI names this machine"), "{said}");
    }
    on_aws.write_env("MONGODB_URI=mongodb://user:geheim@10.0.0.1/\n")?;
    let said = on_aws.run(&["deploy", "--check"], "").await?.expect_failure()?;
    ensure!(said.contains("MONGODB_PLAIN=1") && !said.contains("geheim"), "{said}");
    world.end().await
}

/// A value that the template does not allow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_change_set_deploys_nothing() -> Result<()> {
    let rehearsal = Rehearsal::new("refused").await?;
    let database = format!("refused_{}", std::process::id());
    let env = format!("{}SYNC_CONCURRENCY=1\n", mongodb(&database)?);
    let said = rehearsal.deploy(&env, &["--yes"], "").await?.expect_failure()?;
    ensure!(said.contains("SyncConcurrency"), "{said}");
    ensure!(cloudformation::existing(&rehearsal.aws, &rehearsal.name).await?.is_none(), "a stack was deployed");
    let client = Client::with_uri_str(std::env::var("TEST_MONGODB_URI")?).await?;
    ensure!(client.database(&database).list_collection_names().await?.is_empty(), "indexes were made");
    Ok(())
}

/// It asks first, and does nothing without a yes.
async fn asks_first(rehearsal: &Rehearsal, readme: &str) -> Result<()> {
    for answer in ["", "n\n", "maybe\n"] {
        let said = rehearsal.deploy(readme, &[], answer).await?.expect_failure()?;
        ensure!(said.contains("The stack") && said.contains("nothing was deployed"), "{said}");
        ensure!(said.contains("Add    SyncFunction (AWS::Lambda::Function)"), "{said}");
        ensure!(!said.contains(CLIENT_SECRET), "{said}");
        // No terminal can answer how long actions are kept.
        ensure!(said.contains("ACTIONS_RETENTION_DAYS is not set: actions are kept"), "{said}");
        ensure!(cloudformation::existing(&rehearsal.aws, &rehearsal.name).await?.is_none(), "it was deployed");
    }
    Ok(())
}

/// It deploys, and gives no secret to SAM by its arguments.
async fn deploys(rehearsal: &Rehearsal, readme: &str, database: &str) -> Result<()> {
    let is_over = std::sync::Arc::new(AtomicBool::new(false));
    let watcher = tokio::task::spawn_blocking({
        let (name, is_over) = (rehearsal.name.clone(), is_over.clone());
        move || arguments_of_sam(&name, &is_over)
    });
    let said = rehearsal.deploy(readme, &[], "yes\n").await?;
    is_over.store(true, Ordering::Relaxed);
    let arguments = watcher.await?;
    said.expect_success()?;
    ensure!(arguments.iter().any(|all| all.contains("file://")), "SAM was not seen: {arguments:?}");
    let secrets = [CLIENT_SECRET, "mongodb://"];
    ensure!(!arguments.iter().any(|all| secrets.iter().any(|secret| all.contains(secret))), "{arguments:?}");
    rehearsal.ensure_parameters(&[("MongoDbDatabase", database), ("HubSpotClientId", "id-1")]).await?;
    let sync = rehearsal.live("SyncFunction").await?;
    assert_eq!(sync["HUBSPOT_CLIENT_SECRET"], CLIENT_SECRET);
    assert_eq!(sync["MONGODB_URI"], std::env::var("TEST_MONGODB_URI")?);
    assert_eq!(sync["HUBSPOT_API_BASE_URL"], "https://api.hubapi.com");
    Ok(())
}

/// README's form, and SETUP's, one after the other: what is in one of them alone is not in the other's stack.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy_asks_first_and_stack_matches_documented_env() -> Result<()> {
    let rehearsal = Rehearsal::new("rehearsal").await?;
    let database = format!("rehearsal_{}", std::process::id());
    let readme = format!("{}HUBSPOT_CLIENT_ID=id-1\nHUBSPOT_CLIENT_SECRET='{CLIENT_SECRET}'\n", mongodb(&database)?);

    asks_first(&rehearsal, &readme).await?;
    deploys(&rehearsal, &readme, &database).await?;
    let indexed = Client::with_uri_str(std::env::var("TEST_MONGODB_URI")?).await?.database(&database);
    let indexes = indexed.collection::<Document>(collection::ACTIONS).list_index_names().await?;
    ensure!(indexes.contains(&"company_created_once".to_owned()), "{indexes:?}");

    // The same once more is nothing to deploy.
    let said = rehearsal.deploy(&readme, &["--yes"], "").await?.expect_success()?;
    ensure!(said.contains("nothing to deploy"), "{said}");

    // SETUP's form.
    let client = aws_sdk_secretsmanager::Client::new(&aws_config::load_from_env().await);
    let uri = secret(&client, &format!("{}-mongodb", rehearsal.name), &std::env::var("TEST_MONGODB_URI")?).await?;
    let app = r#"{"clientId":"id-2","clientSecret":"secret-2"}"#;
    let app = secret(&client, &format!("{}-hubspot", rehearsal.name), app).await?;
    let topic = format!("arn:aws:sns:us-east-1:000000000000:{}", rehearsal.name);
    let setup = format!(
        "{readme}MONGODB_SECRET_ARN={uri}\nHUBSPOT_SECRET_ARN={app}\nALARM_TOPIC_ARN={topic}\nCONNECT=DISABLED\n\
         LOG_LEVEL=debug\nSCHEDULE_EXPRESSION='rate(10 minutes)'\nACTIONS_RETENTION_DAYS=30\n"
    );
    let said = rehearsal.deploy(&setup, &["--yes"], "").await?.expect_success()?;
    ensure!(said.contains("LogLevel: debug instead of info"), "{said}");
    let given = [
        ("MongoDbDatabase", database.as_str()),
        ("MongoDbSecretArn", &uri),
        ("HubSpotSecretArn", &app),
        ("AlarmTopicArn", &topic),
        ("Connect", "DISABLED"),
        ("LogLevel", "debug"),
        ("ScheduleExpression", "rate(10 minutes)"),
    ];
    rehearsal.ensure_parameters(&given).await?;
    for function in ["SyncFunction", "ActionsFunction", "SchedulerFunction"] {
        let live = rehearsal.live(function).await?;
        assert_eq!(live["LOG_LEVEL"], "debug", "{function} works with its old variables");
        assert_eq!(
            (live["MONGODB_URI"].as_str(), live["MONGODB_SECRET_ARN"].as_str()),
            ("", uri.as_str()),
            "{function}"
        );
    }
    assert_eq!(rehearsal.live("SyncFunction").await?["HUBSPOT_CLIENT_SECRET"], "");

    // And back: what is not said any more is the default again.
    let said = rehearsal.deploy(&readme, &["--yes"], "").await?.expect_success()?;
    ensure!(
        said.contains("LogLevel: info instead of debug") && said.contains("AlarmTopicArn: nothing instead"),
        "{said}"
    );
    rehearsal.ensure_parameters(&[("MongoDbDatabase", &database), ("HubSpotClientId", "id-1")]).await?;
    assert_eq!(rehearsal.live("SyncFunction").await?["HUBSPOT_CLIENT_SECRET"], CLIENT_SECRET);
    indexed.drop().await?;
    Ok(())
}
