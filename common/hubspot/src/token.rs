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
    refusal::{Introspected, Refusal, classify_refusal},
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

/// The result of a refresh.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Authorizes the requests.
    pub access_token: SecretString,
    /// For the next refresh. HubSpot usually repeats the old one.
    pub refresh_token: SecretString,
    /// When the access token expires.
    pub expires_at: DateTime,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HubSpotFields {
    hub_id: Option<Value>,
}

impl ExtraTokenFields for HubSpotFields {}

type HubSpotTokenResponse = StandardTokenResponse<HubSpotFields, BasicTokenType>;

type Client = oauth2::Client<
    StandardErrorResponse<BasicErrorResponseType>,
    HubSpotTokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

impl OAuthApp {
    /// Returns an OAuth client that sends the app's secret in the body, as HubSpot expects.
    pub(super) fn client(&self) -> Client {
        Client::new(ClientId::new(self.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.client_secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
    }
}

/// Returns the account that a response names for its tokens.
pub(super) fn named_hub(response: &HubSpotTokenResponse) -> Option<String> {
    response.extra_fields().hub_id.as_ref().map(json_text)
}

/// Returns when an access token expires that was requested at `asked_at`.
pub(super) fn access_token_expiry(response: &HubSpotTokenResponse, asked_at: DateTime) -> DateTime {
    time::after(asked_at, response.expires_in().unwrap_or(Duration::from_secs(1800)))
}

impl HubSpot {
    /// Exchanges a refresh token for new tokens, and checks that they belong to `hub`.
    ///
    /// # Errors
    /// See [`TokenError`]. [`TokenError::is_proof`] returns true if the customer must connect again.
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
        let response = match self.spent.during(client.exchange_refresh_token(&grant).request_async(&send)).await {
            Ok(response) => response,
            Err(error) => {
                return Err(self.classify_with_introspection(app, refresh_token, classify_token_error(error)).await);
            }
        };
        let access_token = SecretString::from(response.access_token().secret().as_str());
        let named = match named_hub(&response) {
            Some(hub) => hub,
            // HubSpot's specification does not promise that the response names the hub.
            None => self.portal(app, &access_token).await?.hub_id.into(),
        };
        if named != hub.as_str() {
            return Err(TokenError::OtherAccount(named));
        }
        Ok(Tokens {
            access_token,
            refresh_token: match response.refresh_token() {
                Some(token) => token.secret().as_str().into(),
                None => refresh_token.clone(),
            },
            expires_at: access_token_expiry(&response, asked_at),
        })
    }

    /// Classifies a refused refresh or revocation. If the refusal is unclear, introspects the grant.
    pub(super) async fn classify_with_introspection(
        &self,
        app: &OAuthApp,
        refresh_token: &SecretString,
        refusal: Refusal,
    ) -> TokenError {
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

    /// Sends a request to the token endpoint. An error response is parsed here, because the `oauth2` crate knows only
    /// those with `error`.
    pub(super) async fn token_request(&self, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, Refusal> {
        let request = reqwest::Request::try_from(request).map_err(unreachable_endpoint)?;
        let (status, body) = read_success(self.http.execute(request).await.map_err(unreachable_endpoint)?).await?;
        let mut response = oauth2::HttpResponse::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}

/// Returns the status and body of a successful response.
pub(super) async fn read_success(response: reqwest::Response) -> Result<(StatusCode, Vec<u8>), Refusal> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = read_body(response).await.map_err(|error| Refusal::Clear(TokenError::transient(error)))?;
    if status.is_success() { Ok((status, body)) } else { Err(classify_refusal(status, &headers, &body)) }
}

pub(super) fn unreachable_endpoint(error: reqwest::Error) -> Refusal {
    Refusal::Clear(TokenError::transient(error.without_url()))
}

/// Classifies a failed request to the token endpoint.
pub(super) fn classify_token_error(
    error: RequestTokenError<Refusal, StandardErrorResponse<BasicErrorResponseType>>,
) -> Refusal {
    match error {
        RequestTokenError::Request(refusal) => refusal,
        // A response that cannot be parsed may contain a token.
        RequestTokenError::Parse(..) | RequestTokenError::ServerResponse(_) | RequestTokenError::Other(_) => {
            Refusal::Clear(TokenError::transient("its answer cannot be read"))
        }
    }
}
