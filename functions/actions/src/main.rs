//! The actions function's Lambda bootstrap.

use actions::{Actions, Config, handler};
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    common::telemetry::init();
    let actions = Actions::new(Config::from_env()?).await?;
    let actions = &actions;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| handler(actions, event))).await
}
