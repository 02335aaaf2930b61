//! The parameters of the template, for `make deploy` and for the local stack. Each value is from the environment or
//! `.env`, unchanged. Values for AWS never name this machine or the simulator.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use environment::production::{is_here, is_local_host};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::settings::Settings;

/// Parameters with their values.
pub type Parameters = BTreeMap<&'static str, String>;

/// Which stacks get a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum For {
    /// Only a stack on AWS, because the value names something that is not on this machine.
    Aws,
    /// A stack on AWS and the local stack.
    Both,
}

/// The parameters that the environment or `.env` may set, with their variables.
const PARAMETERS: [(&str, &str, For); 51] = [
    ("MongoDbUri", "MONGODB_URI", For::Aws),
    ("MongoDbSecretArn", "MONGODB_SECRET_ARN", For::Aws),
    ("MongoDbDatabase", "MONGODB_DATABASE", For::Aws),
    ("MongoDbPlain", "MONGODB_PLAIN", For::Both),
    ("HubSpotClientId", "HUBSPOT_CLIENT_ID", For::Aws),
    ("HubSpotClientSecret", "HUBSPOT_CLIENT_SECRET", For::Aws),
    ("HubSpotSecretArn", "HUBSPOT_SECRET_ARN", For::Aws),
    ("HubSpotApiBaseUrl", "HUBSPOT_API_BASE_URL", For::Aws),
    ("HubSpotAuthorizeUrl", "HUBSPOT_AUTHORIZE_URL", For::Aws),
    ("HubSpotSearchRps", "HUBSPOT_SEARCH_RPS", For::Both),
    ("HubSpotPer10s", "HUBSPOT_PER_10S", For::Both),
    ("HubSpotAssociationsPer10s", "HUBSPOT_ASSOCIATIONS_PER_10S", For::Both),
    ("HubSpotSearchOnly", "HUBSPOT_SEARCH_ONLY", For::Both),
    ("HubSpotObjects", "HUBSPOT_OBJECTS", For::Both),
    ("HubSpotOptionalObjects", "HUBSPOT_OPTIONAL_OBJECTS", For::Both),
    ("HubSpotProperties", "HUBSPOT_PROPERTIES", For::Both),
    ("HubSpotCompanyProperties", "HUBSPOT_COMPANY_PROPERTIES", For::Both),
    ("HubSpotContactProperties", "HUBSPOT_CONTACT_PROPERTIES", For::Both),
    ("HubSpotContactScoreProperty", "HUBSPOT_CONTACT_SCORE_PROPERTY", For::Both),
    ("Connect", "CONNECT", For::Both),
    ("ConnectUrl", "CONNECT_URL", For::Aws),
    ("ConnectSecretArn", "CONNECT_SECRET_ARN", For::Aws),
    ("ConnectRequestsPerSecond", "CONNECT_REQUESTS_PER_SECOND", For::Both),
    ("ConnectConcurrency", "CONNECT_CONCURRENCY", For::Both),
    ("ConnectBehindCloudFront", "CONNECT_BEHIND_CLOUDFRONT", For::Aws),
    ("TokenKeyArn", "TOKEN_KEY_ARN", For::Aws),
    ("TokensSealedOnly", "TOKENS_SEALED_ONLY", For::Aws),
    ("DeploymentPreference", "DEPLOYMENT_PREFERENCE", For::Aws),
    ("ScheduleExpression", "SCHEDULE_EXPRESSION", For::Both),
    ("ScheduleState", "SCHEDULE_STATE", For::Both),
    ("SyncOverlapSeconds", "SYNC_OVERLAP_SECONDS", For::Both),
    ("SyncSettleSeconds", "SYNC_SETTLE_SECONDS", For::Both),
    ("SyncSweepSeconds", "SYNC_SWEEP_SECONDS", For::Both),
    ("SyncAssociationsSeconds", "SYNC_ASSOCIATIONS_SECONDS", For::Both),
    ("SyncCalculatedSeconds", "SYNC_CALCULATED_SECONDS", For::Both),
    ("SyncReferencesSeconds", "SYNC_REFERENCES_SECONDS", For::Both),
    ("SyncQuietSeconds", "SYNC_QUIET_SECONDS", For::Both),
    ("SyncBudgetMs", "SYNC_BUDGET_MS", For::Both),
    ("SyncConcurrency", "SYNC_CONCURRENCY", For::Both),
    ("ActionsConcurrency", "ACTIONS_CONCURRENCY", For::Both),
    ("Architecture", "ARCHITECTURE", For::Aws),
    ("SchedulerMemory", "SCHEDULER_MEMORY", For::Both),
    ("SyncMemory", "SYNC_MEMORY", For::Both),
    ("ActionsMemory", "ACTIONS_MEMORY", For::Both),
    ("SqsEndpointUrl", "AWS_ENDPOINT_URL_SQS", For::Aws),
    ("LogLevel", "LOG_LEVEL", For::Both),
    ("LogRetentionDays", "LOG_RETENTION_DAYS", For::Both),
    ("OtlpEndpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", For::Aws),
    ("VpcSubnetIds", "VPC_SUBNET_IDS", For::Aws),
    ("VpcSecurityGroupIds", "VPC_SECURITY_GROUP_IDS", For::Aws),
    ("AlarmTopicArn", "ALARM_TOPIC_ARN", For::Aws),
];

