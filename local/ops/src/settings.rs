//! The settings of the commands, from the environment and `.env`. `.env.example` explains each variable. Those of the
//! local stack have names of their own, so that no command for it ever works on a stack on AWS.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use environment::variables::{MONGODB_DATABASE, MONGODB_URI};
use model::object::ObjectType;
use secrecy::SecretString;

use crate::{
    env_file,
    layout::{self, NAME},
    local,
    variables::{
        ACTIONS_RETENTION_DAYS, DEMO_CHANGES, DEMO_COMPANIES, DEMO_CONTACTS, OBJECTS, STACK_AWS_PORT,
        STACK_HUBSPOT_ACCESS_TOKEN, STACK_HUBSPOT_CLIENT_ID, STACK_HUBSPOT_CLIENT_SECRET, STACK_HUBSPOT_HUB_ID,
        STACK_HUBSPOT_PORT, STACK_HUBSPOT_REFRESH_TOKEN, STACK_MONGODB_DATABASE, STACK_MONGODB_PORT, STACK_MONGODB_URI,
    },
};

/// The settings of the local stack, and the stack on AWS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `STACK_MONGODB_URI`: an existing MongoDB for the local stack. If it is absent, the stack starts its own.
    pub mongodb_uri: Option<SecretString>,
    /// `STACK_MONGODB_DATABASE`.
    pub database: String,
    /// `ACTIONS_RETENTION_DAYS`: how long actions are kept.
    pub retention: Retention,
    /// The real HubSpot account to sync. If it is absent, the simulator is started.
    pub hubspot: Option<RealHubSpot>,
    /// `STACK_MONGODB_PORT`, `STACK_AWS_PORT`, `STACK_HUBSPOT_PORT`.
    pub ports: Ports,
    /// `DEMO_COMPANIES`: companies of the demo's first account.
    pub companies: usize,
    /// `DEMO_CONTACTS`: contacts of the demo's first account.
    pub contacts: usize,
    /// `OBJECTS`: the object types of the demo's first account.
    pub objects: Vec<ObjectType>,
    /// `DEMO_CHANGES`: changes between the demo's two ticks.
    pub changes: usize,
    /// The stack on AWS.
    pub aws: OnAws,
}

/// The stack on AWS. It is used only by commands with `TARGET=aws`, and by `make deploy`.
#[derive(Clone, Debug)]
pub struct OnAws {
    /// The environment in samconfig.toml.
    pub config_env: String,
    /// The stack's name.
    pub name: String,
    /// `MONGODB_URI`: how to reach its MongoDB from this machine.
    pub mongodb_uri: Option<SecretString>,
    /// `MONGODB_DATABASE`.
    pub database: String,
}

impl OnAws {
    /// Returns the connection string of its MongoDB, as it is reached from this machine.
    ///
    /// # Errors
    /// `MONGODB_URI` is not set.
    pub fn mongodb_uri(&self) -> Result<&SecretString> {
        self.mongodb_uri.as_ref().context("MONGODB_URI is not set; put it into .env")
    }
}

/// The arguments that choose the stack on AWS and the file of its variables.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// The environment in samconfig.toml. Its variables are in `.env.<environment>`, or in `.env` for `default`.
    #[arg(long, global = true, default_value = DEFAULT_ENV)]
    pub config_env: String,
    /// Another file with the variables.
    #[arg(long, global = true)]
    pub env_file: Option<PathBuf>,
    /// The name of the stack on AWS, if it is not the one of the environment.
    #[arg(long, global = true)]
    pub stack_name: Option<String>,
}

/// The environment whose variables are in `.env` itself.
const DEFAULT_ENV: &str = "default";

impl Which {
    /// Returns the stack's name, which is the one in samconfig.toml for SAM's own commands.
    fn name(&self) -> String {
        match (&self.stack_name, self.config_env.as_str()) {
            (Some(name), _) => name.clone(),
            (None, DEFAULT_ENV) => NAME.to_owned(),
            (None, other) => format!("{NAME}-{other}"),
        }
    }

    /// Returns the file with the variables, and true if it must exist.
    fn file(&self) -> (PathBuf, bool) {
        match (&self.env_file, self.config_env.as_str()) {
            (Some(file), _) => (file.clone(), true),
            (None, DEFAULT_ENV) => (layout::root().join(".env"), false),
            (None, other) => (layout::root().join(format!(".env.{other}")), true),
        }
    }
}

/// How long actions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// The setting of an earlier `make migrate` stays.
    Unchanged,
    /// `none`: for ever.
    Forever,
    /// For this long.
    For(Duration),
}

impl Retention {
    /// Parses a number of days, or `none`.
    ///
    /// # Errors
    /// It is neither, or the time is shorter than messages can wait in the queues: an action that is delivered again after
    /// its deletion would be stored again.
    pub(crate) fn parse(days: &str) -> Result<Self> {
        if days == "none" {
            return Ok(Self::Forever);
        }
        let days: u64 = days.parse().context("ACTIONS_RETENTION_DAYS is neither a number of days nor `none`")?;
        ensure!((30..=36_500).contains(&days), "ACTIONS_RETENTION_DAYS must be 30 to 36500, or none");
        Ok(Self::For(Duration::from_secs(days * 24 * 3600)))
    }
}

/// The ports of 127.0.0.1 that the local stack listens on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// MongoDB's.
    pub mongodb: u16,
    /// MiniStack's.
    pub aws: u16,
    /// The simulator's.
    pub hubspot: u16,
}

