//! A deployed stack in CloudFormation: its parameters and outputs, a change set, and its execution.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_cloudformation::{
    error::ProvideErrorMetadata,
    types::{Change as Described, Stack},
};
use tokio::time::{Instant, sleep};

use crate::aws::Aws;

/// The timeout of a deployment. One by CodeDeploy takes three times as long as its slowest preference.
const DEPLOY_TIMEOUT: Duration = Duration::from_secs(2 * 3600);

/// The pause between two reads of a stack that is being deployed.
const PAUSE: Duration = Duration::from_secs(2);

/// A deployed stack.
#[derive(Clone, Debug)]
pub struct Existing {
    /// Its parameters. Secret ones are asterisks.
    pub parameters: BTreeMap<String, String>,
    /// Its outputs.
    pub outputs: BTreeMap<String, String>,
    /// Its tags. Its resources have them as well.
    pub tags: BTreeMap<String, String>,
}

/// A change to a resource.
#[derive(Clone, Debug)]
pub struct Change {
    action: String,
    resource: String,
    kind: String,
    is_replaced: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replaced = if self.is_replaced { ", which is made anew" } else { "" };
        write!(f, "{:<6} {} ({}){replaced}", self.action, self.resource, self.kind)
    }
}

/// Returns the stack of this name. Returns `None` if it was never deployed.
///
/// # Errors
/// CloudFormation does not answer.
pub async fn existing(aws: &Aws, name: &str) -> Result<Option<Existing>> {
    let Some(stack) = describe(aws, name).await? else { return Ok(None) };
    if status(&stack) == "REVIEW_IN_PROGRESS" {
        return Ok(None);
    }
    let pairs = stack.parameters().iter().filter_map(|one| Some((one.parameter_key()?, one.parameter_value()?)));
    let outputs = stack.outputs().iter().filter_map(|one| Some((one.output_key()?, one.output_value()?)));
    let tags = stack.tags().iter().filter_map(|one| Some((one.key()?, one.value()?)));
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(Some(Existing {
        parameters: pairs.map(owned).collect(),
        outputs: outputs.map(owned).collect(),
        tags: tags.map(owned).collect(),
    }))
}

async fn describe(aws: &Aws, name: &str) -> Result<Option<Stack>> {
    match aws.cloudformation().describe_stacks().stack_name(name).send().await {
        Ok(found) => Ok(found.stacks.unwrap_or_default().into_iter().next()),
        Err(error) if error.message().is_some_and(|message| message.contains("does not exist")) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("the stack {name} cannot be looked at")),
    }
}

fn status(stack: &Stack) -> &str {
    stack.stack_status().map(|status| status.as_str()).unwrap_or_default()
}

/// Returns the account and the region in the ARN of a change set or a stack.
pub fn place(arn: &str) -> String {
    match arn.split(':').collect::<Vec<_>>()[..] {
        [_, _, _, region, account, ..] => format!("{account}, {region}"),
        _ => "unknown".to_owned(),
    }
}

/// Returns the changes in a change set.
///
/// # Errors
/// CloudFormation does not answer.
pub async fn changes(aws: &Aws, id: &str) -> Result<Vec<Change>> {
    let mut all = Vec::new();
    let mut next = None;
    loop {
        let asked = aws.cloudformation().describe_change_set().change_set_name(id).set_next_token(next);
        let page = asked.send().await.context("the change set cannot be read")?;
        all.extend(page.changes().iter().filter_map(change));
        next = page.next_token;
        if next.is_none() {
            return Ok(all);
        }
    }
}

fn change(described: &Described) -> Option<Change> {
    let change = described.resource_change()?;
    Some(Change {
        action: change.action()?.as_str().to_owned(),
        resource: change.logical_resource_id()?.to_owned(),
        kind: change.resource_type()?.to_owned(),
        is_replaced: change.replacement().is_some_and(|replacement| replacement.as_str() == "True"),
    })
}

/// Deletes a change set, and its stack if that was only begun for it.
///
/// # Errors
/// CloudFormation does not answer.
pub async fn discard(aws: &Aws, name: &str, id: &str, is_new: bool) -> Result<()> {
    let client = aws.cloudformation();
    client.delete_change_set().change_set_name(id).send().await.context("the change set cannot be deleted")?;
    if is_new {
        client.delete_stack().stack_name(name).send().await.context("the empty stack cannot be deleted")?;
    }
    Ok(())
}

/// Executes a change set, and waits until the stack is deployed.
///
/// # Errors
/// The change set cannot be executed. The stack is as before, and the error has the reason.
pub async fn execute(aws: &Aws, name: &str, id: &str) -> Result<()> {
    let before = describe(aws, name).await?.context("the stack is not there")?;
    let executed = aws.cloudformation().execute_change_set().change_set_name(id).send().await;
    executed.context("the change set cannot be carried out")?;
    let began = Instant::now();
    loop {
        let now = describe(aws, name).await?.context("the stack is gone")?;
        let has_begun = status(&now) != status(&before) || now.last_updated_time() != before.last_updated_time();
        match status(&now) {
            _ if !has_begun => {}
            "CREATE_COMPLETE" | "UPDATE_COMPLETE" => return Ok(()),
            under_way if under_way.ends_with("IN_PROGRESS") => {}
            failed => bail!("the stack is {failed}:\n{}", reasons(aws, name).await?.join("\n")),
        }
        ensure!(
            began.elapsed() < DEPLOY_TIMEOUT,
            "the stack {name} is not deployed after {} s",
            DEPLOY_TIMEOUT.as_secs()
        );
        sleep(PAUSE).await;
    }
}

/// Returns why resources could not be deployed, the first failure first.
async fn reasons(aws: &Aws, name: &str) -> Result<Vec<String>> {
    let page = aws.cloudformation().describe_stack_events().stack_name(name).send().await?;
    let newest = page.stack_events().iter();
    // The first event of a deployment is the stack's own.
    let of_this = newest.take_while(|event| {
        let is_begin = event.resource_status_reason() == Some("User Initiated");
        !(is_begin && event.logical_resource_id() == Some(name))
    });
    let failed =
        of_this.filter(|event| event.resource_status().is_some_and(|status| status.as_str().ends_with("FAILED")));
    let mut reasons: Vec<String> = failed
        .filter_map(|event| Some(format!("  {}: {}", event.logical_resource_id()?, event.resource_status_reason()?)))
        .collect();
    reasons.reverse();
    Ok(reasons)
}
