//! A new user's walk: the commands of docs/guide/setup.md, copied from the page, in its order, with a local AWS for AWS and the
//! simulator for HubSpot. A command that is not known here fails the test, as one that does not work does.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use model::account::AccountKey;
use mongodb::bson::{Document, doc};
use ops::{aws::Aws, cloudformation, connect::Page, layout, local, sam::Build};
use reqwest::{StatusCode, Url};
use stack::{process, proof};
use store::collection;

use harness::{
    custom_domain::CustomDomain,
    front::{Front, Visitor},
    program::Program,
    world::{DOMAIN, HUB, World, secret},
};

use crate::hubspot_app;

/// A line of a document's shell blocks.
#[derive(Debug)]
enum Line {
    /// A command, in words.
    Command(Vec<String>),
    /// A line of `.env`: a variable, and what the page shows for its value.
    Variable(String, String),
}

/// The lines of the shell blocks in a section of a document.
fn lines(document: &str, section: &str) -> Result<Vec<Line>> {
    let start = format!("\n## {section}\n");
    let (_, rest) = document.split_once(&start).with_context(|| format!("there is no section {section}"))?;
    let text = rest.split("\n## ").next().unwrap_or_default();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty());
    lines.map(line).collect()
}

fn line(text: &str) -> Result<Line> {
    let words = shlex::split(text).with_context(|| format!("a shell would not take {text}"))?;
    Ok(match words.first().and_then(|word| word.split_once('=')) {
        Some((name, value)) => Line::Variable(name.to_owned(), value.to_owned()),
        None => Line::Command(words),
    })
}

/// The value of an option of a command.
fn option<'a>(words: &'a [String], name: &str) -> Result<&'a str> {
    let mut rest = words.iter().skip_while(|word| *word != name);
    rest.nth(1).map(String::as_str).with_context(|| format!("{words:?} has no {name}"))
}

/// Who walks.
struct Walk {
    world: World,
    program: Program,
    /// The stack's name: another one than the page's, as other tests deploy too.
    name: String,
    folder: PathBuf,
    aws: Aws,
    /// The lines of `.env`.
    env: BTreeMap<String, String>,
    /// The ARN of what was made last, by AWS's service.
    made: BTreeMap<String, String>,
    /// What the last command printed.
    said: String,
}

impl Walk {
    async fn new() -> Result<Self> {
        let world = World::new("walk").await?;
        world.hubspot.world().seed(HUB, 20, 180, 1);
        // The product has the customer, who has connected nothing.
        let domains = world.store.database().collection::<Document>(collection::DOMAINS);
        domains.delete_many(doc! {}).await?;
        domains.insert_one(doc! { "_id": DOMAIN, "company": { "name": "Acme" } }).await?;
        let endpoint = std::env::var("AWS_ENDPOINT_URL").context("this test is run by `make test`")?;
        let port = local::port_of(&endpoint)?;
        // The simulator is HubSpot, and what runs on this machine finds SQS there. All else is as the page says.
        let env = [
            ("MONGODB_DATABASE", world.store.database().name().to_owned()),
            ("HUBSPOT_API_BASE_URL", world.hubspot.url()),
            ("HUBSPOT_AUTHORIZE_URL", format!("{}/oauth/authorize", world.hubspot.url())),
            ("AWS_ENDPOINT_URL_SQS", endpoint),
            ("SCHEDULE_STATE", "DISABLED".to_owned()),
        ];
        Ok(Self {
            program: Program::new("walk")?.with_aws(port),
            name: format!("walk-{}", std::process::id()),
            folder: process::folder().join("walk-app"),
            aws: Aws::local(port).await,
            world,
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            made: BTreeMap::new(),
            said: String::new(),
        })
    }

    /// Does what a section of the page says.
    async fn follow(&mut self, document: &str, section: &str) -> Result<()> {
        for line in lines(document, section)? {
            let shown = format!("{section}: {line:?}");
            let done = match line {
                Line::Variable(name, value) => self.set(&name, &value),
                Line::Command(words) => self.run(&words).await,
            };
            done.context(shown)?;
        }
        Ok(())
    }

    /// Sets a variable of `.env`. The page shows the beginning of an ARN for what was made before.
    fn set(&mut self, name: &str, shown: &str) -> Result<()> {
        let value = match shown.strip_prefix("arn:aws:").and_then(|arn| arn.split(':').next()) {
            Some(service) => self.made.get(service).context("nothing was made there")?.clone(),
            None if name == "MONGODB_URI" => std::env::var("TEST_MONGODB_URI")?,
            None => shown.to_owned(),
        };
        self.env.insert(name.to_owned(), value);
        self.write_env()
    }

