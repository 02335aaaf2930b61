//! The graph of crates: what it is said to be, and what must not be in it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use ops::layout;

/// Crates by which a program talks to another one.
const IO: [&str; 8] = ["aws-", "axum", "hyper", "lambda", "mongodb", "oauth2", "opentelemetry", "reqwest"];

/// What a crate's `Cargo.toml` names below `[dependencies]` and `[dev-dependencies]`.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// Returns the dependencies of each crate of the workspace, by the crate's name.
fn dependencies() -> Result<Dependencies> {
    let root = layout::root();
    let workspace = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let (_, members) = workspace.split_once("members = [").context("a workspace has members")?;
    let (members, _) = members.split_once(']').context("the list of members ends")?;
    members
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|member| read(&std::fs::read_to_string(root.join(member).join("Cargo.toml"))?))
        .collect()
}

/// Returns the name of a crate, and its dependencies.
fn read(manifest: &str) -> Result<(String, BTreeSet<String>)> {
    let name = manifest.split('"').nth(1).context("a package has a name")?;
    let sections = manifest.split("\n[").filter_map(|section| section.split_once("dependencies]\n"));
    let lines = sections.flat_map(|(_, lines)| lines.lines()).filter(|line| !line.starts_with('#'));
    let named = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    Ok((name.to_owned(), named.filter(|name| !name.is_empty()).map(str::to_owned).collect()))
}

/// Returns all that a crate's own code and the crates of ours below it depend on.
fn reached(crates: &Dependencies, from: &str) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = left.pop() {
        for dependency in crates.get(&name).into_iter().flatten() {
            if found.insert(dependency.clone()) {
                left.push(dependency.clone());
            }
        }
    }
    found
}

#[test]
fn crate_table_of_architecture_page_matches_cargo() -> Result<()> {
    let crates = dependencies()?;
    let document = std::fs::read_to_string(layout::root().join("docs/concepts/architecture.md"))?;
    let (_, table) = document.split_once("| crate | what it has |").context("the layers are a table")?;
    let mut lower = BTreeSet::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, name, _, talks_to, depends_on, _] = cells[..] else { anyhow::bail!("a row has four cells: {row}") };
        let name = name.trim_matches('`');
        let actual = crates.get(name).with_context(|| format!("there is no crate {name}"))?;
        let own: BTreeSet<&str> = actual.iter().map(String::as_str).filter(|name| crates.contains_key(*name)).collect();
        let documented: BTreeSet<&str> = depends_on.split('`').skip(1).step_by(2).collect();
        assert_eq!(documented, own, "{name}");
        ensure!(own.is_subset(&lower), "{name} depends on a crate that is not above it in the table");
        if talks_to == "nothing" {
            let talks: Vec<_> = actual.iter().filter(|name| IO.iter().any(|io| name.starts_with(io))).collect();
            ensure!(talks.is_empty(), "{name} talks to nothing, and depends on {talks:?}");
        }
        lower.insert(name);
    }
    let missing: Vec<_> = crates.keys().filter(|name| !lower.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "the table has no row of {missing:?}");
    Ok(())
}

#[test]
fn functions_depend_on_no_unneeded_or_local_crate() -> Result<()> {
    let crates = dependencies()?;
    for function in ["actions", "scheduler"] {
        let reached = reached(&crates, function);
        ensure!(reached.contains("mongodb") && reached.contains("aws-sdk-sqs"), "{function}: {reached:?}");
        for other in ["aws-sdk-kms", "hubspot", "oauth2", "token-vault"] {
            ensure!(!reached.contains(other), "{function} depends on {other}");
        }
    }
    for function in ["actions", "connect", "scheduler", "sync"] {
        let local: Vec<_> = ["hubspot-sim", "stack", "tests"]
            .into_iter()
            .filter(|name| reached(&crates, function).contains(*name))
            .collect();
        ensure!(local.is_empty(), "{function} depends on {local:?}, which is for a machine of one's own");
    }
    Ok(())
}

/// Each crate that is part of a function is one whose log lines count as the service's own.
#[test]
fn log_filter_lists_every_crate_of_the_functions() -> Result<()> {
    let crates = dependencies()?;
    let telemetry = std::fs::read_to_string(layout::root().join("common/telemetry/src/lib.rs"))?;
    let (_, own) = telemetry.split_once("const OWN_CRATES").context("the crates are listed")?;
    let (own, _) = own.split_once("];").context("the list ends")?;
    let listed: BTreeSet<String> = own.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let functions = ["actions", "connect", "scheduler", "sync"];
    let parts =
        functions.iter().flat_map(|function| reached(&crates, function)).filter(|name| crates.contains_key(name));
    let parts: BTreeSet<String> =
        parts.chain(functions.map(str::to_owned)).map(|name| name.replace('-', "_")).collect();
    assert_eq!(listed, parts);
    Ok(())
}

#[test]
fn manifest_reader_returns_name_and_dependencies() -> Result<()> {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\n# Why.\nb.workspace = true\nc-d = { path = \"x\" }\n\n[dev-dependencies]\ne = \"1\"\n";
    assert_eq!(read(manifest)?, ("a".to_owned(), ["b", "c-d", "e"].map(str::to_owned).into()));
    Ok(())
}
