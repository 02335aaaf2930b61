//! Responses that the network breaks.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    http::header,
    response::Response,
};
use futures::stream;

use crate::server::HangUp;

/// Closes the connection without a response.
pub(crate) fn reset() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

/// Returns a response that is cut off in the middle.
pub(crate) async fn cut(response: Response) -> Response {
    let (mut response, body) = taken_apart(response).await;
    let parts = [Ok(body.slice(..body.len() / 2)), Err(io::Error::from(io::ErrorKind::BrokenPipe))];
    *response.body_mut() = Body::from_stream(stream::iter(parts));
    response
}

/// Returns a response that arrives in small parts.
pub(crate) async fn drip(response: Response, pause: Duration) -> Response {
    const PART_BYTES: usize = 64;
    let (mut response, body) = taken_apart(response).await;
    let parts = stream::unfold(body, move |mut rest| async move {
        tokio::time::sleep(pause).await;
        let part = rest.split_to(rest.len().min(PART_BYTES));
        (!part.is_empty()).then_some((Ok::<_, io::Error>(part), rest))
    });
    *response.body_mut() = Body::from_stream(parts);
    response
}

/// Returns endless white space.
pub(crate) fn endless() -> Response {
    let chunk = Bytes::from(vec![b' '; 65_536]);
    Response::new(Body::from_stream(stream::repeat_with(move || Ok::<_, io::Error>(chunk.clone()))))
}

/// Splits a response into its head, with the full `content-length`, and its body.
async fn taken_apart(response: Response) -> (Response, Bytes) {
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, body.len().into());
    (Response::from_parts(head, Body::empty()), body)
}
