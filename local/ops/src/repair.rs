//! The manual repairs for whoever is on call: read the dead-letter queues and send messages back, read an account
//! again, pause and resume it, remove its mark, and erase. They work on the local stack, or if `--aws` on the AWS of the
//! environment and the MongoDB of `.env`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use model::{
    account::AccountKey,
    object::ObjectType,
    time::{self, DateTime},
};
use store::{Resync, Store, TimelineEvent};

use crate::{
    dead_letters::{Chosen, DeadLetterQueue, DeadLetters},
    deployed::Stack,
    erase::{self, EraseArguments},
    settings::Settings,
};

/// How many times a resync is tried while a slice holds the account's lease, and the pause between two tries.
const TRIES: usize = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// A repair.
#[derive(Debug, Subcommand)]
pub enum Repair {
    /// List the messages in the dead-letter queues and the records that are set aside, with the reasons.
    List,
    /// Send messages back from the dead-letter queues. With `all`, records that are set aside are read again, too.
    Send {
        /// The ids of the messages, or `all`.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Write the messages in the dead-letter queues to a file, one line of JSON each.
    Export {
        /// The file.
        file: PathBuf,
    },
    /// Read an account again.
    Resync {
        /// The account.
        #[command(flatten)]
        account: AccountArguments,
        /// `companies` or `contacts`. Both if it is left out.
        #[arg(long)]
        lane: Option<String>,
        /// Read only records modified from this time on, e.g. 2026-11-01T00:00:00Z. All if it is left out.
        #[arg(long)]
        from: Option<String>,
    },
    /// Send no requests to HubSpot for an account until it is resumed.
    Pause(AccountArguments),
    /// Resume a paused account.
    Resume(AccountArguments),
    /// Remove the mark that the customer must connect an account again.
    Reconnect(AccountArguments),
    /// Erase a record, everything of an account, or everything of a customer.
    Erase(EraseArguments),
}

/// An account.
#[derive(Debug, Args)]
pub struct AccountArguments {
    /// The Domain's `_id`.
    #[arg(long)]
    domain: String,
    /// HubSpot's account id.
    #[arg(long)]
    hub: String,
}

/// Runs a repair.
///
/// # Errors
/// SQS or MongoDB cannot be reached, or there is no such account.
pub async fn run(settings: &Settings, aws: bool, repair: Repair) -> Result<()> {
    let stack = Stack::open(settings, aws).await?;
    let store = &stack.store;
    match repair {
        Repair::List => {
            list_set_aside(store).await?;
            list(&dead_letters(stack)?).await
        }
        Repair::Send { ids } => {
            let chosen = if ids.iter().any(|id| id == "all") { Chosen::All } else { Chosen::Ids(ids) };
            if chosen == Chosen::All {
                println!("{} records are read again with the next tick", store.retry_set_aside().await?);
            }
            let sent = dead_letters(stack)?.send_back(&chosen).await?;
            println!("{sent} messages sent back");
            Ok(())
        }
        Repair::Export { file } => {
            let written = dead_letters(stack)?.export(&file).await?;
            println!("{written} messages written to {}; they are still in their queues", file.display());
            Ok(())
        }
        Repair::Resync { account, lane, from } => resync(store, &account, lane.as_deref(), from.as_deref()).await,
        Repair::Pause(account) => pause(store, &account, true).await,
        Repair::Resume(account) => pause(store, &account, false).await,
        Repair::Reconnect(account) => reconnect(store, &account).await,
        Repair::Erase(arguments) => {
            let store = store.clone();
            erase::run(&store, &dead_letters(stack)?, &arguments).await
        }
    }
}

fn dead_letters(stack: Stack) -> Result<DeadLetters> {
    let output = |name: &str| stack.output(name).map(str::to_owned);
    let queue = |name, url, source| DeadLetterQueue { name, url, source };
    let queues = vec![
        queue("sync", output("SyncDeadLetterQueueUrl")?, Some(output("SyncQueueUrl")?)),
        queue("actions", output("ActionsDeadLetterQueueUrl")?, Some(output("ActionsQueueUrl")?)),
        // Nothing is sent back: the next tick of the schedule does the work of a lost one.
        queue("schedule", output("ScheduleDeadLetterQueueUrl")?, None),
    ];
    Ok(DeadLetters::new(stack.aws.sqs().clone(), stack.store, queues))
}

/// How many of the set-aside records are listed.
const MAX_LISTED: i64 = 100;

async fn list_set_aside(store: &Store) -> Result<()> {
    let records = store.all_set_aside(MAX_LISTED).await?;
    for (key, record) in &records {
        let (since, retry_at) = (written(record.since), written(record.retry_at));
        println!("record   {key} {since}: {} (tried {} times; again at {retry_at})", record.reason, record.attempts);
    }
    println!("{} records are set aside", records.len());
    Ok(())
}

async fn list(letters: &DeadLetters) -> Result<()> {
    let letters = letters.list().await?;
    for letter in &letters {
        let sent = letter.sent_at.map(|at| written(DateTime::from_millis(at))).unwrap_or_default();
        let account = letter.account.as_deref().unwrap_or("-");
        println!("{:<8} {} {sent} {account}: {}", letter.queue, letter.message_id, letter.reason);
    }
    println!("{} messages", letters.len());
    Ok(())
}

async fn resync(store: &Store, account: &AccountArguments, lane: Option<&str>, from: Option<&str>) -> Result<()> {
    let key = AccountKey::new(&account.domain, &account.hub)?;
    let from = match from {
        Some(text) => time::parse(text).with_context(|| format!("{text:?} is no date"))?,
        None => DateTime::from_millis(0),
    };
    if store.account(&key).await?.is_none() {
        bail!("there is no account {key} that is switched on");
    }
    let lanes = match lane {
        Some(lane) => vec![ObjectType::parse(lane)?],
        None => {
            let checkpoint = store.status(&key).await?.and_then(|status| status.checkpoint).unwrap_or_default();
            checkpoint.objects().to_vec()
        }
    };
    for lane in lanes {
        match resync_lane(store, &key, lane, from).await? {
            Resync::Due => println!("{key} {lane}: read again from {} on, with the next tick or slice", written(from)),
            Resync::New => println!("{key} {lane}: not read yet, and will be from its beginning"),
            Resync::Busy => bail!("a sync of {key} is running; try again, or pause it first"),
        }
    }
    store.record_event_by(&key, TimelineEvent::ResyncAsked, &operator()).await?;
    Ok(())
}

fn written(time: DateTime) -> String {
    time.try_to_rfc3339_string().unwrap_or_else(|_| time.to_string())
}

async fn resync_lane(store: &Store, key: &AccountKey, lane: ObjectType, from: DateTime) -> Result<Resync> {
    for _ in 1..TRIES {
        match store.resync(key, lane, from).await? {
            Resync::Busy => tokio::time::sleep(PAUSE).await,
            done => return Ok(done),
        }
    }
    Ok(store.resync(key, lane, from).await?)
}

async fn pause(store: &Store, account: &AccountArguments, paused: bool) -> Result<()> {
    let key = AccountKey::new(&account.domain, &account.hub)?;
    let changed = store.pause(&key, paused).await?;
    if !changed && store.account(&key).await?.is_none() {
        bail!("there is no account {key} that is switched on");
    }
    if changed {
        store
            .record_event_by(&key, if paused { TimelineEvent::Paused } else { TimelineEvent::Resumed }, &operator())
            .await?;
    }
    let already = if changed { "" } else { " already" };
    println!("{key} {}{already}", if paused { "is paused" } else { "goes on" });
    Ok(())
}

/// Returns the name of the user at the command line, for the timeline.
fn operator() -> String {
    let user = std::env::var("USER").ok().filter(|user| !user.is_empty());
    user.map_or_else(|| "the command line".to_owned(), |user| format!("{user} at the command line"))
}

async fn reconnect(store: &Store, account: &AccountArguments) -> Result<()> {
    let key = AccountKey::new(&account.domain, &account.hub)?;
    if unmark(store, &key).await? {
        println!("{key} is tried again with the next tick; a token that HubSpot still rejects marks it again");
    } else if store.account(&key).await?.is_none() {
        bail!("there is no account {key} that is switched on");
    } else {
        println!("{key} is not marked");
    }
    Ok(())
}

/// Removes an account's mark, so that the next tick syncs it again. Returns false if it has no mark.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn unmark(store: &Store, account: &AccountKey) -> Result<bool> {
    if !store.unmark(account).await? {
        return Ok(false);
    }
    store.clear_lane_errors(account).await?;
    store.record_event(account, TimelineEvent::Resumed, Some("an operator took its mark away")).await?;
    Ok(true)
}
