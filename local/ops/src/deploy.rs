//! `make deploy`: shows what will change on AWS, and deploys it after confirmation. The value of a parameter is from
//! the environment or `.env`, or else the template's default, whatever the stack had before.

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{self, SHA256};
use store::connection_string;

use crate::{
    architecture,
    aws::Aws,
    cloudformation::{self, Change, Existing},
    confirm::{answer, is_confirmed},
    deployed::{migrate, step},
    env_file, layout,
    parameters::{self, Parameters, Target},
    rollback, sam,
    settings::{Retention, Settings},
    template::{self, Parameter},
    variables::ACTIONS_RETENTION_DAYS,
};

/// The parameter that identifies a release.
const RELEASE: &str = "Release";

/// The file name of the built template with this release.
const TEMPLATE: &str = "release.yaml";

/// The options of a deployment.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// The folder of SAM's build.
    pub built: PathBuf,
    /// Whether the deployment needs no confirmation.
    pub is_confirmed: bool,
}

/// Checks that the variables are for the AWS that the environment names. Returns that AWS and the parameters.
///
/// # Errors
/// A parameter is not for AWS, no MongoDB is named, its connections have no TLS, or Lambda has no such processor.
pub fn check(settings: &Settings) -> Result<(Target, Parameters)> {
    // Otherwise the functions do not start, and `make deploy` cannot make the indexes.
    connection_string(settings.aws.mongodb_uri()?).context("MONGODB_URI")?;
    let target = Target::of(env_file::variable);
    let parameters = parameters::for_aws(env_file::variable, target)?;
    architecture::chosen(&parameters)?;
    Ok((target, parameters))
}

/// Deploys a build to the AWS that the environment names, and makes the indexes.
///
/// # Errors
/// A parameter is not for AWS, the functions are built for another processor, nobody confirms, the deployment fails, or MongoDB
/// cannot be reached from this machine.
pub async fn run(settings: &Settings, deploy: &Deploy) -> Result<()> {
    let (target, mut given) = check(settings)?;
    let retention = retention(settings.retention, deploy.is_confirmed)?;
    let uri = settings.aws.mongodb_uri()?;
    let known = template::parameters(&deploy.built.join("template.yaml"))?.into_iter().collect();
    let aws = Aws::from_env().await;
    let name = settings.aws.name.as_str();
    if target == Target::Rehearsal {
        println!("A rehearsal on the local AWS that AWS_ENDPOINT_URL names:");
    }
    let files = files(&deploy.built)?;
    architecture::check(&files, architecture::chosen(&given)?)?;
    let release = release(&deploy.built, &files, &given)?;
    // SAM names the functions' versions after this parameter, and takes its default for that wherever SAM runs.
    let built = std::fs::read_to_string(deploy.built.join("template.yaml"))?;
    let template = deploy.built.join(TEMPLATE);
    std::fs::write(&template, template::with_default(&built, RELEASE, &release)?)?;
    given.insert(RELEASE, release);
    let existing = cloudformation::existing(&aws, name).await?;
    let all = with_defaults(&given, &known, existing.as_ref())?;
    let state = layout::state();
    let changes = sam::change_set(&state, &template, &settings.aws.config_env, name, &all);
    match step("preparing the change set", changes).await? {
        None => {
            println!("  {name} is as it should be; nothing to deploy");
            let outputs = existing.as_ref().map(|stack| stack.outputs.clone()).unwrap_or_default();
            rollback::taken_back(&aws, &outputs).await?.iter().for_each(|said| println!("  But {said}."));
        }
        Some(id) => {
            let changes = cloudformation::changes(&aws, &id).await?;
            println!("\nAWS account and region: {}", cloudformation::place(&id));
            show(name, existing.as_ref(), &all, &known, &changes);
            if !(deploy.is_confirmed || is_confirmed("Deploy this?")?) {
                cloudformation::discard(&aws, name, &id, existing.is_none()).await?;
                bail!("nothing was deployed, as it was not confirmed (yes, or YES=1)");
            }
            step("deploying (some minutes)", cloudformation::execute(&aws, name, &id)).await?;
        }
    }
    migrate(uri, &settings.aws.database, retention).await?;
    let deployed = cloudformation::existing(&aws, name).await?.context("the stack is not there")?;
    for (name, value) in deployed.outputs {
        println!("{name}: {value}");
    }
    Ok(())
}

