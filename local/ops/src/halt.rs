//! `make stop` and `make start`: switches off everything that makes the service work by itself, and on again as the
//! stack's parameters say. Nothing is deployed, and nothing is lost: messages wait in their queues, HubSpot sends its
//! webhooks again, and an account is read from its last position.

use anyhow::{Context, Result, ensure};
use aws_sdk_scheduler::types::ScheduleState;

use crate::{
    aws::Aws,
    cloudformation::{self, Existing},
    layout::NAME,
    settings::Settings,
};

/// The logical id that SAM gives the event `Tick` of the scheduler function.
const SCHEDULE: &str = "SchedulerFunctionTick";

/// The outputs of the template that name the functions that read a queue.
const READERS: [&str; 2] = ["SyncFunction", "ActionsFunction"];

/// The position of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The service works.
    On,
    /// The service sends nothing to HubSpot, and stores nothing. Work that has begun ends by itself within half a
    /// minute.
    Off,
}

/// Switches the local stack, or if `on_aws` the one on the AWS of the environment. It may run twice.
///
/// # Errors
/// There is no such stack, or AWS refuses one of the switches. Those before it stay switched.
pub async fn run(settings: &Settings, on_aws: bool, turn: Turn) -> Result<()> {
    let (aws, name) = match on_aws {
        true => (Aws::from_env().await, settings.aws.name.as_str()),
        false => (Aws::local(settings.ports.aws).await, NAME),
    };
    let stack = cloudformation::existing(&aws, name).await?.with_context(|| format!("there is no stack {name}"))?;
    let parameter =
        |name: &str| stack.parameters.get(name).with_context(|| format!("the stack has no parameter {name}"));
    let state = match (turn, parameter("ScheduleState")?.as_str()) {
        (Turn::On, "ENABLED") => ScheduleState::Enabled,
        _ => ScheduleState::Disabled,
    };
    schedule(&aws, name, state.clone()).await?;
    println!("the schedule: {}", state.as_str().to_lowercase());
    if let Some(connect) = stack.outputs.get("ConnectFunction") {
        let concurrency = match turn {
            Turn::On => parameter("ConnectConcurrency")?.parse().context("ConnectConcurrency is no number")?,
            Turn::Off => 0,
        };
        front_door(&aws, connect, turn, concurrency).await?;
    }
    for function in READERS {
        queue(&aws, &stack, function, turn).await?;
    }
    Ok(())
}

async fn schedule(aws: &Aws, stack: &str, state: ScheduleState) -> Result<()> {
    let asked = aws.cloudformation().describe_stack_resource().stack_name(stack).logical_resource_id(SCHEDULE);
    let found = asked.send().await.context("the schedule cannot be found")?;
    let name = found.stack_resource_detail.and_then(|found| found.physical_resource_id).context("it has no name")?;
    let is = aws.scheduler().get_schedule().name(&name).send().await.context("the schedule cannot be read")?;
    // An update replaces the whole schedule: fields that are left out would be lost.
    let update = aws.scheduler().update_schedule().name(&name).state(state).set_target(is.target);
    let update =
        update.set_schedule_expression(is.schedule_expression).set_flexible_time_window(is.flexible_time_window);
    let update = update.set_schedule_expression_timezone(is.schedule_expression_timezone).set_group_name(is.group_name);
    let update = update.set_description(is.description).set_kms_key_arn(is.kms_key_arn);
    let update = update.set_start_date(is.start_date).set_end_date(is.end_date);
    update
        .set_action_after_completion(is.action_after_completion)
        .send()
        .await
        .context("the schedule cannot be set")?;
    Ok(())
}

/// Lambda never runs a function whose reserved concurrency is 0: API Gateway answers 503.
async fn front_door(aws: &Aws, function: &str, turn: Turn, concurrency: i32) -> Result<()> {
    let lambda = aws.lambda();
    let set = match (turn, concurrency) {
        (Turn::On, 0) => {
            lambda.delete_function_concurrency().function_name(function).send().await.err().map(Into::into)
        }
        (_, reserved) => {
            let put =
                lambda.put_function_concurrency().function_name(function).reserved_concurrent_executions(reserved);
            put.send().await.err().map(anyhow::Error::from)
        }
    };
    if let Some(error) = set {
        return Err(error).with_context(|| format!("the concurrency of {function} cannot be set"));
    }
    println!("{function}: {}", if turn == Turn::On { "answers requests" } else { "answers nobody" });
    Ok(())
}

async fn queue(aws: &Aws, stack: &Existing, function: &str, turn: Turn) -> Result<()> {
    let name = stack.outputs.get(function).with_context(|| format!("the stack has no output {function}"))?;
    let listed = aws.lambda().list_event_source_mappings().function_name(format!("{name}:live")).send().await;
    let mappings = listed.with_context(|| format!("the queue of {name} cannot be found"))?.event_source_mappings;
    let mappings = mappings.unwrap_or_default();
    ensure!(!mappings.is_empty(), "{name} reads no queue");
    for mapping in mappings {
        let set = aws.lambda().update_event_source_mapping().set_uuid(mapping.uuid).enabled(turn == Turn::On);
        set.send().await.with_context(|| format!("the queue of {name} cannot be switched"))?;
    }
    println!("{name}: {}", if turn == Turn::On { "reads its queue" } else { "reads no queue" });
    Ok(())
}
