//! The direct calls to AWS: invoke a function, read its environment, make a queue, check if queues are empty, and read
//! a secret.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use aws_sdk_sqs::types::QueueAttributeName;
use secrecy::SecretString;
use serde_json::Value;

/// Clients for AWS, or for a MiniStack.
#[derive(Clone, Debug)]
pub struct Aws {
    cloudformation: aws_sdk_cloudformation::Client,
    lambda: aws_sdk_lambda::Client,
    sqs: aws_sdk_sqs::Client,
    kms: aws_sdk_kms::Client,
    scheduler: aws_sdk_scheduler::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Aws {
    /// Returns clients for the MiniStack at `port`.
    pub async fn local(port: u16) -> Self {
        let credentials = aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "MiniStack");
        let config = aws_config::from_env()
            .endpoint_url(format!("http://127.0.0.1:{port}"))
            .credentials_provider(credentials)
            .region(aws_config::Region::new("us-east-1"))
            .load()
            .await;
        Self::with(&config)
    }

    /// Returns clients for the AWS that the environment names.
    pub async fn from_env() -> Self {
        Self::with(&aws_config::load_from_env().await)
    }

    fn with(config: &aws_config::SdkConfig) -> Self {
        Self {
            cloudformation: aws_sdk_cloudformation::Client::new(config),
            lambda: aws_sdk_lambda::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            kms: aws_sdk_kms::Client::new(config),
            scheduler: aws_sdk_scheduler::Client::new(config),
            secrets: aws_sdk_secretsmanager::Client::new(config),
        }
    }

    /// Returns the client for CloudFormation.
    pub fn cloudformation(&self) -> &aws_sdk_cloudformation::Client {
        &self.cloudformation
    }

    /// Returns the client for Lambda.
    pub fn lambda(&self) -> &aws_sdk_lambda::Client {
        &self.lambda
    }

    /// Returns the client for SQS.
    pub fn sqs(&self) -> &aws_sdk_sqs::Client {
        &self.sqs
    }

    /// Returns the client for KMS.
    pub fn kms(&self) -> &aws_sdk_kms::Client {
        &self.kms
    }

    /// Returns the client for EventBridge Scheduler.
    pub fn scheduler(&self) -> &aws_sdk_scheduler::Client {
        &self.scheduler
    }

    /// Returns the text of a secret.
    ///
    /// # Errors
    /// The secret cannot be read.
    pub async fn secret(&self, arn: &str) -> Result<SecretString> {
        let read = self.secrets.get_secret_value().secret_id(arn).send().await.context("the secret cannot be read")?;
        read.secret_string.map(SecretString::from).context("the secret has no text")
    }

    /// Invokes a function. Returns its answer.
    ///
    /// # Errors
    /// The function cannot be invoked, or fails.
    pub async fn invoke(&self, function: &str, payload: &Value) -> Result<Value> {
        let payload = aws_sdk_lambda::primitives::Blob::new(payload.to_string());
        let answer = self.lambda.invoke().function_name(function).payload(payload).send().await;
        let answer = answer.with_context(|| format!("{function} cannot be invoked"))?;
        let body = answer.payload().map(|blob| String::from_utf8_lossy(blob.as_ref()).into_owned()).unwrap_or_default();
        if let Some(error) = answer.function_error() {
            bail!("{function} failed ({error}): {body}");
        }
        Ok(serde_json::from_str(&body)?)
    }

    /// Returns the environment variables of a function.
    ///
    /// # Errors
    /// There is no such function, or its variables cannot be decrypted.
    pub async fn environment(&self, function: &str) -> Result<HashMap<String, String>> {
        let asked = self.lambda.get_function_configuration().function_name(function).send().await;
        let found = asked.with_context(|| format!("the configuration of {function} cannot be read"))?.environment;
        let found = found.with_context(|| format!("{function} has no environment variables"))?;
        if let Some(error) = found.error {
            bail!("the environment variables of {function} cannot be read: {}", error.message.unwrap_or_default());
        }
        found.variables.with_context(|| format!("{function} has no environment variables"))
    }

    /// Makes a queue. Returns its address.
    ///
    /// # Errors
    /// The queue cannot be made.
    pub async fn create_queue(&self, name: &str) -> Result<String> {
        let created = self.sqs.create_queue().queue_name(name).send().await.context("a queue cannot be made")?;
        created.queue_url.context("a queue has an address")
    }

    /// Returns how many messages a queue holds: waiting, delayed, or in flight.
    ///
    /// # Errors
    /// SQS does not answer, or there is no such queue.
    pub async fn depth(&self, queue_url: &str) -> Result<u64> {
        let wanted = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let asked = self.sqs.get_queue_attributes().queue_url(queue_url).set_attribute_names(Some(wanted.to_vec()));
        let attributes = asked.send().await.context("a queue cannot be asked for its depth")?;
        let count = |name| attributes.attributes()?.get(name)?.parse::<u64>().ok();
        Ok(wanted.iter().filter_map(count).sum())
    }
}
