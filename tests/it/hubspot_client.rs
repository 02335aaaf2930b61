//! The simulator, checked with HubSpot's own client library (`tests/hubspot_client.py`).

use anyhow::{Context, Result};
use hubspot_sim::{CLIENT_ID, CLIENT_SECRET, Object, Settings, Simulator};
use ops::layout;
use serde_json::{Value, json};
use tokio::process::Command;

use harness::world::HUB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubspots_own_client_reads_the_simulator() -> Result<()> {
    let hubspot = Simulator::start(0, Settings { search_rps: 0, ..Settings::default() }).await?;
    let (token, refresh_token, associated) = {
        let mut world = hubspot.world();
        world.seed(HUB, 30, 450, 1);
        let contacts = world.ids(HUB, Object::CONTACTS);
        let associated = contacts
            .iter()
            .filter(|id| world.record(HUB, Object::CONTACTS, **id).is_some_and(|(_, companies)| !companies.is_empty()));
        let associated = associated.count();
        let portal = world.portal(HUB);
        (portal.private_token.clone(), portal.refresh_token.clone().context("a grant")?, associated)
    };
    let mut client = Command::new(layout::tools().join("hubspot-client/bin/python"));
    client.arg(layout::root().join("tests/hubspot_client.py"));
    client.args([&hubspot.url(), &token, CLIENT_ID, CLIENT_SECRET, &refresh_token]);
    let output = client.kill_on_drop(true).output().await.context("`make test` installs HubSpot's client")?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout)?;
    let expected = json!({
        "total": 450, "searched": 450, "newest_first": true, "beyond": 400, "listed": 450,
        "listed_with_companies": associated, "batch": 50, "associated": associated, "primary": associated,
        "token_type": "bearer", "expires_in": 1800,
    });
    assert_eq!(seen, expected);
    Ok(())
}
