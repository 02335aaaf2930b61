//! The operations on an account, and their form in addresses and forms.

use model::account::AccountKey;
use serde::Deserialize;

/// An operation on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Checks for changes now.
    Sync,
    /// Stops all requests to HubSpot.
    Pause,
    /// Ends a pause.
    Resume,
    /// Reads all records again.
    Resync,
    /// Revokes the grant, and deletes the tokens.
    Disconnect,
}

impl Operation {
    /// Returns its name in addresses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Resync => "resync",
            Self::Disconnect => "disconnect",
        }
    }
}

/// The ids of an account in an address.
#[derive(Deserialize)]
pub(crate) struct Ids {
    pub(crate) domain: String,
    pub(crate) hub: String,
}

impl Ids {
    /// Returns the account. Returns `None` if one of the ids is not valid.
    pub(crate) fn key(self) -> Option<AccountKey> {
        AccountKey::new(&self.domain, &self.hub).ok()
    }
}

#[derive(Deserialize)]
pub(crate) struct Pressed {
    #[serde(default)]
    pub(crate) token: String,
}
