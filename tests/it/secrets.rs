//! Secrets by ARN, from a real Secrets Manager.

use std::time::Duration;

use anyhow::Result;
use aws_sdk_secretsmanager::Client;
use hubspot_sim::{CLIENT_ID, CLIENT_SECRET};
use secrecy::ExposeSecret;
use serde_json::json;
use stack::process::{free_port, wait_until};

use tests::{
    bootstrap::{Bootstrap, Function, Invoked},
    world::{HUB, World, message_event, secret},
};

async fn secrets_manager() -> Client {
    Client::new(&aws_config::load_from_env().await)
}

fn arn(name: &'static str, arn: &str) -> [(&'static str, String); 2] {
    [(name, arn.to_owned()), ("SECRETS_KEPT_SECONDS", "0".to_owned())]
}

#[tokio::test]
async fn a_rotated_connection_string_is_used_without_a_deploy() -> Result<()> {
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
    wait_until("the rotated secret to be used", Duration::from_secs(10), async || {
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
async fn the_oauth_app_comes_from_a_secret() -> Result<()> {
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

#[tokio::test]
async fn a_function_without_its_secret_does_not_start() -> Result<()> {
    let world = World::new("secrets_none").await?;
    let arn = arn("MONGODB_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:none-abcdef");
    let sync = Bootstrap::start_with(Function::Sync, &world, &arn).await?;
    let sync = tokio::sync::Mutex::new(sync);
    wait_until("the process to end", Duration::from_secs(10), async || !sync.lock().await.is_alive()).await?;
    world.end().await
}
