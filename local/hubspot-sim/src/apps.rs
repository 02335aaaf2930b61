//! The OAuth apps that the simulator knows.

/// The client id and secret that the simulator accepts.
pub const CLIENT_ID: &str = "simulated-client-id";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "simulated-client-secret";

/// The client id of another app, which exists in HubSpot but has no grant of any portal.
pub const OTHER_CLIENT_ID: &str = "another-client-id";
/// See [`OTHER_CLIENT_ID`].
pub const OTHER_CLIENT_SECRET: &str = "another-client-secret";

/// Scopes of object types whose names do not follow from the type.
pub(crate) const OTHER_SCOPES: [&str; 3] = ["tickets", "e-commerce", "sales-email-read"];

/// The scopes that the app requests.
pub(crate) const SCOPES: [&str; 3] = ["oauth", "crm.objects.contacts.read", "crm.objects.companies.read"];