/// The parameters that are thresholds of alarms, with their variables.
const ALARMS: [(&str, &str); 2] =
    [("FreshnessAlarmSeconds", "FRESHNESS_ALARM_SECONDS"), ("TickAlarmSeconds", "TICK_ALARM_SECONDS")];

/// The parameters that the environment or `.env` may set, with their variables.
pub fn variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    PARAMETERS.iter().map(|(parameter, variable, _)| (*parameter, *variable)).chain(ALARMS)
}

/// The variables with addresses that must use TLS. The address of a collector of spans is not one of them: the
/// collector may be an extension of the function, at `http://localhost:4318`.
const ADDRESSES: [&str; 4] = ["HUBSPOT_API_BASE_URL", "HUBSPOT_AUTHORIZE_URL", "CONNECT_URL", "AWS_ENDPOINT_URL_SQS"];

/// The ids and secrets of the simulator's apps. They are public: they are in the repository.
pub const OF_SIMULATOR: [&str; 4] =
    ["simulated-client-id", "simulated-client-secret", "another-client-id", "another-client-secret"];

/// The target of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// AWS itself.
    Aws,
    /// A local AWS that `AWS_ENDPOINT_URL` names, as a rehearsal. Functions there may use other servers of this
    /// machine.
    Rehearsal,
}

