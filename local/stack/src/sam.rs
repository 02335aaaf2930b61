//! SAM, as a user runs it: `sam build`, `sam deploy`, and the outputs of the stack.

use std::{collections::BTreeMap, ffi::OsString, path::Path, process::Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::layout;

/// A `sam` command in the repository, with the environment that it needs.
fn sam(environment: &[(&'static str, String)]) -> Command {
    let bin = layout::tools().join("aws/bin");
    // cargo-lambda finds Zig through the Python on the PATH.
    let mut path = OsString::from(&bin);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(bin.join("sam"));
    command.current_dir(layout::root()).env("PATH", path).envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Builds the functions. Its output goes to a log, which is shown only where the build fails.
///
/// # Errors
/// The build fails.
pub async fn build(state: &Path) -> Result<()> {
    run("sam build", sam(&[]).arg("build"), state, "sam-build").await
}

/// Deploys what was built as the stack `name`, with these parameters, to the AWS that `environment` names.
///
/// # Errors
/// The deployment fails.
pub async fn deploy(
    state: &Path,
    name: &str,
    parameters: &BTreeMap<&str, String>,
    environment: &[(&'static str, String)],
) -> Result<()> {
    let mut command = sam(environment);
    command.args(["deploy", "--stack-name", name]);
    if !parameters.is_empty() {
        command.arg("--parameter-overrides");
        command.args(parameters.iter().map(|(key, value)| format!("{key}=\"{value}\"")));
    }
    run("sam deploy", &mut command, state, "sam-deploy").await
}

/// The outputs of a deployed stack, by name.
///
/// # Errors
/// There is no such stack.
pub async fn outputs(name: &str, environment: &[(&'static str, String)]) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Output {
        output_key: String,
        output_value: String,
    }
    let mut command = sam(environment);
    let listed = command.args(["list", "stack-outputs", "--stack-name", name, "--output", "json"]).output().await?;
    if !listed.status.success() {
        bail!("the stack's outputs cannot be listed: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let outputs: Vec<Output> = serde_json::from_slice(&listed.stdout).context("sam's list of outputs")?;
    Ok(outputs.into_iter().map(|output| (output.output_key, output.output_value)).collect())
}

/// Invokes a function in a container with an event, and gives what it answered.
///
/// # Errors
/// The container cannot be started, or the function fails.
pub async fn local_invoke(function: &str, event: &str, env_vars: &Path) -> Result<Value> {
    let mut command = sam(&[]);
    command.args(["local", "invoke", function, "--skip-pull-image", "--event", event]);
    let invoked = command.arg("--env-vars").arg(env_vars).output().await?;
    let log = String::from_utf8_lossy(&invoked.stderr);
    let answer: Option<Value> = serde_json::from_slice(&invoked.stdout).ok();
    match answer {
        Some(answer) if invoked.status.success() && answer.get("errorType").is_none() => Ok(answer),
        answer => bail!("{function} answered {event} with {answer:?}:\n{log}"),
    }
}

async fn run(what: &str, command: &mut Command, state: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(state)?;
    let path = crate::process::log(state, name);
    let log = std::fs::File::create(&path)?;
    let status = command.stdout(log.try_clone()?).stderr(log).status().await?;
    if !status.success() {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        bail!("{what} failed:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    }
    Ok(())
}