/// Returns the hash of a release: its code, its template, and its parameters. A function gets new values of its
/// variables only with a new version, and CloudFormation publishes one when this changes.
fn release(built: &Path, files: &[PathBuf], given: &Parameters) -> Result<String> {
    let mut hash = digest::Context::new(&SHA256);
    for file in files {
        hash.update(file.strip_prefix(built)?.as_os_str().as_encoded_bytes());
        hash.update(digest::digest(&SHA256, &std::fs::read(file)?).as_ref());
    }
    for (name, value) in given {
        hash.update(format!("{name}\n{}\n{value}\n", value.len()).as_bytes());
    }
    Ok(hash.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

/// Returns the files of a build, in order.
fn files(built: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(built, &mut files)?;
    files.sort();
    Ok(files)
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} was not built", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, files)?,
            false if path.ends_with(TEMPLATE) => {}
            false => files.push(path),
        }
    }
    Ok(())
}

/// Returns the given parameters, and the template's default for each other parameter whose value in the stack differs.
/// Otherwise CloudFormation would keep that value.
fn with_defaults(
    given: &Parameters,
    known: &BTreeMap<String, Parameter>,
    existing: Option<&Existing>,
) -> Result<BTreeMap<String, String>> {
    for name in given.keys() {
        ensure!(known.contains_key(*name), "the template has no parameter {name}; build it again");
    }
    let mut all: BTreeMap<String, String> =
        given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for (name, parameter) in known {
        // CloudFormation does not return values of secret parameters.
        let is_other =
            existing.and_then(|stack| stack.parameters.get(name)).is_some_and(|had| *had != parameter.default);
        if is_other && !all.contains_key(name) {
            all.insert(name.clone(), parameter.default.clone());
        }
    }
    Ok(all)
}

/// Prints what will change.
fn show(
    name: &str,
    existing: Option<&Existing>,
    parameters: &BTreeMap<String, String>,
    known: &BTreeMap<String, Parameter>,
    changes: &[Change],
) {
    match existing {
        Some(_) => println!("\nWhat changes in the stack {name}:"),
        None => println!("\nThe stack {name} is new. What is made:"),
    }
    for (parameter, value) in parameters {
        let is_secret = known.get(parameter).is_some_and(|parameter| parameter.is_secret);
        let had = existing.and_then(|stack| stack.parameters.get(parameter));
        match (is_secret, had) {
            (true, _) if value.is_empty() => println!("  {parameter}: none"),
            (true, _) => println!("  {parameter}: (not shown)"),
            (false, Some(had)) if had == value => {}
            (false, Some(had)) => println!("  {parameter}: {} instead of {}", shown(value), shown(had)),
            (false, None) => println!("  {parameter}: {}", shown(value)),
        }
    }
    for change in changes {
        println!("  {change}");
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

/// Returns how long actions are kept. Asks for it if no variable says so. What nobody answers stays as it was set before.
fn retention(set: Retention, is_confirmed: bool) -> Result<Retention> {
    let name = ACTIONS_RETENTION_DAYS.name;
    let input = std::io::stdin();
    if set != Retention::Unchanged {
        return Ok(set);
    }
    if is_confirmed || !input.is_terminal() {
        println!("{name} is not set: actions are kept for as long as it was set before, or for ever");
        return Ok(Retention::Unchanged);
    }
    println!("{name} is not set. Actions hold personal data. Put it into .env, and this is not asked again.");
    ask_retention(&mut input.lock())
}

/// Asks until the answer can be used.
///
/// # Errors
/// There is no answer.
fn ask_retention(input: &mut impl BufRead) -> Result<Retention> {
    loop {
        let said = answer(input, "After how many days are actions deleted (30 to 36500, or none)?")?;
        match Retention::parse(&said) {
            Ok(retention) => return Ok(retention),
            Err(error) => println!("  {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retention_is_asked_for_until_the_answer_can_be_used() {
        let asked = |input: &str| ask_retention(&mut input.as_bytes()).ok();
        assert_eq!(asked("\nsoon\n7\n90\n"), Some(Retention::For(Duration::from_secs(90 * 24 * 3600))));
        assert_eq!(asked("none\n"), Some(Retention::Forever));
        assert_eq!(asked("7\n"), None, "nobody answers");
    }

    #[test]
    fn retention_that_is_set_is_not_asked_for() {
        for set in [Retention::Forever, Retention::For(Duration::from_secs(1))] {
            assert_eq!(retention(set, false).unwrap(), set);
        }
        assert_eq!(retention(Retention::Unchanged, true).unwrap(), Retention::Unchanged);
    }
}
