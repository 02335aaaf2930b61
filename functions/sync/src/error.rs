//! Why a slice, or a lane of it, ended early.

use hubspot::{HubSpotError, TokenError};
use model::time::DateTime;
use mongodb::error::Error as MongoError;
use queue::QueueError;
use store::StoreError;
use thiserror::Error;
use token_vault::VaultError;

/// Why work could not continue.
#[derive(Debug, Error)]
pub(crate) enum SliceError {
    /// HubSpot did not return what was requested.
    #[error(transparent)]
    HubSpot(#[from] HubSpotError),
    /// HubSpot does not return one record at all, but returns others. The window cannot be read beyond that record.
    #[error("{reason}")]
    Unshowable {
        /// HubSpot's error.
        reason: String,
        /// HubSpot's time.
        date: DateTime,
    },
    /// No access token could be obtained.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The account's tokens cannot be opened or sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The account was reconnected while its tokens were refreshed.
    #[error("the account was connected anew in the meantime")]
    Reconnected,
    /// The account needs the OAuth app, but the deployment has none.
    #[error("the account uses OAuth, but HUBSPOT_CLIENT_ID is not set")]
    NoApp,
    /// MongoDB failed, or the lease was lost.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// SQS failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Another slice of the message's run is under way.
    #[error("another slice of the account is under way")]
    Busy,
    /// A rate limit does not allow the next request within the slice.
    #[error("a rate limit leaves no time for that within the slice")]
    NoTime,
    /// Ending the slice took too long.
    #[error("the slice could not be ended in time")]
    OutOfTime,
}

impl SliceError {
    /// Returns true if MongoDB is away or answers too late. Then nothing is wrong with the message.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Store(StoreError::Mongo(_)) | Self::OutOfTime)
    }
}

impl From<MongoError> for SliceError {
    fn from(error: MongoError) -> Self {
        Self::Store(error.into())
    }
}
