//! The connect function of a deployed stack, as those who run it use it: links for customers, the page's token, and the
//! keys under which tokens are sealed.

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
    /// A client that finds it, and neither follows redirects nor keeps cookies.
    pub http: Client,
    token: SecretString,
}

impl Page {
    /// The one of a deployed stack.
    ///
    /// # Errors
    /// It has none, or its secret cannot be read.
    pub async fn of(stack: &Stack) -> Result<Self> {
        Self::at(stack.output("ConnectUrl")?, &stack.aws, stack.output("ConnectSecretArn")?).await
    }

    /// The one at `url`, whose token is in the secret `arn`.
    ///
    /// # Errors
    /// The secret cannot be read, or the address is none.
    pub async fn at(url: &str, aws: &Aws, arn: &str) -> Result<Self> {
        let token = json_field_or_text(&aws.secret(arn).await?, "token");
        // With a slash at its end, so that paths are below the one that it may have.
        let url = Url::parse(&format!("{}/", url.trim_end_matches('/'))).context("the address of the status page")?;
        let mut http = Client::builder().redirect(Policy::none());
        // Every name below `localhost` is this machine (RFC 6761), which not every system's resolver knows.
        if let Some(host) = url.host_str().filter(|host| host.ends_with(".localhost")) {
            http = http.resolve(host, (Ipv4Addr::LOCALHOST, 0).into());
        }
        let http = http.build()?;
        Ok(Self { url, http, token })
    }

    /// The token.
    pub fn token(&self) -> &str {
        self.token.expose_secret()
    }

    fn at_path(&self, path: &str) -> Result<Url> {
        Ok(self.url.join(path.trim_start_matches('/'))?)
    }

    /// Asks the API.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, path: &str) -> Result<Response> {
        Ok(self.http.get(self.at_path(path)?).bearer_auth(self.token()).send().await?)
    }

    /// A link by which a customer connects a HubSpot account: `hub`, or any.
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

    /// Lets all links of a Domain that were made until now lead nowhere.
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
/// The stack's KMS key is of another AWS account or region than before, without being meant to; or KMS or MongoDB does not
/// answer.
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
