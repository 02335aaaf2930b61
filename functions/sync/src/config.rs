//! The sync function's environment variables.

use std::time::Duration;

use environment::{
    config::ConfigError,
    production, tls,
    variables::{
        ACTIONS_QUEUE_URL, CONTINUATION_QUEUE_URL, FRESHNESS_ALARM_SECONDS, HUBSPOT_API_BASE_URL,
        HUBSPOT_ASSOCIATIONS_PER_10S, HUBSPOT_COMPANY_PROPERTIES, HUBSPOT_CONTACT_PROPERTIES,
        HUBSPOT_CONTACT_SCORE_PROPERTY, HUBSPOT_OBJECTS, HUBSPOT_PER_10S, HUBSPOT_PROPERTIES, HUBSPOT_SEARCH_ONLY,
        HUBSPOT_SEARCH_RPS, SYNC_ASSOCIATIONS_SECONDS, SYNC_BUDGET_MS, SYNC_CALCULATED_SECONDS,
        SYNC_CLOCK_TOLERANCE_SECONDS, SYNC_OVERLAP_SECONDS, SYNC_QUEUE_URL, SYNC_QUIET_SECONDS,
        SYNC_REFERENCES_SECONDS, SYNC_SETTLE_SECONDS, SYNC_SWEEP_SECONDS, TOKENS_SEALED_ONLY,
    },
};
use hubspot::{Limits, OAuthApp};
use model::{choice::Choice, object::ObjectType, score::ContactScore};
use runtime::secrets::Secrets;
use store::MongoConfig;
use token_vault::MasterKey;

/// Often enough for people who watch their screen, and a small part of the requests that HubSpot allows.
const FRESH_PASS_EVERY: Duration = Duration::from_secs(30);

/// The configuration of the sync function.
#[derive(Clone, Debug)]
pub struct Config {
    /// `MONGODB_URI` or `MONGODB_SECRET_ARN`, `MONGODB_DATABASE`.
    pub mongo: MongoConfig,
    /// `HUBSPOT_API_BASE_URL`.
    pub hubspot_base_url: String,
    /// `HUBSPOT_CLIENT_ID` and `HUBSPOT_CLIENT_SECRET`, or `HUBSPOT_SECRET_ARN`. Not needed if all accounts use private
    /// apps' tokens.
    pub app: Option<OAuthApp>,
    /// `TOKEN_KMS_KEY_ID` or `TOKEN_LOCAL_KEY`: the key that seals tokens. `None` if tokens are stored in plain text.
    pub token_key: Option<MasterKey>,
    /// `TOKENS_SEALED_ONLY`: true if tokens stored in plain text must not be used.
    pub sealed_only: bool,
    /// `SYNC_QUEUE_URL`: where ticks and notifications come from, and return to if an account is busy.
    pub sync_queue_url: String,
    /// `CONTINUATION_QUEUE_URL`: where continuations go.
    pub continuation_queue_url: String,
    /// `ACTIONS_QUEUE_URL`: where actions go.
    pub actions_queue_url: String,
    /// `SYNC_OVERLAP_SECONDS`: how far a fresh pass reaches back before the end of the last one.
    pub overlap: Duration,
    /// `SYNC_SETTLE_SECONDS`: after how long HubSpot's search index has certainly caught up.
    pub settle: Duration,
    /// How often an account is looked at for changes while its history is being read.
    pub fresh_every: Duration,
    /// `SYNC_SWEEP_SECONDS`: how often the recycle bin is read for deletions. `None` (0) if it is only read when
    /// HubSpot reports deletions.
    pub sweep_every: Option<Duration>,
    /// `SYNC_ASSOCIATIONS_SECONDS`: how often the associations of all contacts are compared with what was published.
    /// `None` (0) if they are read only when HubSpot reports a change.
    pub associations_every: Option<Duration>,
    /// `SYNC_CALCULATED_SECONDS`: how often the values of calculated properties are compared with what was published.
    /// `None` (0) if they are read only with a record that changed.
    pub calculated_every: Option<Duration>,
    /// `SYNC_REFERENCES_SECONDS`: how often owners, pipelines and the definitions of properties are read. `None` (0) if
    /// they are not.
    pub references_every: Option<Duration>,
    /// `SYNC_QUIET_SECONDS`: the longest pause between two looks at an account in which nothing changes. Zero if each tick
    /// looks at it.
    pub quiet: Duration,
    /// `FRESHNESS_ALARM_SECONDS`: after how long without a look an account is behind.
    pub behind_after: Duration,
    /// `SYNC_CLOCK_TOLERANCE_SECONDS`: how far HubSpot's clock may be ahead of this machine's before it is considered
    /// wrong.
    pub clock_tolerance: Duration,
    /// `SYNC_BUDGET_MS`: how long an invocation may take.
    pub budget: Duration,
    /// `HUBSPOT_SEARCH_RPS`, `HUBSPOT_PER_10S`, `HUBSPOT_ASSOCIATIONS_PER_10S`.
    pub limits: Limits,
    /// `HUBSPOT_SEARCH_ONLY`: true if a history is read by searches alone, and not by lists beside them.
    pub search_only: bool,
    /// `HUBSPOT_OBJECTS`, `HUBSPOT_PROPERTIES`, `HUBSPOT_COMPANY_PROPERTIES`, `HUBSPOT_CONTACT_PROPERTIES`: the object types to
    /// read, and the properties to keep of each besides those always kept. An account's entry may choose otherwise.
    pub choice: Choice,
    /// `HUBSPOT_CONTACT_SCORE_PROPERTY`: the property that becomes the `contact_score`. It is read of all contacts.
    pub contact_score: ContactScore,
}

