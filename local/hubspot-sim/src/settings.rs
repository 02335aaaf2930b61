//! The behaviour of the simulated HubSpot. All settings can be changed while it runs.

use serde::{Deserialize, Serialize};

use crate::object::Object;

/// The simulator's settings. The defaults are HubSpot's documented behaviour.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Settings {
    /// The latency of every response, in milliseconds.
    pub latency_ms: u64,
    /// How long each request is held up on its way at most, before it is counted, in milliseconds: between 0 and this.
    pub hold_up_ms: u64,
    /// How much longer an answer takes at most after that, in the same way.
    pub answering_ms: u64,
    /// Search requests allowed per account and rolling second. 0 is no limit.
    pub search_rps: usize,
    /// The HubSpot subscription of the accounts.
    pub tier: Tier,
    /// How the OAuth app is distributed.
    pub distribution: Distribution,
    /// Other requests allowed per app and account in rolling ten seconds, for any tier and distribution. 0 is no limit.
    pub per_10s: Option<usize>,
    /// Other requests allowed per day, in the same way.
    pub per_day: Option<usize>,
    /// The limit that counts reads of associations.
    pub association_limits: AssociationLimits,
    /// Reads of associations allowed per account in rolling ten seconds, for any tier, if they have a limit of their
    /// own.
    pub associations_per_10s: Option<usize>,
    /// Reads of associations allowed per day, in the same way.
    pub associations_per_day: Option<usize>,
    /// The lifetime of an access token, in seconds.
    pub token_seconds: i64,
    /// True if new access tokens come with `hub_id`, which HubSpot's specification does not promise.
    pub names_hub: bool,
    /// Scopes that the consent page does not grant, although the app requests them.
    pub withheld_scopes: Vec<String>,
    /// Scopes that no token has, whatever was granted.
    pub missing_scopes: Vec<String>,
    /// True if errors of the token endpoint carry `error`, false if they carry only HubSpot's own `status`.
    pub oauth_errors: bool,
    /// The time until a change is in the search index, in milliseconds: at least this...
    pub index_lag_min_ms: i64,
    /// ...and at most this, a different time for each change.
    pub index_lag_max_ms: i64,
    /// True if a search returns a record's newest state although its index has an older one.
    pub newer_rows: bool,
    /// True if pages are sometimes shorter than the limit, or empty, although more follow.
    pub short_pages: bool,
    /// The order in which ids are sorted and compared.
    pub id_order: IdOrder,
    /// How far rows sorted by modification time may be out of order, in milliseconds.
    pub disorder_ms: i64,
    /// How far HubSpot's clock is ahead of this machine's, in milliseconds.
    pub clock_offset_ms: i64,
    /// The error of a search's `total`.
    pub total_off_by: i64,
    /// Records whose properties HubSpot cannot return: searches and reads that would return them fail with a 500.
    pub unanswerable: Vec<u64>,
    /// Records that HubSpot cannot return at all: every request that would return them fails with a 500.
    pub unshowable: Vec<u64>,
    /// Contacts whose companies HubSpot does not return: `INVALID_IDENTIFIER` in a 207.
    pub without_companies: Vec<u64>,
    /// Contacts whose companies cause a 500, for the whole request.
    pub companies_fail: Vec<u64>,
    /// Modification times of rows that a search counts but never returns.
    pub ghosts: Vec<i64>,
    /// Records without a modification time: it is null, and no condition matches it.
    pub undated: Vec<u64>,
    /// How much too early the time of a deletion is (`archivedAt`), in milliseconds.
    pub archived_early_ms: i64,
    /// How far the `Date` header alone is ahead of HubSpot's clock, in milliseconds.
    pub date_skew_ms: i64,
    /// The number of a record's links in a page of associations.
    pub association_page: usize,
    /// The time during which reads of associations return the links as they were before a change, in milliseconds.
    pub association_lag_ms: i64,
    /// True if a change of a contact's primary company moves the contact's modification time. HubSpot does not document
    /// it.
    pub primary_moves_contact: bool,
    /// True if deletions, merges and privacy deletions of records also send events for the links that they end or move.
    /// HubSpot does not document it.
    pub implied_association_events: bool,
    /// True if a privacy deletion also sends the event of a deletion.
    pub erasure_sends_deletion: bool,
    /// True if the recycle bin lists records that were merged into others. HubSpot does not document it.
    pub lists_merged: bool,
    /// How lists of live records behave. HubSpot documents neither their order nor that any id may be their `after`.
    pub list_form: ListForm,
    /// Records that lists of live records leave out.
    pub unlisted: Vec<u64>,
    /// The longest path and query of a list, in bytes. A longer one gets a 414. HubSpot does not document its limit.
    pub longest_list: usize,
    /// Object types whose recycle bin cannot be listed: `archived=true` gets a 400, as seen of meetings.
    pub without_recycle_bin: Vec<Object>,
    /// The address for webhooks. Absent if none are sent.
    pub webhook_url: Option<String>,
    /// The form in which webhooks name the events.
    pub webhook_form: WebhookForm,
    /// The period for ten retries of an undelivered webhook, in milliseconds. HubSpot takes 24 hours (86,400,000).
    pub webhook_retries_ms: u64,
}

/// The form in which a subscription names the events of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WebhookForm {
    /// `object.creation` with an `objectTypeId`, as apps of the developer platform subscribe.
    Generic,
    /// `contact.creation`, as legacy apps subscribe.
    ByType,
}

/// The order of `hs_object_id`. Both have been reported of HubSpot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdOrder {
    /// As numbers.
    Numeric,
    /// As text.
    Lexical,
}

/// How lists of live records behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ListForm {
    /// By ascending id, from the id in `after` on.
    FromId,
    /// By ascending id, after the id in `after`.
    AfterId,
    /// From the first record on, whatever `after` says.
    FromStart,
    /// The records of a page in descending order.
    Descending,
    /// Every page says that it is the last one.
    OnePage,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            hold_up_ms: 0,
            answering_ms: 0,
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
            missing_scopes: Vec::new(),
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
            association_page: 500,
            association_lag_ms: 0,
            primary_moves_contact: true,
            implied_association_events: false,
            erasure_sends_deletion: false,
            lists_merged: false,
            list_form: ListForm::FromId,
            unlisted: Vec::new(),
            longest_list: 8_000,
            without_recycle_bin: vec![Object::MEETINGS],
            webhook_url: None,
            webhook_form: WebhookForm::Generic,
            webhook_retries_ms: 5_000,
        }
    }
}

impl Settings {
    /// Returns the defaults without any limit.
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

/// The HubSpot subscription of an account, as far as limits are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tier {
    /// Free and Starter.
    Starter,
    /// Professional and Enterprise. They differ in the daily limit. This one has Professional's.
    Professional,
    /// The add-on for higher limits.
    AddOn,
}

/// The distribution of the OAuth app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Distribution {
    /// On the marketplace: its limit is the same for accounts of every tier.
    Marketplace,
    /// Private: it has the limits of a private app.
    Private,
}

/// The limit that counts reads of associations. HubSpot's specification and its guide exempt them from the general
/// limit, but no live response shows that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AssociationLimits {
    /// A limit of their own, which is not in the responses' headers, as with the search.
    Own,
    /// The general limit.
    General,
}
