//! How the simulated HubSpot behaves. Everything can be changed while it runs.

use serde::{Deserialize, Serialize};

/// The simulator's switches; the defaults are HubSpot's documented behaviour.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// How long every answer takes, in milliseconds.
    pub latency_ms: u64,
    /// Search requests that an account may make in a rolling second; 0 is no limit.
    pub search_rps: usize,
    /// What the accounts have bought of HubSpot.
    pub tier: Tier,
    /// How the OAuth app is distributed.
    pub distribution: Distribution,
    /// Other requests that an app may make in an account in rolling ten seconds, whatever the tier and the distribution; 0 is no
    /// limit.
    pub per_10s: Option<usize>,
    /// The same in a day.
    pub per_day: Option<usize>,
    /// Which limit reads of associations count against.
    pub association_limits: AssociationLimits,
    /// Reads of associations that an account allows in rolling ten seconds, whatever the tier, if they have a limit of their own.
    pub associations_per_10s: Option<usize>,
    /// The same in a day.
    pub associations_per_day: Option<usize>,
    /// How long an access token lives, in seconds.
    pub token_seconds: i64,
    /// Whether new access tokens come with `hub_id`, which HubSpot's specification does not promise.
    pub names_hub: bool,
    /// Scopes that the consent page does not grant, though the app asks for them.
    pub withheld_scopes: Vec<String>,
    /// Whether what the token endpoint refuses carries `error`, or HubSpot's own `status` alone.
    pub oauth_errors: bool,
    /// How long a change takes to reach the search index, in milliseconds: at least this...
    pub index_lag_min_ms: i64,
    /// ...and at most this, another time for each change.
    pub index_lag_max_ms: i64,
    /// Whether search answers with a record's newest state where its index holds an older one.
    pub newer_rows: bool,
    /// Whether pages are sometimes shorter than the limit, or empty, though more follow.
    pub short_pages: bool,
    /// In which order ids are sorted and compared.
    pub id_order: IdOrder,
    /// How far rows sorted by modification time may be out of order, in milliseconds.
    pub disorder_ms: i64,
    /// How far HubSpot's clock is ahead of this machine's, in milliseconds.
    pub clock_offset_ms: i64,
    /// By how much a search's `total` is wrong.
    pub total_off_by: i64,
    /// Records for whose properties HubSpot has no answer but a 500: searches and reads that would show them fail.
    pub unanswerable: Vec<u64>,
    /// Records for which it has no answer but a 500 whatever is asked of them.
    pub unshowable: Vec<u64>,
    /// Contacts whose companies HubSpot does not tell: `INVALID_IDENTIFIER` in a 207.
    pub without_companies: Vec<u64>,
    /// Contacts for whose companies HubSpot has no answer but a 500, whoever else is asked for.
    pub companies_fail: Vec<u64>,
    /// Modification times of rows that a search counts and never shows.
    pub ghosts: Vec<i64>,
    /// Records without a modification time: it is null, and no condition on it holds.
    pub undated: Vec<u64>,
    /// How much earlier than it happened a deletion is stamped (`archivedAt`), in milliseconds.
    pub archived_early_ms: i64,
    /// How far the `Date` header alone is ahead of HubSpot's clock, in milliseconds.
    pub date_skew_ms: i64,
    /// How many companies of a contact an association page holds.
    pub association_page: usize,
    /// Whether the recycle bin lists records that were merged into others; HubSpot does not say.
    pub lists_merged: bool,
    /// Where changes are told by webhook; nowhere if absent.
    pub webhook_url: Option<String>,
    /// How webhooks name the events.
    pub webhook_form: WebhookForm,
    /// Within how many milliseconds what was not taken is told ten times more; HubSpot takes 24 hours (86,400,000).
    pub webhook_retries_ms: u64,
}

/// How a subscription names the events of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WebhookForm {
    /// `object.creation` with an `objectTypeId`, as apps of the developer platform subscribe.
    Generic,
    /// `contact.creation`, as legacy apps do.
    ByType,
}

/// The order of `hs_object_id`; both have been reported of HubSpot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdOrder {
    /// As numbers.
    Numeric,
    /// As text.
    Lexical,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            search_rps: 5,
            tier: Tier::Starter,
            distribution: Distribution::Marketplace,
            per_10s: None,
            per_day: None,
            association_limits: AssociationLimits::Own,
            associations_per_10s: None,
            associations_per_day: None,
            token_seconds: 1800,
            names_hub: true,
            withheld_scopes: Vec::new(),
            oauth_errors: true,
            index_lag_min_ms: 0,
            index_lag_max_ms: 0,
            newer_rows: true,
            short_pages: false,
            id_order: IdOrder::Numeric,
            disorder_ms: 0,
            clock_offset_ms: 0,
            total_off_by: 0,
            unanswerable: Vec::new(),
            unshowable: Vec::new(),
            without_companies: Vec::new(),
            companies_fail: Vec::new(),
            ghosts: Vec::new(),
            undated: Vec::new(),
            archived_early_ms: 0,
            date_skew_ms: 0,
            association_page: 100,
            lists_merged: false,
            webhook_url: None,
            webhook_form: WebhookForm::Generic,
            webhook_retries_ms: 5_000,
        }
    }
}

impl Settings {
    /// The defaults without any limit.
    pub fn unlimited() -> Self {
        Self {
            search_rps: 0,
            per_10s: Some(0),
            per_day: Some(0),
            associations_per_10s: Some(0),
            associations_per_day: Some(0),
            ..Self::default()
        }
    }
}

/// What the account has bought of HubSpot, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// Free and Starter.
    Starter,
    /// Professional and Enterprise. They differ in the daily limit, of which this is Professional's.
    Professional,
    /// The add-on for higher limits.
    AddOn,
}

/// How the OAuth app is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Distribution {
    /// By the marketplace: its limit is the same for accounts of every tier.
    Marketplace,
    /// Privately: it has the limits of a private app.
    Private,
}

/// Which limit reads of associations count against. HubSpot's specification and its guide exempt them from the general one; no
/// live answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AssociationLimits {
    /// One of their own, of which answers tell nothing, as with the search.
    Own,
    /// The general one.
    General,
}
