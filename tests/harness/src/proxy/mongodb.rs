//! The proxy for MongoDB's wire protocol. The driver's monitoring commands pass ungated.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::gate::Gate;

/// More than the largest message that MongoDB accepts, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// The commands that the driver sends by itself.
const UNGATED: [&str; 6] = ["hello", "isMaster", "ismaster", "ping", "saslStart", "endSessions"];

/// A proxy that works until it is dropped.
#[derive(Debug)]
pub struct MongoProxy {
    /// The port on which it listens.
    pub port: u16,
    _server: JoinSet<Result<()>>,
}

/// The requests under way on a connection, by their ids: the effect's number and name.
type Asked = Arc<Mutex<HashMap<i32, (usize, String)>>>;

impl MongoProxy {
    /// Starts a proxy for the MongoDB at `upstream` (an address with a port).
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(upstream: String, gate: Gate) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await?;
                let (upstream, gate) = (upstream.clone(), gate.clone());
                connections.spawn(async move {
                    // However the connection ends, both sides see it.
                    tokio::select! { _ = connection(client, &upstream, &gate) => {}, () = gate.is_cut() => {} }
                });
            }
        });
        Ok(Self { port, _server: server })
    }

    /// Returns the connection string that leads through the proxy.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }
}

async fn connection(client: TcpStream, upstream: &str, gate: &Gate) -> Result<()> {
    let server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let asked = Asked::default();
    // When one direction ends, both connections are closed.
    tokio::select! {
        result = requests(from_client, to_server, gate, &asked) => result,
        result = answers(from_server, to_client, gate, &asked) => result,
    }
}

async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    gate: &Gate,
    asked: &Asked,
) -> Result<()> {
    loop {
        let message = message(&mut from).await?;
        if let Some(name) = name(&message) {
            let (number, _) = gate.before(&name).await?;
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(int(&message, 4)?, (number, name));
        }
        to.write_all(&message).await?;
    }
}

async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    gate: &Gate,
    asked: &Asked,
) -> Result<()> {
    loop {
        let message = message(&mut from).await?;
        let answered = asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&int(&message, 8)?);
        if let Some((number, name)) = answered {
            gate.after(number, &name).await?;
        }
        to.write_all(&message).await?;
    }
}

/// Reads a whole message: its header of 16 bytes begins with its length.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).await?;
    let length = usize::try_from(int(&message, 0)?)?;
    if !(16..MAX_MESSAGE).contains(&length) {
        bail!("a message of {length} bytes");
    }
    message.resize(length, 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

fn int(bytes: &[u8], at: usize) -> Result<i32> {
    let four = bytes.get(at..at + 4).context("the message is too short")?;
    Ok(i32::from_le_bytes(four.try_into()?))
}

/// Returns the command and its collection, from an `OP_MSG`'s body: the first element of its document.
fn name(message: &[u8]) -> Option<String> {
    const OP_MSG: i32 = 2013;
    const TEXT: u8 = 2;
    if int(message, 12).ok()? != OP_MSG {
        return None;
    }
    // Header, flags, the section's kind, and the document's length.
    let element = message.get(16 + 4 + 1 + 4..)?;
    let (kind, rest) = element.split_first()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let command = std::str::from_utf8(&rest[..end]).ok()?;
    if UNGATED.contains(&command) {
        return None;
    }
    let value = &rest[end + 1..];
    let length = usize::try_from(int(value, 0).ok()?).ok()?;
    match *kind {
        TEXT => Some(format!("mongodb {command} {}", std::str::from_utf8(value.get(4..4 + length - 1)?).ok()?)),
        _ => Some(format!("mongodb {command}")),
    }
}
