//! The alarms of the deployed service: each is driven into ALARM, and notifies the topic.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tokio::time::timeout;

use harness::{
    deployed::{Deployed, topic},
    world::queue,
};

use crate::template;

/// An SNS topic, with a queue that gets its notifications.
struct Topic {
    queue: String,
    sqs: aws_sdk_sqs::Client,
}

impl Topic {
    async fn new(name: &str) -> Result<Self> {
        let config = aws_config::load_from_env().await;
        let (sns, sqs) = (aws_sdk_sns::Client::new(&config), aws_sdk_sqs::Client::new(&config));
        let arn = sns.create_topic().name(name).send().await?.topic_arn.context("a topic has an ARN")?;
        let queue = queue(&sqs, name).await?;
        let asked = sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueAttributeName::QueueArn);
        let attributes = asked.send().await?.attributes.unwrap_or_default();
        let endpoint = attributes.get(&QueueAttributeName::QueueArn).context("a queue has an ARN")?;
        let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage",
            "Principal": {"Service": "sns.amazonaws.com"}, "Resource": endpoint}]});
        let allowed = sqs.set_queue_attributes().queue_url(&queue);
        allowed.attributes(QueueAttributeName::Policy, policy.to_string()).send().await?;
        sns.subscribe().topic_arn(&arn).protocol("sqs").endpoint(endpoint).send().await?;
        Ok(Self { queue, sqs })
    }

    /// Returns the names of the alarms that notified the topic since the last call.
    async fn told(&self) -> Result<Vec<(String, Value)>> {
        let received = self
            .sqs
            .receive_message()
            .queue_url(&self.queue)
            .max_number_of_messages(10)
            .wait_time_seconds(1)
            .send()
            .await?;
        let mut told = Vec::new();
        for message in received.messages() {
            let envelope: Value = serde_json::from_str(message.body().unwrap_or_default())?;
            let alarm: Value = serde_json::from_str(envelope["Message"].as_str().context("a notification's message")?)?;
            told.push((alarm["AlarmName"].as_str().context("an alarm's name")?.to_owned(), alarm));
            let handle = message.receipt_handle().unwrap_or_default();
            self.sqs.delete_message().queue_url(&self.queue).receipt_handle(handle).send().await?;
        }
        Ok(told)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_alarm_fires_and_notifies_its_topic() -> Result<()> {
    let deployed = Deployed::shared("service").await?;
    let topic = Topic::new(&topic(&deployed.name)).await?;
    let client = aws_sdk_cloudwatch::Client::new(&aws_config::load_from_env().await);
    let monitoring = template::read("monitoring.yaml")?;
    let mut expected = BTreeSet::new();
    let connect = template::read("connect.yaml")?;
    let alarms = [&monitoring, &connect].map(|template| template::of_type(template, "AWS::CloudWatch::Alarm"));
    for (name, alarm) in alarms.into_iter().collect::<Result<Vec<_>>>()?.concat() {
        if alarm["ComparisonOperator"] == "LessThanThreshold" {
            // Silence sets this one off, which the local CloudWatch does not notice.
            assert_eq!((name, alarm["TreatMissingData"].as_str()), ("Ticks", Some("breaching")));
            continue;
        }
        expected.insert(format!("{}-{name}", deployed.name));
        let datum = MetricDatum::builder().metric_name(alarm["MetricName"].as_str().context("a metric")?).value(1e9);
        let namespace = alarm["Namespace"].as_str().context("a namespace")?;
        client.put_metric_data().namespace(namespace).metric_data(datum.build()).send().await?;
    }
    assert!(expected.len() > 15, "{expected:?}");
    let mut told = BTreeMap::new();
    let listen = async {
        while !expected.iter().all(|name| told.contains_key(name)) {
            // The local CloudWatch does not tell dimensions apart, so that what other functions do can end an alarm.
            told.extend(topic.told().await?.into_iter().filter(|(_, alarm)| alarm["NewStateValue"] == "ALARM"));
        }
        anyhow::Ok(())
    };
    let listened = timeout(Duration::from_secs(300), listen).await;
    listened.with_context(|| format!("of {expected:?} only {:?} were told", told.keys()))??;
    for (name, alarm) in told {
        watches(&deployed, &alarm["Trigger"]).with_context(|| format!("{name}: {alarm}"))?;
    }
    deployed.end()
}

/// Checks that an alarm reads what is there: a metric of the stack, one of its queues, or one of its functions.
fn watches(deployed: &Deployed, trigger: &Value) -> Result<()> {
    let dimension = &trigger["Dimensions"][0];
    // SNS's notifications have these in lower case.
    let part = |name: &str| dimension[name].as_str().or_else(|| dimension[name.to_lowercase()].as_str());
    let value = part("Value").context("a dimension")?;
    let outputs: Vec<&str> = match (trigger["Namespace"].as_str().unwrap_or_default(), part("Name").unwrap_or_default())
    {
        ("HubSpotSync", "Stack") => vec![&deployed.name],
        ("AWS/Lambda", "FunctionName") => ["SchedulerFunction", "SyncFunction", "ActionsFunction", "ConnectFunction"]
            .iter()
            .map(|name| deployed.output(name))
            .collect::<Result<_>>()?,
        ("AWS/SQS", "QueueName") => {
            ["Sync", "Continuation", "Actions", "SyncDeadLetter", "ActionsDeadLetter", "ScheduleDeadLetter"]
                .iter()
                .map(|name| deployed.output(&format!("{name}QueueUrl")))
                .collect::<Result<_>>()?
        }
        ("AWS/ApiGateway", "ApiId") => {
            let url = deployed.output("ConnectUrl")?.trim_start_matches("http://");
            vec![url.split('.').next().unwrap_or_default()]
        }
        other => anyhow::bail!("it reads {other:?}"),
    };
    ensure!(outputs.iter().any(|output| output.rsplit('/').next() == Some(value)), "it reads {value}");
    Ok(())
}
