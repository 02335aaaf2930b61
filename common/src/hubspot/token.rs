//! OAuth tokens: `POST /oauth/{version}/token`, through the `oauth2` crate.

use std::time::Duration;

use oauth2::{
    AuthType, ClientId, ClientSecret, ExtraTokenFields, RefreshToken, RequestTokenError, StandardErrorResponse,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{BasicErrorResponseType, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::{API_VERSION, HubSpot};
use crate::{
    ids::{HubId, json_text},
    time::{self, DateTime},
};

/// The OAuth app under which customers connected their accounts.
#[derive(Clone, Debug)]
pub struct OAuthApp {
    /// The app's client id.
    pub client_id: String,
    /// The app's client secret.
    pub client_secret: SecretString,
}

/// What a refresh gave.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For the requests to come.
    pub access_token: SecretString,
    /// For the next refresh; HubSpot usually repeats the old one.
    pub refresh_token: SecretString,
    /// When the access token expires.
    pub expires_at: DateTime,
}

/// Why there are no new tokens.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The grant is gone: the customer must connect the account again.
    #[error("HubSpot rejects the refresh token: {0}")]
    Rejected(String),
    /// The tokens are another account's. They must not be used: they would read one customer's data as another's.
    #[error("the refresh token belongs to HubSpot account {0}")]
    OtherAccount(String),
    /// The app itself is refused (wrong client id or secret): no account can be refreshed.
    #[error("HubSpot rejects the OAuth app: {0}")]
    AppRejected(String),
    /// The token endpoint is in trouble; the grant may be as good as ever.
    #[error("HubSpot's token endpoint is in trouble: {0}")]
    Transient(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HubSpotFields {
    hub_id: Option<Value>,
}

impl ExtraTokenFields for HubSpotFields {}

type Answer = StandardTokenResponse<HubSpotFields, BasicTokenType>;

type Client = oauth2::Client<
    StandardErrorResponse<BasicErrorResponseType>,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Unreached(String);

impl OAuthApp {
    /// HubSpot takes the app's secret in the body.
    pub(super) fn client(&self) -> Client {
        Client::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.client_secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
    }
}

/// The account that an answer says its tokens are of.
pub(super) fn named_hub(answer: &Answer) -> Option<String> {
    answer.extra_fields().hub_id.as_ref().map(json_text)
}

/// When the access token expires that was asked for at `asked_at`.
pub(super) fn expiry(answer: &Answer, asked_at: DateTime) -> DateTime {
    time::after(asked_at, answer.expires_in().unwrap_or(Duration::from_secs(1800)))
}

impl HubSpot {
    /// Exchanges a refresh token for new tokens, and checks that they are `hub`'s.
    ///
    /// # Errors
    /// See [`TokenError`]; only [`TokenError::Rejected`] means that the grant is gone.
    pub async fn refresh(
        &self,
        app: &OAuthApp,
        hub: &HubId,
        refresh_token: &SecretString,
    ) -> Result<Tokens, TokenError> {
        let asked_at = DateTime::now();
        let client = app.client().set_token_uri(self.token_url());
        let send = |request| self.token_request(request);
        let grant = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let answer =
            self.spent.during(client.exchange_refresh_token(&grant).request_async(&send)).await.map_err(refusal)?;
        let answered =
            named_hub(&answer).ok_or_else(|| TokenError::Transient("its answer names no hub_id".to_owned()))?;
        if answered != hub.as_str() {
            return Err(TokenError::OtherAccount(answered));
        }
        Ok(Tokens {
            access_token: answer.access_token().secret().as_str().into(),
            refresh_token: match answer.refresh_token() {
                Some(token) => token.secret().as_str().into(),
                None => refresh_token.clone(),
            },
            expires_at: expiry(&answer, asked_at),
        })
    }

    pub(super) fn token_url(&self) -> TokenUrl {
        TokenUrl::from_url(self.url(&format!("/oauth/{API_VERSION}/token")))
    }

    pub(super) async fn token_request(&self, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, Unreached> {
        let unreached = |error: reqwest::Error| Unreached(error.without_url().to_string());
        let request = reqwest::Request::try_from(request).map_err(unreached)?;
        let answer = self.http.execute(request).await.map_err(unreached)?;
        let status = answer.status();
        // 429 and 5xx come with bodies that say nothing of the grant ("Migration in progress").
        if status == reqwest::StatusCode::TOO_MANY_REQUESTS || status.as_u16() >= 477 {
            return Err(Unreached(format!("status {}", status.as_u16())));
        }
        let body = answer.bytes().await.map_err(unreached)?;
        let mut response = oauth2::HttpResponse::new(body.into());
        *response.status_mut() = status;
        Ok(response)
    }
}

pub(super) type Refusal = RequestTokenError<Unreached, StandardErrorResponse<BasicErrorResponseType>>;

pub(super) fn refusal(error: Refusal) -> TokenError {
    match error {
        RequestTokenError::ServerResponse(answer) => match answer.error() {
            BasicErrorResponseType::InvalidGrant => TokenError::Rejected(answer.error().to_string()),
            BasicErrorResponseType::InvalidClient | BasicErrorResponseType::UnauthorizedClient => {
                TokenError::AppRejected(answer.error().to_string())
            }
            other => TokenError::Transient(other.to_string()),
        },
        RequestTokenError::Request(error) => TokenError::Transient(error.to_string()),
        // The parts of an answer that cannot be read may hold a token.
        RequestTokenError::Parse(..) => TokenError::Transient("its answer cannot be read".to_owned()),
        RequestTokenError::Other(reason) => TokenError::Transient(reason),
    }
}
