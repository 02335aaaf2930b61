//! Refuses to start a function on AWS with a configuration for a developer's machine. This is the second line of
//! defence. The first is `make deploy`, which does not deploy such a configuration.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::{
    config::{ConfigError, Variable},
    variables::{AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_SQS, AWS_LAMBDA_FUNCTION_NAME, HUBSPOT_CLIENT_SECRET},
};

/// The client secret of the HubSpot simulator. It is public: it is in the repository.
pub const SIMULATED_SECRET: &str = "simulated-client-secret";

/// Checks that a function on AWS has neither the simulator's secret, with which anybody could sign webhooks, nor an
/// address of HubSpot on the function's own machine.
///
/// # Errors
/// The function has one of them. The error names the variable.
pub fn check(client_secret: Option<&SecretString>, addresses: &[(&Variable, &Url)]) -> Result<(), ConfigError> {
    check_in(Variable::optional, client_secret, addresses)
}

fn check_in(
    environment: impl Fn(&'static Variable) -> Option<String>,
    client_secret: Option<&SecretString>,
    addresses: &[(&Variable, &Url)],
) -> Result<(), ConfigError> {
    if !is_on_aws(environment) {
        return Ok(());
    }
    if client_secret.is_some_and(|secret| secret.expose_secret() == SIMULATED_SECRET) {
        return Err(HUBSPOT_CLIENT_SECRET.invalid("it is the simulator's, which is not for AWS"));
    }
    match addresses.iter().find(|(_, address)| is_here(address.as_str())) {
        Some((variable, _)) => Err(variable.invalid("it names the function's own machine, on which HubSpot is not")),
        None => Ok(()),
    }
}

/// Returns true if this is a function on AWS itself: it runs in Lambda, and no variable names a local AWS.
fn is_on_aws(environment: impl Fn(&'static Variable) -> Option<String>) -> bool {
    let endpoints = [&AWS_ENDPOINT_URL, &AWS_ENDPOINT_URL_SQS].map(&environment);
    let is_local = endpoints.into_iter().flatten().any(|url| url.starts_with("http://"));
    environment(&AWS_LAMBDA_FUNCTION_NAME).is_some() && !is_local
}

/// Returns true if an address names this machine.
pub fn is_here(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.host_str().is_some_and(is_local_host))
}

/// Returns true if a host, with or without a port, is this machine.
pub fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::HUBSPOT_API_BASE_URL;

    fn refused(environment: &[(&str, &str)], secret: &str, base: &str) -> Option<String> {
        let of = |variable: &'static Variable| {
            environment.iter().find(|(name, _)| *name == variable.name).map(|(_, value)| (*value).to_owned())
        };
        let addresses = [(&HUBSPOT_API_BASE_URL, &Url::parse(base).unwrap())];
        check_in(of, Some(&secret.into()), &addresses).err().map(|error| error.to_string())
    }

    #[test]
    fn what_is_for_a_machine_of_ones_own_is_refused_on_aws_alone() {
        let name = ("AWS_LAMBDA_FUNCTION_NAME", "sync");
        let aws = [name, ("AWS_ENDPOINT_URL_SQS", "https://sqs.eu-west-1.amazonaws.com")];
        let local = [name, ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:4566")];
        let hubspot = "https://api.hubapi.com";
        for on_aws in [aws.as_slice(), &[name]] {
            assert!(
                refused(on_aws, SIMULATED_SECRET, hubspot).is_some_and(|error| error.contains("HUBSPOT_CLIENT_SECRET"))
            );
            for here in ["http://127.0.0.1:8085", "https://localhost", "http://[::1]:8085", "http://0.0.0.0"] {
                assert!(
                    refused(on_aws, "secret", here).is_some_and(|error| error.contains(HUBSPOT_API_BASE_URL.name)),
                    "{here}"
                );
            }
            assert_eq!(refused(on_aws, "secret", hubspot), None);
        }
        for elsewhere in [local.as_slice(), &[], &[name, ("AWS_ENDPOINT_URL", "http://ministack:4566")]] {
            assert_eq!(refused(elsewhere, SIMULATED_SECRET, "http://127.0.0.1:8085"), None);
        }
    }
}
