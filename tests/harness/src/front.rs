//! The connect function for browsers and programs: its handler listens on a port of this machine, behind a simulation
//! of API Gateway. Visitors keep cookies and use HubSpot's consent page.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::HeaderValue,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use connect::{Config, Connect, OptionalScopes, Tokens};
use hubspot_sim::CLIENT_SECRET;
use model::{
    account::AccountKey,
    choice::Choice,
    ids::DomainId,
    time::{self, DateTime},
};
use ops::connect::Page;
use reqwest::{Client, RequestBuilder, StatusCode, Url, header, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use token_vault::{MasterKey, Vault};
use tokio::{net::TcpListener, task::JoinSet};

use crate::world::World;

/// The token of the page and its API.
pub const TOKEN: &str = "a-token-of-a-test-with-more-than-32-characters";

/// A token that may only read.
pub const READ_TOKEN: &str = "the monitoring's own token, of 40 letters";

/// A token that may only create links.
pub const LINK_TOKEN: &str = "the shop's own token for making install links";

/// Returns the secret with these tokens.
pub fn tokens() -> Value {
    let monitoring = json!({"name": "monitoring", "may": "read", "token": READ_TOKEN});
    let shop = json!({"name": "shop", "may": "link", "token": LINK_TOKEN});
    json!({"token": TOKEN, "tokens": [monitoring, shop]})
}

/// Returns the key under which a test's tokens are sealed.
pub fn token_key() -> MasterKey {
    MasterKey::Local(STANDARD.encode([7; 32]).into())
}

/// The connect function, listening.
#[derive(Debug)]
pub struct Front {
    /// Its address.
    pub url: Url,
    http: Client,
    token: SecretString,
    _server: JoinSet<std::io::Result<()>>,
}

impl Front {
    /// Starts the function for a test's world. From now on tokens are sealed, also by the world's sync function.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn start(world: &mut World) -> Result<Self> {
        Self::start_with(world, &tokens()).await
    }

    /// Starts the function with the tokens of this secret.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn start_with(world: &mut World, secret: &Value) -> Result<Self> {
        Self::start_below(world, secret, "/").await
    }

    /// Starts the function below a path of its host, as with a custom domain and an API mapping's key.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn start_below(world: &mut World, secret: &Value, path: &str) -> Result<Self> {
        Self::start_as(world, secret, path, OptionalScopes::default()).await
    }

    /// Starts the function of a stack that reads these object types, and whose accounts may choose the others.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn offering(world: &mut World, objects: &[&str], others: &[&str]) -> Result<Self> {
        let choice =
            |names: &[&str]| Choice::of_objects(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let stack = choice(objects)?;
        let scopes =
            OptionalScopes::new(&stack.select(&Choice::default(), None), &stack.select(&choice(others)?, None));
        Self::start_as(world, &tokens(), "/", scopes).await
    }

    async fn start_as(world: &mut World, secret: &Value, path: &str, optional_scopes: OptionalScopes) -> Result<Self> {
        world.config.token_key = Some(token_key());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = Url::parse(&format!("http://{}{path}", listener.local_addr()?))?;
        let config = Config {
            optional_scopes,
            mongo: world.config.mongo.clone(),
            hubspot_base_url: world.config.hubspot_base_url.clone(),
            authorize_url: Url::parse(&format!("{}/oauth/authorize", world.hubspot.url()))?,
            app: world.config.app.clone(),
            sync_queue_url: world.sync_queue.clone(),
            token_key: world.config.token_key.clone(),
            sealed_only: world.config.sealed_only,
            tokens: Tokens::read(&environment::variables::CONNECT_SECRET, &secret.to_string().into())?,
            public_url: Some(url.clone()),
            behind_after: Duration::from_secs(1800),
        };
        let app = Router::new().fallback(answer).with_state(Connect::new(config).await?);
        let mut server = JoinSet::new();
        server.spawn(axum::serve(listener, app).into_future());
        let http = Client::builder().redirect(Policy::none()).build()?;
        Ok(Self { url, http, token: TOKEN.into(), _server: server })
    }

    /// Returns the deployed function.
    pub fn deployed(page: &Page) -> Self {
        let Page { url, http, .. } = page.clone();
        Self { url, http, token: page.token().into(), _server: JoinSet::new() }
    }

    /// Returns a link that connects an account to `domain`, valid for `holds`.
    ///
    /// # Errors
    /// `domain` is not a valid domain id.
    pub fn link(&self, domain: &str, holds: Duration) -> Result<Url> {
        let domain = DomainId::try_from(domain.to_owned())?;
        Ok(connect::install_link(&self.url, &self.token, &domain, time::after(DateTime::now(), holds)))
    }

    /// Returns the URL of a path of the function.
    ///
    /// # Errors
    /// `path` is not a valid path.
    pub fn at(&self, path: &str) -> Result<Url> {
        Ok(Url::parse(&self.address(path))?)
    }

    fn address(&self, path: &str) -> String {
        format!("{}{}", self.url, path.trim_start_matches('/'))
    }

    /// Returns a GET request. Redirects are not followed.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.address(path))
    }

    /// Returns a POST request. Redirects are not followed.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.address(path))
    }

    /// Returns a webhook with this body, with HubSpot's signature.
    pub fn webhook(&self, body: &str) -> RequestBuilder {
        let sent_at = DateTime::now().timestamp_millis().to_string();
        let signature = hubspot_sim::signature(CLIENT_SECRET, &format!("{}hubspot/webhooks", self.url), body, &sent_at);
        let request = self.post("/hubspot/webhooks").body(body.to_owned());
        request.header("x-hubspot-signature-v3", signature).header("x-hubspot-request-timestamp", sent_at)
    }

    /// Returns a browser that is signed in.
    ///
    /// # Errors
    /// The token is not accepted.
    pub async fn sign_in(&self) -> Result<Visitor<'_>> {
        self.sign_in_with(TOKEN).await
    }

    /// Returns a browser that is signed in with this token.
    ///
    /// # Errors
    /// The token is not accepted.
    pub async fn sign_in_with(&self, token: &str) -> Result<Visitor<'_>> {
        let mut visitor = Visitor::new(self);
        let answer = self.post("/sign-in").form(&[("token", token)]).send().await?;
        anyhow::ensure!(answer.status() == StatusCode::SEE_OTHER, "the token is not taken: {}", answer.status());
        visitor.keep(answer.headers());
        Ok(visitor)
    }
}

