//! The sync function's environment variables.

use std::{num::NonZeroU32, time::Duration};

use environment::{
    config::{self, ConfigError},
    production, tls,
};
use hubspot::{DEFAULT_BASE_URL, Limits, OAuthApp};
use model::object::ObjectType;
use runtime::secrets::Secrets;
use store::MongoConfig;
use token_vault::MasterKey;

/// HubSpot's search limit, in requests a second and account.
const SEARCH_RPS: NonZeroU32 = NonZeroU32::new(5).expect("it is not zero");

/// HubSpot's limit for an OAuth app's other requests, in ten seconds and account.
const PER_10S: NonZeroU32 = NonZeroU32::new(110).expect("it is not zero");

/// Often enough for people who look at their screen, and few enough of the requests that HubSpot allows.
const FRESH_EVERY: Duration = Duration::from_secs(30);

/// What the sync function is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `HUBSPOT_API_BASE_URL`.
    pub hubspot_base_url: String,
    /// `HUBSPOT_CLIENT_ID` and `HUBSPOT_CLIENT_SECRET`, or `HUBSPOT_SECRET_ARN`; not needed if all accounts use private apps' tokens.
    pub app: Option<OAuthApp>,
    /// `TOKEN_KMS_KEY_ID` or `TOKEN_LOCAL_KEY`: under which key tokens are sealed; they are stored as they are if there is none.
    pub token_key: Option<MasterKey>,
    /// `TOKENS_SEALED_ONLY`: whether tokens that are stored as they are cannot be used.
    pub sealed_only: bool,
    /// `SYNC_QUEUE_URL`: where continuations go.
    pub sync_queue_url: String,
    /// `ACTIONS_QUEUE_URL`: where actions go.
    pub actions_queue_url: String,
    /// `SYNC_OVERLAP_SECONDS` (300): how far back a fresh pass looks behind the last one.
    pub overlap: Duration,
    /// `SYNC_SETTLE_SECONDS` (3600): after how long HubSpot's search index has surely caught up.
    pub settle: Duration,
    /// How often an account is looked at for changes while its history is still being read.
    pub fresh_every: Duration,
    /// `SYNC_SWEEP_SECONDS` (21600): how often the recycle bin is read for what was deleted; `None` (0) if only when HubSpot tells
    /// of deletions.
    pub sweep_every: Option<Duration>,
    /// `SYNC_CLOCK_TOLERANCE_SECONDS` (300): how far HubSpot's clock may be ahead of this machine's before it is taken for wrong.
    pub clock_tolerance: Duration,
    /// `SYNC_BUDGET_MS` (5000): how long an invocation may take.
    pub budget: Duration,
    /// `HUBSPOT_SEARCH_RPS` (5), `HUBSPOT_PER_10S` (110).
    pub limits: Limits,
    /// `HUBSPOT_COMPANY_PROPERTIES`: more properties of companies to keep, separated by commas.
    pub company_properties: Vec<String>,
    /// `HUBSPOT_CONTACT_PROPERTIES`: more properties of contacts to keep, separated by commas.
    pub contact_properties: Vec<String>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing or cannot be used; the error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        let app = secrets.hubspot_app()?;
        let hubspot_base_url = config::or("HUBSPOT_API_BASE_URL", DEFAULT_BASE_URL.to_owned())?;
        tls::address("HUBSPOT_API_BASE_URL", &hubspot_base_url)?;
        let client_secret = app.as_ref().map(|(_, secret)| secret);
        production::check(client_secret, &[("HUBSPOT_API_BASE_URL", &hubspot_base_url)])?;
        Ok(Self {
            mongo: MongoConfig::from_env(secrets.mongodb_uri()?),
            hubspot_base_url,
            app: app.map(|(client_id, client_secret)| OAuthApp { client_id, client_secret }),
            token_key: MasterKey::from_env()?,
            sealed_only: config::flag("TOKENS_SEALED_ONLY"),
            sync_queue_url: config::required("SYNC_QUEUE_URL")?,
            actions_queue_url: config::required("ACTIONS_QUEUE_URL")?,
            overlap: config::seconds("SYNC_OVERLAP_SECONDS", 300)?,
            settle: config::seconds("SYNC_SETTLE_SECONDS", 3600)?,
            fresh_every: FRESH_EVERY,
            sweep_every: Some(config::seconds("SYNC_SWEEP_SECONDS", 21_600)?).filter(|every| !every.is_zero()),
            clock_tolerance: config::seconds("SYNC_CLOCK_TOLERANCE_SECONDS", 300)?,
            budget: Duration::from_millis(config::or("SYNC_BUDGET_MS", 5000)?),
            limits: Limits {
                search_rps: config::or("HUBSPOT_SEARCH_RPS", SEARCH_RPS)?,
                per_10s: config::or("HUBSPOT_PER_10S", PER_10S)?,
            },
            company_properties: ObjectType::Companies.properties(config::words("HUBSPOT_COMPANY_PROPERTIES")),
            contact_properties: ObjectType::Contacts.properties(config::words("HUBSPOT_CONTACT_PROPERTIES")),
        })
    }

    /// The properties asked for of an object type.
    pub fn properties(&self, object: ObjectType) -> &[String] {
        match object {
            ObjectType::Companies => &self.company_properties,
            ObjectType::Contacts => &self.contact_properties,
        }
    }
}
