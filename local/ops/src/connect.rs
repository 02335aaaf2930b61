//! The connect function of a deployed stack, for its operators: links for customers, the page's token, and the keys
//! that seal tokens.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Client, Response, Url, redirect::Policy};
use runtime::secrets::json_field_or_text;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use token_vault::{Moved, Vault, VaultError};

use crate::{aws::Aws, deployed::Stack};

/// The status page and its API.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its address.
    pub url: Url,
    /// A client that can reach it. It does not follow redirects, and keeps no cookies.
    pub http: Client,
    token: SecretString,
}

impl Page {
    /// Returns the connect function of a deployed stack.
    ///
    /// # Errors
    /// The stack has no connect function, or its secret cannot be read.
    pub async fn of(stack: &Stack) -> Result<Self> {
        Self::at(stack.output("ConnectUrl")?, &stack.aws, stack.output("ConnectSecretArn")?).await
    }

    /// Returns the connect function at `url`. Its token is in the secret `arn`.
    ///
    /// # Errors
    /// The secret cannot be read, or `url` is not an address.
    pub async fn at(url: &str, aws: &Aws, arn: &str) -> Result<Self> {
        let token = json_field_or_text(&aws.secret(arn).await?, "token");
        // With a slash at the end, so that paths are joined below the address's own path.
        let url = Url::parse(&format!("{}/", url.trim_end_matches('/'))).context("the address of the status page")?;
        let mut http = Client::builder().redirect(Policy::none());
        // Every name below `localhost` is this machine (RFC 6761), but not every system's resolver knows that.
        if let Some(host) = url.host_str().filter(|host| host.ends_with(".localhost")) {
            http = http.resolve(host, (Ipv4Addr::LOCALHOST, 0).into());
        }
        let http = http.build()?;
        Ok(Self { url, http, token })
    }

    /// Returns the token.
    pub fn token(&self) -> &str {
        self.token.expose_secret()
    }

    fn at_path(&self, path: &str) -> Result<Url> {
        Ok(self.url.join(path.trim_start_matches('/'))?)
    }

    /// Sends a GET request to the API. Returns its response.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn get(&self, path: &str) -> Result<Response> {
        Ok(self.http.get(self.at_path(path)?).bearer_auth(self.token()).send().await?)
    }

    /// Makes a link by which a customer connects a HubSpot account: `hub`, or any. Returns the link.
    ///
    /// # Errors
    /// There is no such Domain.
    pub async fn link(&self, domain: &str, hub: Option<&str>) -> Result<String> {
        #[derive(Deserialize)]
        struct Link {
            url: String,
        }
        let asked = self.http.post(self.at_path("/api/install-links")?).bearer_auth(self.token());
        let answer = asked.json(&json!({ "domain": domain, "hubId": hub })).send().await?;
        if !answer.status().is_success() {
            bail!("there is no link: {}", answer.text().await?);
        }
        Ok(answer.json::<Link>().await?.url)
    }

    /// Revokes all links of a Domain that were made until now.
    ///
    /// # Errors
    /// There is no such Domain.
    pub async fn revoke_links(&self, domain: &str) -> Result<()> {
        let asked = self.http.post(self.at_path("/api/install-links/revoke")?).bearer_auth(self.token());
        let answer = asked.json(&json!({ "domain": domain })).send().await?;
        if !answer.status().is_success() {
            bail!("the links were not revoked: {}", answer.text().await?);
        }
        Ok(())
    }
}

/// Makes a new data key, and seals all tokens under it. Safe to run twice.
///
/// # Errors
/// The stack's KMS key belongs to another AWS account or region than before and `moved` does not allow that, or KMS or
/// MongoDB does not answer.
pub async fn rotate_keys(stack: &Stack, moved: Moved) -> Result<()> {
    let vault = Vault::with_kms(stack.store.clone(), stack.aws.kms().clone(), stack.output("TokenKeyArn")?.to_owned());
    let version = vault.rotate(moved).await.map_err(|error| match error {
        VaultError::OtherMaster(..) => {
            anyhow!("{error}; if the service has moved there: make rotate-keys TARGET=aws NEW_MASTER_KEY=1")
        }
        error => error.into(),
    })?;
    let resealed = vault.reseal(version).await?;
    println!("{} tokens are sealed under data key {version}; {} were left as they are", resealed.sealed, resealed.left);
    for (account, reason) in &resealed.unreadable {
        println!("  {account} has to be connected again: {reason}");
    }
    Ok(())
}