async fn answer(State(connect): State<Connect>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // API Gateway accepts bodies of up to 10 MB.
    let body = to_bytes(body, 10 << 20).await.unwrap_or_default();
    let request = lambda_http::Request::from_parts(parts, lambda_http::Body::from(body.to_vec()));
    connect::respond(Some(&connect), request).await.map(Body::new)
}

/// Returns a request in API Gateway's form (payload format 2.0), with `more` headers beside its own.
pub fn request_event(method: &str, address: &str, more: &[(&str, &str)], body: &str) -> Value {
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let mut headers = json!({"host": "localhost", "content-type": "application/x-www-form-urlencoded"});
    for (name, value) in more {
        headers[*name] = json!(value);
    }
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "1", "apiId": "a", "stage": "$default", "time": "", "timeEpoch": 1, "requestId": "r",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": ""},
        },
        "body": body, "isBase64Encoded": false,
    })
}

/// A browser: it keeps the function's cookies.
#[derive(Clone, Debug)]
pub struct Visitor<'a> {
    front: &'a Front,
    /// Its cookies.
    pub cookies: BTreeMap<String, String>,
}

impl<'a> Visitor<'a> {
    /// Returns a browser without any cookie.
    pub fn new(front: &'a Front) -> Self {
        Self { front, cookies: BTreeMap::new() }
    }