/// A real HubSpot account: `STACK_HUBSPOT_HUB_ID`, with `STACK_HUBSPOT_ACCESS_TOKEN` (a private app's) or
/// `STACK_HUBSPOT_REFRESH_TOKEN` (an OAuth app's, with `STACK_HUBSPOT_CLIENT_ID` and `STACK_HUBSPOT_CLIENT_SECRET`).
#[derive(Clone, Debug)]
pub struct RealHubSpot {
    /// The account's id.
    pub hub_id: String,
    /// A private app's token.
    pub access_token: Option<SecretString>,
    /// An OAuth grant.
    pub refresh_token: Option<SecretString>,
    /// The OAuth app.
    pub client: Option<(String, SecretString)>,
}

impl Settings {
    /// Reads the file with the variables, if there is one, and the environment. The environment has precedence.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn read(which: &Which) -> Result<Self> {
        let (file, is_needed) = which.file();
        if is_needed || file.exists() {
            env_file::read(&file)?;
        }
        for old in ["HUBSPOT_HUB_ID", "HUBSPOT_ACCESS_TOKEN", "HUBSPOT_REFRESH_TOKEN"] {
            ensure!(
                env_file::variable(old).is_none(),
                "{old} is only for the local stack, and is called STACK_{old} now"
            );
        }
        Ok(Self {
            mongodb_uri: STACK_MONGODB_URI.optional().map(SecretString::from),
            database: STACK_MONGODB_DATABASE.required()?,
            retention: ACTIONS_RETENTION_DAYS
                .optional()
                .map_or(Ok(Retention::Unchanged), |days| Retention::parse(&days))?,
            hubspot: real_hubspot()?,
            ports: Ports {
                mongodb: STACK_MONGODB_PORT.parsed()?,
                aws: STACK_AWS_PORT.parsed()?,
                hubspot: STACK_HUBSPOT_PORT.parsed()?,
            },
            companies: DEMO_COMPANIES.parsed()?,
            contacts: DEMO_CONTACTS.parsed()?,
            objects: OBJECTS
                .list()
                .iter()
                .map(|name| ObjectType::parse(name).map_err(|error| OBJECTS.invalid(error)))
                .collect::<Result<_, _>>()?,
            changes: DEMO_CHANGES.parsed()?,
            aws: OnAws {
                config_env: which.config_env.clone(),
                name: which.name(),
                mongodb_uri: MONGODB_URI.optional().map(SecretString::from),
                database: MONGODB_DATABASE.required()?,
            },
        })
    }

    /// Returns the connection string of the local stack's MongoDB.
    pub fn local_mongodb_uri(&self) -> SecretString {
        self.mongodb_uri.clone().unwrap_or_else(|| local::mongodb_uri(self.ports.mongodb).into())
    }
}

fn real_hubspot() -> Result<Option<RealHubSpot>> {
    let access_token = STACK_HUBSPOT_ACCESS_TOKEN.optional().map(SecretString::from);
    let refresh_token = STACK_HUBSPOT_REFRESH_TOKEN.optional().map(SecretString::from);
    if access_token.is_none() && refresh_token.is_none() {
        return Ok(None);
    }
    let client = match STACK_HUBSPOT_CLIENT_ID.optional() {
        Some(id) => Some((id, STACK_HUBSPOT_CLIENT_SECRET.secret()?)),
        None => None,
    };
    Ok(Some(RealHubSpot { hub_id: STACK_HUBSPOT_HUB_ID.required()?, access_token, refresh_token, client }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SAM's own commands, run manually, use the same stacks as the make targets.
    #[test]
    fn samconfig_names_the_stacks_as_the_make_targets_do() {
        let samconfig = std::fs::read_to_string(layout::root().join("samconfig.toml")).unwrap();
        let mut environments = Vec::new();
        for (header, line) in samconfig.lines().zip(samconfig.lines().skip(1)) {
            let Some(config_env) = header.strip_prefix('[').and_then(|rest| rest.strip_suffix(".global.parameters]"))
            else {
                continue;
            };
            let which = Which { config_env: config_env.to_owned(), env_file: None, stack_name: None };
            assert_eq!(line, format!("stack_name = \"{}\"", which.name()));
            assert!(samconfig.contains(&format!("\"environment={config_env}\"")), "{config_env} has no tag");
            environments.push(config_env);
        }
        assert_eq!(environments, ["default", "staging", "prod"]);
    }

    #[test]
    fn settings_are_shown_without_secrets() {
        let real = RealHubSpot {
            hub_id: "42".into(),
            access_token: Some("pat-secret".into()),
            refresh_token: Some("refresh-secret".into()),
            client: Some(("id".into(), "client-secret".into())),
        };
        let aws = OnAws {
            config_env: "default".into(),
            name: NAME.into(),
            mongodb_uri: Some("mongodb://u:uri-secret@a.example.net".into()),
            database: "a".into(),
        };
        let shown = format!("{real:?} {aws:?}");
        assert!(shown.contains("42") && !shown.contains("-secret"), "{shown}");
    }

    #[test]
    fn each_environment_has_a_file_of_its_own() {
        let file = |config_env: &str| Which { config_env: config_env.into(), env_file: None, stack_name: None }.file();
        let named = |name: &str, is_needed| (layout::root().join(name), is_needed);
        assert_eq!(file("default"), named(".env", false));
        assert_eq!(file("staging"), named(".env.staging", true));
    }
}
