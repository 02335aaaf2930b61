//! The actions function's Lambda bootstrap.

use actions::{Actions, Config, handler};
use common::secrets::Rotating;
use lambda_runtime::{LambdaEvent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let traces = &common::telemetry::init();
    let actions = Rotating::new(async |secrets| Actions::new(Config::from_env(secrets)?).await).await?;
    let actions = &actions;
    let handle = async |event: LambdaEvent<_>| {
        let context = event.context.clone();
        traces.invocation(&context, actions.work(async |actions| handler(actions, event).await)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