impl Target {
    /// Returns the target that the environment names.
    pub fn of(environment: impl Fn(&'static str) -> Option<String>) -> Self {
        match environment("AWS_ENDPOINT_URL").is_some_and(|url| is_here(&url)) {
            true => Self::Rehearsal,
            false => Self::Aws,
        }
    }
}

/// Returns the parameters for `make deploy`: the values in the environment, and nothing else.
///
/// # Errors
/// A value would not work on AWS, or would not be safe there. The error names the variable, not the value.
pub fn for_aws(environment: impl Fn(&'static str) -> Option<String>, target: Target) -> Result<Parameters> {
    let is_set = |variable: &'static str| environment(variable).is_some();
    let of_app = (is_set("HUBSPOT_CLIENT_ID"), is_set("HUBSPOT_CLIENT_SECRET"));
    if let (true, false) | (false, true) = of_app
        && !is_set("HUBSPOT_SECRET_ARN")
    {
        bail!("HUBSPOT_CLIENT_ID and HUBSPOT_CLIENT_SECRET belong together, and only one of them is set");
    }
    let mut parameters = Parameters::new();
    for (parameter, variable) in variables() {
        // A value that is also in a secret would be exposed in the functions' environment for nothing.
        let is_in_a_secret = match variable {
            "MONGODB_URI" => is_set("MONGODB_SECRET_ARN"),
            "HUBSPOT_CLIENT_ID" | "HUBSPOT_CLIENT_SECRET" => is_set("HUBSPOT_SECRET_ARN"),
            _ => false,
        };
        let Some(value) = environment(variable).filter(|_| !is_in_a_secret) else { continue };
        if target == Target::Aws {
            check(variable, &value)?;
        }
        parameters.insert(parameter, value);
    }
    Ok(parameters)
}

/// Fails if a value names this machine, the simulator, or an address without TLS.
fn check(variable: &str, value: &str) -> Result<()> {
    ensure!(!OF_SIMULATOR.contains(&value), "{variable} is the simulator's, which everybody knows; it is not for AWS");
    ensure!(
        !(value.starts_with("arn:") && value.contains(":000000000000:")),
        "{variable} is an ARN of the local AWS; nothing on AWS has it"
    );
    if ADDRESSES.contains(&variable) {
        let is_https = Url::parse(value).is_ok_and(|url| url.scheme() == "https");
        ensure!(is_https, "{variable} must be an address that begins with https://");
        ensure!(!value.ends_with('/') || variable != "CONNECT_URL", "{variable} must have no slash at its end");
        ensure!(!is_here(value), "{variable} names this machine; on AWS nothing is there");
    }
    if variable == "MONGODB_URI" {
        ensure!(!mongodb_hosts(value).iter().any(|host| is_local_host(host)), "MONGODB_URI names this machine");
    }
    Ok(())
}

/// Returns the parameters for the local stack: the behaviour that `.env` sets, and servers of this machine. `simulated`
/// is the id and the secret of the simulator's app.
pub fn for_local(
    settings: &Settings,
    mongodb_uri: &SecretString,
    simulated: (&str, &str),
    environment: impl Fn(&'static str) -> Option<String>,
) -> Parameters {
    let of_both = PARAMETERS.iter().filter(|(_, _, who)| *who == For::Both);
    let named = of_both.map(|(parameter, variable, _)| (*parameter, *variable)).chain(ALARMS);
    let mut parameters: Parameters =
        named.filter_map(|(parameter, variable)| Some((parameter, environment(variable)?))).collect();
    parameters.insert("MongoDbUri", mongodb_uri.expose_secret().to_owned());
    parameters.insert("MongoDbDatabase", settings.database.clone());
    parameters.insert("SqsEndpointUrl", format!("http://127.0.0.1:{}", settings.ports.aws));
    let client = match &settings.hubspot {
        Some(real) => real.client.clone(),
        None => {
            let url = format!("http://127.0.0.1:{}", settings.ports.hubspot);
            parameters.insert("HubSpotAuthorizeUrl", format!("{url}/oauth/authorize"));
            parameters.insert("HubSpotApiBaseUrl", url);
            Some((simulated.0.to_owned(), simulated.1.into()))
        }
    };
    if let Some((id, secret)) = client {
        parameters.extend([("HubSpotClientId", id), ("HubSpotClientSecret", secret.expose_secret().to_owned())]);
    }
    parameters
}

/// Returns parameters in the form of a file that SAM reads (`--parameter-overrides file://...yaml`). With a file, no
/// value is in the arguments of a process, which every user of a machine may see. JSON is YAML.
///
/// # Errors
/// SAM would not pass a value on unchanged. The error names the parameter, not the value.
pub fn file<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<String> {
    let parameters: BTreeMap<&str, &str> = parameters.into_iter().collect();
    for (name, value) in &parameters {
        ensure!(
            is_passed_on(value),
            "SAM would change the value of {name}, which is in quotes, or has a backslash before a space or a quote; \
             choose another one, or give a secret by its ARN"
        );
    }
    Ok(serde_json::to_string(&parameters)?)
}

/// Returns true if SAM passes the value on unchanged. SAM removes quotes around a value, and a backslash before these
/// three characters, more than once.
fn is_passed_on(value: &str) -> bool {
    let is_quoted = |quote| value.starts_with(quote) && value.ends_with(quote);
    !["\\ ", "\\\"", "\\'"].iter().any(|changed| value.contains(changed)) && !is_quoted('"') && !is_quoted('\'')
}

/// Returns the hosts in a connection string of MongoDB, with their ports and in lower case.
pub fn mongodb_hosts(uri: &str) -> Vec<String> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    // A password may contain a slash or a question mark that should have been escaped.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let hosts = rest.split(['/', '?']).next().unwrap_or_default();
    hosts.split(',').map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployed(environment: &[(&str, &str)]) -> Result<Parameters> {
        for_aws(of(environment), Target::Aws)
    }

    fn of(environment: &[(&str, &str)]) -> impl Fn(&'static str) -> Option<String> {
        move |name| environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    }

    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hubspot";

    #[test]
    fn what_is_deployed_to_aws_never_names_the_simulator() {
        let app = [("HUBSPOT_CLIENT_ID", "id"), ("HUBSPOT_CLIENT_SECRET", "it's \"a\" $ecret")];
        let mongodb = ("MONGODB_URI", "mongodb+srv://user:pa%3Fss@cluster.example.net/?w=1");
        let arn = ("HUBSPOT_SECRET_ARN", ARN);
        for environment in [vec![], vec![mongodb], vec![mongodb, app[0], app[1]], vec![arn], vec![arn, app[0], app[1]]]
        {
            let parameters = deployed(&environment).unwrap();
            for (name, value) in &parameters {
                let is_ours =
                    ["127.0.0.1", "localhost", "http://", "simulated-"].iter().any(|text| value.contains(text));
                assert!(!is_ours, "{name} for {environment:?}");
            }
        }
        let parameters = deployed(&[mongodb, app[0], app[1]]).unwrap();
        let expected = [("MongoDbUri", mongodb.1), ("HubSpotClientId", app[0].1), ("HubSpotClientSecret", app[1].1)];
        assert_eq!(parameters, expected.map(|(name, value)| (name, value.to_owned())).into());
        // Values in a secret are not in the functions' environment as well.
        let parameters = deployed(&[arn, app[0], app[1], mongodb, ("MONGODB_SECRET_ARN", ARN)]).unwrap();
        assert_eq!(parameters.into_keys().collect::<Vec<_>>(), ["HubSpotSecretArn", "MongoDbSecretArn"]);
    }

    #[test]
    fn what_is_not_for_aws_is_refused_by_name() {
        let [_, secret, ..] = OF_SIMULATOR;
        for (variable, value) in [
            ("HUBSPOT_API_BASE_URL", "http://api.hubapi.com"),
            ("HUBSPOT_API_BASE_URL", "https://127.0.0.1:8085"),
            ("HUBSPOT_API_BASE_URL", "api.hubapi.com"),
            ("HUBSPOT_AUTHORIZE_URL", "https://localhost/oauth"),
            ("HUBSPOT_AUTHORIZE_URL", "https://[::1]:8085/oauth"),
            ("CONNECT_URL", "http://sync.example.com"),
            ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:4566"),
            ("HUBSPOT_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:a"),
            ("TOKEN_KEY_ARN", "arn:aws:kms:us-east-1:000000000000:key/a"),
            ("MONGODB_URI", "mongodb://127.0.0.1:27117/?replicaSet=rs0"),
            ("MONGODB_URI", "mongodb://user:pass@a.example,LOCALHOST:27017/"),
            ("MONGODB_URI", "mongodb://[::1]:27017/"),
        ] {
            let error = deployed(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.starts_with(variable) && !error.contains(value), "{variable}={value}: {error}");
        }
        let error = deployed(&[("HUBSPOT_CLIENT_ID", "a"), ("HUBSPOT_CLIENT_SECRET", secret)]).unwrap_err().to_string();
        assert!(error.starts_with("HUBSPOT_CLIENT_SECRET is the simulator's") && !error.contains(secret), "{error}");
        for half in [[("HUBSPOT_CLIENT_ID", "a")], [("HUBSPOT_CLIENT_SECRET", "a")]] {
            assert!(deployed(&half).unwrap_err().to_string().contains("belong together"));
        }
        for taken in [
            ("HUBSPOT_API_BASE_URL", "https://api-eu1.hubapi.com"),
            ("AWS_ENDPOINT_URL_SQS", "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318"),
            ("MONGODB_URI", "mongodb+srv://localhost:127.0.0.1@cluster.example.net/"),
        ] {
            assert_eq!(deployed(&[taken]).unwrap().into_values().collect::<Vec<_>>(), [taken.1]);
        }
    }

    #[test]
    fn what_sam_would_change_is_refused_by_name() {
        for taken in ["", "a\"b c", "it's", "C:\\d", "\"a\" b", "'a\""] {
            let text = file([("HubSpotClientSecret", taken)]).unwrap();
            let read: BTreeMap<String, String> = serde_yaml_ng::from_str(&text).unwrap();
            assert_eq!(read["HubSpotClientSecret"], taken);
        }
        for changed in ["\"", "\"secret\"", "'secret'", "sec\\ ret", "sec\\\"ret", "sec\\'ret"] {
            let error = file([("HubSpotClientSecret", changed)]).unwrap_err().to_string();
            assert!(
                error.contains("HubSpotClientSecret") && !error.contains("sec\\") && !error.contains("secret\""),
                "{error}"
            );
        }
    }

    #[test]
    fn only_a_local_aws_makes_a_rehearsal() {
        assert_eq!(Target::of(of(&[])), Target::Aws);
        assert_eq!(
            Target::of(of(&[("AWS_ENDPOINT_URL", "https://cloudformation.eu-west-1.amazonaws.com")])),
            Target::Aws
        );
        assert_eq!(Target::of(of(&[("AWS_ENDPOINT_URL", "nonsense")])), Target::Aws);
        assert_eq!(Target::of(of(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")])), Target::Rehearsal);
    }

    #[test]
    fn hosts_are_what_stands_between_the_password_and_the_database() {
        let hosts = |uri: &str| mongodb_hosts(uri).join(" ");
        assert_eq!(hosts("mongodb+srv://u:p@Cluster.example.net/db?w=1"), "cluster.example.net");
        assert_eq!(hosts("mongodb://u:p/a?s@a:1,b:2/?replicaSet=rs0"), "a:1 b:2");
        assert_eq!(hosts("mongodb://[::1]:27017"), "[::1]:27017");
    }
}
