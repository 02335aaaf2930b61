//! The sync function's Lambda bootstrap.

use common::secrets::Rotating;
use lambda_runtime::{LambdaEvent, service_fn};
use sync::{Config, Sync, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let traces = &common::telemetry::init();
    let sync = Rotating::new(async |secrets| Sync::new(Config::from_env(secrets)?).await).await?;
    let sync = &sync;
    let handle = async |event: LambdaEvent<_>| {
        let context = event.context.clone();
        traces.invocation(&context, sync.work(async |sync| handler(sync, event).await)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
