//! The HubSpot app that `make hubspot-app` makes: its structure is the one that HubSpot documents, it subscribes to each
//! property that is kept and to nothing by a wildcard, and its addresses are the stack's.
//!
//! HubSpot gives the schema of the files only to its own CLI, signed in to an account. The types below follow the tables of
//! developers.hubspot.com, "App configuration" and "Configure a webhook subscription", and the templates in
//! HubSpot/hubspot-project-components (2026.09-beta).

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use model::{catalogue::REQUIRED_SCOPES, choice::Choice, object::ObjectType};
use ops::hubspot_app::HubSpotApp;
use reqwest::{StatusCode, Url};
use serde::{Deserialize, de::DeserializeOwned};

use harness::{
    deployed::Deployed,
    front::{Front, Visitor},
    world::DOMAIN,
};

const URL: &str = "https://abc.execute-api.eu-central-1.amazonaws.com";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Project {
    name: String,
    src_dir: String,
    platform_version: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Component<Config> {
    uid: String,
    #[serde(rename = "type")]
    kind: String,
    config: Config,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct App {
    name: String,
    description: String,
    distribution: String,
    auth: Auth,
    permitted_urls: BTreeMap<String, Vec<String>>,
    support: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Auth {
    #[serde(rename = "type")]
    kind: String,
    redirect_urls: Vec<String>,
    required_scopes: Vec<String>,
    optional_scopes: Vec<String>,
    conditionally_required_scopes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Webhooks {
    settings: Settings,
    subscriptions: Subscriptions,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    target_url: String,
    max_concurrent_requests: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Subscriptions {
    crm_objects: Vec<Subscription>,
    #[serde(default)]
    legacy_crm_objects: Vec<Subscription>,
    hub_events: Vec<Subscription>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Subscription {
    subscription_type: String,
    object_type: Option<String>,
    property_name: Option<String>,
    active: bool,
}

/// The files of an app, as they are written.
struct Written {
    project: Project,
    app: Component<App>,
    webhooks: Component<Webhooks>,
}

/// Writes the app as `make hubspot-app` does, and reads what is there.
fn written(app: &HubSpotApp, test: &str) -> Result<Written> {
    let folder = std::env::temp_dir().join(format!("hubspot-app-{test}-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("src/app/stale"))?;
    std::fs::write(folder.join("hubspot.config.yml"), "of HubSpot's CLI")?;
    app.write(&folder)?;
    ensure!(!folder.join("src/app/stale").exists(), "what an earlier app left is still there");
    ensure!(folder.join("hubspot.config.yml").exists(), "the configuration of HubSpot's CLI is gone");
    let written = read(&folder)?;
    std::fs::remove_dir_all(folder)?;
    Ok(written)
}

fn read(folder: &Path) -> Result<Written> {
    Ok(Written {
        project: parsed(&folder.join("hsproject.json"))?,
        app: parsed(&folder.join("src/app/app-hsmeta.json"))?,
        webhooks: parsed(&folder.join("src/app/webhooks/webhooks-hsmeta.json"))?,
    })
}

/// Looks at the files in a folder as an upload would. Returns where customers come back to, and where webhooks go.
pub(crate) fn uploaded(folder: &Path) -> Result<(String, String)> {
    let written = read(folder)?;
    check_structure(&written);
    let redirect = written.app.config.auth.redirect_urls.into_iter().next().context("a redirect URL")?;
    Ok((redirect, written.webhooks.config.settings.target_url))
}

fn parsed<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&std::fs::read(path)?).with_context(|| path.display().to_string())
}

/// What HubSpot's documentation says of each file.
fn check_structure(Written { project, app, webhooks }: &Written) {
    assert_eq!((project.src_dir.as_str(), project.platform_version.as_str()), ("src", "2026.09"));
    assert!(!project.name.is_empty());

    assert_eq!((app.kind.as_str(), webhooks.kind.as_str()), ("app", "webhooks"));
    assert_ne!(app.uid, webhooks.uid, "an id is unique in its project");
    for uid in [&app.uid, &webhooks.uid] {
        let is_allowed = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
        assert!((1..=64).contains(&uid.len()) && uid.chars().all(is_allowed), "{uid}");
    }
    let App { name, description, distribution, auth, permitted_urls, support } = &app.config;
    assert!((1..=200).contains(&name.len()) && name.trim() == name, "{name}");
    assert!((1..=8192).contains(&description.len()));
    assert_eq!((distribution.as_str(), auth.kind.as_str()), ("marketplace", "oauth"));
    assert!(permitted_urls.values().all(Vec::is_empty), "the service shows nothing in HubSpot");
    assert!(support.is_none(), "the template names nobody's support");
    assert_eq!(
        auth.required_scopes.iter().collect::<BTreeSet<_>>(),
        REQUIRED_SCOPES.map(str::to_owned).iter().collect()
    );
    // The consent page is asked for exactly the required ones.
    assert_eq!((auth.optional_scopes.len(), auth.conditionally_required_scopes.len()), (0, 0));

    assert!(webhooks.config.settings.max_concurrent_requests > 5);
    let Subscriptions { crm_objects, legacy_crm_objects, hub_events } = &webhooks.config.subscriptions;
    assert!(legacy_crm_objects.is_empty(), "an event of a legacy type would come twice");
    for subscription in crm_objects.iter().chain(hub_events) {
        assert!(!subscription.subscription_type.contains('*') && subscription.active, "{subscription:?}");
    }
    for subscription in crm_objects {
        assert!(subscription.subscription_type.starts_with("object."), "{subscription:?}");
        let object = subscription.object_type.as_deref();
        assert!(object.is_some_and(|object| ["company", "contact"].contains(&object)), "{subscription:?}");
        let is_of_property = subscription.subscription_type == "object.propertyChange";
        assert_eq!(subscription.property_name.is_some(), is_of_property, "{subscription:?}");
    }
    let [event] = hub_events.as_slice() else { panic!("one event is of no object type: {hub_events:?}") };
    assert_eq!((event.subscription_type.as_str(), &event.object_type), ("contact.privacyDeletion", &None));
}

/// The subscriptions, sorted: object type, event, property.
fn subscribed(webhooks: &Webhooks) -> Vec<(String, String, String)> {
    let of = |subscription: &Subscription| {
        let object = subscription.object_type.clone().unwrap_or_default();
        let event = subscription.subscription_type.trim_start_matches("object.").to_owned();
        (object, event, subscription.property_name.clone().unwrap_or_default())
    };
    let mut all: Vec<_> = webhooks.subscriptions.crm_objects.iter().map(of).collect();
    all.sort();
    all
}

/// What is to be subscribed to, if these properties are kept.
fn expected(properties: &[(&str, &[String])]) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (object, names) in properties {
        for event in ["creation", "deletion", "merge", "restore", "associationChange"] {
            all.push(((*object).to_owned(), event.to_owned(), String::new()));
        }
        all.extend(names.iter().map(|name| ((*object).to_owned(), "propertyChange".to_owned(), name.clone())));
    }
    all.sort();
    all
}

fn outputs(url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("ConnectUrl".to_owned(), url.to_owned())])
}

#[test]
fn each_property_that_is_kept_has_one_subscription() -> Result<()> {
    let more = ["city", "name", "hs_lastmodifieddate"].map(str::to_owned);
    let companies = ObjectType::COMPANIES.properties(more.clone());
    let contacts = ObjectType::CONTACTS.properties(["phone".to_owned()]);
    let choice = Choice::default().with(ObjectType::COMPANIES, more);
    let choice = choice.with(ObjectType::CONTACTS, ["phone".to_owned()]);
    // The address of a custom domain may end with a slash.
    let app = HubSpotApp::new("hubspot-sync", &outputs(&format!("{URL}/")), &choice, &Choice::default())?;
    assert_eq!(app.not_told, [(ObjectType::COMPANIES, "hs_lastmodifieddate".to_owned())]);
    let written = written(&app, "kept")?;
    check_structure(&written);
    assert_eq!(written.project.name, "hubspot-sync");
    assert_eq!(written.app.config.auth.redirect_urls, [format!("{URL}/hubspot/callback")]);
    assert_eq!(written.webhooks.config.settings.target_url, format!("{URL}/hubspot/webhooks"));
    let told: Vec<String> = companies.into_iter().filter(|name| name != "hs_lastmodifieddate").collect();
    assert!(told.contains(&"city".to_owned()) && contacts.contains(&"phone".to_owned()));
    assert_eq!(subscribed(&written.webhooks.config), expected(&[("company", &told), ("contact", &contacts)]));
    Ok(())
}

#[test]
fn app_that_hubspot_would_refuse_is_refused_locally() {
    let disabled = HubSpotApp::new("hubspot-sync", &BTreeMap::new(), &Choice::default(), &Choice::default())
        .expect_err("it has no address");
    assert!(format!("{disabled:#}").contains("CONNECT=DISABLED"), "{disabled:#}");
    let usual = ObjectType::CONTACTS.default_properties().len();
    let many = (usual..1000).map(|number| format!("property_{number}"));
    let many = Choice::of_objects(&["contacts".to_owned()]).unwrap_or_default().with(ObjectType::CONTACTS, many);
    let many = HubSpotApp::new("hubspot-sync", &outputs(URL), &many, &Choice::default());
    assert!(format!("{:#}", many.expect_err("an app has 1,000 subscriptions")).contains("1011 subscriptions"));
}

/// The app of a deployed stack names the addresses that the stack uses, and the properties that its function keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_of_deployed_stack_has_addresses_and_properties_of_the_stack() -> Result<()> {
    let deployed = Deployed::shared("service").await?;
    let app = HubSpotApp::of("hubspot-sync", deployed.outputs(), &deployed.aws).await?;
    let Written { app, webhooks, .. } = {
        let written = written(&app, "deployed")?;
        check_structure(&written);
        written
    };
    let kept = |object: ObjectType| object.default_properties().iter().map(|name| (*name).to_owned()).collect();
    let (companies, contacts): (Vec<String>, Vec<String>) = (kept(ObjectType::COMPANIES), kept(ObjectType::CONTACTS));
    assert_eq!(subscribed(&webhooks.config), expected(&[("company", &companies), ("contact", &contacts)]));

    let page = deployed.page().await?;
    let link = Url::parse(&page.link(DOMAIN, None).await?)?;
    let consent = Visitor::new(&Front::deployed(&page)).open_link(&link).await?;
    let asked: BTreeMap<String, String> = consent.query_pairs().into_owned().collect();
    assert_eq!(app.config.auth.redirect_urls, [asked["redirect_uri"].clone()]);
    assert_eq!(
        asked["scope"].split(' ').collect::<BTreeSet<_>>(),
        app.config.auth.required_scopes.iter().map(String::as_str).collect(),
    );

    // Where webhooks are taken, one that nobody signed is refused.
    let answer = page.http.post(&webhooks.config.settings.target_url).body("[]").send().await?;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    deployed.end()
}
