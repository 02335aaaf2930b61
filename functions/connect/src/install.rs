//! How a customer connects a HubSpot account: from the link to HubSpot's consent page, and back.
//!
//! A state is of use once, for ten minutes, and only in the browser that began: the browser keeps the PKCE verifier in a
//! cookie, and the database its challenge.

use std::time::Duration;

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use common::{
    account::AccountKey,
    hubspot::{OAuthApp, TokenError, consent_url},
    ids::DomainId,
    message::SyncRequest,
    store::{Claim, Happened, PendingConnect},
    time::{self, DateTime},
};
use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    Connect, Held, pages,
    signing::{hash, may_install, random},
    web::{Refusal, cookie, redirect, set_cookie, trouble_page},
};

/// The cookie in which the browser keeps the PKCE verifier.
const VERIFIER: &str = "connect";

/// Where that cookie is sent.
const PATH: &str = "/hubspot";

/// How long a customer may stay on HubSpot's page.
const PATIENCE: Duration = Duration::from_secs(600);

const OLD_LINK: &str =
    "This link is incomplete, was changed, or is too old. Please ask whoever sent it to you for a new one.";

#[derive(Deserialize)]
pub(crate) struct Install {
    #[serde(default)]
    domain: String,
    #[serde(default)]
    expires: String,
    #[serde(default)]
    signature: String,
}

/// Sends the customer to HubSpot's consent page.
pub(crate) async fn install(
    State(connect): State<Connect>,
    headers: HeaderMap,
    Query(link): Query<Install>,
) -> Result<Response, Refusal> {
    let refused = || Refusal::page(StatusCode::FORBIDDEN, "This link does not work", OLD_LINK);
    if !may_install(&connect.keys, &link.domain, &link.expires, &link.signature, DateTime::now()) {
        return Err(refused());
    }
    let domain = DomainId::try_from(link.domain).map_err(|_| refused())?;
    if connect.store.domain_name(&domain).await.map_err(trouble_page)?.is_none() {
        let words = "The customer for whom this link was made is not there any more.";
        return Err(Refusal::page(StatusCode::NOT_FOUND, "This link does not work", words));
    }
    let base = connect.base(&headers)?;
    let (state, (challenge, verifier)) = (random(), PkceCodeChallenge::new_random_sha256());
    let expires_at = time::after(DateTime::now(), PATIENCE);
    let pending = PendingConnect { domain_id: domain, challenge: challenge.as_str().to_owned(), expires_at };
    connect.store.begin_connect(&hash(&state), &pending).await.map_err(trouble_page)?;
    let consent = consent_url(connect.app()?, &connect.config.authorize_url, &callback_url(&base), &state, challenge);
    let cookie = set_cookie(VERIFIER, verifier.secret(), &base, PATH, PATIENCE.as_secs(), "Lax");
    Ok((cookie, redirect(consent.as_str())).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Callback {
    #[serde(default)]
    state: String,
    code: Option<SecretString>,
    error: Option<String>,
}

/// Takes the customer back from HubSpot, and connects the account.
pub(crate) async fn callback(
    State(connect): State<Connect>,
    headers: HeaderMap,
    Query(answer): Query<Callback>,
) -> Result<Response, Refusal> {
    const OLD: &str = "Too much time has passed, or this page was opened before. Please open the link that was sent to \
        you once more.";
    const OTHER_BROWSER: &str = "The connection was begun in another browser. Please open the link that was sent to you \
        once more, and stay in that browser.";
    let Some(pending) = connect.store.take_connect(&hash(&answer.state)).await.map_err(trouble_page)? else {
        return Err(Refusal::page(StatusCode::BAD_REQUEST, "Please begin again", OLD));
    };
    let verifier = cookie(&headers, VERIFIER).unwrap_or_default();
    if !proves(&verifier, &pending.challenge) {
        return Err(Refusal::page(StatusCode::FORBIDDEN, "Please begin again", OTHER_BROWSER));
    }
    let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
        let words = "HubSpot says that you did not allow the connection. Nothing was connected.";
        return Err(Refusal::page(StatusCode::BAD_REQUEST, "Not connected", words));
    };
    let base = connect.base(&headers)?;
    let connected = connect.connect(&pending.domain_id, callback_url(&base), &code, &verifier.into()).await?;
    let forget = set_cookie(VERIFIER, "", &base, PATH, 0, "Lax");
    Ok((forget, pages::connected(&connected)).into_response())
}

/// Whether a verifier is the one that a challenge was made from (RFC 7636, section 4.6).
fn proves(verifier: &str, challenge: &str) -> bool {
    // The crate panics at one that is shorter or longer than the standard allows.
    (43..=128).contains(&verifier.len())
        && PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.to_owned())).as_str()
            == challenge
}

