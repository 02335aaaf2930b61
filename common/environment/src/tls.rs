//! Makes sure that nothing leaves this machine without TLS. A configured address begins with `https://` or is on this
//! machine. The same holds for MongoDB's (the store checks it), unless `MONGODB_PLAIN` says that it has no TLS.

use url::Url;

use crate::{
    config::{ConfigError, Kind, Variable},
    production::is_here,
    variables::{
        AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KMS, AWS_ENDPOINT_URL_SECRETS_MANAGER, AWS_ENDPOINT_URL_SQS, AWS_SAM_LOCAL,
        MONGODB_PLAIN,
    },
};

/// The variables that give the AWS SDK other addresses than AWS's own, for the services that the functions use
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
static AWS_ADDRESSES: [&Variable; 4] =
    [&AWS_ENDPOINT_URL, &AWS_ENDPOINT_URL_KMS, &AWS_ENDPOINT_URL_SECRETS_MANAGER, &AWS_ENDPOINT_URL_SQS];

/// Returns the value of a variable, or its default: an address that uses TLS or is on this machine.
///
/// # Errors
/// The value is another address, or not an address. The error does not show it.
pub fn address(variable: &Variable) -> Result<Url, ConfigError> {
    check(variable, &variable.required()?, is_in_sams_container())
}

/// Returns the value of a variable, with the same check. Returns `None` if the variable is not set.
///
/// # Errors
/// The value is another address, or not an address. The error does not show it.
pub fn optional_address(variable: &Variable) -> Result<Option<Url>, ConfigError> {
    variable.optional().map(|value| check(variable, &value, is_in_sams_container())).transpose()
}

/// Checks the addresses that the environment gives the AWS SDK in the same way.
///
/// # Errors
/// As [`address`].
pub fn check_aws() -> Result<(), ConfigError> {
    AWS_ADDRESSES.into_iter().try_for_each(|variable| optional_address(variable).map(drop))
}

fn check(variable: &Variable, value: &str, is_plain_allowed: bool) -> Result<Url, ConfigError> {
    debug_assert_eq!(variable.kind, Kind::Address, "{}", variable.name);
    let url = Url::parse(value).map_err(|error| variable.invalid(error))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_plain_allowed || is_here(value) => Ok(url),
        _ => Err(variable.invalid("it does not begin with https://, and is not on this machine")),
    }
}

/// Returns true if `MONGODB_PLAIN` allows unprotected connections to MongoDB.
///
/// # Errors
/// The variable's value cannot be used.
pub fn is_plain_mongodb_allowed() -> Result<bool, ConfigError> {
    Ok(MONGODB_PLAIN.flag()? || is_in_sams_container())
}

/// Returns true in a container of `sam local invoke`. It reaches the servers of this machine at the address of Docker's
/// bridge. SAM sets the variable there
/// (<https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-cli-using-invoke.html>),
/// and Lambda does not.
pub fn is_in_sams_container() -> bool {
    AWS_SAM_LOCAL.optional().is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::CONNECT_URL;

    #[test]
    fn an_address_outside_this_machine_is_reached_by_tls() {
        let right = [
            "https://api.hubapi.com",
            "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com",
            "https://127.0.0.1:1",
            "http://127.0.0.1:8085/oauth/authorize",
            "http://[::1]:4566",
            "http://localhost:4566",
            "http://a.execute-api.localhost:4566",
        ];
        let plain = [
            "http://api.hubapi.com",
            "HTTP://sync.example.com/hubspot",
            "http://10.0.0.1:4566",
            "http://172.17.0.1:4566",
            "http://127.0.0.1.example.com",
            "http://localhost@example.com",
        ];
        for address in right {
            assert!(check(&CONNECT_URL, address, false).is_ok(), "{address}");
        }
        for address in plain {
            let error = check(&CONNECT_URL, address, false).unwrap_err().to_string();
            assert!(error.contains("CONNECT_URL") && !error.contains("example") && !error.contains("10.0"), "{error}");
            assert!(check(&CONNECT_URL, address, true).is_ok(), "{address} in a container");
        }
        for address in ["", "api.hubapi.com", "ftp://127.0.0.1", "wss://api.hubapi.com"] {
            assert!(check(&CONNECT_URL, address, true).is_err(), "{address}");
        }
    }
}
