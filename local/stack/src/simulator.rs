//! A client of the simulator's control interface, for the demo.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hubspot_sim::{Change, Changed};
use model::object::ObjectType;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A running simulator.
#[derive(Clone, Debug)]
pub struct Control {
    url: String,
    http: reqwest::Client,
}

/// The ids and credentials of a simulated account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// The account's id.
    pub hub_id: u64,
    /// An OAuth grant.
    pub refresh_token: String,
    /// A private app's token.
    pub private_token: String,
}

impl Control {
    /// Returns the simulator at `port` of 127.0.0.1.
    pub fn new(port: u16) -> Self {
        Self { url: format!("http://127.0.0.1:{port}/_sim"), http: reqwest::Client::new() }
    }

    /// Adds an account with this many records. Returns its credentials.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn seed(&self, hub_id: u64, companies: usize, contacts: usize) -> Result<Connected> {
        self.post(&format!("portals/{hub_id}"), json!({"companies": companies, "contacts": contacts})).await
    }

    /// Makes changes in an account, each to another record. Returns how many.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn change(&self, hub_id: u64, count: usize) -> Result<Changed> {
        self.post(&format!("portals/{hub_id}/changes"), json!({"count": count})).await
    }

    /// Adds records of an object type to an account, and lets its tokens read them. A custom object is defined first.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn seed_objects(&self, hub_id: u64, object: ObjectType, count: usize) -> Result<()> {
        if object.is_custom() {
            let labels = json!({ "singular": "Car", "plural": "Cars" });
            let schema = json!({ "typeId": object, "name": "cars", "labels": labels });
            self.post::<Value>(&format!("portals/{hub_id}/schemas"), schema).await?;
        }
        let path = format!("{}/portals/{hub_id}/objects/{object}", self.url);
        let answer = self.http.post(path).json(&json!({ "count": count })).send().await;
        answer.and_then(reqwest::Response::error_for_status).context("the simulator does not answer")?;
        Ok(())
    }

    /// Makes changes of records of an object type in an account. Returns how many.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn change_objects(&self, hub_id: u64, object: ObjectType, count: usize) -> Result<Changed> {
        self.post(&format!("portals/{hub_id}/objects/{object}/changes"), json!({ "count": count })).await
    }

    /// Makes the simulator send webhooks to this address.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn send_webhooks_to(&self, url: &str) -> Result<()> {
        let settings =
            self.http.patch(format!("{}/settings", self.url)).json(&json!({ "webhookUrl": url })).send().await;
        settings.and_then(reqwest::Response::error_for_status).context("the simulator does not answer")?;
        Ok(())
    }

    /// Returns all changes in an account.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn ledger(&self, hub_id: u64) -> Result<Vec<Change>> {
        self.get(&format!("ledger?hubId={hub_id}")).await
    }

    /// Returns how many requests the simulator has received, by kind and status.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        self.get("requests").await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: Value) -> Result<T> {
        let answer = self.http.post(format!("{}/{path}", self.url)).json(&body).send().await;
        Ok(answer
            .and_then(reqwest::Response::error_for_status)
            .context("the simulator does not answer")?
            .json()
            .await?)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.http.get(format!("{}/{path}", self.url)).send().await;
        Ok(answer
            .and_then(reqwest::Response::error_for_status)
            .context("the simulator does not answer")?
            .json()
            .await?)
    }
}
