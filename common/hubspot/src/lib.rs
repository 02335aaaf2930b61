#![doc = include_str!("../README.md")]

mod associations;
mod consent;
mod error;
mod json;
mod limiter;
mod list;
mod permits;
mod read;
mod record;
mod references;
mod refusal;
mod response;
mod retry_after;
mod search;
mod session;
mod token;

use reqwest::{Client, Url};
use telemetry::TimeSpent;

pub use associations::{AssociationInput, Associations, MAX_ASSOCIATION_INPUTS};
pub use consent::{Portal, consent_url};
pub use error::{HubSpotError, RateLimit};
pub use list::{MAX_LISTED, can_list};
pub use read::{MAX_READ_IDS, ReadRecords};
pub use record::{Record, Row};
pub use references::ReferencePage;
pub use refusal::TokenError;
pub use search::{Filter, Page, Search};
pub use session::{LONGEST_LIST_WAIT, Limits, Session, Tally};
pub use token::{OAuthApp, Tokens};

/// The date version of HubSpot's API that all requests use: generally available since 2026-09-08 and supported for 18
/// months (developers.hubspot.com, "Versioning"). The numbered versions end in 2027.
pub const API_VERSION: &str = "2026-09";

/// The HubSpot client that all accounts share: connections, and the address.
#[derive(Clone, Debug)]
pub struct HubSpot {
    http: Client,
    base: Url,
    /// The time spent waiting for HubSpot.
    pub spent: TimeSpent,
}

impl HubSpot {
    /// Creates a client for the API at `base`.
    ///
    /// # Errors
    /// `base` is not a URL that paths can be added to, or TLS cannot be set up.
    pub fn new(base: &str) -> Result<Self, HubSpotError> {
        let invalid = |why: String| HubSpotError::Rejected { status: 0, message: why };
        let base = Url::parse(base).map_err(|error| invalid(format!("the base URL cannot be used: {error}")))?;
        if base.cannot_be_a_base() {
            return Err(invalid("the base URL cannot be used".to_owned()));
        }
        let http = Client::builder()
            .user_agent(concat!("hubspot-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| invalid(error.without_url().to_string()))?;
        Ok(Self { http, base, spent: TimeSpent::default() })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }
}
