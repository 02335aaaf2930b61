//! All environment variables of the functions. `make docs` writes the tables of docs/reference/configuration.md from
//! these rows and from the template's parameters.

use crate::{
    config::{
        Function::{self, Actions, Connect, Scheduler, Sync},
        SetBy::{Lambda, Nobody, Parameter, Template},
    },
    variables,
};

const EVERY_FUNCTION: &[Function] = &Function::ALL;

variables! {
    // --- MongoDB ---
    /// The connection string, if it is not in a secret.
    MONGODB_URI: Secret, set_by Parameter("MongoDbUri"), read_by EVERY_FUNCTION;
    /// The ARN of the secret with the connection string.
    MONGODB_SECRET_ARN: Text, set_by Parameter("MongoDbSecretArn"), read_by EVERY_FUNCTION;
    /// The database.
    MONGODB_DATABASE: Text = "hubspot_sync", set_by Parameter("MongoDbDatabase"), read_by EVERY_FUNCTION;
    /// Whether connections need no TLS, or no valid certificates. A MongoDB on the function's own machine needs neither.
    MONGODB_PLAIN: Flag, set_by Parameter("MongoDbPlain"), read_by EVERY_FUNCTION;

    // --- HubSpot ---
    /// The OAuth app's client id, if it is not in a secret.
    HUBSPOT_CLIENT_ID: Text, set_by Parameter("HubSpotClientId"), read_by &[Sync, Connect];
    /// The OAuth app's client secret, if it is not in a secret. It is needed if there is a client id.
    HUBSPOT_CLIENT_SECRET: Secret, set_by Parameter("HubSpotClientSecret"), read_by &[Sync, Connect];
    /// The ARN of the secret with both.
    HUBSPOT_SECRET_ARN: Text, set_by Parameter("HubSpotSecretArn"), read_by &[Sync, Connect];
    /// Where HubSpot's API is.
    HUBSPOT_API_BASE_URL: Address = "https://api.hubapi.com", set_by Parameter("HubSpotApiBaseUrl"), read_by &[Sync, Connect];
    /// Where HubSpot's consent page is.
    HUBSPOT_AUTHORIZE_URL: Address = "https://app.hubspot.com/oauth/authorize", set_by Parameter("HubSpotAuthorizeUrl"), read_by &[Connect];
    /// The object types to read, unless an account's entry chooses others.
    HUBSPOT_OBJECTS: List = "companies,contacts", set_by Parameter("HubSpotObjects"), read_by &[Sync, Connect];
    /// Object types that an account's entry may choose beside those: the OAuth app lists their scopes, and the consent page asks
    /// a customer for them whose account chooses them.
    HUBSPOT_OPTIONAL_OBJECTS: List, set_by Parameter("HubSpotOptionalObjects"), read_by &[Connect];
    /// More properties to keep, by object type: `deals:amount,dealstage;2-7654321:serial`.
    HUBSPOT_PROPERTIES: Text, set_by Parameter("HubSpotProperties"), read_by &[Sync, Connect];
    /// More properties of companies to keep.
    HUBSPOT_COMPANY_PROPERTIES: List, set_by Parameter("HubSpotCompanyProperties"), read_by &[Sync, Connect];
    /// More properties of contacts to keep.
    HUBSPOT_CONTACT_PROPERTIES: List, set_by Parameter("HubSpotContactProperties"), read_by &[Sync, Connect];
    /// The property whose number is the `contact_score` of a contact's actions. With `:0` after it, a contact without a number
    /// has the score zero; otherwise it has none.
    HUBSPOT_CONTACT_SCORE_PROPERTY: Text = "hubspotscore:0", set_by Parameter("HubSpotContactScoreProperty"), read_by &[Sync];
    /// How many search requests a second are made for an account.
    HUBSPOT_SEARCH_RPS: Number = "5", set_by Parameter("HubSpotSearchRps"), read_by &[Sync];
    /// How many other requests are made in ten seconds for an account, until HubSpot names its limit.
    HUBSPOT_PER_10S: Number = "110", set_by Parameter("HubSpotPer10s"), read_by &[Sync];
    /// How many reads of associations are made in ten seconds for an account.
    HUBSPOT_ASSOCIATIONS_PER_10S: Number = "100", set_by Parameter("HubSpotAssociationsPer10s"), read_by &[Sync];
    /// Whether a history is read by searches alone, and not by lists beside them.
    HUBSPOT_SEARCH_ONLY: Flag, set_by Parameter("HubSpotSearchOnly"), read_by &[Sync];

    // --- sync ---
    /// How far a fresh pass overlaps the last one.
    SYNC_OVERLAP_SECONDS: Seconds = "300", set_by Parameter("SyncOverlapSeconds"), read_by &[Sync];
    /// After how long a settled pass reads once more what a fresh pass has read.
    SYNC_SETTLE_SECONDS: Seconds = "3600", set_by Parameter("SyncSettleSeconds"), read_by &[Sync];
    /// How often the recycle bin is read. If it is 0, it is read only after a webhook about a deletion.
    SYNC_SWEEP_SECONDS: Seconds = "21600", set_by Parameter("SyncSweepSeconds"), read_by &[Sync];
    /// How often the associations of all contacts are compared with what was published. If it is 0, they are read only
    /// with a contact that changed, or after a webhook.
    SYNC_ASSOCIATIONS_SECONDS: Seconds = "86400", set_by Parameter("SyncAssociationsSeconds"), read_by &[Sync];
    /// How often the values of calculated properties are compared with what was published, of the types of which any are
    /// chosen. If it is 0, they are read only with a record that changed.
    SYNC_CALCULATED_SECONDS: Seconds = "86400", set_by Parameter("SyncCalculatedSeconds"), read_by &[Sync];
    /// How often owners, pipelines and the definitions of properties are read. If it is 0, they are not.
    SYNC_REFERENCES_SECONDS: Seconds = "86400", set_by Parameter("SyncReferencesSeconds"), read_by &[Sync];
    /// The longest pause between two looks at an account in which nothing changes. If it is 0, each tick looks at it.
    SYNC_QUIET_SECONDS: Seconds = "900", set_by Parameter("SyncQuietSeconds"), read_by &[Sync];
    /// How long a slice may take.
    SYNC_BUDGET_MS: Milliseconds = "5000", set_by Parameter("SyncBudgetMs"), read_by &[Sync];
    /// How far HubSpot's clock may be ahead of the function's before it is taken for wrong.
    SYNC_CLOCK_TOLERANCE_SECONDS: Seconds = "300", set_by Nobody, read_by &[Sync];

    // --- tokens ---
    /// The KMS key under which tokens are sealed.
    TOKEN_KMS_KEY_ID: Text, set_by Parameter("TokenKeyArn"), read_by &[Sync, Connect];
    /// 32 bytes in base64 in its place, for development without KMS. With neither, sync and connect do not start.
    TOKEN_LOCAL_KEY: Secret, set_by Nobody, read_by &[Sync, Connect];
    /// In the place of both: tokens are stored unsealed, and the log warns of it.
    TOKEN_PLAIN: Flag, set_by Nobody, read_by &[Sync, Connect];
    /// Whether tokens that are stored unsealed are refused.
    TOKENS_SEALED_ONLY: Flag, set_by Parameter("TokensSealedOnly"), read_by &[Sync, Connect];

    // --- connect ---
    /// The address by which browsers and HubSpot reach the function, if that is not the one that they ask for.
    CONNECT_URL: Address, set_by Parameter("ConnectUrl"), read_by &[Connect];
    /// The tokens of the status page and its API, if they are not in a secret. On AWS it is empty.
    CONNECT_SECRET: Secret, set_by Template, read_by &[Connect];
    /// The ARN of the secret with the tokens.
    CONNECT_SECRET_ARN: Text, set_by Parameter("ConnectSecretArn"), read_by &[Connect];
    /// An account that was not checked for this long is shown as behind.
    FRESHNESS_ALARM_SECONDS: Seconds = "1800", set_by Parameter("FreshnessAlarmSeconds"), read_by &[Sync, Connect];

    // --- queues ---
    /// The sync queue.
    SYNC_QUEUE_URL: Text, set_by Template, read_by &[Scheduler, Sync, Connect];
    /// The queue of slices that continue a run. Each is worked on alone.
    CONTINUATION_QUEUE_URL: Text, set_by Template, read_by &[Sync];
    /// The actions queue.
    ACTIONS_QUEUE_URL: Text, set_by Template, read_by &[Sync, Actions];
    /// Where messages go whose actions can never be stored.
    ACTIONS_DEAD_LETTER_QUEUE_URL: Text, set_by Template, read_by &[Actions];

    // --- secrets ---
    /// How long secrets are used before they are read again.
    SECRETS_KEPT_SECONDS: Seconds = "300", set_by Nobody, read_by EVERY_FUNCTION;
    /// How long connect uses secrets that it cannot read again. After that it answers 503.
    SECRETS_USED_SECONDS: Seconds = "900", set_by Nobody, read_by EVERY_FUNCTION;

    // --- logs, metrics, traces ---
    /// A level, or levels by module. If it cannot be read, the log says so, and the default is used.
    LOG_LEVEL: Text = "info", set_by Parameter("LogLevel"), read_by EVERY_FUNCTION;
    /// The dimension `Stack` of the metrics.
    STACK_NAME: Text = "local", set_by Template, read_by EVERY_FUNCTION;
    /// An OpenTelemetry collector for spans. Without one, nothing is traced.
    OTEL_EXPORTER_OTLP_ENDPOINT: Text, set_by Parameter("OtlpEndpoint"), read_by EVERY_FUNCTION;
    /// A collector for spans alone.
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: Text, set_by Nobody, read_by EVERY_FUNCTION;
    /// `true` switches spans off. OpenTelemetry's SDK reads
    /// [its other variables](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/) as well.
    OTEL_SDK_DISABLED: Text, set_by Nobody, read_by EVERY_FUNCTION;
    /// `none` switches spans off.
    OTEL_TRACES_EXPORTER: Text, set_by Nobody, read_by EVERY_FUNCTION;
    /// The service's name in spans, if it is not the function's name.
    OTEL_SERVICE_NAME: Text, set_by Nobody, read_by EVERY_FUNCTION;
    /// The function's name. A process that has none is not on AWS.
    AWS_LAMBDA_FUNCTION_NAME: Text, set_by Lambda, read_by EVERY_FUNCTION;

    // --- AWS ---
    /// The address of a local AWS. With it, `make deploy` is a rehearsal there: what runs there may use other servers of this
    /// machine.
    AWS_ENDPOINT_URL: Address, set_by Nobody, read_by EVERY_FUNCTION;
    /// Where KMS is, if not at its own address.
    AWS_ENDPOINT_URL_KMS: Address, set_by Nobody, read_by EVERY_FUNCTION;
    /// Where Secrets Manager is, if not at its own address.
    AWS_ENDPOINT_URL_SECRETS_MANAGER: Address, set_by Nobody, read_by EVERY_FUNCTION;
    /// Where SQS is.
    AWS_ENDPOINT_URL_SQS: Address, set_by Parameter("SqsEndpointUrl"), read_by EVERY_FUNCTION;
    /// `true` in the containers of `sam local invoke`: `http://` is taken there, because the servers of the machine are at
    /// Docker's bridge.
    AWS_SAM_LOCAL: Text, set_by Nobody, read_by EVERY_FUNCTION;
}
