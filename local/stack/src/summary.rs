//! The summary that the demo prints.

use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt;
use model::{account::AccountKey, object::ObjectType};
use mongodb::bson::{Bson, Document, doc};
use ops::{deployed::Stack, settings::Settings};
use secrecy::ExposeSecret;
use serde_json::Value;
use store::collection;

use crate::simulator::Control;

/// Prints what was read and stored. With a simulator, also prints the requests to HubSpot and how long they took.
pub(crate) async fn print(
    stack: &Stack,
    accounts: &[AccountKey],
    simulated: Option<(&Control, Duration, Duration)>,
) -> Result<()> {
    let database = stack.store.database();
    println!("\nWhat is in MongoDB:");
    let by_name = [
        doc! { "$group": { "_id": { "hub": "$hubId", "name": "$actionName" }, "count": { "$sum": 1 } } },
        doc! { "$sort": { "_id": 1 } },
    ];
    let mut groups = database.collection::<Document>(collection::ACTIONS).aggregate(by_name).await?;
    while let Some(group) = groups.try_next().await? {
        let id = group.get_document("_id")?;
        println!(
            "  {:>9}  {:<16} {:>7}",
            id.get_str("hub")?,
            id.get_str("name")?,
            group.get("count").unwrap_or(&Bson::Null)
        );
    }
    let mut names = database.list_collection_names().await?;
    names.sort();
    for object in names.iter().filter_map(|name| ObjectType::of_collection(name)) {
        let count = database.collection::<Document>(&object.collection()).count_documents(doc! {}).await?;
        println!("  current state of {count} {object}");
    }
    if let Some(account) = accounts.first() {
        let filter = doc! { "hubId": account.hub_id.as_str(), "identity": { "$ne": null }, "userProperties.company_id": { "$ne": null } };
        if let Some(action) = database.collection::<Document>(collection::ACTIONS).find_one(filter).await? {
            println!("\nA sample action:\n{}", serde_json::to_string_pretty(&readable(Bson::Document(action)))?);
        }
    }
    if let Some((simulator, backfill, changes)) = simulated {
        println!("\nHubSpot was asked:");
        for (request, count) in simulator.requests().await? {
            println!("  {request:<20} {count:>7}");
        }
        println!(
            "\nTime: {:.1} s for the backfill, {:.1} s for the changes",
            backfill.as_secs_f32(),
            changes.as_secs_f32()
        );
    }
    Ok(())
}

/// Returns a document as JSON, with readable dates.
fn readable(value: Bson) -> Value {
    match value {
        Bson::DateTime(at) => Value::from(at.try_to_rfc3339_string().unwrap_or_default()),
        Bson::Document(document) => document.into_iter().map(|(name, value)| (name, readable(value))).collect(),
        Bson::Array(values) => values.into_iter().map(readable).collect(),
        Bson::String(text) => Value::from(text),
        Bson::Int32(number) => Value::from(number),
        Bson::Int64(number) => Value::from(number),
        Bson::Double(number) => Value::from(number),
        Bson::Boolean(flag) => Value::from(flag),
        Bson::Null => Value::Null,
        other => Value::from(other.to_string()),
    }
}

/// Prints where to look further.
pub(crate) fn print_hints(settings: &Settings, stack: &Stack) {
    println!("\nThe stack is left running. Look further:");
    if settings.mongodb_uri.is_none() {
        println!("  MongoDB       {} (database {})", stack.mongodb_uri.expose_secret(), settings.database);
    }
    println!(
        "  AWS           AWS_ENDPOINT_URL=http://127.0.0.1:{} with any credentials and a region",
        settings.ports.aws
    );
    if let Ok(url) = stack.output("ConnectUrl") {
        println!("  Status page   {url}/ (sign in with what `make token` shows)");
    }
    if settings.hubspot.is_none() {
        println!(
            "  HubSpot       http://127.0.0.1:{}/_sim/ledger (docs/reference/simulator.md)",
            settings.ports.hubspot
        );
    }
    println!("  make link     a link to connect another HubSpot account: DOMAIN=globex");
    println!("  make logs     what the functions say");
    println!("  make down     stop everything");
}
