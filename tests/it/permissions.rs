//! What the functions may do, as IAM enforces it on the deployed service.

use anyhow::{Context, Result, ensure};
use hubspot_sim::FaultKind;
use mongodb::bson::Document;
use reqwest::StatusCode;
use serde_json::{Value, json};
use store::collection;

use harness::{
    deployed::Deployed,
    front::{Front, Visitor},
    queues::Rules,
    world::{DOMAIN, HUB, message_event},
};

/// The roles' policies in IAM, from which statements are taken away and to which they are given back.
struct Roles {
    iam: aws_sdk_iam::Client,
    names: Vec<String>,
}

impl Roles {
    async fn of(stack: &str) -> Result<Self> {
        let iam = aws_sdk_iam::Client::new(&aws_config::load_from_env().await);
        let listed = iam.list_roles().send().await?;
        let names = listed.roles().iter().map(|role| role.role_name().to_owned());
        Ok(Self { names: names.filter(|name| name.starts_with(stack)).collect(), iam })
    }

    /// The one inline policy of a function's role: its role's name, and the policy.
    async fn policy(&self, function: &str) -> Result<(&str, Value)> {
        let role = self.names.iter().find(|name| name.contains(&format!("{function}Role"))).context("a role")?;
        let read = self.iam.get_role_policy().role_name(role).policy_name(function.to_lowercase()).send().await?;
        let document = percent_decode(read.policy_document());
        Ok((role, serde_json::from_str(&document)?))
    }

    async fn put(&self, role: &str, function: &str, policy: &Value) -> Result<()> {
        let put = self.iam.put_role_policy().role_name(role).policy_name(function.to_lowercase());
        put.policy_document(policy.to_string()).send().await?;
        Ok(())
    }
}

/// IAM answers with policies as in a URL (RFC 3986).
fn percent_decode(text: &str) -> String {
    let decoded = reqwest::Url::parse(&format!("http://localhost/?policy={}", text.replace('+', "%2B")));
    let value = decoded.ok().and_then(|url| Some(url.query_pairs().next()?.1.into_owned()));
    value.unwrap_or_default()
}

/// Stops Lambda from reading the queues by itself, so that only these tests invoke the functions: each test invokes
/// different functions, none of which has read its secrets before.
async fn stop_reading_queues(deployed: &Deployed) -> Result<()> {
    let lambda = aws_sdk_lambda::Client::new(&aws_config::load_from_env().await);
    for function in ["SyncFunction", "ActionsFunction"] {
        let name = format!("{}:live", deployed.output(function)?);
        let listed = lambda.list_event_source_mappings().function_name(name).send().await?;
        ensure!(!listed.event_source_mappings().is_empty(), "{function} reads no queue");
        for mapping in listed.event_source_mappings() {
            let id = mapping.uuid().context("an event source mapping has an id")?;
            lambda.update_event_source_mapping().uuid(id).enabled(false).send().await?;
        }
    }
    Ok(())
}