fn callback_url(base: &Url) -> Url {
    let mut url = base.clone();
    url.set_path("/hubspot/callback");
    url
}

impl Held {
    /// The OAuth app, without which nothing can be connected.
    pub(crate) fn app(&self) -> Result<&OAuthApp, Refusal> {
        self.config.app.as_ref().ok_or_else(|| {
            tracing::error!("HUBSPOT_CLIENT_ID is not set: no account can be connected");
            let words = "The service is not set up for this yet.";
            Refusal::page(StatusCode::SERVICE_UNAVAILABLE, "Not connected", words)
        })
    }

    /// Exchanges the code, sees which portal it is, stores the account and queues its first sync. Gives the name of the
    /// portal.
    async fn connect(
        &self,
        domain: &DomainId,
        callback: Url,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<String, Refusal> {
        const TAKEN: &str = "This HubSpot account is connected to another customer already. It must be disconnected \
            there first.";
        const GONE: &str = "The customer for whom this link was made is not there any more.";
        let app = self.app()?;
        let (tokens, named) = self.hubspot.exchange(app, callback, code, verifier).await.map_err(refused)?;
        let portal = self.hubspot.portal(app, &tokens.access_token).await.map_err(refused)?;
        if named.is_some_and(|named| named != portal.hub_id.as_str()) {
            return Err(refused(TokenError::OtherAccount(portal.hub_id.to_string())));
        }
        let account = AccountKey { domain_id: domain.clone(), hub_id: portal.hub_id };
        if self.store.claim(&account).await.map_err(trouble_page)? == Claim::Taken {
            tracing::warn!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
                "a portal that is connected to another Domain was refused");
            return Err(Refusal::page(StatusCode::CONFLICT, "Not connected", TAKEN));
        }
        let sealed = self.vault.seal_tokens(&account, &tokens).await.map_err(trouble_page)?;
        if !self.store.connect_account(&account, portal.domain.as_deref(), &sealed).await.map_err(trouble_page)? {
            return Err(Refusal::page(StatusCode::NOT_FOUND, "Not connected", GONE));
        }
        tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, "an account was connected");
        self.note(&account, Happened::Connected).await;
        // Where it cannot be queued, the next tick of the schedule begins with it.
        if let Err(error) = self.ask(SyncRequest::tick(account.clone(), DateTime::now()), Duration::ZERO).await {
            tracing::error!(error = %error, "the first sync of an account cannot be queued");
        }
        Ok(portal.domain.unwrap_or_else(|| account.hub_id.to_string()))
    }
}

/// In words, why HubSpot gives no tokens.
fn refused(error: TokenError) -> Refusal {
    tracing::warn!(error = %error, "an account could not be connected");
    let words = match error {
        TokenError::Rejected(_) => "HubSpot does not know this connection any more. Please open the link once more.",
        TokenError::AppRejected(_) => "HubSpot does not accept this service's own credentials. Its operators are told.",
        TokenError::OtherAccount(_) | TokenError::Transient(_) => {
            "HubSpot did not answer as expected. Please open the link once more in a minute."
        }
    };
    Refusal::page(StatusCode::BAD_GATEWAY, "Not connected", words)
}
