//! The connect function's environment variables.

use std::time::Duration;

use environment::{
    config::{self, ConfigError},
    production, tls,
};
use hubspot::{DEFAULT_AUTHORIZE_URL, DEFAULT_BASE_URL, OAuthApp};
use reqwest::Url;
use runtime::secrets::Secrets;
use store::MongoConfig;
use token_vault::MasterKey;

use crate::tokens::Tokens;

/// What the connect function is told by its environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `HUBSPOT_API_BASE_URL`.
    pub hubspot_base_url: String,
    /// `HUBSPOT_AUTHORIZE_URL`: HubSpot's consent page.
    pub authorize_url: Url,
    /// `HUBSPOT_CLIENT_ID` and `HUBSPOT_CLIENT_SECRET`, or `HUBSPOT_SECRET_ARN`. Without it nothing can be connected, and
    /// no webhook is taken.
    pub app: Option<OAuthApp>,
    /// `SYNC_QUEUE_URL`: where a first sync, and what HubSpot tells of, is queued.
    pub sync_queue_url: String,
    /// `TOKEN_KMS_KEY_ID` or `TOKEN_LOCAL_KEY`: under which key tokens are sealed.
    pub token_key: Option<MasterKey>,
    /// `TOKENS_SEALED_ONLY`: whether tokens that are stored as they are cannot be used.
    pub sealed_only: bool,
    /// `CONNECT_SECRET` or `CONNECT_SECRET_ARN`: who may see and do what here.
    pub tokens: Tokens,
    /// `CONNECT_URL`: the address under which browsers and HubSpot reach the function, if that is not the one that they
    /// ask for.
    pub public_url: Option<Url>,
    /// `FRESHNESS_ALARM_SECONDS` (1800): an account that was not looked at for so long is shown as behind.
    pub behind_after: Duration,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing or cannot be used; the error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        let app = secrets.hubspot_app()?;
        let public_url = config::optional("CONNECT_URL").map(|text| tls::address("CONNECT_URL", &text)).transpose()?;
        let hubspot_base_url = config::or("HUBSPOT_API_BASE_URL", DEFAULT_BASE_URL.to_owned())?;
        let authorize_url = config::or("HUBSPOT_AUTHORIZE_URL", DEFAULT_AUTHORIZE_URL.to_owned())?;
        tls::address("HUBSPOT_API_BASE_URL", &hubspot_base_url)?;
        let addresses =
            [("HUBSPOT_API_BASE_URL", hubspot_base_url.as_str()), ("HUBSPOT_AUTHORIZE_URL", authorize_url.as_str())];
        let (name, tokens) = secrets.connect_tokens()?;
        production::check(app.as_ref().map(|(_, secret)| secret), &addresses)?;
        Ok(Self {
            mongo: MongoConfig::from_env(secrets.mongodb_uri()?),
            hubspot_base_url,
            authorize_url: tls::address("HUBSPOT_AUTHORIZE_URL", &authorize_url)?,
            app: app.map(|(client_id, client_secret)| OAuthApp { client_id, client_secret }),
            sync_queue_url: config::required("SYNC_QUEUE_URL")?,
            token_key: MasterKey::from_env()?,
            sealed_only: config::flag("TOKENS_SEALED_ONLY"),
            tokens: Tokens::read(name, &tokens)?,
            public_url,
            behind_after: config::seconds("FRESHNESS_ALARM_SECONDS", 1800)?,
        })
    }
}
