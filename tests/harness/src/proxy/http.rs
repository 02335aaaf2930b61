//! The proxy for HTTP: HubSpot's API and SQS's.

use std::convert::Infallible;

use anyhow::Result;
use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::gate::{Closed, Gate, Pass};

/// A proxy that works until it is dropped.
#[derive(Debug)]
pub struct HttpProxy {
    /// The address on which it listens.
    pub url: String,
    _server: JoinSet<Result<Infallible>>,
}

/// The API for which the proxy is used.
#[derive(Clone, Copy, Debug)]
pub enum Api {
    /// HubSpot. Effects are named by path.
    HubSpot,
    /// SQS. Effects are named by action and queue. Delays are removed from the messages, because in tests that kill and
    /// deliver, the test holds the messages.
    Sqs,
}

impl HttpProxy {
    /// Starts a proxy for the server at `upstream`.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(api: Api, upstream: String, gate: Gate) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut server = JoinSet::new();
        server.spawn(async move {
            let http = reqwest::Client::new();
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let way = Way { api, upstream: upstream.clone(), gate: gate.clone(), http: http.clone() };
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let way = way.clone();
                    async move { way.pass(request.map(Body::new)).await }
                });
                let gate = gate.clone();
                connections.spawn(async move {
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // However the connection ends, its other side sees it.
                    tokio::select! { _ = connection => {}, () = gate.is_cut() => {} }
                });
            }
        });
        Ok(Self { url, _server: server })
    }
}

#[derive(Clone)]
struct Way {
    api: Api,
    upstream: String,
    gate: Gate,
    http: reqwest::Client,
}

impl Way {
    async fn pass(&self, request: Request) -> Result<Response, Closed> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, usize::MAX).await.map_err(|_| Closed)?;
        let (name, body) = match self.api {
            Api::HubSpot => (hubspot(head.uri.path()), body),
            Api::Sqs => sqs(&head.headers, &body),
        };
        let (number, pass) = self.gate.before(&name).await?;
        let (body, refused) = match pass {
            Pass::Whole => (body, None),
            Pass::Refused(status) => return Ok(refusal(status)),
            Pass::WithoutLast => without_last(&body).ok_or(Closed)?,
        };
        let url = format!("{}{}", self.upstream, head.uri);
        let request = self.http.request(head.method, url).headers(without_hop(head.headers)).body(body);
        let mut answer = request.send().await.map_err(|_| Closed)?;
        let (status, headers) = (answer.status(), without_hop(answer.headers().clone()));
        let mut body = read_body(&mut answer).await?;
        if let Some(entry) = refused {
            body = with_failed(&body, &entry).ok_or(Closed)?;
        }
        if let Pass::Refused(status) = self.gate.after(number, &name).await? {
            return Ok(refusal(status));
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Reads a body. Of an endless one, reads more than any client accepts.
async fn read_body(answer: &mut reqwest::Response) -> Result<Bytes, Closed> {
    const MAX_BODY_BYTES: usize = 40 * 1024 * 1024;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| Closed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            break;
        }
    }
    Ok(body.into())
}

/// Returns an error in SQS's form.
fn refusal(status: u16) -> Response {
    let error = json!({"__type": "com.amazonaws.sqs#ServiceUnavailable", "message": "simulated"});
    let mut response = Response::new(Body::from(error.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
    response
}

/// Returns a `SendMessageBatch` without its last entry, and that entry's id.
fn without_last(body: &Bytes) -> Option<(Bytes, Option<String>)> {
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let last = request["Entries"].as_array_mut()?.pop()?;
    Some((Bytes::from(request.to_string()), Some(last["Id"].as_str()?.to_owned())))
}

/// Returns the response of a batch, with the entry as failed.
fn with_failed(body: &Bytes, entry: &str) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    answer["Failed"] = json!([{"Id": entry, "SenderFault": false, "Code": "InternalError"}]);
    Some(Bytes::from(answer.to_string()))
}

fn without_hop(mut headers: HeaderMap) -> HeaderMap {
    let own: [HeaderName; 4] = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
    own.iter().for_each(|name| {
        headers.remove(name);
    });
    headers
}

fn hubspot(path: &str) -> String {
    // `/crm/objects/<version>/<object type>/search`
    let lane = path.split('/').nth(4).unwrap_or_default();
    if path.ends_with("/search") {
        format!("hubspot search {lane}")
    } else if path.starts_with("/crm/objects/") {
        format!("hubspot list {lane}")
    } else if path.contains("/associations/") {
        "hubspot associations".to_owned()
    } else {
        "hubspot token".to_owned()
    }
}

fn sqs(headers: &HeaderMap, body: &Bytes) -> (String, Bytes) {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let action = target.rsplit('.').next().unwrap_or_default();
    let Ok(mut request) = serde_json::from_slice::<Value>(body) else {
        return (format!("sqs {action}"), body.clone());
    };
    // The queues of a world are named `<test>-sync-...` and `<test>-actions-...`.
    let queue = request["QueueUrl"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    let queue = match queue {
        _ if queue.contains("-dead-") => "dead letters",
        _ if queue.contains("-actions-") => "actions",
        _ => "sync",
    };
    // The visibility timeout is part of the name, because a test simulates that time.
    let hidden = request["Entries"][0]["VisibilityTimeout"].as_u64().map(|seconds| format!(" {seconds}"));
    let name = format!("sqs {action} {queue}{}", hidden.unwrap_or_default());
    let entries = request["Entries"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
    entries.for_each(|entry| drop(entry.remove("DelaySeconds")));
    if let Some(request) = request.as_object_mut() {
        request.remove("DelaySeconds");
    }
    (name, Bytes::from(request.to_string()))
}
