//! The numbers of `template.yaml`, and the sample events.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result};
use aws_lambda_events::sqs::SqsEvent;
use environment::{
    config::{self, SetBy},
    variables,
};
use model::time::DateTime;
use ops::layout;
use serde_yaml_ng::Value;
use stack::{
    events::Words,
    samples::{Sample, samples},
};
use store::collection;

use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    front::TOKEN,
    queues::Rules,
    world::{HUB, World, assert_accepted, lambda},
};

fn template() -> Result<Value> {
    read("template.yaml")
}

/// A template of the project.
pub(crate) fn read(name: &str) -> Result<Value> {
    Ok(serde_yaml_ng::from_str(&std::fs::read_to_string(layout::root().join(name))?)?)
}

/// Its resources of a type: their names and properties.
pub(crate) fn of_type<'a>(template: &'a Value, kind: &str) -> Result<Vec<(&'a str, &'a Value)>> {
    let resources = template["Resources"].as_mapping().context("a template has resources")?;
    let typed = resources.iter().filter(|(_, resource)| resource["Type"] == kind);
    Ok(typed.filter_map(|(name, resource)| Some((name.as_str()?, &resource["Properties"]))).collect())
}

/// The queue that a `!GetAtt Queue.Arn` names.
pub(crate) fn queue_of(value: &Value) -> Option<&str> {
    let Value::Tagged(tagged) = value else { return None };
    tagged.value.as_str()?.strip_suffix(".Arn")
}

#[test]
fn every_queue_has_a_dead_letter_queue_and_a_visibility_timeout_of_six_timeouts() -> Result<()> {
    let template = template()?;
    let queues = of_type(&template, "AWS::SQS::Queue")?;
    let (dead, live): (Vec<_>, Vec<_>) = queues.into_iter().partition(|(name, _)| name.contains("DeadLetter"));
    assert_eq!(live.len(), 3);
    for (name, queue) in &live {
        let target = queue_of(&queue["RedrivePolicy"]["deadLetterTargetArn"]).context("a dead-letter queue")?;
        assert!(dead.iter().any(|(name, _)| *name == target), "{name}");
        assert!(queue["RedrivePolicy"]["maxReceiveCount"].as_u64() >= Some(5), "{name}");
    }
    for (name, queue) in dead {
        assert_eq!(queue["MessageRetentionPeriod"].as_u64(), Some(14 * 86_400), "{name}");
        assert_eq!(queue["MaximumMessageSize"].as_u64(), Some(1 << 20), "{name}");
    }
    let mut mappings = 0;
    for (name, function) in of_type(&template, "AWS::Serverless::Function")? {
        for (_, event) in function["Events"].as_mapping().context("a function has events")? {
            if event["Type"] != "SQS" {
                continue;
            }
            mappings += 1;
            let event = &event["Properties"];
            assert_eq!(event["FunctionResponseTypes"][0], "ReportBatchItemFailures", "{name}");
            assert!(!event["ScalingConfig"]["MaximumConcurrency"].is_null(), "{name}");
            let queue = queue_of(&event["Queue"]).context("the mapping's queue")?;
            let queue = live.iter().find(|(name, _)| *name == queue).context("the queue")?.1;
            assert_eq!(queue["MaximumMessageSize"].as_u64(), Some(1 << 20), "{name}");
            let timeout = function["Timeout"].as_u64().context("a timeout")?;
            assert!(queue["VisibilityTimeout"].as_u64() >= Some(6 * timeout), "{name}");
        }
    }
    assert_eq!(mappings, 3);
    Ok(())
}

