//! A custom domain in front of API Gateway: another address, which forwards requests unchanged. Their path keeps the
//! key of an API mapping, as with API Gateway.

use anyhow::Result;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderName, StatusCode},
    response::{IntoResponse, Response},
};
use reqwest::{Client, Url, redirect::Policy};
use tokio::{net::TcpListener, task::JoinSet};

/// Headers of a connection, not of a request or a response.
const CONNECTION_HEADERS: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// The domain, which works until this value is dropped.
#[derive(Debug)]
pub struct CustomDomain {
    /// Its address, without a path.
    pub url: Url,
    _server: JoinSet<std::io::Result<()>>,
}

impl CustomDomain {
    /// Starts a domain that forwards to `api`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn in_front_of(api: &Url) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = Url::parse(&format!("http://{}", listener.local_addr()?))?;
        let client = Client::builder().redirect(Policy::none()).dns_resolver(hubspot_sim::Localhost).build()?;
        let app = Router::new().fallback(pass_on).with_state((client, api.clone()));
        let mut server = JoinSet::new();
        server.spawn(axum::serve(listener, app).into_future());
        Ok(Self { url, _server: server })
    }
}

async fn pass_on(State((client, api)): State<(Client, Url)>, request: Request) -> Response {
    let passed = async {
        let (parts, body) = request.into_parts();
        let mut to = api;
        to.set_path(parts.uri.path());
        to.set_query(parts.uri.query());
        let mut asked = client.request(parts.method, to).body(to_bytes(body, 1 << 20).await?);
        for (name, value) in parts.headers.iter().filter(|(name, _)| is_kept(name)) {
            asked = asked.header(name, value);
        }
        let answer = asked.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(Body::from(answer.bytes().await?));
        *response.status_mut() = status;
        for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
            response.headers_mut().append(name, value.clone());
        }
        anyhow::Ok(response)
    };
    passed.await.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}

fn is_kept(name: &HeaderName) -> bool {
    !CONNECTION_HEADERS.contains(&name.as_str())
}
