//! Lambda's events for a function, and the meaning of its response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use serde_json::{Value, json};

/// Returns a Lambda event with the payload, and a deadline ten seconds ahead.
pub fn lambda<T>(payload: T) -> LambdaEvent<T> {
    let mut context = Context::default();
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(10);
    context.deadline = u64::try_from(deadline.as_millis()).unwrap_or_default();
    LambdaEvent::new(payload, context)
}

/// Returns an SQS event with these bodies. The messages are named `m0`, `m1` and so on.
pub fn event(bodies: &[String]) -> SqsEvent {
    serde_json::from_value(message_event(bodies)).unwrap_or_default()
}

/// Returns the same event as JSON.
pub fn message_event(bodies: &[impl AsRef<str>]) -> Value {
    let record = |(index, body): (usize, &_)| {
        let body: &str = AsRef::as_ref(body);
        json!({"messageId": format!("m{index}"), "body": body})
    };
    let records: Vec<Value> = bodies.iter().enumerate().map(record).collect();
    json!({ "Records": records })
}

/// Returns an SQS event with one message, received `received` times.
pub fn received_event(body: &str, received: u32) -> SqsEvent {
    let attributes = json!({"ApproximateReceiveCount": received.to_string()});
    let record = json!({"messageId": "m0", "body": body, "attributes": attributes});
    serde_json::from_value(json!({ "Records": [record] })).unwrap_or_default()
}

/// Fails if the handler refused any message.
///
/// # Errors
/// The handler refused a message.
pub fn assert_accepted(response: Result<SqsBatchResponse, Diagnostic>) -> Result<()> {
    match response {
        Ok(response) if response.batch_item_failures.is_empty() => Ok(()),
        Ok(response) => bail!("{} messages failed", response.batch_item_failures.len()),
        Err(error) => bail!("{}: {}", error.error_type, error.error_message),
    }
}
