//! OAuth tokens: `POST /oauth/{version}/token`, through the `oauth2` crate.

use std::time::Duration;

use model::{
    ids::{HubId, json_text},
    time::{self, DateTime},
};
use oauth2::{
    AuthType, ClientId, ClientSecret, ExtraTokenFields, RefreshToken, RequestTokenError, StandardErrorResponse,
    StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
    basic::{BasicErrorResponseType, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType},
};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    API_VERSION, HubSpot, TokenError,
    refusal::{Introspected, Refusal, refusal},
    session::read_body,
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
    /// See [`TokenError`]; [`TokenError::is_proof`] tells whether the customer must connect again.
    pub async fn refresh(
        &self,
        app: &OAuthApp,
        hub: &HubId,
        refresh_token: &SecretString,
    ) -> Result<Tokens, TokenError> {
        let asked_at = DateTime::now();
        let client = app.client().set_token_uri(self.token_url());
        let send = |request| {
            let hubspot = self.clone();
            async move { hubspot.token_request(request).await }
        };
        let grant = RefreshToken::new(refresh_token.expose_secret().to_owned());
        let answer = match self.spent.during(client.exchange_refresh_token(&grant).request_async(&send)).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.settled(app, refresh_token, refused(error)).await),
        };
        let access_token = SecretString::from(answer.access_token().secret().as_str());
        let answered = match named_hub(&answer) {
            Some(hub) => hub,
            // HubSpot's specification does not promise it.
            None => self.portal(app, &access_token).await?.hub_id.into(),
        };
        if answered != hub.as_str() {
            return Err(TokenError::OtherAccount(answered));
        }
        Ok(Tokens {
            access_token,
            refresh_token: match answer.refresh_token() {
                Some(token) => token.secret().as_str().into(),
                None => refresh_token.clone(),
            },
            expires_at: expiry(&answer, asked_at),
        })
    }

    /// What a refusal to refresh or to revoke means. If it leaves that open, introspection is asked whether the grant is alive.
    pub(super) async fn settled(&self, app: &OAuthApp, refresh_token: &SecretString, refusal: Refusal) -> TokenError {
        let error = match refusal {
            Refusal::Clear(error) => return error,
            Refusal::Unclear(error) => error,
        };
        match (self.introspect(app, refresh_token, "refresh_token").await, error) {
            (Ok(Introspected::Inactive), TokenError::Transient { reason, .. }) => {
                TokenError::Rejected(format!("{reason}, and introspection says that it is dead"))
            }
            (_, error) => error,
        }
    }

    pub(super) fn token_url(&self) -> TokenUrl {
        TokenUrl::from_url(self.url(&format!("/oauth/{API_VERSION}/token")))
    }

    /// Sends a request to the token endpoint. An answer that is no success is read here, because the `oauth2` crate
    /// knows only those with `error`.
    pub(super) async fn token_request(&self, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, Refusal> {
        let request = reqwest::Request::try_from(request).map_err(unreached)?;
        let (status, body) = read(self.http.execute(request).await.map_err(unreached)?).await?;
        let mut response = oauth2::HttpResponse::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

/// The status and body of an answer that is a success.
pub(super) async fn read(answer: reqwest::Response) -> Result<(StatusCode, Vec<u8>), Refusal> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = read_body(answer).await.map_err(|error| Refusal::Clear(TokenError::transient(error)))?;
    if status.is_success() { Ok((status, body)) } else { Err(refusal(status, &headers, &body)) }
}

pub(super) fn unreached(error: reqwest::Error) -> Refusal {
    Refusal::Clear(TokenError::transient(error.without_url()))
}

/// Why the token endpoint gave no tokens.
pub(super) fn refused(error: RequestTokenError<Refusal, StandardErrorResponse<BasicErrorResponseType>>) -> Refusal {
    match error {
        RequestTokenError::Request(refusal) => refusal,
        // The parts of an answer that cannot be read may hold a token.
        RequestTokenError::Parse(..) | RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_) => {
            Refusal::Clear(TokenError::transient("its answer cannot be read"))
        }
    }
}
