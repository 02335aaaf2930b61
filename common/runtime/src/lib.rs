#![doc = include_str!("../README.md")]

use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};

use crate::secrets::{ReloadOnRotation, Secrets};

pub mod secrets;

/// Runs a function that a schedule or a queue invokes. `make` makes its state, again after each rotation of a secret.
/// `handle` is its handler.
///
/// # Errors
/// The function cannot start because a secret or a variable is missing or cannot be used, or Lambda's runtime API
/// fails.
pub async fn run<T, Event, Answer>(
    make: impl AsyncFn(&Secrets) -> anyhow::Result<T>,
    handle: impl AsyncFn(&T, LambdaEvent<Event>) -> Result<Answer, Diagnostic>,
) -> Result<(), Error>
where
    Event: DeserializeOwned,
    Answer: Serialize,
{
    let traces = &telemetry::init();
    let (held, handle) = (&ReloadOnRotation::new(make).await?, &handle);
    let invoked = async |event: LambdaEvent<Event>| {
        let context = event.context.clone();
        traces.invocation(&context, held.with_state(async |held| handle(held, event).await)).await
    };
    lambda_runtime::run(service_fn(invoked)).await
}
