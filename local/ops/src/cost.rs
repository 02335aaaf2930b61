//! The monthly cost of the service, by AWS service: a small model of measurements (`make bench PART=tick`) and AWS's
//! list prices. `docs/reference/cost.md` explains it.

mod looks;

use anyhow::{Result, ensure};
use clap::Args;
use model::object::ObjectType;

pub use self::looks::looks_per_day;

/// The load of the service.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// HubSpot accounts.
    #[arg(long, default_value_t = 1000)]
    pub accounts: u32,
    /// Records created or changed in a day, in all accounts together.
    #[arg(long, default_value_t = 50_000)]
    pub changes_per_day: u32,
    /// Minutes between two ticks of the schedule.
    #[arg(long, default_value_t = 5)]
    pub tick_minutes: u32,
    /// The object types that are read of each account: their names, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = ObjectType::parse, default_value = "companies,contacts")]
    pub objects: Vec<ObjectType>,
    /// HubSpot tells of all changes by webhook.
    #[arg(long)]
    pub webhooks: bool,
}

/// A line of the bill.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What is paid for.
    pub name: &'static str,
    /// How much of it, in words.
    pub amount: String,
    /// Dollars a month.
    pub dollars: f64,
}

/// AWS's list prices in us-east-1, in dollars, without free tiers. `docs/reference/cost.md` has their pages and date.
mod price {
    pub(super) const LAMBDA_GB_SECOND: f64 = 0.000_016_666_7;
    pub(super) const LAMBDA_REQUEST: f64 = 0.20 / 1e6;
    /// For each 64 KB.
    pub(super) const SQS_REQUEST: f64 = 0.40 / 1e6;
    pub(super) const SCHEDULER_INVOCATION: f64 = 1.00 / 1e6;
    pub(super) const LOG_GB: f64 = 0.50;
    pub(super) const METRIC: f64 = 0.30;
    pub(super) const ALARM: f64 = 0.10;
    pub(super) const DASHBOARD: f64 = 3.00;
    pub(super) const TRACE: f64 = 5.00 / 1e6;
    pub(super) const SECRET: f64 = 0.40;
    pub(super) const SECRET_CALL: f64 = 0.05 / 10_000.0;
    pub(super) const KEY: f64 = 1.00;
    pub(super) const FARGATE_VCPU_HOUR: f64 = 0.040_48;
    pub(super) const FARGATE_GB_HOUR: f64 = 0.004_445;
    /// Airbyte Cloud, for each row of an API source.
    pub(super) const AIRBYTE_ROW: f64 = 15.0 / 1e6;
    pub(super) const AIRBYTE_BASE: f64 = 10.0;
    /// AWS AppFlow, for each run of a flow, as others report it.
    pub(super) const APPFLOW_RUN: f64 = 0.001;
}

/// Measurements, with 150 ms for each request to HubSpot. The sizes of logs include Lambda's own two lines for each
/// invocation.
mod measured {
    /// How long an invocation of sync takes if nothing has changed, in seconds, however many accounts it is for.
    pub(super) const LOOK: f64 = 0.41;
    /// How much processor time an account takes in it, in seconds.
    pub(super) const LOOK_CPU: f64 = 0.002;
    /// The time that a change adds, and the processor time.
    pub(super) const CHANGE: f64 = 0.04;
    pub(super) const CHANGE_CPU: f64 = 0.002;
    /// The duration of a drain of one message with few actions, and its processor time.
    pub(super) const DRAIN: f64 = 0.006;
    pub(super) const DRAIN_CPU: f64 = 0.002;
    /// What an invocation of sync logs, what a slice adds that found something, and what a drain logs, in bytes.
    pub(super) const INVOCATION_LOG: f64 = 1020.0 + 500.0;
    pub(super) const SLICE_LOG: f64 = 625.0;
    pub(super) const DRAIN_LOG: f64 = 421.0 + 500.0;
    /// How many accounts the scheduler sends in a second.
    pub(super) const FAN_OUT: f64 = 13_550.0;
}

/// The number of searches that HubSpot allows an account in a second. Further ones wait.
const SEARCHES_AT_ONCE: f64 = 5.0;
/// How often each object type is searched a second time at a look, in minutes.
const SETTLED_EVERY: f64 = 10.0;

/// How many accounts an invocation works for at most, and how many of them come together. Lambda gives what one request
/// returns, and SQS may return fewer messages than are there. How many these are is not documented, and was not measured.
const ACCOUNTS_AT_ONCE: f64 = 10.0;
const FILLED: f64 = 0.8;