    fn write_env(&self) -> Result<()> {
        let lines: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        self.program.write_env(&lines.concat())
    }

    async fn run(&mut self, words: &[String]) -> Result<()> {
        let begins = |with: &str| words.join(" ").starts_with(with);
        if begins("make ") {
            return self.make(&words[1..]).await;
        }
        if begins("aws secretsmanager create-secret ") {
            let shown = option(words, "--secret-string")?;
            let text = shown
                .replacen("mongodb+srv://...", &std::env::var("TEST_MONGODB_URI")?, 1)
                .replacen(r#""clientId":"...""#, &format!(r#""clientId":"{}""#, hubspot_sim::CLIENT_ID), 1)
                .replacen(r#""clientSecret":"...""#, &format!(r#""clientSecret":"{}""#, hubspot_sim::CLIENT_SECRET), 1);
            ensure!(!text.contains("..."), "what is to be put in for the dots of {shown}?");
            let client = aws_sdk_secretsmanager::Client::new(&aws_config::load_from_env().await);
            let arn = secret(&client, option(words, "--name")?, &text).await?;
            self.made.insert("secretsmanager".to_owned(), arn);
            return Ok(());
        }
        if begins("aws sns create-topic ") {
            let client = aws_sdk_sns::Client::new(&aws_config::load_from_env().await);
            let name = format!("{}-{}", option(words, "--name")?, std::process::id());
            let topic = client.create_topic().name(name).send().await?;
            self.made.insert("sns".to_owned(), topic.topic_arn.context("a topic has an ARN")?);
            return Ok(());
        }
        if begins("hs project upload") {
            let (redirect, target) = hubspot_app::uploaded(&self.folder)?;
            let url = self.outputs().await?.remove("ConnectUrl").context("an address")?;
            let url = url.trim_end_matches('/');
            assert_eq!((redirect, target), (format!("{url}/hubspot/callback"), format!("{url}/hubspot/webhooks")));
            return Ok(());
        }
        let is_of_hubspots_cli = ["npm install -g @hubspot/cli@latest", "hs account auth", "cd .hubspot-app"]
            .iter()
            .any(|with| begins(with));
        ensure!(is_of_hubspots_cli, "nobody has tried this command");
        Ok(())
    }

    /// Runs what a target of the Makefile runs, for the walk's own stack, with the functions as the tests' are built.
    async fn make(&mut self, words: &[String]) -> Result<()> {
        let mut make = Command::new("make");
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS").current_dir(layout::root());
        make.arg("--dry-run").args(words).arg(format!("STACK={}", self.name));
        let shown = make.output()?;
        let shown = String::from_utf8(shown.stdout)?;
        let commands: Vec<Vec<String>> = shown.lines().filter_map(shlex::split).collect();
        let own = |words: &&Vec<String>| {
            words.first().is_some_and(|program| ["debug/stack", "debug/ops"].iter().any(|own| program.ends_with(own)))
        };
        let commands: Vec<&Vec<String>> = commands.iter().filter(own).collect();
        ensure!(!commands.is_empty(), "make would do nothing: {shown}");
        self.said.clear();
        for words in commands {
            let mut arguments: Vec<&str> = words[1..].iter().map(String::as_str).collect();
            let built = Build::Local.folder();
            if arguments.contains(&"deploy") && !arguments.contains(&"--check") {
                arguments.extend(["--built", built.to_str().context("a path in UTF-8")?]);
            }
            if arguments.contains(&"hubspot-app") {
                arguments.extend(["--folder", self.folder.to_str().context("a path in UTF-8")?]);
            }
            self.said.push_str(&self.program.run(&arguments, "yes\n").await?.expect_success()?);
        }
        Ok(())
    }

    async fn outputs(&self) -> Result<BTreeMap<String, String>> {
        Ok(cloudformation::existing(&self.aws, &self.name).await?.context("the stack is not there")?.outputs)
    }

    /// Makes the deployed stack what it is with these variables, and sees that it works.
    async fn deployed_with(&mut self, variables: &[(&str, Option<&str>)]) -> Result<()> {
        for (name, value) in variables {
            match value {
                Some(value) => self.env.insert((*name).to_owned(), (*value).to_owned()),
                None => self.env.remove(*name),
            };
        }
        self.write_env()?;
        self.make(&["deploy".to_owned()]).await?;
        self.make(&["smoke", "TARGET=aws"].map(str::to_owned)).await
    }

    async fn link(&mut self) -> Result<Url> {
        self.make(&["link", &format!("DOMAIN={DOMAIN}"), "TARGET=aws"].map(str::to_owned)).await?;
        let link = self.said.split_whitespace().find(|word| word.contains("/hubspot/install?"));
        Ok(Url::parse(link.with_context(|| format!("there is no link: {}", self.said))?)?)
    }
}

impl Walk {
    /// The customer opens the link, and allows an account on HubSpot's page.
    async fn connects(&mut self, hub: u64) -> Result<()> {
        let link = self.link().await?;
        let outputs = self.outputs().await?;
        let of = |name: &str| outputs.get(name).with_context(|| format!("no output {name}"));
        ensure!(link.as_str().starts_with(of("ConnectUrl")?), "{link}");
        let page = Page::at(of("ConnectUrl")?, &self.aws, of("ConnectSecretArn")?).await?;
        let front = Front::deployed(&page);
        let mut customer = Visitor::new(&front);
        let back = customer.consent(&link, hub).await?;
        let connected = customer.open(&back).await?;
        assert_eq!(connected.status(), StatusCode::OK, "{back}");
        let said = connected.text().await?;
        ensure!(said.contains("<h1>Connected</h1>") && said.contains("<strong>Acme</strong>"), "{said}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setup_page_leads_new_user_to_connected_customer() -> Result<()> {
    let document = std::fs::read_to_string(layout::root().join("docs/guide/setup.md"))?;
    let mut walk = Walk::new().await?;
    walk.follow(&document, "4. AWS").await?;
    walk.follow(&document, "5. The HubSpot app").await?;

    walk.connects(HUB).await?;
    walk.follow(&document, "6. Connect a customer").await?;
    ensure!(walk.said.contains("A change goes through."), "{}", walk.said);
    assert_eq!(walk.world.proof().await?.actions, 200);

    // The documented variants, one after the other.
    let in_vpc = [("VPC_SUBNET_IDS", Some("subnet-1,subnet-2")), ("VPC_SECURITY_GROUP_IDS", Some("sg-1"))];
    walk.world.hubspot.world().seed(HUB + 1, 2, 3, 1);
    let domain = CustomDomain::in_front_of(&Url::parse(&walk.outputs().await?["ConnectUrl"])?).await?;
    let below = format!("{}crm", domain.url);
    walk.deployed_with(&[&in_vpc[..], &[("CONNECT_URL", Some(&below))]].concat()).await?;
    assert_eq!(walk.outputs().await?["ConnectUrl"], below);
    walk.connects(HUB + 1).await?;
    let plain = [
        ("CONNECT", Some("DISABLED")),
        ("CONNECT_URL", None),
        ("MONGODB_SECRET_ARN", None),
        ("HUBSPOT_SECRET_ARN", None),
        ("HUBSPOT_CLIENT_ID", Some(hubspot_sim::CLIENT_ID)),
        ("HUBSPOT_CLIENT_SECRET", Some(hubspot_sim::CLIENT_SECRET)),
    ];
    walk.deployed_with(&plain).await?;
    ensure!(!walk.outputs().await?.contains_key("ConnectUrl"), "connect is still there");
    for (hub, actions) in [(HUB, 200), (HUB + 1, 5)] {
        let ledger = walk.world.hubspot.world().ledger.clone();
        let ledger: Vec<_> = ledger.into_iter().filter(|change| change.hub_id == hub).collect();
        let proof = proof::check(walk.world.store.database(), &AccountKey::new(DOMAIN, hub)?, &ledger).await?;
        proof.ensure()?;
        assert_eq!(proof.actions, actions, "{hub}");
    }
    walk.world.end().await
}

/// What the documents show is what a shell is given.
#[test]
fn page_commands_are_parsed_as_a_shell_parses_them() -> Result<()> {
    let page = "\n## One\n\n```sh\nmake a B=c   # why\nX=y # as well\n```\n\n   ```sh\n   do 'it now'\n   ```\n## Two\n```sh\nno\n```\n";
    let read = format!("{:?}", lines(page, "One")?);
    assert_eq!(read, r#"[Command(["make", "a", "B=c"]), Variable("X", "y"), Command(["do", "it now"])]"#);
    let missing = lines(page, "Three");
    if missing.is_ok() {
        bail!("a section that is not there was read");
    }
    Ok(())
}
