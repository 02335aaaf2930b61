//! A production beside the local stack: no command for the local stack touches what is on AWS.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{
    config::{self, Kind},
    variables,
};
use mongodb::{
    Client, Database,
    bson::{Bson, Document, doc, oid::ObjectId},
};
use ops::local;
use stack::{
    accounts::{SAMPLE, insert_domain, oauth, write_domain},
    process, servers,
};
use store::collection;

use harness::{bootstrap::Function, program::Program};

fn mongodb_uri() -> Result<String> {
    std::env::var("TEST_MONGODB_URI").context("these tests are run by `make test`")
}

/// A database with Domains of the ids that the demo's have, in the MongoDB of the tests or another one.
async fn production(uri: &str) -> Result<Database> {
    let name = format!("production_{}", std::process::id());
    let database = Client::with_uri_str(uri).await?.database(&name);
    for id in [Bson::from("globex"), Bson::from(ObjectId::parse_str(SAMPLE.0)?), Bson::from("demo")] {
        write_domain(&database, id, "A customer", vec![oauth(SAMPLE.1, "the-customers-grant")]).await?;
    }
    Ok(database)
}

/// Returns what differs if anything in a database has changed: MongoDB's hashes of all collections, and the indexes.
async fn fingerprint(database: &Database) -> Result<String> {
    let hashed = database.run_command(doc! { "dbHash": 1 }).await?;
    let mut all = hashed.get_document("collections")?.to_string();
    for name in database.list_collection_names().await? {
        let indexes = database.collection::<Document>(&name).list_index_names().await?;
        all.push_str(&format!(" {name} {indexes:?}"));
    }
    Ok(all)
}

/// The demo, in a database of its own with what an earlier demo left, and what an operator may do without `TARGET=aws`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_stack_beside_production_changes_nothing_there() -> Result<()> {
    let state = process::folder().join("production-mongodb");
    let port = process::free_port()?;
    servers::start_mongod(&state, port).await?;
    let result = beside_a_production(&local::mongodb_uri(port)).await;
    process::stop_all(&state).await?;
    std::fs::remove_dir_all(&state)?;
    result
}

async fn beside_a_production(uri: &str) -> Result<()> {
    let production = production(uri).await?;
    let own = Client::with_uri_str(mongodb_uri()?).await?.database(&format!("local_{}", std::process::id()));
    insert_domain(&own, "globex", "Globex", vec![oauth(SAMPLE.1, "enc:v1:1:of-a-key-that-is-lost")]).await?;
    let lost = doc! { "_id": 1, "masterKey": "arn:aws:kms:us-east-1:000000000000:key/lost" };
    own.collection(collection::KEYS).insert_one(lost).await?;
    let program = Program::new("production")?.with([
        ("STACK_AWS_PORT", process::free_port()?.to_string()),
        ("STACK_HUBSPOT_PORT", process::free_port()?.to_string()),
        ("DEMO_COMPANIES", "8".to_owned()),
        ("DEMO_CONTACTS", "20".to_owned()),
        ("DEMO_CHANGES", "8".to_owned()),
    ]);
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:of-production";
    program.write_env(&format!(
        "MONGODB_URI='{}'\nMONGODB_DATABASE={}\nMONGODB_SECRET_ARN={secret}-mongodb\nHUBSPOT_SECRET_ARN={secret}-hubspot\n\
         HUBSPOT_API_BASE_URL=https://api.hubapi.com\nTOKEN_KEY_ARN=arn:aws:kms:eu-west-1:123456789012:key/1\n\
         CONNECT_URL=https://sync.example.com\nALARM_TOPIC_ARN=arn:aws:sns:eu-west-1:123456789012:alarms\n\
         ACTIONS_RETENTION_DAYS=30\nSTACK_MONGODB_URI='{}'\nSTACK_MONGODB_DATABASE={}\n",
        uri,
        production.name(),
        mongodb_uri()?,
        own.name()
    ))?;
    let databases = async || production.client().list_database_names().await;
    let before = (fingerprint(&production).await?, databases().await?);
    let said = program.run(&["demo", "--built"], "").await?.expect_success()?;
    ensure!(said.contains("nothing lost, nothing twice"), "{said}");
    let (domain, hub) = ("globex", (SAMPLE.1 + 1).to_string());
    let account = ["--domain", domain, "--hub", &hub];
    let commands: [&[&str]; 9] = [
        &["migrate"],
        &["rotate-keys"],
        &["token"],
        &["link", "--domain", domain],
        &["repair", "list"],
        &["repair", "send", "all"],
        &["repair", "pause"],
        &["repair", "resume"],
        &["repair", "resync"],
    ];
    for command in commands {
        let of_account = ["pause", "resume", "resync"].iter().any(|name| command.contains(name));
        let command = [command, if of_account { &account } else { &[] }].concat();
        program.run(&command, "").await?.expect_success().with_context(|| command.join(" "))?;
    }
    erase_by_hand(&program, &account).await?;
    assert_eq!((fingerprint(&production).await?, databases().await?), before, "something in production was changed");
    // The demo, with this very database for its own.
    program.write_env(&format!("STACK_MONGODB_URI='{uri}'\nSTACK_MONGODB_DATABASE={}\n", production.name()))?;
    for command in [["demo", "--built"].as_slice(), &["up", "--built"], &["migrate"], &["rotate-keys"]] {
        let said = program.run(command, "").await?.expect_failure()?;
        ensure!(said.contains("holds 3 Domains that no local stack wrote"), "{command:?}: {said}");
    }
    assert_eq!((fingerprint(&production).await?, databases().await?), before, "something in production was changed");
    program.write_env("")?;
    program.run(&["down"], "").await?.expect_success()?;
    own.drop().await?;
    Ok(())
}

