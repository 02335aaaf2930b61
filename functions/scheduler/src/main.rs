//! The scheduler function's Lambda bootstrap.

use scheduler::{Config, Scheduler, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::run(async |secrets| Scheduler::new(Config::from_env(secrets)?).await, handler).await
}
