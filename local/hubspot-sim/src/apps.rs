//! The OAuth apps that the simulator knows.

/// The client id and secret that the simulator takes.
pub const CLIENT_ID: &str = "simulated-client-id";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "simulated-client-secret";

/// The client id of another app, which HubSpot knows and to which no portal has granted anything.
pub const OTHER_CLIENT_ID: &str = "another-client-id";
/// See [`OTHER_CLIENT_ID`].
pub const OTHER_CLIENT_SECRET: &str = "another-client-secret";

/// What the app asks for.
pub(crate) const SCOPES: [&str; 3] = ["oauth", "crm.objects.contacts.read", "crm.objects.companies.read"];
