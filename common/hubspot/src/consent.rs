//! Connecting an account: HubSpot's consent page, exchanging its code for tokens, identifying their portal, and
//! revoking a grant (developers.hubspot.com, "Manage OAuth access tokens").

use model::{catalogue::REQUIRED_SCOPES, ids::HubId, time::DateTime};
use oauth2::{
    AuthUrl, AuthorizationCode, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse,
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::{
    API_VERSION, HubSpot, HubSpotError, OAuthApp, TokenError, Tokens,
    refusal::{Introspected, Refusal, parse_introspection},
    session::read_body,
    token::{access_token_expiry, classify_token_error, named_hub, read_success, unreachable_endpoint},
};

/// A HubSpot account that was just connected.
#[derive(Clone, Debug)]
pub struct Portal {
    /// The account's id.
    pub hub_id: HubId,
    /// The account's domain in HubSpot, to show to people.
    pub domain: Option<String>,
    /// The granted scopes, if HubSpot returns them.
    scopes: Option<Vec<String>>,
}

impl Portal {
    /// Returns the scopes that were not granted and without which a part of the account cannot be read.
    pub fn missing_scopes(&self) -> Vec<&'static str> {
        let is_granted =
            |scope: &str| self.scopes.as_ref().is_none_or(|granted| granted.iter().any(|name| name == scope));
        REQUIRED_SCOPES.into_iter().filter(|scope| *scope != "oauth" && !is_granted(scope)).collect()
    }
}

/// Returns the URL of the consent page at `authorize`, with the state and the PKCE challenge. HubSpot sends the browser
/// back to `redirect`. A customer's account may lack an `optional` scope: the grant is then without it.
pub fn consent_url(
    app: &OAuthApp,
    authorize: &Url,
    redirect: &Url,
    optional: &[&str],
    state: &str,
    challenge: PkceCodeChallenge,
) -> Url {
    let client = app
        .client()
        .set_auth_uri(AuthUrl::from_url(authorize.clone()))
        .set_redirect_uri(RedirectUrl::from_url(redirect.clone()));
    let asked = client.authorize_url(|| CsrfToken::new(state.to_owned()));
    let scopes = REQUIRED_SCOPES.map(|scope| Scope::new(scope.to_owned()));
    let mut asked = asked.add_scopes(scopes).set_pkce_challenge(challenge);
    if !optional.is_empty() {
        asked = asked.add_extra_param("optional_scope", optional.join(" "));
    }
    asked.url().0
}

impl HubSpot {
    /// Exchanges the code of HubSpot's consent page for tokens. Also returns the hub that HubSpot names for them, if it
    /// names one.
    ///
    /// # Errors
    /// See [`TokenError`]. [`TokenError::Rejected`] means that the code is not valid, or not any more.
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
        let response = self.spent.during(asked.request_async(&send)).await.map_err(classify_token_error)?;
        let grant = response.refresh_token().ok_or_else(|| TokenError::transient("it gave no refresh token"))?;
        let tokens = Tokens {
            access_token: response.access_token().secret().as_str().into(),
            refresh_token: grant.secret().as_str().into(),
            expires_at: access_token_expiry(&response, asked_at),
        };
        Ok((tokens, named_hub(&response)))
    }

    /// Returns the account of an access token.
    ///
    /// # Errors
    /// HubSpot does not identify the account.
    pub async fn portal(&self, app: &OAuthApp, token: &SecretString) -> Result<Portal, TokenError> {
        match self.introspect(app, token, "access_token").await? {
            Introspected::Active { hub_id, hub_domain, scopes } => {
                let hub_id = HubId::from_json(&hub_id).map_err(TokenError::transient)?;
                Ok(Portal { hub_id, domain: hub_domain, scopes })
            }
            Introspected::Inactive => Err(TokenError::transient("a new token is not active")),
        }
    }

    /// Introspects a token of this kind (`POST /oauth/{version}/token/introspect`).
    pub(super) async fn introspect(
        &self,
        app: &OAuthApp,
        token: &SecretString,
        kind: &str,
    ) -> Result<Introspected, TokenError> {
        // HubSpot's pages name the field after the kind, its specification names it `token`.
        let named = [("token", token.expose_secret()), (kind, token.expose_secret())];
        let body = self.post_token_form(app, "introspect", &named, kind).await.map_err(TokenError::from)?;
        parse_introspection(&body).ok_or_else(|| TokenError::transient("its answer cannot be read"))
    }

    /// Revokes a grant, so that its refresh token is not valid any more (`POST /oauth/{version}/token/revoke`).
    /// Succeeds if the grant was not valid before.
    ///
    /// # Errors
    /// HubSpot does not respond, or refuses.
    pub async fn revoke(&self, app: &OAuthApp, refresh_token: &SecretString) -> Result<(), TokenError> {
        let named = [("token", refresh_token.expose_secret())];
        let Err(refusal) = self.post_token_form(app, "revoke", &named, "refresh_token").await else { return Ok(()) };
        match self.classify_with_introspection(app, refresh_token, refusal).await {
            TokenError::Rejected(_) | TokenError::PortalGone(_) => Ok(()),
            error => Err(error),
        }
    }

    /// Uninstalls the app in the account of an access token (`DELETE /appinstalls/{version}/external-install`,
    /// "Uninstall app"). HubSpot notifies the account's administrators by e-mail.
    ///
    /// # Errors
    /// HubSpot does not respond, or refuses.
    pub async fn uninstall(&self, access_token: &SecretString) -> Result<(), HubSpotError> {
        let path = format!("/appinstalls/{API_VERSION}/external-install");
        let request = self.http.delete(self.url(&path)).bearer_auth(access_token.expose_secret());
        let response = self.spent.during(request.send()).await.map_err(HubSpotError::from_transport)?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(());
        }
        Err(HubSpotError::from_response(status, &headers, &read_body(response).await?))
    }

    async fn post_token_form(
        &self,
        app: &OAuthApp,
        what: &str,
        named: &[(&str, &str)],
        kind: &str,
    ) -> Result<Vec<u8>, Refusal> {
        let app = [
            ("token_type_hint", kind),
            ("client_id", app.client_id.as_str()),
            ("client_secret", app.client_secret.expose_secret()),
        ];
        let form = [named, &app].concat();
        let asked = async {
            let request = self.http.post(self.url(&format!("/oauth/{API_VERSION}/token/{what}"))).form(&form);
            read_success(request.send().await.map_err(unreachable_endpoint)?).await
        };
        let (_, body) = self.spent.during(asked).await?;
        Ok(body)
    }
}
