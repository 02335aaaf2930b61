//! How a customer connects a HubSpot account: the link leads to a page that says who will see the data, which leads to
//! HubSpot's consent page, which leads back. A link may have been passed on to somebody else's administrator, so it
//! does not redirect to HubSpot without a click.
//!
//! A state is valid once, for ten minutes, and only in the browser that began: the browser keeps the PKCE verifier in a
//! cookie, and the database keeps its challenge.

use std::time::Duration;

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use cookie::SameSite;
use hubspot::{OAuthApp, Portal, TokenError, Tokens, consent_url};
use model::{
    account::AccountKey,
    ids::{DomainId, HubId},
    message::SyncRequest,
    time::{self, DateTime},
};
use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;
use store::{Claim, Connected, PendingConnect, TimelineEvent};
use tokio::time::timeout;

use crate::{
    AppState, Connect,
    address::below,
    cookies::Cookie,
    links::Link,
    pages,
    signing::{Purpose, hash, random},
    web::{AppError, internal_error_page, redirect_to},
};

/// The cookie in which the browser keeps the PKCE verifier.
const VERIFIER: Cookie = Cookie { name: "connect", same_site: SameSite::Lax };

/// The cookie of a browser in which the page was shown that says who will see the data.
const ASKED: Cookie = Cookie { name: "asked", same_site: SameSite::Lax };

/// How long a customer may stay on this page, and on HubSpot's.
const CONSENT_TIMEOUT: Duration = Duration::from_secs(600);

/// The timeout for exchanging the code and asking for its portal. Lambda's own timeout is twenty seconds.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(12);

/// The timeout for revoking a grant that is not stored.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(5);

const LINK_EXPIRED: &str =
    "This link is incomplete, was changed or revoked, or is too old. Please ask whoever sent it to you for a new one.";

/// The query of `/hubspot/begin`: the link, and a token that proves that the page was shown in this browser.
#[derive(Deserialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    link: Link,
    #[serde(default)]
    token: String,
}

impl AppState {
    /// Checks a link. Returns its Domain and the company's name. Fails with a page for the customer if the link is not
    /// valid, the Domain does not exist or is switched off, or MongoDB cannot be reached.
    async fn open(&self, link: &Link) -> Result<(DomainId, String), AppError> {
        let refused = || AppError::page(StatusCode::FORBIDDEN, "This link does not work", LINK_EXPIRED);
        if !self.takes(link).await.map_err(internal_error_page)? {
            return Err(refused());
        }
        let domain = DomainId::try_from(link.domain.clone()).map_err(|_| refused())?;
        let name = self.store.domain_name(&domain).await.map_err(internal_error_page)?;
        let words = "The customer for whom this link was made is not there any more.";
        let name = name.ok_or_else(|| AppError::page(StatusCode::NOT_FOUND, "This link does not work", words))?;
        self.refuse_if_off(&domain, &name).await?;
        Ok((domain, name))
    }

    /// Fails if the Domain's integration is switched off: a link must not switch it on again.
    async fn refuse_if_off(&self, domain: &DomainId, name: &str) -> Result<(), AppError> {
        match self.store.is_switched_off(domain).await.map_err(internal_error_page)? {
            true => Err(switched_off(name)),
            false => Ok(()),
        }
    }
}

fn switched_off(name: &str) -> AppError {
    let words = format!(
        "The connection to HubSpot was switched off for {name}. Please ask them to switch it on, and open the \
        link once more. Nothing was connected."
    );
    AppError::page(StatusCode::CONFLICT, "Not connected", words)
}

