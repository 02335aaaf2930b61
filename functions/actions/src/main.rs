//! The actions function's Lambda bootstrap.

use actions::{Actions, Config, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::run(async |secrets| Actions::new(Config::from_env(secrets)?).await, handler).await
}
