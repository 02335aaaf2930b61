//! Secrets by ARN, from a real Secrets Manager.

use std::time::Duration;

use anyhow::{Result, bail};
use aws_sdk_secretsmanager::Client;
use hubspot_sim::{CLIENT_ID, CLIENT_SECRET};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::process::{free_port, wait_until};
use tokio::net::TcpListener;

use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    front::request_event,
    world::{HUB, World, message_event, secret},
};

async fn secrets_manager() -> Client {
    Client::new(&aws_config::load_from_env().await)
}

fn arn(name: &'static str, arn: &str) -> [(&'static str, String); 2] {
    [(name, arn.to_owned()), ("SECRETS_KEPT_SECONDS", "0".to_owned())]
}

#[tokio::test]
async fn rotated_connection_string_is_used_without_deploy() -> Result<()> {
    let (world, client) = (World::new("secrets_mongodb").await?, secrets_manager().await);
    let gone = format!("mongodb://127.0.0.1:{}/?serverSelectionTimeoutMS=200", free_port()?);
    let named = secret(&client, "mongodb", &gone).await?;
    let mut scheduler = Bootstrap::start_with(Function::Scheduler, &world, &arn("MONGODB_SECRET_ARN", &named)).await?;
    let tick = json!({"time": "2026-11-24T08:00:00Z"});
    let failed = scheduler.invoke(&tick).await?.0;
    assert!(matches!(&failed, Invoked::Failed(error) if error["errorType"] == "FanOutFailed"), "{failed:?}");

    let uri = json!({"uri": world.config.mongo.uri.expose_secret()}).to_string();
    client.put_secret_value().secret_id(&named).secret_string(uri).send().await?;
    let scheduler = tokio::sync::Mutex::new(scheduler);
    wait_until("the rotated secret to be used", Duration::from_secs(60), async || {
        scheduler.lock().await.invoke(&tick).await.is_ok_and(|(invoked, _)| invoked.is_success())
    })
    .await?;

    client.put_secret_value().secret_id(&named).secret_string("not a connection string").send().await?;
    for _ in 0..3 {
        let invoked = scheduler.lock().await.invoke(&tick).await?.0;
        assert!(invoked.is_success(), "one that cannot be used is not: {invoked:?}");
    }
    world.end().await
}

#[tokio::test]
async fn oauth_app_is_read_from_its_secret() -> Result<()> {
    let (mut world, client) = (World::new("secrets_hubspot").await?, secrets_manager().await);
    world.config.app = None;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    let app = json!({"clientId": CLIENT_ID, "clientSecret": CLIENT_SECRET}).to_string();
    let named = secret(&client, "hubspot", &app).await?;
    let mut sync = Bootstrap::start_with(Function::Sync, &world, &arn("HUBSPOT_SECRET_ARN", &named)).await?;
    let invoked = sync.invoke(&message_event(&[world.tick().to_string()])).await?.0;
    assert!(invoked.is_success(), "{invoked:?}");
    world.drain().await?;
    assert_eq!(world.proof().await?.actions, 5);
    world.end().await
}

/// How connect answers to whoever gives this token.
async fn status(connect: &mut Bootstrap, token: &str) -> Result<Value> {
    let bearer = format!("Bearer {token}");
    match connect.invoke(&request_event("GET", "/api/accounts", &[("authorization", &bearer)], "")).await?.0 {
        Invoked::Answered(answer) => Ok(answer["statusCode"].clone()),
        other => bail!("connect answers {other:?}"),
    }
}

const OLD: &str = "the token that has been in use for so long";
const NEW: &str = "the token that has replaced the other one";

/// Whoever replaces a token that was stolen does not want it to be taken once more.
#[tokio::test]
async fn replaced_token_is_refused_by_the_next_request() -> Result<()> {
    const LATE: &str = "the secrets cannot be looked at again in time";
    let (mut world, client) = (World::new("secrets_token").await?, secrets_manager().await);
    let log = std::env::temp_dir().join(format!("secrets-token-{}.log", std::process::id()));
    world.log = Some(log.clone());
    let named = secret(&client, "connect", OLD).await?;
    let mut connect = Bootstrap::start_with(Function::Connect, &world, &arn("CONNECT_SECRET_ARN", &named)).await?;
    assert_eq!(status(&mut connect, OLD).await?, 200);
    client.put_secret_value().secret_id(&named).secret_string(NEW).send().await?;
    let mut refused = status(&mut connect, OLD).await?;
    // Secrets Manager has a second to answer; on a busy machine it may need another one.
    for _ in 0..20 {
        if std::fs::read_to_string(&log)?.matches(LATE).count() == 0 || refused == 401 {
            break;
        }
        std::fs::write(&log, "")?;
        refused = status(&mut connect, OLD).await?;
    }
    assert_eq!(refused, 401);
    assert_eq!(status(&mut connect, NEW).await?, 200);
    std::fs::remove_file(&log)?;
    world.end().await
}

#[tokio::test]
async fn token_is_refused_after_a_while_without_secrets_manager() -> Result<()> {
    let (world, client) = (World::new("secrets_away").await?, secrets_manager().await);
    let named = secret(&client, "connect", OLD).await?;
    let mut variables = arn("CONNECT_SECRET_ARN", &named).to_vec();
    variables.push(("SECRETS_USED_SECONDS", "5".to_owned()));
    let mut connect = Bootstrap::start_with(Function::Connect, &world, &variables).await?;
    assert_eq!(status(&mut connect, OLD).await?, 200);
    client.delete_secret().secret_id(&named).force_delete_without_recovery(true).send().await?;
    let connect = tokio::sync::Mutex::new(connect);
    wait_until("the token not to be taken any more", Duration::from_secs(120), async || {
        status(&mut *connect.lock().await, OLD).await.is_ok_and(|status| status == 503)
    })
    .await?;
    world.end().await
}

#[tokio::test]
async fn function_without_its_secret_does_not_start() -> Result<()> {
    let world = World::new("secrets_none").await?;
    let arn = arn("MONGODB_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:none-abcdef");
    let sync = Bootstrap::start_with(Function::Sync, &world, &arn).await?;
    let sync = tokio::sync::Mutex::new(sync);
    wait_until("the process to end", Duration::from_secs(60), async || !sync.lock().await.is_alive()).await?;
    world.end().await
}

/// Lambda would end it after ten seconds, and say nothing of what it waited for.
#[tokio::test]
async fn start_without_answer_ends_in_time_and_names_the_silent_service() -> Result<()> {
    let mut world = World::new("secrets_silent").await?;
    let log = std::env::temp_dir().join(format!("secrets-silent-{}.log", std::process::id()));
    world.log = Some(log.clone());
    // It takes connections, and answers none of them.
    let silent = TcpListener::bind(("127.0.0.1", 0)).await?;
    let nobody = format!("http://{}", silent.local_addr()?);
    let mut variables =
        arn("MONGODB_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:a-abcdef").to_vec();
    variables.push(("AWS_ENDPOINT_URL_SECRETS_MANAGER", nobody));
    let actions = Bootstrap::start_with(Function::Actions, &world, &variables).await?;
    let actions = tokio::sync::Mutex::new(actions);
    wait_until("the process to end", Duration::from_secs(60), async || !actions.lock().await.is_alive()).await?;
    let told = std::fs::read_to_string(&log)?;
    let lines: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for message in ["the function waits for an answer", "there was no answer in time"] {
        let line = lines.iter().find(|line| line["message"] == message);
        assert!(line.is_some_and(|line| line["waits_for"] == "Secrets Manager"), "{message}: {told}");
    }
    std::fs::remove_file(log)?;
    world.end().await
}