/// An account is erased if somebody confirms it, and no customer is erased in place of an account.
async fn erase_by_hand(program: &Program, account: &[&str; 4]) -> Result<()> {
    let erase = [["repair", "erase"].as_slice(), account].concat();
    let said = program.run(&erase, "no\n").await?.expect_failure()?;
    ensure!(said.contains("nothing was erased, as it was not confirmed"), "{said}");
    program.run(&erase, "yes\n").await?.expect_success()?;
    let without_hub = program.run(&["repair", "erase", account[0], account[1], "--hub", "", "--yes"], "").await?;
    ensure!(without_hub.expect_failure()?.contains("invalid hub id"), "a customer was erased for an account");
    Ok(())
}

/// The database of `MONGODB_URI` may have no Domain yet.
#[tokio::test]
async fn local_stack_refuses_database_of_the_stack_on_aws() -> Result<()> {
    let program = Program::new("same")?;
    let on = |password: &str| format!("mongodb+srv://user:{password}@Cluster.example.net/?retryWrites=true");
    program.write_env(&format!("MONGODB_URI='{}'\nSTACK_MONGODB_URI='{}'\n", on("a"), on("b")))?;
    for command in [["demo"].as_slice(), &["up"], &["migrate"], &["rotate-keys"], &["repair", "list"], &["smoke"]] {
        let said = program.run(command, "").await?.expect_failure()?;
        ensure!(said.contains("STACK_MONGODB_URI is the database of MONGODB_URI"), "{command:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn renamed_variables_are_refused_with_their_new_names() -> Result<()> {
    let program = Program::new("names")?;
    for name in ["HUBSPOT_HUB_ID", "HUBSPOT_ACCESS_TOKEN", "HUBSPOT_REFRESH_TOKEN"] {
        program.write_env(&format!("{name}=a-value\n"))?;
        let said = program.run(&["up"], "").await?.expect_failure()?;
        ensure!(said.contains(&format!("is called STACK_{name} now")) && !said.contains("a-value"), "{said}");
    }
    Ok(())
}

/// The demo's Domains are in the place of those of an earlier demo, and never of a customer's.
#[tokio::test]
async fn local_stack_replaces_only_domains_it_wrote() -> Result<()> {
    let database = production(&mongodb_uri()?).await?;
    let insert = async |id: &str, name: &str| insert_domain(&database, id, name, vec![oauth(1, "grant")]).await;
    let before = fingerprint(&database).await?;
    ensure!(insert("globex", "Globex").await.is_err(), "a customer's Domain was replaced");
    assert_eq!(fingerprint(&database).await?, before);
    insert("ours", "First").await?;
    insert("ours", "Second").await?;
    let domains = database.collection::<Document>(collection::DOMAINS);
    let ours = domains.find_one(doc! { "_id": "ours" }).await?.context("our Domain")?;
    assert_eq!(ours.get_document("company")?.get_str("name")?, "Second");
    database.drop().await?;
    Ok(())
}

/// The environment of a function on AWS.
const RIGHT: [(&str, &str); 12] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "test"),
    ("AWS_REGION", "eu-west-1"),
    ("MONGODB_URI", "mongodb://127.0.0.1:1"),
    ("SYNC_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/sync"),
    ("CONTINUATION_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/continuations"),
    ("ACTIONS_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/actions"),
    ("ACTIONS_DEAD_LETTER_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/dead"),
    ("AWS_ENDPOINT_URL_SQS", "https://sqs.eu-west-1.amazonaws.com"),
    ("CONNECT_SECRET", "0123456789012345678901234567890123456789"),
    ("HUBSPOT_CLIENT_ID", "id"),
    ("HUBSPOT_CLIENT_SECRET", "secret"),
    ("TOKEN_LOCAL_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
];

/// What a function says that does not start because one variable has this value.
async fn refused_to_start(function: Function, variable: &str, value: &str) -> Result<String> {
    let mut bootstrap = tokio::process::Command::new(function.bootstrap());
    bootstrap.env_clear().envs(RIGHT).env(variable, value).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_secs(60), bootstrap.output()).await??;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(!ended.status.success() && !said.contains(value), "{variable}: {said}");
    Ok(said)
}