impl Config {
    /// Reads the configuration from the environment and `secrets`.
    ///
    /// # Errors
    /// A variable is missing or invalid. The error names it.
    pub fn from_env(secrets: &Secrets) -> Result<Self, ConfigError> {
        let app = secrets.hubspot_app()?;
        let hubspot_base_url = tls::address(&HUBSPOT_API_BASE_URL)?;
        let client_secret = app.as_ref().map(|(_, secret)| secret);
        production::check(client_secret, &[(&HUBSPOT_API_BASE_URL, &hubspot_base_url)])?;
        Ok(Self {
            mongo: MongoConfig::from_env(secrets.mongodb_uri()?)?,
            hubspot_base_url: hubspot_base_url.into(),
            app: app.map(|(client_id, client_secret)| OAuthApp { client_id, client_secret }),
            token_key: MasterKey::from_env()?,
            sealed_only: TOKENS_SEALED_ONLY.flag()?,
            sync_queue_url: SYNC_QUEUE_URL.required()?,
            continuation_queue_url: CONTINUATION_QUEUE_URL.required()?,
            actions_queue_url: ACTIONS_QUEUE_URL.required()?,
            overlap: SYNC_OVERLAP_SECONDS.seconds()?,
            settle: SYNC_SETTLE_SECONDS.seconds()?,
            fresh_every: FRESH_PASS_EVERY,
            sweep_every: Some(SYNC_SWEEP_SECONDS.seconds()?).filter(|every| !every.is_zero()),
            associations_every: Some(SYNC_ASSOCIATIONS_SECONDS.seconds()?).filter(|every| !every.is_zero()),
            calculated_every: Some(SYNC_CALCULATED_SECONDS.seconds()?).filter(|every| !every.is_zero()),
            references_every: Some(SYNC_REFERENCES_SECONDS.seconds()?).filter(|every| !every.is_zero()),
            quiet: SYNC_QUIET_SECONDS.seconds()?,
            behind_after: FRESHNESS_ALARM_SECONDS.seconds()?,
            clock_tolerance: SYNC_CLOCK_TOLERANCE_SECONDS.seconds()?,
            budget: SYNC_BUDGET_MS.milliseconds()?,
            limits: Limits {
                search_rps: HUBSPOT_SEARCH_RPS.parsed()?,
                per_10s: HUBSPOT_PER_10S.parsed()?,
                associations_per_10s: HUBSPOT_ASSOCIATIONS_PER_10S.parsed()?,
            },
            search_only: HUBSPOT_SEARCH_ONLY.flag()?,
            choice: choice()?,
            contact_score: HUBSPOT_CONTACT_SCORE_PROPERTY.parsed()?,
        })
    }
}

/// Reads the stack's choice of object types and properties.
fn choice() -> Result<Choice, ConfigError> {
    let choice = Choice::of_objects(&HUBSPOT_OBJECTS.list()).map_err(|error| HUBSPOT_OBJECTS.invalid(error))?;
    let choice = choice.with_properties(&HUBSPOT_PROPERTIES.optional().unwrap_or_default());
    let choice = choice.map_err(|error| HUBSPOT_PROPERTIES.invalid(error))?;
    let choice = choice.with(ObjectType::COMPANIES, HUBSPOT_COMPANY_PROPERTIES.list());
    Ok(choice.with(ObjectType::CONTACTS, HUBSPOT_CONTACT_PROPERTIES.list()))
}
