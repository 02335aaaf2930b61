//! The variables of the local stack in `.env`. `make docs` writes them to docs/reference/configuration.md.

use environment::{config::SetBy::Nobody, variables};

variables! {
    /// A MongoDB of your own, instead of the one that is started. It must hold no Domains but those of earlier local stacks.
    STACK_MONGODB_URI: Secret, set_by Nobody, read_by &[];
    /// Its database.
    STACK_MONGODB_DATABASE: Text = "hubspot_sync", set_by Nobody, read_by &[];
    /// A real HubSpot account instead of the simulator: its id.
    STACK_HUBSPOT_HUB_ID: Text, set_by Nobody, read_by &[];
    /// A Service Key or a legacy private app's token of that account.
    STACK_HUBSPOT_ACCESS_TOKEN: Secret, set_by Nobody, read_by &[];
    /// Or the refresh token that it gave to an OAuth app.
    STACK_HUBSPOT_REFRESH_TOKEN: Secret, set_by Nobody, read_by &[];
    /// The OAuth app's client id.
    STACK_HUBSPOT_CLIENT_ID: Text, set_by Nobody, read_by &[];
    /// The OAuth app's client secret.
    STACK_HUBSPOT_CLIENT_SECRET: Secret, set_by Nobody, read_by &[];
    /// The port of 127.0.0.1 that MongoDB listens on.
    STACK_MONGODB_PORT: Number = "27117", set_by Nobody, read_by &[];
    /// The local AWS's.
    STACK_AWS_PORT: Number = "4566", set_by Nobody, read_by &[];
    /// The simulator's.
    STACK_HUBSPOT_PORT: Number = "8085", set_by Nobody, read_by &[];
    /// The folder with data and logs, for a second stack beside the one in `.stack`. Not from `.env`.
    STACK_STATE: Text, set_by Nobody, read_by &[];
    /// How many companies the first account of `make demo` has. The second one has a quarter of them.
    DEMO_COMPANIES: Number = "400", set_by Nobody, read_by &[];
    /// How many contacts.
    DEMO_CONTACTS: Number = "2000", set_by Nobody, read_by &[];
    /// The object types of the demo's first account.
    OBJECTS: List = "companies,contacts", set_by Nobody, read_by &[];
    /// How many changes are made between the two ticks of `make demo`.
    DEMO_CHANGES: Number = "100", set_by Nobody, read_by &[];
    /// After how many days MongoDB deletes actions (30 or more), or `none`. `make deploy` and `make migrate` set it in
    /// MongoDB. If the variable is not set, the last setting stays.
    ACTIONS_RETENTION_DAYS: Text, set_by Nobody, read_by &[];
}