/// The functions themselves, as AWS would start them with what `make deploy` once gave them.
#[tokio::test]
async fn functions_on_aws_do_not_start_with_the_simulator() -> Result<()> {
    assert_eq!(hubspot_sim::CLIENT_SECRET, environment::production::SIMULATED_SECRET);
    let apps = [
        (hubspot_sim::CLIENT_ID, hubspot_sim::CLIENT_SECRET),
        (hubspot_sim::OTHER_CLIENT_ID, hubspot_sim::OTHER_CLIENT_SECRET),
    ];
    assert_eq!(ops::parameters::OF_SIMULATOR, [apps[0].0, apps[0].1, apps[1].0, apps[1].1]);
    let wrong =
        [("HUBSPOT_CLIENT_SECRET", hubspot_sim::CLIENT_SECRET), ("HUBSPOT_API_BASE_URL", "http://127.0.0.1:8085")];
    for function in [Function::Sync, Function::Connect] {
        for (variable, value) in wrong {
            let said = refused_to_start(function, variable, value).await?;
            ensure!(said.contains(variable), "{said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn functions_do_not_start_with_unsupported_mongodb_authentication() -> Result<()> {
    let by_iam = "mongodb+srv://c.example.net/?authSource=%24external&authMechanism=MONGODB-AWS";
    for function in [Function::Scheduler, Function::Sync, Function::Actions, Function::Connect] {
        let said = refused_to_start(function, "MONGODB_URI", by_iam).await?;
        ensure!(said.contains("MONGODB-AWS"), "{function:?}: {said}");
    }
    Ok(())
}

/// Tokens are stored as they are only if somebody says so.
#[tokio::test]
async fn functions_that_store_tokens_do_not_start_without_a_key() -> Result<()> {
    for function in [Function::Sync, Function::Connect] {
        let mut bootstrap = tokio::process::Command::new(function.bootstrap());
        bootstrap.env_clear().envs(RIGHT).env_remove("TOKEN_LOCAL_KEY").kill_on_drop(true);
        let ended = tokio::time::timeout(Duration::from_secs(60), bootstrap.output()).await??;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        ensure!(!ended.status.success() && said.contains("TOKEN_KMS_KEY_ID"), "{function:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn functions_do_not_start_with_an_address_that_is_reached_without_tls() -> Result<()> {
    let of_all = [
        ("MONGODB_URI", "mongodb://user:geheim@10.0.0.1/", "MONGODB_PLAIN=1"),
        ("AWS_ENDPOINT_URL_SQS", "http://10.0.0.1:4566", "AWS_ENDPOINT_URL_SQS"),
    ];
    let of_connect = [
        ("HUBSPOT_API_BASE_URL", "http://api.hubapi.com", "HUBSPOT_API_BASE_URL"),
        ("HUBSPOT_AUTHORIZE_URL", "http://app.hubspot.com/oauth/authorize", "HUBSPOT_AUTHORIZE_URL"),
        ("CONNECT_URL", "http://sync.example.com", "CONNECT_URL"),
    ];
    let cases = [
        (Function::Scheduler, of_all.to_vec()),
        (Function::Sync, [&of_all[..], &of_connect[..1]].concat()),
        (Function::Actions, of_all.to_vec()),
        (Function::Connect, [&of_all[..], &of_connect].concat()),
    ];
    for (function, wrong) in cases {
        for (variable, value, named) in wrong {
            let said = refused_to_start(function, variable, value).await?;
            ensure!(said.contains(named) && !said.contains("geheim"), "{function:?}, {variable}: {said}");
        }
    }
    Ok(())
}

/// A value that cannot be read is found when the function starts, by its name, if the function reads it at all.
#[tokio::test]
async fn functions_do_not_start_with_a_value_of_another_type() -> Result<()> {
    let functions = [Function::Scheduler, Function::Sync, Function::Actions, Function::Connect];
    for (function, of_row) in functions.into_iter().zip(config::Function::ALL) {
        for variable in
            variables::ALL.iter().filter(|variable| !matches!(variable.kind, Kind::Text | Kind::Secret | Kind::List))
        {
            let said = refused_to_start(function, variable.name, "another-type").await?;
            let (is_read, is_named) = (variable.read_by.contains(&of_row), said.contains(variable.name));
            ensure!(is_read == is_named, "{function:?}, {}, read: {is_read}: {said}", variable.name);
        }
    }
    Ok(())
}
