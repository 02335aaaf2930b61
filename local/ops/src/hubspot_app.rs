//! The HubSpot app of a deployed stack, as files for `hs project upload`. They are made from the templates in
//! `hubspot-app/`, with the stack's addresses and one subscription for each property that its sync function stores.
//!
//! HubSpot documents the files on developers.hubspot.com, "App configuration" and "Configure a webhook subscription".

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use environment::config::words;
use model::{
    choice::{Choice, Objects, Selection},
    object::ObjectType,
    score::ContactScore,
};
use serde_json::{Value, json};

use crate::{aws::Aws, deployed::Stack, env_file, layout, parameters::Target, settings::Settings};

/// HubSpot's limit for one app (developers.hubspot.com/changelog/announcing-new-limits-for-developer-accounts-and-applications).
const MAX_SUBSCRIPTIONS: usize = 1000;

/// Properties for which HubSpot sends no webhooks (developers.hubspot.com, "Webhooks API guide").
const NOT_TOLD: [&str; 2] = ["hs_lastmodifieddate", "num_unique_conversion_events"];

/// What HubSpot reports of the records of an object type, besides changes of properties.
const RECORD_EVENTS: [&str; 5] = ["object.creation", "object.deletion", MERGE, "object.restore", ASSOCIATION];
const MERGE: &str = "object.merge";
const ASSOCIATION: &str = "object.associationChange";

/// The files of a HubSpot app.
#[derive(Clone, Debug)]
pub struct HubSpotApp {
    /// The files, by their paths in the project.
    pub files: BTreeMap<PathBuf, Value>,
    /// The configured properties for which HubSpot sends no webhooks. They have no subscription.
    pub not_told: Vec<(ObjectType, String)>,
}

/// Writes the app of the deployed stack to `folder`, and prints what to do with it.
///
/// # Errors
/// There is no such stack, it was deployed without connect, or a template is wrong.
pub async fn run(settings: &Settings, on_aws: bool, folder: &Path) -> Result<()> {
    let stack = Stack::open(settings, on_aws).await?;
    // An upload replaces the project of the same name. The local stack must not replace the one of AWS.
    let project = if on_aws { settings.aws.name.clone() } else { format!("{}-local", layout::NAME) };
    let app = HubSpotApp::of(&project, &stack.outputs, &stack.aws).await?;
    let url = stack.output("ConnectUrl")?;
    let is_https = url.starts_with("https://");
    let is_reached = on_aws && Target::of(env_file::variable) == Target::Aws;
    ensure!(is_https || !is_reached, "HubSpot sends webhooks to HTTPS only, and the stack is at {url}");
    let folder = layout::root().join(folder);
    app.write(&folder)?;
    println!("The HubSpot app {project} for {url} is in {}.", folder.display());
    for (object, property) in &app.not_told {
        println!(
            "  {property} ({object}) has no subscription: HubSpot does not offer one. The schedule sees its changes."
        );
    }
    if !is_https {
        println!(
            "  HubSpot cannot reach this address. Set CONNECT_URL to the HTTPS address of a tunnel, and deploy again."
        );
    }
    println!("Next: cd {} && hs project upload", folder.display());
    Ok(())
}

impl HubSpotApp {
    /// Returns the app `project` of a deployed stack, with the properties that its sync function stores.
    ///
    /// # Errors
    /// The function's configuration cannot be read, or a template is wrong.
    pub async fn of(project: &str, outputs: &BTreeMap<String, String>, aws: &Aws) -> Result<Self> {
        let function = outputs.get("SyncFunction").context("the stack has no output SyncFunction")?;
        let variables = aws.environment(function).await?;
        let value = |name: &str| {
            let value = variables.get(name).with_context(|| format!("{function} has no variable {name}"))?;
            Ok::<_, anyhow::Error>(value.as_str())
        };
        let choice =
            Choice::of_objects(&words(value("HUBSPOT_OBJECTS")?))?.with_properties(value("HUBSPOT_PROPERTIES")?)?;
        let choice = choice.with(ObjectType::COMPANIES, words(value("HUBSPOT_COMPANY_PROPERTIES")?));
        let choice = choice.with(ObjectType::CONTACTS, words(value("HUBSPOT_CONTACT_PROPERTIES")?));
        let score: ContactScore = value("HUBSPOT_CONTACT_SCORE_PROPERTY")?.parse()?;
        let choice = choice.with_required(ObjectType::CONTACTS, score.property());
        let connect = outputs.get("ConnectFunction").context("the stack has no output ConnectFunction")?;
        let offered = aws.environment(connect).await?;
        let offered = offered.get("HUBSPOT_OPTIONAL_OBJECTS").context("connect has no HUBSPOT_OPTIONAL_OBJECTS")?;
        Self::new(project, outputs, &choice, &Choice::of_objects(&words(offered))?)
    }

