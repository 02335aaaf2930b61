//! The scheduler function's Lambda bootstrap.

use lambda_runtime::{LambdaEvent, service_fn};
use scheduler::{Config, Scheduler, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    common::telemetry::init();
    let scheduler = Scheduler::new(Config::from_env()?).await?;
    let scheduler = &scheduler;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<_>| handler(scheduler, event))).await
}
