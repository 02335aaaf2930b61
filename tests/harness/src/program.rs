//! The programs of the make targets, run in the same way, with a `.env` of the test's own and no other variables.

use std::{ffi::OsString, path::PathBuf, process::Stdio};

use anyhow::{Context, Result, ensure};
use ops::{layout, local};
use stack::process;
use tokio::{io::AsyncWriteExt, process::Command};

/// The commands of the program `stack`. The others are those of `ops`.
const LOCAL: [&str; 4] = ["demo", "down", "smoke", "up"];

/// The programs, with their variables.
#[derive(Clone, Debug)]
pub struct Program {
    stack: PathBuf,
    env_file: PathBuf,
    variables: Vec<(String, OsString)>,
}

/// The result of a program.
#[derive(Clone, Debug)]
pub struct ProgramOutput {
    /// True if it succeeded.
    pub is_done: bool,
    /// The text of both of its outputs.
    pub text: String,
}

impl ProgramOutput {
    /// Returns its text if it succeeded.
    ///
    /// # Errors
    /// It failed.
    pub fn expect_success(self) -> Result<String> {
        ensure!(self.is_done, "{}", self.text);
        Ok(self.text)
    }

    /// Returns its text if it failed.
    ///
    /// # Errors
    /// It succeeded.
    pub fn expect_failure(self) -> Result<String> {
        ensure!(!self.is_done, "it was not refused: {}", self.text);
        Ok(self.text)
    }
}

impl Program {
    /// Returns the programs with a shell's variables and an empty `.env`.
    ///
    /// # Errors
    /// The test is not run by `make test`.
    pub fn new(name: &str) -> Result<Self> {
        let stack = PathBuf::from(std::env::var_os("TEST_STACK").context("this test is run by `make test`")?);
        let folder = process::folder().join(name);
        std::fs::create_dir_all(&folder)?;
        let mut program = Self { stack, env_file: folder.join(".env"), variables: Vec::new() };
        for name in ["PATH", "HOME", process::MARK] {
            let value = std::env::var_os(name).with_context(|| format!("{name} is not set; is this `make test`?"))?;
            program.variables.push((name.to_owned(), value));
        }
        program.variables.push(("STACK_STATE".to_owned(), folder.into()));
        program.write_env("")?;
        Ok(program)
    }

    /// Adds variables to the environment.
    #[must_use]
    pub fn with(mut self, variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.variables.extend(variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
        self
    }

    /// Uses the local AWS at a port instead of AWS.
    #[must_use]
    pub fn with_aws(self, port: u16) -> Self {
        self.with(local::aws_environment(port))
    }

    /// Writes its `.env`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_env(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(&self.env_file, text)?)
    }

    /// Runs the program with this command, as the Makefile does, and writes `answer` to its input.
    ///
    /// # Errors
    /// The program cannot be started.
    pub async fn run(&self, arguments: &[&str], answer: &str) -> Result<ProgramOutput> {
        let is_local = arguments.iter().any(|argument| LOCAL.contains(argument)) && !arguments.contains(&"--aws");
        let mut command = Command::new(if is_local { self.stack.clone() } else { self.stack.with_file_name("ops") });
        command.env_clear().envs(self.variables.iter().cloned()).current_dir(layout::root());
        command.arg("--env-file").arg(&self.env_file).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = command.spawn()?;
        let mut stdin = running.stdin.take().context("its input")?;
        // A program that reads no input may have ended before.
        stdin.write_all(answer.as_bytes()).await.ok();
        drop(stdin);
        let ended = running.wait_with_output().await?;
        let text = [ended.stdout, ended.stderr].map(|output| String::from_utf8_lossy(&output).into_owned()).concat();
        Ok(ProgramOutput { is_done: ended.status.success(), text })
    }
}
