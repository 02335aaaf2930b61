//! What the make targets use: tools that are pinned by their hashes, a doctor that says what is missing, a counter that
//! shows why a build failed, and servers that end with the command they were started for.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ops::layout;
use serde_json::Value;
use stack::process;
use tokio::process::Command;

fn pins() -> PathBuf {
    layout::root().join("local/tools")
}

fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(pins())?.flatten().map(|entry| entry.path());
    Ok(all.filter(|path| path.extension() == Some(OsStr::new(extension))).collect())
}

/// The lines of a list of Python packages, each with its hashes, which stand on lines of their own.
fn requirements(text: &str) -> Vec<String> {
    let lines = text.replace("\\\n", " ");
    lines.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(str::to_owned).collect()
}

#[test]
fn no_tool_is_installed_without_its_hash() -> Result<()> {
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut packages = 0;
    for path in files("txt")? {
        let text = fs::read_to_string(&path)?;
        for line in requirements(&text) {
            packages += 1;
            let crates = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cargo-"));
            let hashed = match crates {
                true => line.split(' ').nth(2).is_some_and(is_hash),
                false => {
                    line.contains("==") && line.split("--hash=sha256:").nth(1).is_some_and(|hash| is_hash(hash.trim()))
                }
            };
            ensure!(hashed, "{}: {line} has no hash", path.display());
        }
    }
    ensure!(packages > 100, "{packages} packages are too few to be all");
    for folder in ["hubspot-node", "axe"] {
        let lock: Value = serde_json::from_slice(&fs::read(pins().join(folder).join("package-lock.json"))?)?;
        let packages = lock["packages"].as_object().context("packages")?;
        for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
            ensure!(
                package["integrity"].as_str().is_some_and(|hash| hash.starts_with("sha512-")),
                "{name} has no hash"
            );
        }
    }
    Ok(())
}

#[test]
fn every_command_that_installs_asks_for_the_hashes() -> Result<()> {
    let script = fs::read_to_string(pins().join("install"))?;
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let installs: Vec<&str> =
        lines.filter(|line| [" install ", " sync ", " ci "].iter().any(|verb| line.contains(verb))).collect();
    ensure!(installs.len() == 5, "{installs:?}");
    for line in installs {
        // A crate's archive is compared before it is compiled, and holds the hashes of all that it depends on.
        let wanted = ["--require-hashes", "npm ci --ignore-scripts", "cargo install --locked"];
        ensure!(wanted.iter().any(|option| line.contains(option)), "{line}");
    }
    ensure!(script.contains("sha256sum --check"));
    Ok(())
}

/// What was chosen is what is installed: the complete lists were made after the last change.
#[test]
fn lock_lists_hold_every_chosen_package() -> Result<()> {
    for path in files("in")? {
        let complete = fs::read_to_string(path.with_extension("txt")).with_context(|| path.display().to_string())?;
        let complete: BTreeSet<String> = requirements(&complete)
            .iter()
            .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
            .collect();
        for chosen in requirements(&fs::read_to_string(&path)?) {
            ensure!(complete.contains(&chosen), "{chosen} of {}: run local/tools/lock", path.display());
        }
    }
    Ok(())
}

/// A folder with these programs of this machine and no others.
fn only(programs: &[&str]) -> Result<PathBuf> {
    let folder = process::folder().join(format!("bin-{}", programs.len()));
    fs::create_dir_all(&folder)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    for program in programs {
        let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.exists());
        symlink(found.with_context(|| format!("this machine has no {program}"))?, folder.join(program))?;
    }
    Ok(folder)
}

#[tokio::test]
async fn doctor_names_what_is_missing_and_how_to_get_it() -> Result<()> {
    let mut doctor = Command::new(pins().join("doctor"));
    let path = only(&[
        "awk", "bash", "cat", "cut", "df", "dirname", "env", "find", "grep", "head", "sed", "sort", "tail", "tr",
        "uname",
    ])?;
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let port = taken.local_addr()?.port().to_string();
    doctor.env_clear().env("PATH", &path).env("STACK_AWS_PORT", &port);
    let said = doctor.output().await?;
    let text = String::from_utf8_lossy(&said.stdout);
    ensure!(said.status.code() == Some(1), "{text}");
    for missing in
        ["MISSING  Rust", "rustup.rs", "MISSING  Python 3.11", "MISSING  cc", "MISSING  flock", "apt install"]
    {
        ensure!(text.contains(missing), "it does not say {missing}: {text}");
    }
    ensure!(text.contains(&format!("MISSING  port {port}")) && text.contains("STACK_AWS_PORT"), "{text}");
    fs::remove_dir_all(path)?;
    Ok(())
}

