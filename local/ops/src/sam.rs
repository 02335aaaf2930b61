//! Runs SAM: `sam build`, `sam deploy`, and the outputs of the stack.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::{layout, parameters};

/// Returns a `sam` command in the repository, with the environment that it needs.
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

/// A kind of build of the functions, which decides how `sam build` compiles them and where it writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// For this machine, in cargo's profile `dev`. It shares each compiled dependency with the local stack and the tests.
    Local,
    /// For AWS Lambda, in cargo's profile `release`, linked for Amazon Linux's glibc.
    Release,
}

impl Build {
    /// Returns the folder with the built template. It has a folder with the bootstrap of each function.
    pub fn folder(self) -> PathBuf {
        layout::root().join(".aws-sam").join(match self {
            Self::Local => "local",
            // SAM's default, so that a manual `sam deploy` uses it as well.
            Self::Release => "build",
        })
    }

    /// Returns the variables that SAM
    /// (<https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/building-rust.html>) and
    /// cargo-lambda (<https://www.cargo-lambda.info/commands/build.html>) read from the environment.
    fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Local => &[
                ("SAM_BUILD_MODE", "debug"),
                // Without Zig, because everything would be compiled once more for it.
                ("CARGO_LAMBDA_COMPILER", "cargo"),
                // With the features of the whole workspace, like the stack and the tests.
                ("CARGO_LAMBDA_COMPILER_EXTRA_ARGS", "--workspace --locked"),
            ],
            Self::Release => &[],
        }
    }
}

/// Builds the functions. The output is written to a log. Its end is printed if the build fails.
///
/// # Errors
/// The build fails.
pub async fn build(state: &Path, build: Build) -> Result<()> {
    let mut command = sam(&[]);
    command.arg("build").arg("--build-dir").arg(build.folder()).envs(build.environment().iter().copied());
    run("sam build", &mut command, state, "sam-build").await
}

/// Deploys a build of the functions as the stack `name`, with these parameters, to the AWS that `environment` names.
///
/// # Errors
/// The deployment fails.
pub async fn deploy(
    state: &Path,
    build: Build,
    name: &str,
    parameters: &BTreeMap<impl AsRef<str>, String>,
    environment: &[(&'static str, String)],
) -> Result<()> {
    let file = ParameterFile::write(state, name, parameters)?;
    let mut command = sam(environment);
    deploy_arguments(&mut command, &build.folder().join("template.yaml"), "default", name, &file);
    run("sam deploy", &mut command, state, "sam-deploy").await
}

/// Prepares the same for a built template, as a change set with the settings of `config_env` in samconfig.toml. Returns
/// the change set's ARN. Returns `None` if there is nothing to change.
///
/// # Errors
/// The change set cannot be made.
pub async fn change_set(
    state: &Path,
    template: &Path,
    config_env: &str,
    name: &str,
    parameters: &BTreeMap<impl AsRef<str>, String>,
) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Line {
        status: Option<String>,
        changeset_id: Option<String>,
    }
    let file = ParameterFile::write(state, name, parameters)?;
    let mut command = sam(&[]);
    deploy_arguments(&mut command, template, config_env, name, &file);
    command.args(["--no-execute-changeset", "--output", "json"]);
    run("sam deploy", &mut command, state, "sam-deploy").await?;
    let said = std::fs::read_to_string(layout::log(state, "sam-deploy"))?;
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    for line in lines {
        match (line.status.as_deref(), line.changeset_id) {
            (Some("changeset_created"), Some(id)) => return Ok(Some(id)),
            (Some("no_changes"), _) => return Ok(None),
            _ => {}
        }
    }
    bail!("sam deploy does not name the change set:\n{said}")
}

fn deploy_arguments(command: &mut Command, template: &Path, config_env: &str, name: &str, file: &ParameterFile) {
    command.args(["deploy", "--stack-name", name]).arg("--template-file").arg(template);
    // Otherwise SAM looks for the file beside the template.
    command.arg("--config-file").arg(layout::root().join("samconfig.toml")).args(["--config-env", config_env]);
    // The caller asks for confirmation.
    command.arg("--no-confirm-changeset");
    command.arg("--parameter-overrides").arg(format!("file://{}", file.0.display()));
}

/// A file with parameters that only its owner may read. It is deleted when it is dropped.
struct ParameterFile(PathBuf);

impl ParameterFile {
    fn write(state: &Path, name: &str, given: &BTreeMap<impl AsRef<str>, String>) -> Result<Self> {
        layout::make_private(state)?;
        let path = std::path::absolute(state)?.join(format!("{name}-parameters.yaml"));
        let text = parameters::file(given.iter().map(|(name, value)| (name.as_ref(), value.as_str())))?;
        let written = Self(path);
        layout::write_private(&written.0, text.as_bytes())?;
        Ok(written)
    }
}

impl Drop for ParameterFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("{} holds secrets and cannot be deleted: {error}", self.0.display());
        }
    }
}

/// Returns the outputs of a deployed stack, by name.
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

/// Invokes a function in a container with an event. Returns its answer.
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
    layout::make_private(state)?;
    let path = layout::log(state, name);
    let log = std::fs::File::create(&path)?;
    let status = command.stdout(log.try_clone()?).stderr(log).status().await?;
    if !status.success() {
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        bail!("{what} failed; the same make target tries it again. The end of {}:\n{end}", path.display());
    }
    Ok(())
}
