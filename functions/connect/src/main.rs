//! The connect function's Lambda bootstrap.

use common::secrets::Rotating;
use connect::{Config, Connect, respond};
use lambda_http::{Request, RequestExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let traces = &common::telemetry::init();
    let connect = Rotating::new(async |secrets| Connect::new(Config::from_env(secrets)?).await).await?;
    let connect = &connect;
    let handle = async |request: Request| {
        let context = request.lambda_context();
        let answered = connect.work(async |connect: &Connect| respond(connect, request).await);
        Ok::<_, lambda_runtime::Error>(traces.invocation(&context, answered).await)
    };
    lambda_http::run(service_fn(handle)).await
}