/// `GET /hubspot/install`: shows who will see the data, with a button that leads to HubSpot.
pub(crate) async fn install(
    State(connect): State<Connect>,
    headers: HeaderMap,
    Query(link): Query<Link>,
) -> Result<Response, AppError> {
    let (_, name) = connect.open(&link).await?;
    let base = connect.base(&headers)?;
    let shown = random();
    let token = connect.keys.sign(Purpose::Form, &[&shown, &link.domain]);
    let mut on = link.at(&base, "/hubspot/begin");
    on.query_pairs_mut().append_pair("token", &token);
    let cookie = ASKED.set(&shown, &base, CONSENT_TIMEOUT.as_secs());
    Ok((cookie, pages::install(&name, on.as_str())).into_response())
}

/// `GET /hubspot/begin`: redirects a customer who has seen that page to HubSpot's consent page.
pub(crate) async fn begin(
    State(connect): State<Connect>,
    headers: HeaderMap,
    Query(Shown { link, token }): Query<Shown>,
) -> Result<Response, AppError> {
    const NOT_SHOWN: &str =
        "This page was not shown to you in this browser. Please open the link that was sent to you.";
    let (domain, _) = connect.open(&link).await?;
    let base = connect.base(&headers)?;
    let shown = ASKED.read(&headers, &base).unwrap_or_default();
    if shown.is_empty() || !connect.keys.verify(Purpose::Form, &[&shown, &link.domain], &token) {
        return Err(AppError::page(StatusCode::FORBIDDEN, "Please begin again", NOT_SHOWN));
    }
    let (state, (challenge, verifier)) = (random(), PkceCodeChallenge::new_random_sha256());
    let expires_at = time::after(DateTime::now(), CONSENT_TIMEOUT);
    let link_of = connect.remembered(&link);
    let hub_id = HubId::try_from(link.hub).ok();
    let choices = connect.store.choices(&domain, hub_id.as_ref()).await.map_err(internal_error_page)?;
    let optional = connect.config.optional_scopes.of(&choices);
    let challenge_text = challenge.as_str().to_owned();
    let pending = PendingConnect { domain_id: domain, challenge: challenge_text, expires_at, hub_id, link: link_of };
    connect.store.begin_connect(&hash(&state), &pending).await.map_err(internal_error_page)?;
    let page = &connect.config.authorize_url;
    let consent = consent_url(connect.app()?, page, &callback_url(&base), &optional, &state, challenge);
    let cookie = VERIFIER.set(verifier.secret(), &base, CONSENT_TIMEOUT.as_secs());
    Ok((cookie, redirect_to(consent.as_str())).into_response())
}

#[derive(Deserialize)]
pub(crate) struct Callback {
    #[serde(default)]
    state: String,
    code: Option<SecretString>,
    error: Option<String>,
}

/// `GET /hubspot/callback`: receives the customer back from HubSpot, and connects the account.
pub(crate) async fn callback(
    State(connect): State<Connect>,
    headers: HeaderMap,
    Query(answer): Query<Callback>,
) -> Result<Response, AppError> {
    const OLD: &str = "Too much time has passed, or this page was opened before. Please open the link that was sent to \
        you once more.";
    const OTHER_BROWSER: &str = "The connection was begun in another browser. Please open the link that was sent to you \
        once more, and stay in that browser.";
    let Some(pending) = connect.store.take_connect(&hash(&answer.state)).await.map_err(internal_error_page)? else {
        return Err(AppError::page(StatusCode::BAD_REQUEST, "Please begin again", OLD));
    };
    let base = connect.base(&headers)?;
    let verifier = VERIFIER.read(&headers, &base).unwrap_or_default();
    if !proves(&verifier, &pending.challenge) {
        return Err(AppError::page(StatusCode::FORBIDDEN, "Please begin again", OTHER_BROWSER));
    }
    let Some(code) = answer.code.filter(|_| answer.error.is_none()) else {
        let words = "HubSpot says that you did not allow the connection. Nothing was connected.";
        return Err(AppError::page(StatusCode::BAD_REQUEST, "Not connected", words));
    };
    // Everything that can fail comes before the account is connected.
    let name = connect.store.domain_name(&pending.domain_id).await.map_err(internal_error_page)?;
    let name = name.unwrap_or_else(|| pending.domain_id.to_string());
    connect.refuse_if_off(&pending.domain_id, &name).await?;
    if let Some((hash, ends)) = &pending.link
        && connect.store.is_link_revoked(pending.domain_id.as_str(), hash, *ends).await.map_err(internal_error_page)?
    {
        return Err(AppError::page(StatusCode::FORBIDDEN, "This link does not work", LINK_EXPIRED));
    }
    let connected = connect.connect(&pending, callback_url(&base), &code, &verifier.into()).await?;
    let forget = VERIFIER.forget(&base);
    Ok((forget, pages::connected(&connected, &name)).into_response())
}

