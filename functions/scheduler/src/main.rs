//! The scheduler function's Lambda bootstrap.

use common::secrets::Rotating;
use lambda_runtime::{LambdaEvent, service_fn};
use scheduler::{Config, Scheduler, handler};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let traces = &common::telemetry::init();
    let scheduler = Rotating::new(async |secrets| Scheduler::new(Config::from_env(secrets)?).await).await?;
    let scheduler = &scheduler;
    let handle = async |event: LambdaEvent<_>| {
        let context = event.context.clone();
        traces.invocation(&context, scheduler.work(async |scheduler| handler(scheduler, event).await)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
