//! The monthly cost of the service, by AWS service: a small model of measurements (`make bench PART=tick`) and AWS's
//! list prices. `docs/reference/cost.md` explains it.

use anyhow::{Result, ensure};
use clap::Args;
use model::object::ObjectType;

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
}

/// Measurements, with 150 ms for each request to HubSpot. The sizes of logs include Lambda's own two lines for each
/// invocation.
mod measured {
    /// The duration of a slice without changes, in seconds.
    pub(super) const SLICE: f64 = 0.44;
    /// The time that a change adds to it, in seconds.
    pub(super) const SLICE_CHANGED: f64 = 0.05;
    /// The duration of a drain of one message with few actions, in seconds.
    pub(super) const DRAIN: f64 = 0.01;
    /// What a slice and a drain log, in bytes.
    pub(super) const SLICE_LOG: f64 = 1680.0 + 500.0;
    pub(super) const DRAIN_LOG: f64 = 790.0 + 500.0;
    /// How many accounts the scheduler sends in a second.
    pub(super) const FAN_OUT: f64 = 13_550.0;
}

/// The number of searches that HubSpot allows an account in a second. Further ones wait.
const SEARCHES_AT_ONCE: f64 = 5.0;
/// How often each object type is searched a second time at a look, in minutes.
const SETTLED_EVERY: f64 = 10.0;

/// The memory of the functions, in GB, as in the template.
const SCHEDULER_GB: f64 = 0.25;
const SYNC_GB: f64 = 0.25;
const ACTIONS_GB: f64 = 0.5;
/// How many alarms, metrics and secrets a stack has.
const ALARMS: f64 = 28.0;
const METRICS: f64 = 39.0;
const SECRETS: f64 = 3.0;
const DAYS: f64 = 30.0;
/// Lambda polls each of two queues with five pollers, each for up to 20 seconds at a time.
const EMPTY_RECEIVES_A_DAY: f64 = 2.0 * 5.0 * 86_400.0 / 20.0;
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
    let slices = accounts * ticks;
    // The model assumes the most expensive case: changes arrive one at a time, spread over the ticks.
    let changed = changes.min(slices);
    let messages = changed.max(changes / 100.0);
    // For small accounts, a drain rarely receives more than one message.
    let drains = messages;
    let gb_seconds = SCHEDULER_GB * slices / measured::FAN_OUT
        + SYNC_GB * (slices * (measured::SLICE + waits_for_searches(load)) + changed * measured::SLICE_CHANGED)
        + ACTIONS_GB * drains * measured::DRAIN;
    let invocations = ticks + slices + drains;
    // Messages are sent ten at a time by the scheduler, and received and deleted one by one.
    let requests = slices * (0.1 + 2.0) + messages * 3.0 + EMPTY_RECEIVES_A_DAY * DAYS;
    let log_gb = (slices * measured::SLICE_LOG + drains * measured::DRAIN_LOG) / 1e9;
    let watched = METRICS * price::METRIC + ALARMS * price::ALARM + price::DASHBOARD;
    // Each environment reads the secrets again every five minutes.
    let secret_calls = SECRETS * 3.0 * DAYS * 24.0 * 12.0;
    let item = |name, amount, dollars| Item { name, amount, dollars };
    Ok(vec![
        item("Lambda, duration", format!("{gb_seconds:.0} GB-s"), gb_seconds * price::LAMBDA_GB_SECOND),
        item("Lambda, requests", format!("{invocations:.0}"), invocations * price::LAMBDA_REQUEST),
        item("SQS", format!("{requests:.0} requests"), requests * price::SQS_REQUEST),
        item("EventBridge Scheduler", format!("{ticks:.0} invocations"), ticks * price::SCHEDULER_INVOCATION),
        item("CloudWatch Logs", format!("{log_gb:.1} GB"), log_gb * price::LOG_GB),
        item("CloudWatch metrics, alarms, dashboard", format!("{METRICS:.0}, {ALARMS:.0}, 1"), watched),
        item("X-Ray", format!("{:.0} traces", invocations * SAMPLED), invocations * SAMPLED * price::TRACE),
        item(
            "Secrets Manager",
            format!("{SECRETS:.0} secrets"),
            SECRETS * price::SECRET + secret_calls * price::SECRET_CALL,
        ),
        // Each environment calls KMS once: some cents.
        item("KMS", "1 key".to_owned(), price::KEY),
    ])
}

/// Prints the bill, and the cost of alternatives.
///
/// # Errors
/// As [`bill`].
pub fn print(load: &Load) -> Result<()> {
    let items = bill(load)?;
    println!(
        "{} accounts of {} object types, {} changes a day, a tick every {} minutes; us-east-1, x86_64, 30 days, no free tier\n",
        load.accounts,
        load.objects.len(),
        load.changes_per_day,
        load.tick_minutes
    );
    println!("| service | a month | $ a month |\n|---|---|---|");
    for Item { name, amount, dollars } in &items {
        println!("| {name} | {amount} | {dollars:.2} |");
    }
    let total: f64 = items.iter().map(|item| item.dollars).sum();
    println!("| **all** | | **{total:.2}** |\n");
    let worker = DAYS * 24.0 * (price::FARGATE_VCPU_HOUR + 2.0 * price::FARGATE_GB_HOUR);
    let rows = f64::from(load.changes_per_day) * DAYS;
    println!("| instead | $ a month |\n|---|---|");
    println!("| one worker that is always on (Fargate, 1 vCPU, 2 GB), without metrics and logs | {worker:.2} |");
    println!("| two of them, so that one may fail | {:.2} |", 2.0 * worker);
    println!(
        "| Airbyte Cloud, {rows:.0} rows of an API source | {:.2} |",
        rows.mul_add(price::AIRBYTE_ROW, price::AIRBYTE_BASE)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(accounts: u32, changes_per_day: u32, tick_minutes: u32, objects: &str) -> Load {
        let objects = objects.split(',').map(|name| ObjectType::parse(name).unwrap()).collect();
        Load { accounts, changes_per_day, tick_minutes, objects }
    }

    fn total(accounts: u32, changes_per_day: u32, tick_minutes: u32) -> f64 {
        let load = load(accounts, changes_per_day, tick_minutes, "companies,contacts");
        bill(&load).unwrap().iter().map(|item| item.dollars).sum()
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