/// What SQS gives to the dead-letter queue by itself has outlived everything else: a message waits in the queue for as long
/// as SQS keeps it, whether or not the function can ask for pauses of its own.
#[test]
fn actions_wait_in_their_queue_for_as_long_as_sqs_keeps_them() -> Result<()> {
    let rules = Rules::from_template("ActionsQueue")?;
    assert_eq!(rules.retention, Duration::from_secs(14 * 86_400));
    assert!(rules.visibility * rules.max_receives >= rules.retention);
    let pauses: Duration = (1..=rules.max_receives).map(actions::pause).sum();
    assert!(pauses >= rules.retention, "the function's pauses add up to {pauses:?}");
    assert_eq!(actions::pause(rules.max_receives), rules.visibility, "the longest pause");
    // Sync sends a message again before SQS would give it away, with one delivery in reserve.
    for queue in ["SyncQueue", "ContinuationQueue"] {
        assert!(Rules::from_template(queue)?.max_receives > sync::LAST_RECEIVE, "{queue}");
    }
    Ok(())
}

/// Lambda drops what is below the level of its own, so that `LogLevel` alone decides.
#[test]
fn lambda_drops_no_line_that_a_function_writes() -> Result<()> {
    let logging = &template()?["Globals"]["Function"]["LoggingConfig"];
    let connect = read("connect.yaml")?;
    let of_connect = &of_type(&connect, "AWS::Lambda::Function")?[0].1["LoggingConfig"];
    for logging in [logging, of_connect] {
        assert_eq!(
            (logging["LogFormat"].as_str(), logging["ApplicationLogLevel"].as_str()),
            (Some("JSON"), Some("TRACE"))
        );
    }
    Ok(())
}

/// What a parameter is called that a `!Ref` names.
pub(crate) fn referred(value: &Value) -> Option<&str> {
    let Value::Tagged(tagged) = value else { return None };
    tagged.value.as_str().filter(|_| tagged.tag == "Ref")
}

/// The names that CodeDeploy has for the ways of a gradual deployment; AWS's user guide, "Deployment configurations on an
/// AWS Lambda compute platform".
const CODE_DEPLOY: [&str; 3] = [
    "CodeDeployDefault.LambdaCanary10Percent5Minutes",
    "CodeDeployDefault.LambdaCanary10Percent15Minutes",
    "CodeDeployDefault.LambdaLinear10PercentEvery1Minute",
];

/// A release takes over in all functions alike: by a version of its own, and step by step if that is wished.
#[test]
fn every_function_has_versions_and_a_gradual_deployment() -> Result<()> {
    let template = template()?;
    assert_eq!(template["Globals"]["Function"]["AutoPublishAlias"], "live");
    for (name, function) in of_type(&template, "AWS::Serverless::Function")? {
        assert_eq!(referred(&function["AutoPublishCodeSha256"]), Some("Release"), "{name}");
    }
    let connect = read("connect.yaml")?;
    let alias = &connect["Resources"]["ConnectAlias"];
    assert_eq!(alias["Properties"]["Name"], "live");
    let version = &connect["Resources"]["ConnectVersion"];
    assert_eq!(referred(&version["Properties"]["Description"]), Some("Release"));
    // Otherwise there is nothing to roll back to.
    assert_eq!((&version["UpdateReplacePolicy"], &version["DeletionPolicy"]), (&"Retain".into(), &"Retain".into()));
    let Value::Tagged(policy) = &alias["UpdatePolicy"] else { anyhow::bail!("the alias is moved at once") };
    assert_eq!(policy.value[0], "IsGradual");
    let update = &policy.value[1]["CodeDeployLambdaAliasUpdate"];
    assert_eq!(referred(&update["DeploymentGroupName"]), Some("DeploymentGroup"));
    let group = &connect["Resources"]["DeploymentGroup"]["Properties"];
    assert_eq!(referred(&group["AlarmConfiguration"]["Alarms"][0]["Name"]), Some("ConnectErrors"));
    let Value::Tagged(way) = &group["DeploymentConfigName"] else { anyhow::bail!("the way is fixed") };
    let way = way.value.as_str().context("a text")?;
    let ways = template["Parameters"]["DeploymentPreference"]["AllowedValues"].as_sequence().context("the ways")?;
    let gradual = ways.iter().filter_map(Value::as_str).filter(|name| *name != "AllAtOnce");
    assert_eq!(gradual.map(|name| way.replace("${DeploymentPreference}", name)).collect::<Vec<_>>(), CODE_DEPLOY);
    Ok(())
}

