//! Responses that are not quite JSON. HubSpot may never send them, but other writers of JSON do.
//!
//! A property's text may contain these characters of the private use area. The response has something in their place
//! that JSON does not allow.

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::Value;

/// Half of a UTF-16 pair: `\ud83d`.
pub const HALF: char = '\u{e000}';
/// A control character that is not escaped.
pub const CONTROL: char = '\u{e001}';
/// A byte that is not UTF-8.
pub const BYTE: char = '\u{e002}';
/// A quotation mark that is not escaped: nobody can parse the response.
pub const QUOTE: char = '\u{e003}';

/// Returns a response with the value, in which the special characters are replaced.
pub(crate) fn json(value: &Value) -> Response {
    let text = value.to_string();
    let mut body = Vec::with_capacity(text.len());
    for char in text.chars() {
        match char {
            HALF => body.extend_from_slice(b"\\ud83d"),
            CONTROL => body.push(1),
            BYTE => body.push(0xff),
            QUOTE => body.push(b'"'),
            _ => body.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    ([(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
