//! The sync function's Lambda bootstrap.

use sync::{Config, SyncFunction, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::run(async |secrets| SyncFunction::new(Config::from_env(secrets)?).await, handler).await
}
