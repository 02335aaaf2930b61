//! The sync function's Lambda bootstrap.

use lambda_runtime::{LambdaEvent, service_fn};
use sync::{Config, Sync, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    common::telemetry::init();
    let sync = Sync::new(Config::from_env()?).await?;
    let sync = &sync;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| handler(sync, event))).await
}
