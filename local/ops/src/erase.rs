//! `make erase`: erases a record, everything of an account, or everything of a customer. The schedule's ticks repeat it for an
//! hour, because a drain or a slice that is under way may store something afterwards.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use clap::Args;
use model::{
    account::AccountKey,
    ids::{DomainId, RecordId},
    object::ObjectType,
};
use store::{Erasure, Store};

use crate::{confirm::is_confirmed, dead_letters::DeadLetters};

/// What to erase.
#[derive(Clone, Debug, Args)]
pub struct EraseArguments {
    /// The Domain's `_id`.
    #[arg(long)]
    domain: String,
    /// HubSpot's account id. All accounts of the Domain if it is left out.
    #[arg(long)]
    hub: Option<String>,
    /// HubSpot's id of a record. Everything of the account if it is left out.
    #[arg(long, requires = "hub")]
    record: Option<String>,
    /// The type of the record: `contacts` or `companies`.
    #[arg(long, default_value = "contacts")]
    object: String,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

/// What is erased, with valid ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One record.
    Record(AccountKey, ObjectType, RecordId),
    /// One account.
    Account(AccountKey),
    /// All accounts of a customer.
    Customer(DomainId),
}

impl TryFrom<&EraseArguments> for Scope {
    type Error = anyhow::Error;

    fn try_from(arguments: &EraseArguments) -> Result<Self> {
        let Some(hub) = &arguments.hub else {
            return Ok(Self::Customer(arguments.domain.clone().try_into()?));
        };
        let account = AccountKey::new(&arguments.domain, hub)?;
        Ok(match &arguments.record {
            None => Self::Account(account),
            Some(record) => Self::Record(account, object(&arguments.object)?, record.clone().try_into()?),
        })
    }
}

fn object(name: &str) -> Result<ObjectType> {
    Ok(ObjectType::parse(name)?)
}

impl Scope {
    /// Returns what will be erased, in words.
    fn describe(&self) -> String {
        const OF_ACCOUNT: &str = "actions, states, what was read, its history, and its entry in the Domain with the tokens. \
             A grant is not given back to HubSpot by that: disconnect a connected account first";
        match self {
            Self::Record(account, object, id) => {
                format!(
                    "What is stored of record {id} of the {object} of {account}. Ids, names and dates of its actions stay"
                )
            }
            Self::Account(account) => format!("Everything that is stored of the account {account}: {OF_ACCOUNT}"),
            Self::Customer(domain) => {
                format!("Everything that is stored of all accounts of the Domain {domain}: {OF_ACCOUNT}")
            }
        }
    }
}

/// Asks for confirmation, and erases.
///
/// # Errors
/// Nobody confirms, or as [`erase`].
pub(crate) async fn run(store: &Store, letters: &DeadLetters, arguments: &EraseArguments) -> Result<()> {
    let scope = Scope::try_from(arguments)?;
    println!("{}.", scope.describe());
    if !(arguments.yes || is_confirmed("Erase this for good?")?) {
        bail!("nothing was erased, as it was not confirmed (yes, or YES=1)");
    }
    erase(store, letters, &scope).await
}

/// Erases what is stored of a record, an account or a customer. May run twice.
///
/// # Errors
/// MongoDB or SQS cannot be reached. What was recorded by then is erased by the next ticks.
pub async fn erase(store: &Store, letters: &DeadLetters, scope: &Scope) -> Result<()> {
    match scope {
        Scope::Record(account, object, id) => {
            let erasure = Erasure::Record(account.clone(), *object, id.clone());
            store.renew_erasures(std::slice::from_ref(&erasure)).await?;
            store.erase(&erasure).await?;
            println!("record {id} of the {object} of {account} is erased");
        }
        Scope::Account(account) => {
            let accounts = BTreeSet::from([account.clone()]);
            request(store, &accounts).await?;
            store.remove_account(account).await?;
            erase_accounts(store, letters, &accounts).await?;
        }
        Scope::Customer(domain) => {
            let accounts = store.accounts_of_domain(domain).await?;
            ensure!(!accounts.is_empty(), "nothing is stored of any account of {domain}");
            request(store, &accounts).await?;
            store.remove_integration(domain).await?;
            erase_accounts(store, letters, &accounts).await?;
            println!("links that were made for {domain} still connect accounts: make revoke-links DOMAIN={domain}");
        }
    }
    println!("the schedule's ticks repeat it for an hour; what is still queued is not stored");
    Ok(())
}

/// Records the erasures before anything is deleted: what is queued of the accounts is not stored once they have no entry.
async fn request(store: &Store, accounts: &BTreeSet<AccountKey>) -> Result<()> {
    let erasures: Vec<Erasure> = accounts.iter().cloned().map(Erasure::Account).collect();
    Ok(store.renew_erasures(&erasures).await?)
}

async fn erase_accounts(store: &Store, letters: &DeadLetters, accounts: &BTreeSet<AccountKey>) -> Result<()> {
    for account in accounts {
        store.erase(&Erasure::Account(account.clone())).await?;
        println!("{account} is erased");
    }
    let deleted = letters.delete_of(accounts).await?;
    println!("{deleted} messages in the dead-letter queues were deleted");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(hub: Option<&str>, record: Option<&str>, object: &str) -> Result<Scope> {
        let text = |text: &str| text.to_owned();
        let (hub, record) = (hub.map(text), record.map(text));
        Scope::try_from(&EraseArguments { domain: "acme".into(), hub, record, object: object.into(), yes: false })
    }

    #[test]
    fn what_is_erased_is_a_record_an_account_or_a_customer() {
        let account = AccountKey::new("acme", 7).unwrap();
        let id = RecordId::try_from("5".to_owned()).unwrap();
        let record = Scope::Record(account.clone(), ObjectType::COMPANIES, id);
        assert_eq!(scope(Some("7"), Some("5"), "companies").unwrap(), record);
        assert_eq!(scope(Some("7"), None, "contacts").unwrap(), Scope::Account(account));
        assert_eq!(scope(None, None, "contacts").unwrap(), Scope::Customer("acme".to_owned().try_into().unwrap()));
        for (hub, record, object) in [("7", "5", "cars"), ("7", "ana", "contacts"), ("x", "5", "contacts")] {
            assert!(scope(Some(hub), Some(record), object).is_err(), "{hub} {record} {object}");
        }
    }
}