    /// Returns the app with all templates filled in.
    ///
    /// # Errors
    /// A template is not JSON, names an output that the stack does not have, or there are more subscriptions than
    /// HubSpot allows for an app.
    pub fn new(project: &str, outputs: &BTreeMap<String, String>, choice: &Choice, offered: &Choice) -> Result<Self> {
        // The app lists what accounts may choose as well.
        let selections = [choice.select(&Choice::default(), None), choice.select(offered, None)];
        let objects: Objects = selections.iter().flat_map(|selection| selection.objects.clone()).collect();
        let mut values: BTreeMap<&str, &str> =
            outputs.iter().map(|(name, value)| (name.as_str(), value.trim_end_matches('/'))).collect();
        values.insert("ProjectName", project);
        let root = layout::root().join("hubspot-app");
        let mut files = BTreeMap::new();
        read(&root, &mut files)?;
        for (path, file) in &mut files {
            fill(file, &values).with_context(|| format!("hubspot-app/{}", path.display()))?;
        }
        let webhooks = files.values_mut().find(|file| file["type"] == "webhooks");
        let webhooks = webhooks.context("no file in hubspot-app has the type webhooks")?;
        let not_told = subscribe(&mut webhooks["config"]["subscriptions"], &objects)?;
        let app = files.values_mut().find(|file| file["type"] == "app");
        let auth = &mut app.context("no file in hubspot-app has the type app")?["config"]["auth"];
        let scopes: BTreeSet<&str> = selections.iter().flat_map(Selection::optional_scopes).collect();
        auth["optionalScopes"] = json!(scopes);
        Ok(Self { files, not_told })
    }

    /// Writes the files into a folder. Other files in it stay, for example the configuration of HubSpot's CLI.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let sources = folder.join("src");
        if sources.exists() {
            std::fs::remove_dir_all(&sources).with_context(|| sources.display().to_string())?;
        }
        for (path, file) in &self.files {
            let path = folder.join(path);
            let parent = path.parent().context("a file is in a folder")?;
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            let text = serde_json::to_string_pretty(file)? + "\n";
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

/// Reads the JSON files under `root` into `files`. Their keys are their paths in `root`.
fn read(root: &Path, files: &mut BTreeMap<PathBuf, Value>) -> Result<()> {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let file = serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
            files.insert(path.strip_prefix(root)?.to_owned(), file);
        }
    }
    Ok(())
}

/// Replaces placeholders by their values: `${ConnectUrl}`.
fn fill(file: &mut Value, values: &BTreeMap<&str, &str>) -> Result<()> {
    match file {
        Value::String(text) => *text = filled(text, values)?,
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill(item, values))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|field| fill(field, values))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

fn filled(text: &str, values: &BTreeMap<&str, &str>) -> Result<String> {
    let Some((before, rest)) = text.split_once("${") else { return Ok(text.to_owned()) };
    let (name, after) = rest.split_once('}').with_context(|| format!("a name in {text} does not end"))?;
    let Some(value) = values.get(name) else {
        let hint = if name == "ConnectUrl" { ": it was deployed with CONNECT=DISABLED" } else { "" };
        bail!("the stack has no output {name}{hint}");
    };
    Ok(format!("{before}{value}{}", filled(after, values)?))
}

/// Adds the subscriptions of each object type, and one for each property. Returns the properties for which HubSpot has none.
fn subscribe(subscriptions: &mut Value, objects: &Objects) -> Result<Vec<(ObjectType, String)>> {
    let told = subscriptions["crmObjects"].as_array_mut().context("the webhooks have no list crmObjects")?;
    let mut not_told = Vec::new();
    for (object, names) in objects {
        let Some(singular) = object.spec().webhooks else {
            not_told.push((*object, "every property".to_owned()));
            continue;
        };
        let has = |kind: &&str| match *kind {
            MERGE => object.spec().merges,
            ASSOCIATION => object.spec().is_associated(),
            _ => true,
        };
        let of_records = RECORD_EVENTS.into_iter().filter(has);
        for kind in of_records {
            let subscription = json!({ "subscriptionType": kind, "objectType": singular, "active": true });
            if !told.contains(&subscription) {
                told.push(subscription);
            }
        }
        for name in names {
            if NOT_TOLD.contains(&name.as_str()) {
                not_told.push((*object, name.clone()));
                continue;
            }
            let subscription = json!({
                "subscriptionType": "object.propertyChange",
                "objectType": singular,
                "propertyName": name,
                "active": true,
            });
            if !told.contains(&subscription) {
                told.push(subscription);
            }
        }
    }
    let lists = subscriptions.as_object().into_iter().flat_map(|lists| lists.values());
    let count: usize = lists.filter_map(Value::as_array).map(Vec::len).sum();
    ensure!(
        count <= MAX_SUBSCRIPTIONS,
        "{count} subscriptions are more than the {MAX_SUBSCRIPTIONS} that HubSpot allows"
    );
    Ok(not_told)
}
