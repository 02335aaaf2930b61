//! Why a slice, or a lane of it, ended before its work did.

use hubspot::{HubSpotError, TokenError};
use model::time::DateTime;
use mongodb::error::Error as MongoError;
use queue::QueueError;
use store::StoreError;
use thiserror::Error;
use token_vault::VaultError;

/// Why work could not go on.
#[derive(Debug, Error)]
pub(crate) enum SliceError {
    /// HubSpot did not give what it was asked for.
    #[error(transparent)]
    HubSpot(#[from] HubSpotError),
    /// HubSpot does not show a record in any way, and shows others: those behind it in its window cannot be read on to.
    #[error("{reason}")]
    Unshowable {
        /// What HubSpot answers.
        reason: String,
        /// HubSpot's time.
        date: DateTime,
    },
    /// There is no access token to be had.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The account's tokens cannot be opened or sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The account was connected anew while its tokens were refreshed.
    #[error("the account was connected anew in the meantime")]
    Reconnected,
    /// An account that needs the OAuth app, in a deployment without one.
    #[error("the account uses OAuth, but HUBSPOT_CLIENT_ID is not set")]
    NoApp,
    /// MongoDB failed, or the lease was lost.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQS failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The message continues a run whose slice is being worked on.
    #[error("another slice of the account is under way")]
    Busy,
    /// A rate limit does not allow what is needed next within the slice.
    #[error("a rate limit leaves no time for that within the slice")]
    NoTime,
    /// What must be done at the end of a slice took too long.
    #[error("the slice could not be ended in time")]
    OutOfTime,
}

impl SliceError {
    /// Whether MongoDB is away, or answers too late: the message is not to blame.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Mongo(_)) | Self::OutOfTime)
    }
}

impl From<MongoError> for SliceError {
    fn from(error: MongoError) -> Self {
        Self::Store(error.into())
    }
}