/// Returns true if the challenge was made from this verifier (RFC 7636, section 4.6).
fn proves(verifier: &str, challenge: &str) -> bool {
    // The crate panics if the verifier is shorter or longer than the standard allows.
    (43..=128).contains(&verifier.len())
        && PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(verifier.to_owned())).as_str()
            == challenge
}

fn callback_url(base: &Url) -> Url {
    below(base, "/hubspot/callback")
}

impl AppState {
    /// Returns the OAuth app. Fails with 503 if it is not configured: no account can be connected then.
    pub(crate) fn app(&self) -> Result<&OAuthApp, AppError> {
        self.config.app.as_ref().ok_or_else(|| {
            tracing::error!("HUBSPOT_CLIENT_ID is not set: no account can be connected");
            let words = "The service is not set up for this yet.";
            AppError::page(StatusCode::SERVICE_UNAVAILABLE, "Not connected", words)
        })
    }

    /// Exchanges the code, asks HubSpot for its portal, stores the account, and queues the first sync. Returns the
    /// portal's name. Fails with a page for the customer if the grant cannot be used or stored.
    async fn connect(
        &self,
        pending: &PendingConnect,
        callback: Url,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<String, AppError> {
        const TAKEN: &str = "This HubSpot account is connected to another customer already. It must be disconnected \
            there first.";
        const GONE: &str = "The customer for whom this link was made is not there any more.";
        let app = self.app()?;
        let (tokens, portal) = self.exchange(app, callback, code, verifier).await?;
        let account = AccountKey { domain_id: pending.domain_id.clone(), hub_id: portal.hub_id.clone() };
        if let Some(words) = unwanted(pending, &portal) {
            self.give_up(&account, app, &tokens).await;
            return Err(AppError::page(StatusCode::FORBIDDEN, "Not connected", words));
        }
        if self.store.claim(&account).await.map_err(internal_error_page)? == Claim::Taken {
            tracing::warn!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
                "a portal that is connected to another Domain was refused");
            return Err(AppError::page(StatusCode::CONFLICT, "Not connected", TAKEN));
        }
        let sealed = self.vault.seal_tokens(&account, &tokens).await.map_err(internal_error_page)?;
        let stored = self.store.connect_account(&account, portal.domain.as_deref(), &sealed, &app.client_id).await;
        let refusal = match stored.map_err(internal_error_page)? {
            Connected::Stored => None,
            Connected::NoDomain => Some(AppError::page(StatusCode::NOT_FOUND, "Not connected", GONE)),
            Connected::SwitchedOff => Some(switched_off(account.domain_id.as_str())),
        };
        if let Some(refusal) = refusal {
            self.give_up(&account, app, &tokens).await;
            return Err(refusal);
        }
        tracing::info!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, "an account was connected");
        self.note(&account, TimelineEvent::Connected, None).await;
        // If the sync cannot be queued, the schedule's next tick starts it.
        if let Err(error) = self.enqueue_sync(SyncRequest::tick(account.clone(), DateTime::now()), Duration::ZERO).await
        {
            tracing::error!(error = %error, "the first sync of an account cannot be queued");
        }
        Ok(portal.domain.unwrap_or_else(|| account.hub_id.to_string()))
    }

    /// Exchanges the code for tokens. Returns them with their portal. Fails if HubSpot refuses, does not answer in
    /// time, or names two different portals.
    async fn exchange(
        &self,
        app: &OAuthApp,
        callback: Url,
        code: &SecretString,
        verifier: &SecretString,
    ) -> Result<(Tokens, Portal), AppError> {
        let asked = async {
            let (tokens, named) = self.hubspot.exchange(app, callback, code, verifier).await?;
            let portal = self.hubspot.portal(app, &tokens.access_token).await?;
            match named.is_some_and(|named| named != portal.hub_id.as_str()) {
                true => Err(TokenError::OtherAccount(portal.hub_id.to_string())),
                false => Ok((tokens, portal)),
            }
        };
        let slow = || Err(TokenError::transient("HubSpot does not answer in time"));
        timeout(EXCHANGE_TIMEOUT, asked).await.unwrap_or_else(|_| slow()).map_err(refused)
    }

    /// Uninstalls the app and revokes a grant that is not stored. HubSpot gives the same grant to every Domain, so this
    /// is not done if any Domain has the portal. The claim prevents another Domain from connecting it meanwhile.
    async fn give_up(&self, account: &AccountKey, app: &OAuthApp, tokens: &Tokens) {
        let given_up = async {
            let is_free = matches!(self.store.claim(account).await, Ok(Claim::Granted));
            if !is_free || self.store.is_live(&account.hub_id).await.unwrap_or(true) {
                return false;
            }
            let uninstalled = self.hubspot.uninstall(&tokens.access_token).await.is_ok();
            let is_revoked = self.hubspot.revoke(app, &tokens.refresh_token).await.is_ok();
            self.store.release_claim(account).await.is_ok() && uninstalled && is_revoked
        };
        let done = timeout(GIVE_UP_TIMEOUT, given_up).await.unwrap_or(false);
        tracing::warn!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id, done,
            "a grant that is not stored was given back");
    }
}

