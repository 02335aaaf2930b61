//! What an operator can do to an account, and what addresses and forms say of it.

use model::account::AccountKey;
use serde::Deserialize;

/// What can be done to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Look for changes now.
    Sync,
    /// Ask nothing of HubSpot.
    Pause,
    /// Go on.
    Resume,
    /// Read everything again.
    Resync,
    /// Give its grant back, and forget its tokens.
    Disconnect,
}

impl Operation {
    /// Its name in addresses.
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

/// The ids in an address.
#[derive(Deserialize)]
pub(crate) struct Ids {
    pub(crate) domain: String,
    pub(crate) hub: String,
}

impl Ids {
    pub(crate) fn key(self) -> Option<AccountKey> {
        AccountKey::new(&self.domain, &self.hub).ok()
    }
}

#[derive(Deserialize)]
pub(crate) struct Pressed {
    #[serde(default)]
    pub(crate) token: String,
}
