//! Secrets by ARN. They are read from Secrets Manager when a function starts, kept, and read again from time to time,
//! so a secret can be rotated without a deployment.

use std::{sync::Arc, time::Duration};

use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use environment::{
    config::{ConfigError, Variable},
    startup::{NoAnswer, wait_for},
    tls,
    variables::{
        CONNECT_SECRET, CONNECT_SECRET_ARN, HUBSPOT_CLIENT_ID, HUBSPOT_CLIENT_SECRET, HUBSPOT_SECRET_ARN,
        MONGODB_SECRET_ARN, MONGODB_URI, SECRETS_KEPT_SECONDS, SECRETS_USED_SECONDS,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

/// The secrets that the environment names by ARN. The others are in the environment itself.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// `MONGODB_SECRET_ARN`: the connection string, as plain text or as `{"uri": "..."}`.
    mongodb: Option<SecretString>,
    /// `HUBSPOT_SECRET_ARN`: the OAuth app, as `{"clientId": "...", "clientSecret": "..."}`.
    hubspot: Option<SecretString>,
    /// `CONNECT_SECRET_ARN`: the status page's tokens.
    connect: Option<SecretString>,
}

/// A secret cannot be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Secrets Manager refused, or could not be reached. Has the variable's name and the error code.
    #[error("the secret of {0} cannot be read: {1}")]
    Unread(&'static str, String),
    /// The secret has no text.
    #[error("the secret of {0} has no text")]
    NoText(&'static str),
    /// Secrets Manager does not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// A variable with an address of AWS cannot be used.
    #[error(transparent)]
    Address(#[from] ConfigError),
}

/// The variables that name secrets.
static ARNS: [&Variable; 3] = [&MONGODB_SECRET_ARN, &HUBSPOT_SECRET_ARN, &CONNECT_SECRET_ARN];

impl Secrets {
    /// Reads the secrets that the environment names.
    ///
    /// # Errors
    /// A secret cannot be read, or not in time, or AWS would be reached without TLS.
    pub async fn read() -> Result<Self, SecretError> {
        tls::check_aws()?;
        if ARNS.iter().all(|variable| variable.optional().is_none()) {
            return Ok(Self::default());
        }
        let client = Client::new(&aws_config::load_from_env().await);
        let [mongodb, hubspot, connect] = ARNS.map(|variable| read(&client, variable));
        let read = async { tokio::try_join!(mongodb, hubspot, connect) };
        let (mongodb, hubspot, connect) = wait_for("Secrets Manager", read).await??;
        Ok(Self { mongodb, hubspot, connect })
    }

    /// Returns the MongoDB connection string: the secret's, or `MONGODB_URI`.
    ///
    /// # Errors
    /// There is neither a secret nor a variable.
    pub fn mongodb_uri(&self) -> Result<SecretString, ConfigError> {
        let secret = self.mongodb.as_ref();
        secret.map_or_else(|| MONGODB_URI.secret(), |secret| Ok(json_field_or_text(secret, "uri")))
    }

    /// Returns the OAuth app's client id and secret: the secret's, or `HUBSPOT_CLIENT_ID` and `HUBSPOT_CLIENT_SECRET`.
    /// Returns `None` if there is no client id.
    ///
    /// # Errors
    /// The secret is not of its form, or `HUBSPOT_CLIENT_SECRET` is missing.
    pub fn hubspot_app(&self) -> Result<Option<(String, SecretString)>, ConfigError> {
        let Some(secret) = &self.hubspot else {
            let id = HUBSPOT_CLIENT_ID.optional();
            return id.map(|id| Ok((id, HUBSPOT_CLIENT_SECRET.secret()?))).transpose();
        };
        Ok(Some(app(secret)?))
    }

    /// Returns the unparsed tokens of the status page and its API, with their variable: the secret, or
    /// `CONNECT_SECRET`.
    ///
    /// # Errors
    /// There is neither a secret nor a variable.
    pub fn connect_tokens(&self) -> Result<(&'static Variable, SecretString), ConfigError> {
        match &self.connect {
            None => Ok((&CONNECT_SECRET, CONNECT_SECRET.secret()?)),
            Some(secret) => Ok((&CONNECT_SECRET_ARN, secret.clone())),
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        let same = |one: &Option<SecretString>, other: &Option<SecretString>| {
            one.as_ref().map(ExposeSecret::expose_secret) == other.as_ref().map(ExposeSecret::expose_secret)
        };
        same(&self.mongodb, &other.mongodb)
            && same(&self.hubspot, &other.hubspot)
            && same(&self.connect, &other.connect)
    }

    fn are_in_the_environment(&self) -> bool {
        [&self.mongodb, &self.hubspot, &self.connect].into_iter().all(Option::is_none)
    }
}

/// Returns the OAuth app's client id and secret. Fails if the secret is not of its form, or one of the two is empty.
fn app(secret: &SecretString) -> Result<(String, SecretString), ConfigError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct App {
        client_id: String,
        client_secret: SecretString,
    }
    let app: Option<App> = serde_json::from_str(secret.expose_secret()).ok();
    // With an empty secret, anybody could sign webhooks. The error gives no further reason: serde's message may quote
    // the secret.
    let app = app.filter(|app| !app.client_id.is_empty() && !app.client_secret.expose_secret().is_empty());
    let form = r#"the secret is not of the form {"clientId": "...", "clientSecret": "..."}"#;
    let app = app.ok_or_else(|| HUBSPOT_SECRET_ARN.invalid(form))?;
    Ok((app.client_id, app.client_secret))
}

/// Returns the field `name` of a secret in JSON. Returns the whole text if it is not JSON, or has no such field.
pub fn json_field_or_text(secret: &SecretString, name: &str) -> SecretString {
    let text = secret.expose_secret();
    let json: Option<Value> = serde_json::from_str(text).ok();
    let named = json.as_ref().and_then(|json| json.get(name)?.as_str());
    named.unwrap_or_else(|| text.trim()).into()
}

/// Returns the secret that a variable names. Returns `None` if the variable is not set.
async fn read(client: &Client, variable: &'static Variable) -> Result<Option<SecretString>, SecretError> {
    let name = variable.name;
    let Some(arn) = variable.optional() else { return Ok(None) };
    let read = client.get_secret_value().secret_id(arn).send().await;
    let read = read.map_err(|error| {
        SecretError::Unread(name, error.code().map_or_else(|| "it cannot be reached".to_owned(), str::to_owned))
    })?;
    read.secret_string.map(|text| Some(text.into())).ok_or(SecretError::NoText(name))
}

/// How long after a refresh the next one is tried while the secrets are too old to be used.
const STALE_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// The timeout of a refresh. It is shorter than any invocation, because it runs beside one.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);

/// A function's state between invocations. It is made again when one of the secrets has changed.
pub struct ReloadOnRotation<T, Make> {
    make: Make,
    /// How long secrets are used before they are read again.
    kept: Duration,
    /// How long [`Self::with_newest_state`] uses secrets that cannot be read again.
    used: Duration,
    current: Mutex<Current<T>>,
}

struct Current<T> {
    held: Arc<T>,
    secrets: Secrets,
    /// When the last refresh began.
    tried_at: Instant,
    /// When the secrets were last read.
    read_at: Instant,
}

impl<T> Current<T> {
    /// Returns true if a refresh is due: the last one began at least `pause` ago. Returns false if the environment itself
    /// holds the secrets.
    fn is_due(&self, pause: Duration) -> bool {
        !self.secrets.are_in_the_environment() && self.tried_at.elapsed() >= pause
    }
}

impl<T, Make: AsyncFn(&Secrets) -> anyhow::Result<T>> ReloadOnRotation<T, Make> {
    /// Reads the secrets, and makes the function's state.
    ///
    /// # Errors
    /// A secret cannot be read, or `make` fails.
    pub async fn new(make: Make) -> anyhow::Result<Self> {
        let (kept, used) = (SECRETS_KEPT_SECONDS.seconds()?, SECRETS_USED_SECONDS.seconds()?);
        let secrets = Secrets::read().await?;
        let held = Arc::new(make(&secrets).await?);
        let now = Instant::now();
        Ok(Self { make, kept, used, current: Mutex::new(Current { held, secrets, tried_at: now, read_at: now }) })
    }

    /// Runs the work of an invocation whose caller has to present a secret. A refresh that is due comes first, so a secret
    /// that was replaced is refused from then on. `work` gets `None` if the secrets could not be read for so long that they
    /// may have been replaced.
    pub async fn with_newest_state<R>(&self, work: impl AsyncFnOnce(Option<&T>) -> R) -> R {
        let holds = |current: &Current<T>| {
            current.secrets.are_in_the_environment() || current.read_at.elapsed() <= self.used.max(self.kept)
        };
        let is_due = {
            let current = self.current.lock().await;
            // While every request is refused, refreshes are tried more often.
            current.is_due(if holds(&current) { self.kept } else { self.kept.min(STALE_RETRY_PAUSE) })
        };
        if is_due {
            self.refresh().await;
        }
        let (held, holds) = {
            let current = self.current.lock().await;
            (current.held.clone(), holds(&current))
        };
        work(holds.then_some(&*held)).await
    }

    /// Runs an invocation's work with the function's state. A refresh that is due runs beside the work; the next invocation
    /// gets the state made with rotated secrets.
    pub async fn with_state<R>(&self, work: impl AsyncFnOnce(&T) -> R) -> R {
        let (held, is_due) = {
            let current = self.current.lock().await;
            (current.held.clone(), current.is_due(self.kept))
        };
        let refresh = async {
            if is_due {
                self.refresh().await;
            }
        };
        tokio::join!(work(&held), refresh).0
    }

    /// Reads the secrets, and replaces the state if they have changed. If the secrets cannot be read or used, the function
    /// keeps its state.
    async fn refresh(&self) {
        let mut current = self.current.lock().await;
        current.tried_at = Instant::now();
        let refresh = async {
            let secrets = Secrets::read().await?;
            match secrets.same_as(&current.secrets) {
                true => anyhow::Ok(None),
                false => Ok(Some((self.make)(&secrets).await.map(|held| (Arc::new(held), secrets))?)),
            }
        };
        match timeout(REFRESH_TIMEOUT, refresh).await {
            Ok(Ok(None)) => current.read_at = Instant::now(),
            Ok(Ok(Some(rotated))) => {
                tracing::info!("a secret was rotated");
                current.read_at = Instant::now();
                (current.held, current.secrets) = rotated;
            }
            Ok(Err(error)) => tracing::error!(error = %error, "a secret cannot be looked at again, or not be used"),
            Err(_) => tracing::warn!("the secrets cannot be looked at again in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_named_field_or_all_of_its_text() {
        let of = |text: &str| json_field_or_text(&text.into(), "uri").expose_secret().to_owned();
        assert_eq!(of(r#"{"uri":"mongodb://a","more":1}"#), "mongodb://a");
        assert_eq!(of(" mongodb://a\n"), "mongodb://a");
        assert_eq!(of(r#"{"other":"mongodb://a"}"#), r#"{"other":"mongodb://a"}"#);
    }

    #[test]
    fn an_app_without_an_id_or_a_secret_is_none() {
        assert!(app(&r#"{"clientId":"a","clientSecret":"b"}"#.into()).is_ok());
        for text in [r#"{"clientId":"a","clientSecret":""}"#, r#"{"clientId":"","clientSecret":"b"}"#, "{}", "b"] {
            assert!(app(&text.into()).is_err(), "{text}");
        }
    }
}