/// The memory of the functions, in GB, as in the template. Lambda gives a whole processor to 1,769 MB.
const SCHEDULER_GB: f64 = 0.25;
const SYNC_GB: f64 = 0.25;
const ACTIONS_GB: f64 = 0.5;
const GB_PER_CPU: f64 = 1.769;
/// How many alarms, metrics and secrets a stack has.
const ALARMS: f64 = 29.0;
const METRICS: f64 = 20.0;
const SECRETS: f64 = 3.0;
const DAYS: f64 = 30.0;
/// Lambda polls each of three queues with five pollers, each for up to 20 seconds at a time.
const EMPTY_RECEIVES_A_DAY: f64 = 3.0 * 5.0 * 86_400.0 / 20.0;
/// X-Ray's default rule samples a twentieth of the requests (and the first of each second, which is ignored here).
const SAMPLED: f64 = 0.05;

/// Returns how long a slice waits for HubSpot's limit of searches, in seconds, on average. Each object type is searched once at
/// each look, and a second time every ten minutes.
fn waits_for_searches(load: &Load) -> f64 {
    let types = load.objects.len() as f64;
    let wait = |searches: f64| (searches - SEARCHES_AT_ONCE).max(0.0) / SEARCHES_AT_ONCE;
    let twice = (f64::from(load.tick_minutes) / SETTLED_EVERY).min(1.0);
    twice * wait(2.0 * types) + (1.0 - twice) * wait(types)
}

/// Returns the bill.
///
/// # Errors
/// The load or the time between ticks is zero.
pub fn bill(load: &Load) -> Result<Vec<Item>> {
    ensure!(load.accounts > 0 && load.tick_minutes > 0, "there must be an account, and a time between ticks");
    ensure!(!load.objects.is_empty(), "there must be an object type");
    let (accounts, changes) = (f64::from(load.accounts), f64::from(load.changes_per_day) * DAYS);
    let ticks = DAYS * 24.0 * 60.0 / f64::from(load.tick_minutes);
    // The model assumes the most expensive case: changes arrive one at a time, spread over the day.
    let of_each = changes / DAYS / accounts;
    let looks = accounts * DAYS * looks_per_day(load.tick_minutes, of_each, load.webhooks);
    let changed = changes.min(looks);
    let messages = changed.max(changes / 100.0);
    // Looks of one tick come together. A webhook comes alone.
    let notified = if load.webhooks { changed } else { 0.0 };
    let together = (looks - notified).max(0.0) / (ACCOUNTS_AT_ONCE * FILLED).min(accounts).max(1.0);
    let invocations = together + notified;
    // For small accounts, a drain rarely receives more than one message.
    let drains = messages;
    let seconds = |wait: f64, cpu: f64, gb: f64| gb * (wait + cpu * GB_PER_CPU / gb);
    // Lambda bills an invocation until the last of its accounts is done.
    let changed_invocations = changed.min(invocations);
    let sync = seconds(
        invocations * (measured::LOOK + waits_for_searches(load)) + changed_invocations * measured::CHANGE,
        looks * measured::LOOK_CPU + changed * measured::CHANGE_CPU,
        SYNC_GB,
    );
    let actions = seconds(drains * measured::DRAIN, drains * measured::DRAIN_CPU, ACTIONS_GB);
    let gb_seconds = SCHEDULER_GB * accounts * ticks / measured::FAN_OUT + sync + actions;
    let invoked = ticks + invocations + drains;
    // The scheduler sends ten messages at a time, and sync's are received and deleted as they come together.
    let requests = (looks - notified) / 10.0 + notified + 2.0 * invocations + messages * 3.0;
    let requests = requests + EMPTY_RECEIVES_A_DAY * DAYS;
    let logs = invocations * measured::INVOCATION_LOG + changed * measured::SLICE_LOG + drains * measured::DRAIN_LOG;
    let log_gb = logs / 1e9;
    let watched = METRICS * price::METRIC + ALARMS * price::ALARM + price::DASHBOARD;
    // Each environment reads the secrets again every five minutes.
    let secret_calls = SECRETS * 3.0 * DAYS * 24.0 * 12.0;
    let item = |name, amount, dollars| Item { name, amount, dollars };
    Ok(vec![
        item("Lambda, duration", format!("{gb_seconds:.0} GB-s"), gb_seconds * price::LAMBDA_GB_SECOND),
        item("Lambda, requests", format!("{invoked:.0}"), invoked * price::LAMBDA_REQUEST),
        item("SQS", format!("{requests:.0} requests"), requests * price::SQS_REQUEST),
        item("EventBridge Scheduler", format!("{ticks:.0} invocations"), ticks * price::SCHEDULER_INVOCATION),
        item("CloudWatch Logs", format!("{log_gb:.1} GB"), log_gb * price::LOG_GB),
        item("CloudWatch metrics, alarms, dashboard", format!("{METRICS:.0}, {ALARMS:.0}, 1"), watched),
        item("X-Ray", format!("{:.0} traces", invoked * SAMPLED), invoked * SAMPLED * price::TRACE),
        item(
            "Secrets Manager",
            format!("{SECRETS:.0} secrets"),
            SECRETS * price::SECRET + secret_calls * price::SECRET_CALL,
        ),
        // Each environment calls KMS once: some cents.
        item("KMS", "1 key".to_owned(), price::KEY),
    ])
}

