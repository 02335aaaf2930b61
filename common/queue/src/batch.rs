//! Decodes the records of an SQS event one by one: a body that cannot be decoded fails its own message only.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::Diagnostic;
use model::time::DateTime;
use serde::de::DeserializeOwned;

/// A message, with its delivery.
#[derive(Debug)]
pub struct Received<T> {
    /// SQS's `messageId`, used to report the message as failed.
    pub message_id: String,
    /// SQS's receipt handle of this delivery.
    pub receipt: String,
    /// The number of deliveries, including this one.
    pub receives: u32,
    /// When it was sent.
    pub sent_at: Option<DateTime>,
    /// Its message group.
    pub group: Option<String>,
    /// Its body as text.
    pub text: String,
    /// The decoded body, or why it cannot be decoded.
    pub body: Result<T, Malformed>,
}

/// Why a message's body cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("the message cannot be read: {0}")]
pub struct Malformed(String);

/// Decodes each record of the event by itself.
pub fn decode<T: DeserializeOwned>(event: SqsEvent) -> Vec<Received<T>> {
    event.records.into_iter().map(decode_one).collect()
}

fn decode_one<T: DeserializeOwned>(mut record: SqsMessage) -> Received<T> {
    let text = record.body.unwrap_or_default();
    // serde's message may quote the value that it failed on. The place is enough to find it.
    let body = serde_json::from_str(&text).map_err(|error| {
        let category = error.classify();
        Malformed(format!("{category:?} error at line {} column {}", error.line(), error.column()))
    });
    let attribute = |name: &str| record.attributes.get(name)?.parse::<i64>().ok();
    Received {
        message_id: record.message_id.unwrap_or_default(),
        receipt: record.receipt_handle.unwrap_or_default(),
        receives: attribute("ApproximateReceiveCount").and_then(|count| count.try_into().ok()).unwrap_or(1),
        sent_at: attribute("SentTimestamp").map(DateTime::from_millis),
        group: record.attributes.remove("MessageGroupId"),
        text,
        body,
    }
}

/// Returns the batch response with the failed messages. Fails if all messages failed, so that the function's error
/// metric moves.
///
/// # Errors
/// Every message failed.
pub fn respond(messages: usize, failed: Vec<String>) -> Result<SqsBatchResponse, Diagnostic> {
    if messages > 0 && failed.len() == messages {
        return Err(Diagnostic {
            error_type: "BatchFailed".to_owned(),
            error_message: format!("none of the batch's {messages} messages could be processed"),
        });
    }
    let mut response = SqsBatchResponse::default();
    response.set_failures(failed);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_bad_body_fails_alone_and_is_not_quoted() {
        let event: SqsEvent = serde_json::from_value(json!({"Records": [
            {"messageId": "a", "body": "[1]"}, {"messageId": "b", "body": "\"ana@firm.example\""}, {"messageId": "c"}
        ]}))
        .unwrap();
        let read: Vec<Received<Vec<u8>>> = decode(event);
        assert_eq!(read[0].body.as_ref().unwrap(), &[1]);
        assert!(!read[1].body.as_ref().unwrap_err().to_string().contains("ana@"));
        assert!(read[2].body.is_err());
    }

    #[test]
    fn a_batch_that_fails_whole_is_an_error() {
        assert!(respond(2, vec!["a".to_owned(), "b".to_owned()]).is_err());
        assert_eq!(respond(2, vec!["a".to_owned()]).unwrap().batch_item_failures.len(), 1);
        assert!(respond(0, vec![]).unwrap().batch_item_failures.is_empty());
    }
}