#[tokio::test]
async fn failed_build_shows_end_of_its_log_and_its_command() -> Result<()> {
    let folder = process::folder().join("progress");
    let log = folder.join("build.log");
    let building = "printf '   Building [=> ] 3/10: a\\r' >&2; echo 'error: no such thing' >&2; echo answer; exit 3";
    let mut progress = Command::new(pins().join("progress"));
    let said = progress.arg("building").arg(&log).args(["bash", "-c", building]).output().await?;
    let text = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.code() == Some(3), "{:?}", said.status);
    ensure!(said.stdout == b"answer\n");
    ensure!(text.contains("error: no such thing") && text.contains("To try again: bash -c"), "{text}");
    ensure!(fs::read_to_string(&log)? == "error: no such thing\n");
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn is_running(name: &str, state: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        command.contains(name) && command.contains(&*state.to_string_lossy())
    })
}

/// Servers, and a command that would take an hour.
#[tokio::test]
async fn interrupted_stack_command_leaves_nothing_running() -> Result<()> {
    let above = process::folder().join("interrupted");
    let mut run = Command::new(std::env::var_os("TEST_STACK").context("this test is run by `make test`")?);
    run.args(["exec", "sleep", "3600"]).env(process::MARK, &above).kill_on_drop(true);
    let mut run = run.spawn()?;
    let id = i32::try_from(run.id().context("it runs")?)?;
    let state = above.join(format!("hubspot-sync-{id}"));
    let patience = Duration::from_secs(120);
    process::wait_until("the servers", patience, async || {
        is_running("mongod", &state) && state.join("ministack.log").exists() && state.join("functions.log").exists()
    })
    .await?;
    kill(Pid::from_raw(id), Signal::SIGTERM)?;
    let ended = tokio::time::timeout(patience, run.wait()).await??;
    ensure!(ended.code() == Some(143), "{ended:?}");
    ensure!(!is_running("mongod", &state), "MongoDB is left");
    ensure!(process::stop_all(&above).await? == 0, "processes are left");
    ensure!(!state.exists(), "{} is left", state.display());
    Ok(())
}

/// What the script makes of the answers of cargo-deny, whose place another program takes here: a machine that reaches the
/// advisories and one that does not are not both at hand.
#[tokio::test]
async fn unreachable_advisories_fail_unless_skipping_is_allowed() -> Result<()> {
    let folder = process::folder().join("advisories");
    let deny = folder.join(".tools/lint/bin/cargo-deny");
    fs::create_dir_all(deny.parent().context("a folder")?)?;
    fs::create_dir_all(folder.join(".ci"))?;
    let script = folder.join(".ci/advisories");
    fs::copy(layout::root().join(".ci/advisories"), &script)?;
    let away = "echo '[ERROR] failed to fetch advisory database https://github.com/rustsec/advisory-db' >&2; exit 1";
    let found = "echo 'error[vulnerability]: RUSTSEC-2026-0001' >&2; exit 1";
    for (answer, setting, code, said) in [
        (away, None, 1, "nothing is known of advisories"),
        (away, Some("required"), 1, "nothing is known of advisories"),
        (away, Some("skip"), 0, "SKIPPED"),
        (away, Some("later"), 2, "required or skip"),
        (found, Some("skip"), 1, "RUSTSEC-2026-0001"),
        ("exit 0", None, 0, ""),
    ] {
        fs::write(&deny, format!("#!/bin/sh\n{answer}\n"))?;
        fs::set_permissions(&deny, fs::Permissions::from_mode(0o755))?;
        let mut check = Command::new("bash");
        check.arg(&script).env_remove("ADVISORIES").envs(setting.map(|setting| ("ADVISORIES", setting)));
        let output = check.output().await?;
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.code() == Some(code) && text.contains(said), "{answer}, {setting:?}: {text}");
    }
    fs::remove_dir_all(folder)?;
    Ok(())
}
