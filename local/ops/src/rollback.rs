//! `make rollback`: replaces the live versions by the versions before them, code and variables, within seconds. Nothing
//! is built, and CloudFormation is not involved: the next `make deploy` continues from there.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::{aws::Aws, deployed::Stack, settings::Settings};

/// The outputs of the template that name functions. A stack without a public address has no connect function.
const FUNCTIONS: [&str; 4] = ["SchedulerFunction", "SyncFunction", "ActionsFunction", "ConnectFunction"];

/// The alias of the live version.
const ALIAS: &str = "live";

/// The rollback of a function.
struct Back {
    function: String,
    from: u64,
    to: u64,
}

/// Rolls all functions of a stack back by one version: of the local one, or if `on_aws` of the one on the AWS of the
/// environment. If `is_dry`, only prints what it would do.
///
/// # Errors
/// A function has no earlier version, or is being deployed. Then nothing is rolled back. Or Lambda does not answer.
pub async fn run(settings: &Settings, on_aws: bool, is_dry: bool) -> Result<()> {
    let stack = Stack::open(settings, on_aws).await?;
    let functions: Vec<&String> = FUNCTIONS.iter().filter_map(|output| stack.outputs.get(*output)).collect();
    ensure!(functions.len() >= 3, "the stack names only {functions:?}");
    let mut all = Vec::new();
    for function in functions {
        all.push(back(&stack.aws, function).await?);
    }
    for Back { function, from, to } in all {
        if !is_dry {
            let update = stack.aws.lambda().update_alias().function_name(&function).name(ALIAS);
            let updated = update.function_version(to.to_string()).send().await;
            updated.with_context(|| format!("{function} stays at version {from}; run it again"))?;
        }
        let works = if is_dry { "would work with" } else { "works with" };
        println!("{function} {works} version {to} again, not with {from}");
    }
    Ok(())
}

async fn back(aws: &Aws, function: &str) -> Result<Back> {
    let alias = aws.lambda().get_alias().function_name(function).name(ALIAS).send().await;
    let alias = alias.with_context(|| format!("{function} has no alias {ALIAS}; was it deployed by make deploy?"))?;
    let weights = alias.routing_config().and_then(|routing| routing.additional_version_weights());
    ensure!(
        weights.is_none_or(|weights| weights.is_empty()),
        "{function} is being deployed step by step; stop that in CodeDeploy, which takes it back"
    );
    let from: u64 = alias.function_version().unwrap_or_default().parse().context("the live version has no number")?;
    let versions = versions(aws, function).await?;
    let to = versions.into_iter().filter(|version| *version < from).max();
    let to = to.with_context(|| format!("{function} has no version before {from}; nothing was taken back"))?;
    Ok(Back { function: function.to_owned(), from, to })
}

/// Returns the published versions of a function.
async fn versions(aws: &Aws, function: &str) -> Result<Vec<u64>> {
    let mut versions = Vec::new();
    let mut pages = aws.lambda().list_versions_by_function().function_name(function).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.with_context(|| format!("the versions of {function} cannot be listed"))?;
        versions.extend(page.versions().iter().filter_map(|version| version.version()?.parse::<u64>().ok()));
    }
    Ok(versions)
}

/// Returns a sentence for each function among a stack's outputs whose live version is older than its newest. A
/// deployment without changes leaves such a function there.
///
/// # Errors
/// Lambda does not answer.
pub(crate) async fn taken_back(aws: &Aws, outputs: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut said = Vec::new();
    for function in FUNCTIONS.iter().filter_map(|output| outputs.get(*output)) {
        // A stack that `make deploy` did not deploy has no alias.
        let Ok(alias) = aws.lambda().get_alias().function_name(function).name(ALIAS).send().await else { continue };
        let live: Option<u64> = alias.function_version().and_then(|version| version.parse().ok());
        let newest = versions(aws, function).await?.into_iter().max();
        if let (Some(live), Some(newest)) = (live, newest)
            && live < newest
        {
            said.push(format!(
                "{function} works with version {live}, not with its newest, {newest}: it was taken back"
            ));
        }
    }
    Ok(said)
}
