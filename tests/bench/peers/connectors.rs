//! The connectors that are compared, with the forms of their commands and configurations.

use std::path::Path;

use anyhow::Result;
use harness::world::HUB;
use ops::layout;
use serde_json::{Value, json};

/// A connector that is compared.
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// The folder below `.tools` into which it is installed.
    pub(super) tool: &'static str,
    /// Which lanes it reads.
    pub(super) lanes: &'static [&'static str],
    /// Its command, in a folder with its configuration.
    pub(super) command: fn(&Path) -> Vec<String>,
    /// Writes its configuration: the time from which on to read, and the account's token.
    pub(super) configure: fn(&Path, &str, &str) -> Result<()>,
}

pub(super) const BOTH: &[&str] = &["companies", "contacts"];

pub(super) fn peers() -> [Peer; 4] {
    [
        Peer {
            name: "tap-hubspot",
            tool: "tap-hubspot",
            // Its companies are read by endpoints of 2013, which the simulator does not have.
            lanes: &["contacts"],
            command: |folder| singer(&layout::tools().join("tap-hubspot/bin/tap-hubspot"), folder, "--properties"),
            configure: |folder, since, token| {
                write(folder, "config.json", &singer_config(since, token))?;
                write(folder, "state.json", &json!({"bookmarks": {"contacts": {"updatedAt": since}}}))
            },
        },
        Peer {
            name: "meltano-tap-hubspot",
            tool: "meltano-tap-hubspot",
            lanes: BOTH,
            command: |folder| singer(&layout::tools().join("meltano-tap-hubspot/bin/tap-hubspot"), folder, "--catalog"),
            configure: |folder, since, token| {
                write(folder, "config.json", &singer_config(since, token))?;
                let mark = |key: &str| json!({"replication_key": key, "replication_key_value": since});
                let bookmarks = json!({"companies": mark("hs_lastmodifieddate"), "contacts": mark("lastmodifieddate")});
                write(folder, "state.json", &json!({ "bookmarks": bookmarks }))
            },
        },
        Peer {
            name: "airbyte-source-hubspot",
            tool: "airbyte-source-hubspot",
            lanes: BOTH,
            command: airbyte,
            configure: |folder, since, token| {
                let credentials = json!({"credentials_title": "Private App Credentials", "access_token": token});
                write(folder, "config.json", &json!({"credentials": credentials, "start_date": since}))?;
                let stream = |name: &str| json!({"type": "STREAM", "stream": {"stream_descriptor": {"name": name}, "stream_state": {"updatedAt": since}}});
                write(folder, "state.json", &json!([stream("companies"), stream("contacts")]))
            },
        },
        Peer {
            name: "@hubspot/api-client, a plain loop",
            tool: "hubspot-node",
            lanes: BOTH,
            command: |folder| {
                let script = layout::root().join("tests/bench/plain_loop.mjs").display().to_string();
                vec!["node".to_owned(), script, folder.join("config.json").display().to_string()]
            },
            configure: |folder, since, token| {
                let client = layout::tools().join("hubspot-node/node_modules/@hubspot/api-client/lib/index.js");
                write(folder, "config.json", &json!({"client": client, "since": since, "token": token}))
            },
        },
    ]
}

fn airbyte(folder: &Path) -> Vec<String> {
    let program = layout::tools().join("airbyte-source-hubspot/bin/source-hubspot");
    let file = |name: &str| folder.join(name).display().to_string();
    let words = ["--config", &file("config.json"), "--catalog", &file("catalog.json"), "--state", &file("state.json")];
    [program.display().to_string(), "read".to_owned()].into_iter().chain(words.map(str::to_owned)).collect()
}

fn singer(program: &Path, folder: &Path, catalog: &str) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let words = ["--config", &file("config.json"), catalog, &file("catalog.json"), "--state", &file("state.json")];
    std::iter::once(program.display().to_string()).chain(words.map(str::to_owned)).collect()
}

fn singer_config(since: &str, token: &str) -> Value {
    json!({
        "access_token": token, "start_date": since, "redirect_uri": "https://localhost",
        "client_id": hubspot_sim::CLIENT_ID, "client_secret": hubspot_sim::CLIENT_SECRET,
        "refresh_token": format!("na1-simulated-refresh-{HUB}"),
    })
}

pub(super) fn write(folder: &Path, name: &str, value: &Value) -> Result<()> {
    Ok(std::fs::write(folder.join(name), value.to_string())?)
}

/// A Singer catalog in which only these streams are selected.
pub(super) fn selected(mut catalog: Value, lanes: &[&str]) -> Value {
    for stream in catalog["streams"].as_array_mut().into_iter().flatten() {
        let wanted = lanes.iter().any(|lane| stream["tap_stream_id"] == *lane);
        stream["selected"] = wanted.into();
        for part in stream["metadata"].as_array_mut().into_iter().flatten() {
            let whole = part["breadcrumb"].as_array().is_some_and(Vec::is_empty);
            if whole || wanted {
                part["metadata"]["selected"] = wanted.into();
            }
        }
    }
    catalog
}

/// An Airbyte catalog with only these streams.
pub(super) fn configured(catalog: &Value, lanes: &[&str]) -> Value {
    let streams = catalog["streams"].as_array().into_iter().flatten();
    let wanted = streams.filter(|stream| lanes.iter().any(|lane| stream["name"] == *lane));
    let configure = |stream: &Value| {
        json!({"stream": stream, "sync_mode": "incremental", "destination_sync_mode": "append",
            "cursor_field": ["updatedAt"], "primary_key": [["id"]]})
    };
    json!({"streams": wanted.map(configure).collect::<Vec<_>>()})
}
