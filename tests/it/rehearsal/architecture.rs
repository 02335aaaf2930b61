//! Functions for another processor than the default.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mongodb::Client;
use ops::{cloudformation, sam::Build};
use stack::process;

use super::{Rehearsal, mongodb};

/// The other processor, and the header of a program for it (`e_machine` is 183 for AArch64, elf(5)).
const OTHER: &str = "arm64";
const HEADER: &[u8] = b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\xb7\x00";

/// Makes a build of the same templates, with functions that are nothing but the header of the other processor's.
fn build_for_other(folder: &Path, built: &Path) -> Result<()> {
    std::fs::create_dir_all(built)?;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let copy = built.join(path.file_name().context("a name")?);
        match path.is_dir() {
            true => build_for_other(&path, &copy)?,
            false if path.ends_with("bootstrap") => std::fs::write(copy, HEADER)?,
            false => drop(std::fs::copy(path, copy)?),
        }
    }
    Ok(())
}

/// AWS accepts such a function. Only its invocations fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_are_deployed_only_for_the_processor_they_are_built_for() -> Result<()> {
    let (rehearsal, database) = (Rehearsal::new("processor").await?, format!("processor_{}", std::process::id()));
    let env = format!("{}SCHEDULE_STATE=DISABLED\nARCHITECTURE={OTHER}\n", mongodb(&database)?);
    let said = rehearsal.deploy(&env, &["--yes"], "").await?.expect_failure()?;
    ensure!(said.contains("make build ARCHITECTURE=arm64"), "{said}");
    ensure!(cloudformation::existing(&rehearsal.aws, &rehearsal.name).await?.is_none(), "a stack was deployed");
    assert_eq!(rehearsal.run(&["architecture"], "").await?.expect_success()?.trim(), OTHER);
    rehearsal.program.write_env(&env.replace(OTHER, "sparc"))?;
    let said = rehearsal.run(&["architecture"], "").await?.expect_failure()?;
    ensure!(said.contains("ARCHITECTURE is x86_64 or arm64"), "{said}");

    let built = process::folder().join(&rehearsal.name);
    build_for_other(&Build::Local.folder(), &built)?;
    rehearsal.deploy_build(&built, &env, &["--yes"], "").await?.expect_success()?;
    let outputs = rehearsal.stack().await?.outputs;
    for function in ["SchedulerFunction", "SyncFunction", "ActionsFunction", "ConnectFunction"] {
        let name = outputs.get(function).with_context(|| format!("no output {function}"))?;
        let asked = rehearsal.aws.lambda().get_function_configuration().function_name(name).send().await?;
        let processors: Vec<&str> = asked.architectures().iter().map(|processor| processor.as_str()).collect();
        assert_eq!(processors, [OTHER], "{function}");
    }
    rehearsal.delete().await?;
    Client::with_uri_str(std::env::var("TEST_MONGODB_URI")?).await?.database(&database).drop().await?;
    Ok(())
}
