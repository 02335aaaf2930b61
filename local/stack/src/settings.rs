//! What `make up` and `make demo` are told by the environment and by `.env`. `.env.example` explains each.

use std::time::Duration;

use anyhow::{Context, Result};
use common::config;

/// How the local stack is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `MONGODB_URI`: a MongoDB of one's own; one is started where it is absent.
    pub mongodb_uri: Option<String>,
    /// `MONGODB_DATABASE`.
    pub database: String,
    /// `ACTIONS_RETENTION_DAYS`: how long actions are kept; for ever where it is absent.
    pub retention: Option<Duration>,
    /// The real HubSpot account to sync; the simulator is started where it is absent.
    pub hubspot: Option<RealHubSpot>,
    /// `STACK_MONGODB_PORT`, `STACK_AWS_PORT`, `STACK_HUBSPOT_PORT`.
    pub ports: Ports,
    /// `DEMO_COMPANIES`: companies of the demo's first account.
    pub companies: usize,
    /// `DEMO_CONTACTS`: contacts of the demo's first account.
    pub contacts: usize,
    /// `DEMO_CHANGES`: changes between the demo's two ticks.
    pub changes: usize,
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

/// A real HubSpot account: `HUBSPOT_HUB_ID`, with `HUBSPOT_ACCESS_TOKEN` (a private app's) or
/// `HUBSPOT_REFRESH_TOKEN` (an OAuth app's, with `HUBSPOT_CLIENT_ID` and `HUBSPOT_CLIENT_SECRET`).
#[derive(Clone, Debug)]
pub struct RealHubSpot {
    /// The account's id.
    pub hub_id: String,
    /// A private app's token.
    pub access_token: Option<String>,
    /// An OAuth grant.
    pub refresh_token: Option<String>,
    /// The OAuth app.
    pub client: Option<(String, String)>,
}

impl Settings {
    /// Reads `.env`, where there is one, and the environment, which has precedence.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn read() -> Result<Self> {
        let file = crate::layout::root().join(".env");
        if file.exists() {
            dotenvy::from_path(&file).context(".env cannot be read")?;
        }
        Ok(Self {
            mongodb_uri: config::optional("MONGODB_URI"),
            database: config::or("MONGODB_DATABASE", "hubspot_sync".to_owned())?,
            retention: config::optional("ACTIONS_RETENTION_DAYS").map(|days| retention(&days)).transpose()?,
            hubspot: real_hubspot()?,
            ports: Ports {
                mongodb: config::or("STACK_MONGODB_PORT", 27117)?,
                aws: config::or("STACK_AWS_PORT", 4566)?,
                hubspot: config::or("STACK_HUBSPOT_PORT", 8085)?,
            },
            companies: config::or("DEMO_COMPANIES", 400)?,
            contacts: config::or("DEMO_CONTACTS", 2000)?,
            changes: config::or("DEMO_CHANGES", 100)?,
        })
    }
}

/// At least as long as messages can wait in the queues: what is delivered again behind that would be stored again.
fn retention(days: &str) -> Result<Duration> {
    let days: u64 = days.parse().context("ACTIONS_RETENTION_DAYS is no number of days")?;
    anyhow::ensure!((30..=36_500).contains(&days), "ACTIONS_RETENTION_DAYS must be 30 to 36500");
    Ok(Duration::from_secs(days * 24 * 3600))
}

fn real_hubspot() -> Result<Option<RealHubSpot>> {
    let access_token = config::optional("HUBSPOT_ACCESS_TOKEN");
    let refresh_token = config::optional("HUBSPOT_REFRESH_TOKEN");
    if access_token.is_none() && refresh_token.is_none() {
        return Ok(None);
    }
    let client = match config::optional("HUBSPOT_CLIENT_ID") {
        Some(id) => Some((id, config::required("HUBSPOT_CLIENT_SECRET")?)),
        None => None,
    };
    Ok(Some(RealHubSpot { hub_id: config::required("HUBSPOT_HUB_ID")?, access_token, refresh_token, client }))
}