    fn keep(&mut self, headers: &header::HeaderMap) {
        for cookie in headers.get_all(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Adds its cookies to a request.
    pub fn with_cookies(&self, request: RequestBuilder) -> RequestBuilder {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        match HeaderValue::from_str(&cookies.join("; ")) {
            Ok(value) if !cookies.is_empty() => request.header(header::COOKIE, value),
            _ => request,
        }
    }

    /// Opens an address, and keeps the cookies that it sets.
    ///
    /// # Errors
    /// There is no response.
    pub async fn open(&mut self, url: &Url) -> Result<reqwest::Response> {
        let answer = self.with_cookies(self.front.http.get(url.clone())).send().await?;
        self.keep(answer.headers());
        Ok(answer)
    }

    /// Opens a page of the function, and returns its text.
    ///
    /// # Errors
    /// There is no response.
    pub async fn page(&mut self, path: &str) -> Result<String> {
        let url = self.front.at(path)?;
        Ok(self.open(&url).await?.text().await?)
    }

    /// Submits the form for `operation` on the page at `shown`.
    ///
    /// # Errors
    /// There is no response.
    pub async fn submit_operation(&mut self, shown: &str, operation: &str) -> Result<reqwest::Response> {
        let page = self.page(shown).await?;
        let token = page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let form = [("token", token.context("the page has no form")?)];
        Ok(self.with_cookies(self.front.post(operation)).form(&form).send().await?)
    }

    /// Opens a link, and continues from the page that says who will see the data. Returns the URL of HubSpot's consent
    /// page.
    ///
    /// # Errors
    /// A step fails.
    pub async fn open_link(&mut self, link: &Url) -> Result<Url> {
        let asks = self.open(link).await?.error_for_status()?.text().await?;
        location(&self.open(&next_url(&asks)?).await?)
    }

    /// Opens a link, and allows `hub` on HubSpot's consent page (or nothing, if there is no such account). Returns the
    /// URL to which HubSpot redirects the browser.
    ///
    /// # Errors
    /// A step fails.
    pub async fn consent(&mut self, link: &Url, hub: u64) -> Result<Url> {
        let consent = self.open_link(link).await?;
        let shown = self.front.http.get(consent.clone()).send().await?.error_for_status()?.text().await?;
        anyhow::ensure!(shown.contains("read the contacts and companies"), "the consent page says {shown}");
        let mut form: Vec<(String, String)> = consent.query_pairs().into_owned().collect();
        form.push(("hub_id".to_owned(), hub.to_string()));
        let decided = self.front.http.post(consent.join("/oauth/authorize")?).form(&form).send().await?;
        location(&decided)
    }

    /// Connects an account to a Domain, as a customer does.
    ///
    /// # Errors
    /// A step fails.
    pub async fn connect(&mut self, domain: &str, hub: u64) -> Result<reqwest::Response> {
        let link = self.front.link(domain, Duration::from_secs(60))?;
        let back = self.consent(&link, hub).await?;
        self.open(&back).await
    }
}

/// Returns the URL to which the page of a link leads.
///
/// # Errors
/// The page has no such URL.
pub fn next_url(page: &str) -> Result<Url> {
    let mut links = page.split("href=\"").filter_map(|part| part.split('"').next());
    let on = links.find(|link| link.contains("/hubspot/begin?"));
    Ok(Url::parse(&on.with_context(|| format!("nothing leads on: {page}"))?.replace("&amp;", "&"))?)
}

/// Returns the URL to which a response redirects.
///
/// # Errors
/// The response does not redirect.
pub fn location(answer: &reqwest::Response) -> Result<Url> {
    let location = answer.headers().get(header::LOCATION).with_context(|| format!("it leads nowhere: {answer:?}"))?;
    Ok(answer.url().join(location.to_str()?)?)
}

/// Returns an account's stored token, opened.
///
/// # Errors
/// The token cannot be opened.
pub async fn stored_token(world: &World, account: &AccountKey, field: &str, stored: &str) -> Result<String> {
    let vault = Vault::new(world.store.clone(), Some(token_key())).await;
    let stored = SecretString::from(stored);
    Ok(vault.open(account, field, &stored).await?.expose_secret().to_owned())
}