/// Returns why an account with a grant must not be connected, in words for the customer. Returns `None` if it may be.
fn unwanted(pending: &PendingConnect, portal: &Portal) -> Option<String> {
    let hub_id = &portal.hub_id;
    if let Some(meant) = pending.hub_id.as_ref().filter(|meant| *meant != hub_id) {
        tracing::warn!(account.domain_id = %pending.domain_id, account.hub_id = %hub_id, meant = %meant,
            "a link for another portal was used");
        return Some(format!(
            "This link is for the HubSpot account {meant}, and you have chosen {hub_id}. Nothing was connected. Please open the \
                link once more, and choose that account."
        ));
    }
    let missing = portal.missing_scopes().join(" and ");
    (!missing.is_empty()).then(|| {
        tracing::warn!(account.domain_id = %pending.domain_id, account.hub_id = %hub_id, missing,
            "a grant without all scopes was refused");
        format!(
            "HubSpot has not given this service everything that it needs to read companies and contacts ({missing}). Nothing \
                was connected. Please open the link once more, and allow all that HubSpot asks for. If that does not help, tell \
                whoever sent you the link."
        )
    })
}

/// Returns the page that says why HubSpot gave no tokens.
fn refused(error: TokenError) -> AppError {
    tracing::warn!(error = %error, "an account could not be connected");
    let words = match error {
        TokenError::Rejected(_) => "HubSpot does not know this connection any more. Please open the link once more.",
        TokenError::AppRejected(_) => {
            "HubSpot does not accept this service's own credentials. Please tell whoever sent you the link."
        }
        TokenError::PortalGone(_) => "HubSpot does not know this account, or it has refused the connection.",
        TokenError::OtherAccount(_) | TokenError::Transient { .. } => {
            "HubSpot did not answer as expected. Please open the link once more in a minute."
        }
    };
    AppError::page(StatusCode::BAD_GATEWAY, "Not connected", words)
}
