//! The server's connections: ordinary HTTP/1.1, except that a response may close the connection instead.

use std::{io, path::Path, sync::Arc};

use axum::{Router, body::Body, extract::Request};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};
use tower::ServiceExt;

/// An extension of a response: it is not sent, and the connection is closed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is to be closed")]
pub(crate) struct HangUp;

/// Serves connections until the future is dropped, which also ends the connections. With `tls` they are encrypted, as
/// HubSpot's are.
pub(crate) async fn serve(listener: TcpListener, app: Router, tls: Option<TlsAcceptor>) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                let (app, tls) = (app.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => connection(stream, app).await,
                        // A client that does not trust the certificate closes the connection.
                        Some(tls) => if let Ok(stream) = tls.accept(stream).await { connection(stream, app).await },
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Returns a TLS acceptor with a certificate and its key, both PEM files.
pub(crate) fn tls(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .map_err(io::Error::other)?
        .collect::<Result<_, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_no_client_auth().with_single_cert(certificates, key);
    Ok(TlsAcceptor::from(Arc::new(config.map_err(io::Error::other)?)))
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
    // The client may close the connection at any time, which is not an error.
    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await.ok();
}