#[test]
fn sync_function_may_send_to_itself() -> Result<()> {
    let template = template()?;
    let functions = of_type(&template, "AWS::Serverless::Function")?;
    let sync = functions.iter().find(|(name, _)| *name == "SyncFunction").context("the sync function")?.1;
    assert_eq!(sync["RecursiveLoop"], "Allow");
    // A slice, and what Lambda needs around it, must fit into the timeout.
    assert!(sync["Timeout"].as_u64() >= Some(10));
    Ok(())
}

/// The variables that a template sets.
fn set(function: &Value) -> Vec<(&str, &Value)> {
    let variables = function["Environment"]["Variables"].as_mapping().into_iter().flatten();
    variables.filter_map(|(name, value)| Some((name.as_str()?, value))).collect()
}

/// A function is given what it reads, and nothing else, from the parameters that the table of variables names.
#[test]
fn template_sets_exactly_the_variables_that_functions_read() -> Result<()> {
    let (template, connect) = (template()?, read("connect.yaml")?);
    let shared = set(&template["Globals"]["Function"]);
    let mut functions = of_type(&template, "AWS::Serverless::Function")?;
    functions.extend(of_type(&connect, "AWS::Lambda::Function")?);
    assert_eq!(functions.len(), config::Function::ALL.len());
    for (name, properties) in functions {
        let mut given = set(properties);
        given.extend(shared.iter().filter(|_| name != "ConnectFunction").copied());
        let is_of_row =
            |row: &config::Variable| row.read_by.iter().any(|of| name.to_lowercase().starts_with(of.name()));
        let rows = variables::ALL.iter().filter(|row| is_of_row(row));
        let rows = rows.filter(|row| matches!(row.set_by, SetBy::Parameter(_) | SetBy::Template));
        let expected: BTreeMap<&str, SetBy> = rows.map(|row| (row.name, row.set_by)).collect();
        assert_eq!(
            given.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(),
            expected.keys().copied().collect(),
            "{name}"
        );
        for (variable, value) in given {
            if let (Some(parameter), SetBy::Parameter(expected)) = (referred(value), expected[variable]) {
                assert_eq!(parameter, expected, "{variable} of {name}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_parameter_has_the_default_of_its_variable() -> Result<()> {
    let parameters = &template()?["Parameters"];
    for variable in variables::ALL {
        let SetBy::Parameter(name) = variable.set_by else { continue };
        let default = &parameters[name]["Default"];
        let default =
            default.as_u64().map_or_else(|| default.as_str().map(str::to_owned), |number| Some(number.to_string()));
        let default = default.with_context(|| format!("the template has no parameter {name}"))?;
        assert_eq!(default, variable.default.unwrap_or_default(), "{}", variable.name);
    }
    Ok(())
}

#[test]
fn every_parameter_is_used_and_described_and_secrets_are_hidden() -> Result<()> {
    let text = std::fs::read_to_string(layout::root().join("template.yaml"))?;
    let template = template()?;
    for (name, parameter) in template["Parameters"].as_mapping().context("parameters")? {
        let name = name.as_str().context("a parameter's name")?;
        assert!(text.contains(&format!("!Ref {name}")), "{name} is not used");
        assert!(parameter["Description"].is_string(), "{name} is not described");
        if (name.contains("Secret") && !name.ends_with("Arn")) || name.ends_with("Uri") {
            assert_eq!(parameter["NoEcho"], true, "{name} is shown");
        }
    }
    Ok(())
}

fn sample(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(layout::root().join(format!("events/{name}.json")))?)
}

#[tokio::test]
async fn sample_events_are_answered_by_the_handlers() -> Result<()> {
    let world = World::new("events").await?;
    let tick = serde_json::from_str(&sample("scheduler-tick")?)?;
    let fan_out = scheduler::handler(&world.scheduler().await?, lambda(tick)).await;
    assert_eq!(fan_out.map_err(|error| anyhow::anyhow!(error.error_message))?.sent, 1);

    // The samples are about a Domain of their own, which is connected here.
    let (domain, token) = ("6562f1f77bcf86cd79943901", world.hubspot.world().portal(HUB).private_token.clone());
    stack::accounts::write_domain(
        world.store.database(),
        domain,
        "Sample",
        vec![stack::accounts::private_app(HUB, &token)],
    )
    .await?;
    world.hubspot.world().seed(HUB, 3, 7, 1);
    let sync = world.sync().await?;
    for name in ["sync-tick", "sync-continuation"] {
        let event: SqsEvent = serde_json::from_str(&sample(name)?)?;
        assert_accepted(sync::handler(&sync, lambda(event)).await)?;
    }
    world.drain().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 10);

    let actions = world.actions().await?;
    let event: SqsEvent = serde_json::from_str(&sample("actions-batch")?)?;
    assert_accepted(actions::handler(&actions, lambda(event)).await)?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 14);
    let event: SqsEvent = serde_json::from_str(&sample("actions-deal")?)?;
    assert_accepted(actions::handler(&actions, lambda(event)).await)?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 15);
    assert_eq!(world.all("hubspot_deals").await?.len(), 1);
    let event: SqsEvent = serde_json::from_str(&sample("actions-references")?)?;
    assert_accepted(actions::handler(&actions, lambda(event)).await)?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 16, "one of its definitions has changed");
    assert_eq!(world.all("hubspot_schemas").await?.len(), 2);
    let event: SqsEvent = serde_json::from_str(&sample("actions-one-malformed")?)?;
    let response =
        actions::handler(&actions, lambda(event)).await.map_err(|error| anyhow::anyhow!(error.error_message))?;
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 16, "the readable message's action was there already");
    Ok(())
}