fn total(load: &Load) -> Result<f64> {
    Ok(bill(load)?.iter().map(|item| item.dollars).sum())
}

/// Returns what the same costs elsewhere, by name.
fn alternatives(load: &Load) -> [(String, f64); 4] {
    let worker = DAYS * 24.0 * (price::FARGATE_VCPU_HOUR + 2.0 * price::FARGATE_GB_HOUR);
    let rows = f64::from(load.changes_per_day) * DAYS;
    let runs = f64::from(load.accounts) * load.objects.len() as f64 * DAYS * 1440.0 / f64::from(load.tick_minutes);
    [
        ("one worker that is always on (Fargate, 1 vCPU, 2 GB), without metrics and logs".to_owned(), worker),
        ("two of them, so that one may fail".to_owned(), 2.0 * worker),
        (
            format!("Airbyte Cloud, {rows:.0} rows of an API source"),
            rows.mul_add(price::AIRBYTE_ROW, price::AIRBYTE_BASE),
        ),
        (format!("AWS AppFlow, {runs:.0} runs, without its price by the GB"), runs * price::APPFLOW_RUN),
    ]
}

/// How many changes an account has in a day, if it is quiet, and if it is busy.
const QUIET: u32 = 1;
const BUSY: u32 = 50;

/// Prints the bill, the cost of alternatives, and the cost of other numbers of accounts.
///
/// # Errors
/// As [`bill`].
pub fn print(load: &Load) -> Result<()> {
    let items = bill(load)?;
    println!(
        "{} accounts of {} object types, {} changes a day, {} webhooks, a tick every {} minutes; us-east-1, x86_64, 30 days, no free tier\n",
        load.accounts,
        load.objects.len(),
        load.changes_per_day,
        if load.webhooks { "with" } else { "without" },
        load.tick_minutes
    );
    println!("| service | a month | $ a month |\n|---|---|---|");
    for Item { name, amount, dollars } in &items {
        println!("| {name} | {amount} | {dollars:.2} |");
    }
    println!("| **all** | | **{:.2}** |\n", total(load)?);
    println!("| instead | $ a month |\n|---|---|");
    for (name, dollars) in alternatives(load) {
        println!("| {name} | {dollars:.2} |");
    }
    println!(
        "\n| accounts | quiet | quiet, webhooks | busy | busy, webhooks | Airbyte Cloud, quiet | busy | AppFlow |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for accounts in [100, 1_000, 10_000, 100_000] {
        let of = |each: u32, webhooks| Load { accounts, changes_per_day: accounts * each, webhooks, ..load.clone() };
        let (quiet, busy) = (of(QUIET, false), of(BUSY, false));
        let [_, _, (_, quiet_rows), (_, runs)] = alternatives(&quiet);
        let [_, _, (_, busy_rows), _] = alternatives(&busy);
        let ours = [&quiet, &of(QUIET, true), &busy, &of(BUSY, true)].map(total);
        let ours: Vec<String> = ours.into_iter().map(|total| Ok(format!("{:.0}", total?))).collect::<Result<_>>()?;
        println!("| {accounts} | {} | {quiet_rows:.0} | {busy_rows:.0} | {runs:.0} |", ours.join(" | "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(accounts: u32, changes_per_day: u32, tick_minutes: u32, objects: &str) -> Load {
        let objects = objects.split(',').map(|name| ObjectType::parse(name).unwrap()).collect();
        Load { accounts, changes_per_day, tick_minutes, objects, webhooks: false }
    }

    fn total(accounts: u32, changes_per_day: u32, tick_minutes: u32) -> f64 {
        super::total(&load(accounts, changes_per_day, tick_minutes, "companies,contacts")).unwrap()
    }

    #[test]
    fn what_is_fixed_is_paid_once_and_what_is_not_grows_with_the_load() {
        let (small, large) = (total(1, 0, 5), total(1000, 50_000, 5));
        assert!(small > 10.0 && small < 25.0, "{small}");
        assert!(large > small && large < 200.0 * small, "{large}");
        assert!(total(1000, 50_000, 10) < large, "fewer ticks cost less");
        assert!(total(1000, 100_000, 5) > large, "more changes cost more");
        assert!(bill(&load(0, 0, 5, "companies")).is_err());
        assert!(bill(&Load { objects: Vec::new(), ..load(1, 0, 5, "companies") }).is_err());
    }

    #[test]
    fn object_types_cost_what_their_searches_wait_for_hubspots_limit() {
        let waits = |objects, minutes| waits_for_searches(&load(1, 0, minutes, objects));
        assert_eq!(waits("companies,contacts", 5), 0.0, "four searches are made at once");
        assert_eq!(waits("companies,contacts,deals", 10), 0.2, "the sixth one waits");
        assert_eq!(waits("companies,contacts,deals", 5), 0.1, "at every other look there are three");
        let seven = "companies,contacts,deals,tickets,products,line_items,2-7";
        assert_eq!(waits(seven, 15), 1.8);
    }
}
