//! The connect function's Lambda bootstrap.

use connect::{Answer, Config, Connect, refused, respond};
use lambda_http::{Adapter, LambdaEvent, Request, RequestExt, Service, request::LambdaRequest, service_fn};
use runtime::secrets::ReloadOnRotation;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let traces = &telemetry::init();
    let connect = ReloadOnRotation::new(async |secrets| Connect::new(Config::from_env(secrets)?).await).await?;
    let connect = &connect;
    let handle = async |request: Request| {
        let context = request.lambda_context();
        let answered = connect.with_newest_state(async |connect: Option<&Connect>| respond(connect, request).await);
        Ok::<_, lambda_runtime::Error>(traces.invocation(&context, answered).await)
    };
    let adapter = &Adapter::from(service_fn(handle));
    let handle = async |event: LambdaEvent<LambdaRequest>| match refused(&event.payload) {
        Some(refusal) => Ok(refusal),
        None => adapter.clone().call(event).await.map(Answer::Made),
    };
    lambda_runtime::run(service_fn(handle)).await
}