/// As in containers, but with the bootstrap of connect by itself.
#[tokio::test]
async fn sample_requests_are_answered_by_connect() -> Result<()> {
    let world = World::new("requests").await?;
    let (domain, hub) = stack::accounts::SAMPLE;
    let token = world.hubspot.world().portal(hub).private_token.clone();
    let entry = stack::accounts::private_app(hub, &token);
    let domain = mongodb::bson::oid::ObjectId::parse_str(domain)?;
    stack::accounts::write_domain(world.store.database(), domain, "Sample", vec![entry]).await?;
    let mut connect = Bootstrap::start_ungated(Function::Connect, &world).await?;
    let mut words = Words { token: TOKEN.into(), client_secret: hubspot_sim::CLIENT_SECRET.into(), link: None };
    let mut answered = 0;
    for sample in samples().iter().filter(|sample| sample.function == "ConnectFunction") {
        let event = words.put_into(&std::fs::read_to_string(sample.path())?, DateTime::now())?;
        let (Invoked::Answered(answer), _) = connect.invoke(&event).await? else {
            anyhow::bail!("{} is not answered", sample.event)
        };
        sample.check(&answer)?;
        words.take_link(&answer);
        answered += 1;
    }
    assert_eq!(answered, 6);
    Ok(())
}

/// Each event is among the samples that `.ci/run` gives to the functions in containers.
#[test]
fn every_event_is_a_sample() -> Result<()> {
    let files = std::fs::read_dir(layout::root().join("events"))?.flatten();
    let files: BTreeSet<_> = files.map(|file| file.path()).collect();
    assert_eq!(samples().iter().map(Sample::path).collect::<BTreeSet<_>>(), files);
    Ok(())
}

/// One version shows everywhere: in the stack, in the logs, at HubSpot, and in the changelog.
#[test]
fn stack_and_changelog_have_the_version() -> Result<()> {
    assert_eq!(template()?["Outputs"]["Version"]["Value"].as_str(), Some(telemetry::VERSION));
    let changelog = std::fs::read_to_string(layout::root().join("CHANGELOG.md"))?;
    anyhow::ensure!(changelog.contains(&format!("\n## {}\n", telemetry::VERSION)), "it is not in CHANGELOG.md");
    Ok(())
}