/// A policy without one of its statements.
fn without(policy: &Value, statement: &str) -> Result<Value> {
    let mut without = policy.clone();
    let all = without["Statement"].as_array_mut().context("statements")?;
    let before = all.len();
    all.retain(|found| found["Sid"] != statement);
    ensure!(all.len() + 1 == before, "there is no statement {statement}: {policy}");
    Ok(without)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_permission_of_connect_is_needed() -> Result<()> {
    let deployed = Deployed::shared("iam").await?;
    let (world, roles) = (&deployed.world, Roles::of(&deployed.name).await?);
    stop_reading_queues(&deployed).await?;
    let (role, policy) = roles.policy("Connect").await?;
    let page = deployed.page().await?;
    let front = Front::deployed(&page);
    let works = async || anyhow::Ok(page.get("/api/accounts").await?.status());
    // The secrets come first, as above.
    for statement in ["Secret", "MongoDb", "HubSpot"] {
        roles.put(role, "Connect", &without(&policy, statement)?).await?;
        let status = works().await?;
        assert!(status.is_server_error(), "it works without {statement}: {status}");
    }
    world.hubspot.world().portal(HUB + 1);
    let connect = async || anyhow::Ok(Visitor::new(&front).connect(DOMAIN, HUB + 1).await?.status());
    roles.put(role, "Connect", &without(&policy, "TokenKey")?).await?;
    assert_eq!(works().await?, StatusCode::OK);
    assert_eq!(connect().await?, StatusCode::SERVICE_UNAVAILABLE, "it seals tokens without TokenKey");
    let told = json!([{"portalId": HUB, "subscriptionType": "contact.creation"}]).to_string();
    roles.put(role, "Connect", &without(&policy, "SendSync")?).await?;
    assert_eq!(front.webhook(&told).send().await?.status(), StatusCode::SERVICE_UNAVAILABLE, "without SendSync");
    roles.put(role, "Connect", &policy).await?;
    assert_eq!(connect().await?, StatusCode::OK);
    world.store.database().collection::<Document>(collection::NOTIFICATIONS).drop().await?;
    assert_eq!(front.webhook(&told).send().await?.status(), StatusCode::NO_CONTENT);
    deployed.end()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_permission_of_scheduler_sync_and_actions_is_needed() -> Result<()> {
    let deployed = Deployed::shared("iam").await?;
    let (world, roles) = (&deployed.world, Roles::of(&deployed.name).await?);
    stop_reading_queues(&deployed).await?;
    let tick = json!({"time": "2026-11-24T08:00:00Z"});
    let slice = message_event(&[world.tick().to_string()]);
    // A message that will never be stored, tried for the last time.
    let mut actions = message_event(&["no JSON"]);
    actions["Records"][0]["attributes"] = json!({"ApproximateReceiveCount": "5"});
    let mut seed = 0;
    // The statements that a function's event takes. Those of secrets come first: they are read by a new environment,
    // and none is left behind by one that cannot read them.
    let cases = [
        ("Scheduler", vec!["MongoDb", "SendSync"], &tick),
        ("Sync", vec!["MongoDb", "HubSpot", "TokenKey", "SendActions", "SendSync"], &slice),
        ("Actions", vec!["MongoDb", "SendDeadLetters"], &actions),
    ];
    for (function, statements, event) in cases {
        let name = deployed.output(&format!("{function}Function"))?;
        let (role, policy) = roles.policy(function).await?;
        let mut invoke = async |policy: &Value, fails: bool| {
            roles.put(role, function, policy).await?;
            // There is something to send, and, where HubSpot does not answer, a run to go on with.
            seed += 1;
            world.hubspot.world().seed(HUB, 0, 3, seed);
            world.hubspot.world().faults.clear();
            if fails {
                world.fault("/search", 40, FaultKind::Answer { status: 503, body: None, retry_after: None });
            }
            world.store.database().collection::<Document>(collection::CHECKPOINTS).drop().await?;
            anyhow::Ok(deployed.aws.invoke(name, event).await)
        };
        for statement in statements {
            let outcome = invoke(&without(&policy, statement)?, statement == "SendSync").await?;
            if statement == "TokenKey" {
                // The message is not to blame, and the account is tried again.
                if outcome.is_err() {
                    // A slow machine did not let it end in time.
                    invoke(&without(&policy, statement)?, false).await?.context(statement)?;
                }
                let checkpoint = world.checkpoint().await?.to_string();
                assert!(checkpoint.contains("KMS does not unwrap the data key"), "tokens are sealed: {checkpoint}");
                continue;
            }
            assert!(outcome.is_err(), "{function} works without {statement}: {outcome:?}");
        }
        for fails in [false, true] {
            // A slice that a slow machine does not let end in time is delivered again, as SQS does.
            let mut outcome = invoke(&policy, fails).await?;
            for _ in 1..Rules::from_template("SyncQueue")?.max_receives {
                if outcome.is_err() {
                    outcome = invoke(&policy, fails).await?;
                }
            }
            assert!(outcome.is_ok(), "{function} does not work with all of its statements: {outcome:?}");
        }
    }
    deployed.end()
}
