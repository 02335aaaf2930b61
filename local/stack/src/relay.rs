//! Relays that let containers reach the stack's servers, which listen only on 127.0.0.1. They listen on this machine's
//! address on Docker's bridge, until they are dropped.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinSet,
};

/// Relays to servers of this machine. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Relays {
    bridge: Ipv4Addr,
    tasks: JoinSet<()>,
}

impl Relays {
    /// Finds the bridge's address. Returns an empty set of relays.
    ///
    /// # Errors
    /// Docker does not answer.
    pub(crate) async fn new() -> Result<Self> {
        let subnet = "{{(index .IPAM.Config 0).Subnet}}";
        let inspected =
            Command::new("docker").args(["network", "inspect", "bridge", "--format", subnet]).output().await;
        let subnet = String::from_utf8(inspected.context("docker cannot be run")?.stdout)?;
        let network = subnet.trim().split('/').next().unwrap_or_default();
        let network: Ipv4Addr = network.parse().context("Docker is not running, or has no bridge")?;
        // This machine has the first address of the bridge's network, unless Docker is configured otherwise.
        let bridge = Ipv4Addr::from_bits(network.to_bits() | 1);
        Ok(Self { bridge, tasks: JoinSet::new() })
    }

    /// Relays a port of 127.0.0.1. Returns the address at which containers reach it.
    ///
    /// # Errors
    /// The relay cannot listen on the bridge's address.
    pub(crate) async fn open(&mut self, port: u16) -> Result<String> {
        let listener = TcpListener::bind((self.bridge, 0)).await?;
        let address = listener.local_addr()?.to_string();
        self.tasks.spawn(async move {
            while let Ok((mut container, _)) = listener.accept().await {
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        copy_bidirectional(&mut container, &mut server).await.ok();
                    }
                });
            }
        });
        Ok(address)
    }
}
