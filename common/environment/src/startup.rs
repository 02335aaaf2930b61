//! Limits the waits of a new process before it can work. Lambda ends a start after ten seconds without saying what it
//! was waiting for, so each part of a start has a limit of its own, and logs if it is slow.

use std::{pin::pin, time::Duration};

use thiserror::Error;
use tokio::time::timeout;

/// The limit of one part. A start has two: reading the secrets, and resolving MongoDB's address. KMS is first called by
/// the first invocation.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// After how long a part logs that it is slow.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// A service did not answer a new process in time.
#[derive(Clone, Copy, Debug, Error)]
#[error("{0} did not answer within {seconds} s", seconds = ANSWER_TIMEOUT.as_secs())]
pub struct NoAnswer(&'static str);

/// Waits for an answer of `whom`. Returns the answer.
///
/// # Errors
/// The answer takes longer than [`ANSWER_TIMEOUT`].
pub async fn wait_for<T>(whom: &'static str, answer: impl Future<Output = T>) -> Result<T, NoAnswer> {
    let mut answer = pin!(answer);
    if let Ok(answer) = timeout(SLOW_AFTER, &mut answer).await {
        return Ok(answer);
    }
    tracing::warn!(waits_for = whom, "the function waits for an answer");
    timeout(ANSWER_TIMEOUT - SLOW_AFTER, answer).await.map_err(|_| {
        tracing::error!(waits_for = whom, "there was no answer in time");
        NoAnswer(whom)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_named_in_time() {
        let began = tokio::time::Instant::now();
        let error = wait_for("Secrets Manager", std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.to_string(), "Secrets Manager did not answer within 3 s");
        assert_eq!(began.elapsed(), ANSWER_TIMEOUT);
        let slow = async { tokio::time::sleep(2 * SLOW_AFTER).await };
        assert!(wait_for("MongoDB", slow).await.is_ok());
    }
}
