//! Queues with the template's settings, and those settings.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_sqs::{Client, types::QueueAttributeName};
use ops::layout;
use serde_json::json;
use serde_yaml_ng::Value as Yaml;

use crate::unique;

/// The settings of a queue in `template.yaml`.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `VisibilityTimeout`.
    pub visibility: Duration,
    /// `MessageRetentionPeriod`.
    pub retention: Duration,
    /// `maxReceiveCount`.
    pub max_receives: u32,
}

impl Rules {
    /// Reads the settings of a queue by its name in the template.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn from_template(name: &str) -> Result<Self> {
        let template: Yaml = serde_yaml_ng::from_str(&std::fs::read_to_string(layout::root().join("template.yaml"))?)?;
        let queue = &template["Resources"][name]["Properties"];
        let max_receives = queue["RedrivePolicy"]["maxReceiveCount"].as_u64();
        let max_receives = max_receives.with_context(|| format!("{name} gives nothing to a dead-letter queue"))?;
        let seconds = |property: &str| queue[property].as_u64().map(Duration::from_secs);
        Ok(Self {
            visibility: seconds("VisibilityTimeout").with_context(|| format!("{name} hides nothing"))?,
            // SQS's default is four days.
            retention: seconds("MessageRetentionPeriod").unwrap_or(Duration::from_secs(4 * 86_400)),
            max_receives: u32::try_from(max_receives)?,
        })
    }
}

/// Creates a queue for a test, and returns its URL.
///
/// # Errors
/// SQS does not respond.
pub async fn queue(sqs: &Client, name: &str) -> Result<String> {
    let created = sqs.create_queue().queue_name(format!("{name}-{}", unique())).send().await?;
    created.queue_url.context("a queue has an address")
}

/// Creates a queue with the template's settings for the queue `of`, and a dead-letter queue. Returns both URLs.
///
/// # Errors
/// SQS does not respond.
pub async fn queue_with_dead_letters(sqs: &Client, name: &str, of: &str) -> Result<(String, String)> {
    let (rules, dead) = (Rules::from_template(of)?, queue(sqs, &format!("{name}-dead")).await?);
    let asked =
        sqs.get_queue_attributes().queue_url(&dead).attribute_names(QueueAttributeName::QueueArn).send().await?;
    let attributes = asked.attributes.unwrap_or_default();
    let arn = attributes.get(&QueueAttributeName::QueueArn).context("a queue has an ARN")?;
    let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": rules.max_receives});
    let created = sqs
        .create_queue()
        .queue_name(format!("{name}-{}", unique()))
        .attributes(QueueAttributeName::VisibilityTimeout, rules.visibility.as_secs().to_string())
        .attributes(QueueAttributeName::MessageRetentionPeriod, rules.retention.as_secs().to_string())
        .attributes(QueueAttributeName::RedrivePolicy, redrive.to_string());
    Ok((created.send().await?.queue_url.context("a queue has an address")?, dead))
}
