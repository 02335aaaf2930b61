//! The server's connections: ordinary HTTP/1.1, but an answer can also be that the connection is closed.

use std::io;

use axum::{Router, body::Body, extract::Request};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};
use tower::ServiceExt;

/// In the extensions of an answer: it is not sent, and the connection is closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is to be closed")]
pub(crate) struct HangUp;

/// Serves connections until it is dropped; they end with it.
pub(crate) async fn serve(listener: TcpListener, app: Router) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(connection(stream, app.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, app: Router) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let app = app.clone();
        async move {
            let request: Request = request.map(Body::new);
            let Ok(response) = app.oneshot(request).await;
            match response.extensions().get::<HangUp>() {
                Some(hang_up) => Err(*hang_up),
                None => Ok(response),
            }
        }
    });
    // The client may close the connection at any time, which is its own business.
    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}
