//! The connect function's environment variables.

use std::time::Duration;

use environment::{
    config::ConfigError,
    production, tls,
    variables::{
        CONNECT_URL, FRESHNESS_ALARM_SECONDS, HUBSPOT_API_BASE_URL, HUBSPOT_AUTHORIZE_URL, HUBSPOT_COMPANY_PROPERTIES,
        HUBSPOT_CONTACT_PROPERTIES, HUBSPOT_OBJECTS, HUBSPOT_OPTIONAL_OBJECTS, HUBSPOT_PROPERTIES, SYNC_QUEUE_URL,
        TOKENS_SEALED_ONLY,
    },
};
use hubspot::OAuthApp;
use model::{choice::Choice, object::ObjectType};
use reqwest::Url;
use runtime::secrets::Secrets;
use store::MongoConfig;
use token_vault::MasterKey;

use crate::{consent::OptionalScopes, tokens::Tokens};

/// The connect function's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `HUBSPOT_API_BASE_URL`.
    pub hubspot_base_url: String,
    /// `HUBSPOT_AUTHORIZE_URL`: HubSpot's consent page.
    pub authorize_url: Url,
    /// The scopes that the object types of `HUBSPOT_OBJECTS` and `HUBSPOT_OPTIONAL_OBJECTS` need beyond the required ones, and
    /// the one of owners if `HUBSPOT_PROPERTIES` or its like names a property with an owner's id.
    pub optional_scopes: OptionalScopes,
    /// `HUBSPOT_CLIENT_ID` and `HUBSPOT_CLIENT_SECRET`, or `HUBSPOT_SECRET_ARN`. If it is absent, no account can be
    /// connected and no webhook is accepted.
    pub app: Option<OAuthApp>,
    /// `SYNC_QUEUE_URL`: the queue of first syncs, and of syncs that webhooks request.
    pub sync_queue_url: String,
    /// `TOKEN_KMS_KEY_ID` or `TOKEN_LOCAL_KEY`: the key under which tokens are sealed.
    pub token_key: Option<MasterKey>,
    /// `TOKENS_SEALED_ONLY`: if true, tokens that are stored unsealed are refused.
    pub sealed_only: bool,
    /// `CONNECT_SECRET` or `CONNECT_SECRET_ARN`: the tokens and their rights.
    pub tokens: Tokens,
    /// `CONNECT_URL`: the address by which browsers and HubSpot reach the function, if it is not the one in their
    /// requests.
    pub public_url: Option<Url>,
    /// `FRESHNESS_ALARM_SECONDS`: an account that was not checked for this long is shown as behind.
    pub behind_after: Duration,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable is missing or cannot be used. The error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        let app = secrets.hubspot_app()?;
        let hubspot_base_url = tls::address(&HUBSPOT_API_BASE_URL)?;
        let authorize_url = tls::address(&HUBSPOT_AUTHORIZE_URL)?;
        let addresses = [(&HUBSPOT_API_BASE_URL, &hubspot_base_url), (&HUBSPOT_AUTHORIZE_URL, &authorize_url)];
        production::check(app.as_ref().map(|(_, secret)| secret), &addresses)?;
        let (variable, tokens) = secrets.connect_tokens()?;
        Ok(Self {
            mongo: MongoConfig::from_env(secrets.mongodb_uri()?)?,
            hubspot_base_url: hubspot_base_url.into(),
            authorize_url,
            optional_scopes: optional_scopes()?,
            app: app.map(|(client_id, client_secret)| OAuthApp { client_id, client_secret }),
            sync_queue_url: SYNC_QUEUE_URL.required()?,
            token_key: MasterKey::from_env()?,
            sealed_only: TOKENS_SEALED_ONLY.flag()?,
            tokens: Tokens::read(variable, &tokens)?,
            public_url: tls::optional_address(&CONNECT_URL)?,
            behind_after: FRESHNESS_ALARM_SECONDS.seconds()?,
        })
    }
}

fn optional_scopes() -> Result<OptionalScopes, ConfigError> {
    let [stack, offered] = [&HUBSPOT_OBJECTS, &HUBSPOT_OPTIONAL_OBJECTS]
        .map(|variable| Choice::of_objects(&variable.list()).map_err(|error| variable.invalid(error)));
    let stack = stack?
        .with_properties(&HUBSPOT_PROPERTIES.optional().unwrap_or_default())
        .map_err(|error| HUBSPOT_PROPERTIES.invalid(error))?
        .with(ObjectType::COMPANIES, HUBSPOT_COMPANY_PROPERTIES.list())
        .with(ObjectType::CONTACTS, HUBSPOT_CONTACT_PROPERTIES.list());
    Ok(OptionalScopes::new(&stack.select(&Choice::default(), None), &stack.select(&offered?, None)))
}
