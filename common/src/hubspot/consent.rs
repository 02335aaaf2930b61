//! Connecting an account: HubSpot's consent page, the exchange of its code for tokens, which portal they are of, and
//! giving a grant back (developers.hubspot.com, "Manage OAuth access tokens").

use oauth2::{
    AuthUrl, AuthorizationCode, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use super::{
    API_VERSION, HubSpot, OAuthApp, TokenError, Tokens,
    token::{expiry, named_hub, refusal},
};
use crate::{ids::HubId, time::DateTime};

/// HubSpot's consent page.
pub const DEFAULT_AUTHORIZE_URL: &str = "https://app.hubspot.com/oauth/authorize";

/// What the service asks a customer for.
pub const SCOPES: [&str; 3] = ["oauth", "crm.objects.contacts.read", "crm.objects.companies.read"];

/// A HubSpot account that was just connected.
#[derive(Clone, Debug)]
pub struct Portal {
    /// Which account.
    pub hub_id: HubId,
    /// The domain that HubSpot knows it by, to show to people.
    pub domain: Option<String>,
}

/// Where the browser is sent for consent: to `authorize`, with the state and the PKCE challenge, to come back to
/// `redirect`.
pub fn consent_url(app: &OAuthApp, authorize: &Url, redirect: &Url, state: &str, challenge: PkceCodeChallenge) -> Url {
    let client = app
        .client()
        .set_auth_uri(AuthUrl::from_url(authorize.clone()))
        .set_redirect_uri(RedirectUrl::from_url(redirect.clone()));
    let asked = client.authorize_url(|| CsrfToken::new(state.to_owned()));
    let asked = asked.add_scopes(SCOPES.map(|scope| Scope::new(scope.to_owned()))).set_pkce_challenge(challenge);
    asked.url().0
}

impl HubSpot {
    /// Exchanges the code of HubSpot's consent page for tokens, and gives the hub that they name, if any.
    ///
    /// # Errors
    /// See [`TokenError`]; [`TokenError::Rejected`] means that the code is of no use (any more).
    pub async fn exchange(
        &self,
        app: &OAuthApp,
        redirect: Url,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<(Tokens, Option<String>), TokenError> {
        let asked_at = DateTime::now();
        let client = app.client().set_token_uri(self.token_url()).set_redirect_uri(RedirectUrl::from_url(redirect));
        let send = |request| {
            let hubspot = self.clone();
            async move { hubspot.token_request(request).await }
        };
        let asked = client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
        let answer = self.spent.during(asked.request_async(&send)).await.map_err(refusal)?;
        let grant =
            answer.refresh_token().ok_or_else(|| TokenError::Transient("it gave no refresh token".to_owned()))?;
        let tokens = Tokens {
            access_token: answer.access_token().secret().as_str().into(),
            refresh_token: grant.secret().as_str().into(),
            expires_at: expiry(&answer, asked_at),
        };
        Ok((tokens, named_hub(&answer)))
    }

    /// Which account a token is of (`POST /oauth/{version}/token/introspect`).
    ///
    /// # Errors
    /// HubSpot does not say.
    pub async fn portal(&self, app: &OAuthApp, token: &SecretString) -> Result<Portal, TokenError> {
        #[derive(Deserialize)]
        struct Introspected {
            active: bool,
            hub_id: Value,
            hub_domain: Option<String>,
        }
        // HubSpot's pages name the field `access_token`, its specification `token`.
        let named = [("token", token.expose_secret()), ("access_token", token.expose_secret())];
        let answer = self.ask_of_token(app, "introspect", &named, "access_token").await?;
        let Introspected { active, hub_id, hub_domain } = answer.json().await.map_err(unread)?;
        if !active {
            return Err(TokenError::Transient("a new token is not active".to_owned()));
        }
        let hub_id = HubId::from_json(&hub_id).map_err(|error| TokenError::Transient(error.to_string()))?;
        Ok(Portal { hub_id, domain: hub_domain })
    }

    /// Gives a grant back, so that its refresh token is of no use any more (`POST /oauth/{version}/token/revoke`).
    ///
    /// # Errors
    /// HubSpot does not answer, or not as documented.
    pub async fn revoke(&self, app: &OAuthApp, refresh_token: &SecretString) -> Result<(), TokenError> {
        let named = [("token", refresh_token.expose_secret())];
        self.ask_of_token(app, "revoke", &named, "refresh_token").await?;
        Ok(())
    }

    async fn ask_of_token(
        &self,
        app: &OAuthApp,
        what: &str,
        named: &[(&str, &str)],
        kind: &str,
    ) -> Result<reqwest::Response, TokenError> {
        let app = [
            ("token_type_hint", kind),
            ("client_id", app.client_id.as_str()),
            ("client_secret", app.client_secret.expose_secret()),
        ];
        let form = [named, &app].concat();
        let asked = self.http.post(self.url(&format!("/oauth/{API_VERSION}/token/{what}"))).form(&form).send();
        let answer = self.spent.during(asked).await.and_then(reqwest::Response::error_for_status);
        answer.map_err(unread)
    }
}

fn unread(error: reqwest::Error) -> TokenError {
    TokenError::Transient(error.without_url().to_string())
}
