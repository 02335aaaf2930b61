//! The addresses of the local stack.

use anyhow::{Context, Result};

/// Returns the variables that direct AWS's SDKs and tools to the MiniStack at `port`.
pub fn aws_environment(port: u16) -> [(&'static str, String); 7] {
    [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("SAM_CLI_TELEMETRY", "0".to_owned()),
        // The seconds between two polls of a stack by SAM. The default of 5 is made for AWS. A local stack is ready
        // sooner.
        ("SAM_CLI_POLL_DELAY", "0.5".to_owned()),
    ]
}

/// Returns the port of an address of [`aws_environment`].
///
/// # Errors
/// The address has no port.
pub fn port_of(url: &str) -> Result<u16> {
    Ok(url.rsplit(':').next().context("the address has no port")?.trim_end_matches('/').parse()?)
}

/// Returns the connection string of the MongoDB at `port`.
pub fn mongodb_uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?replicaSet=rs0")
}
