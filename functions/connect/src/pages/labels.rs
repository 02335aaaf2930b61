//! The texts for states, operations, events and times.

use std::time::Duration;

use maud::{Markup, html};
use model::{checkpoint::ProblemKind, time::DateTime};
use store::TimelineEvent;

use crate::{
    operation::Operation,
    status::{Problem, State, Status},
};

/// The text for a number that is not known.
pub(super) const UNKNOWN: &str = "–";

/// Returns the label of a state.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Fresh => "Fresh",
        State::Backfilling => "Reading history",
        State::New => "Not read yet",
        State::Behind => "Behind",
        State::Failing => "Failing",
        State::Reauthorize => "Needs reconnecting",
        State::Paused => "Paused",
        State::Disconnected => "Disconnected",
    }
}

/// Returns what somebody should do about an account.
pub(super) fn advice(account: &Status) -> String {
    let advice = match account.state {
        State::Reauthorize => "Make a link and send it to the customer.",
        State::Behind => "Sync it now. If many are behind, look at the alarms.",
        State::Paused => "Resume it as soon as it may go on.",
        State::New => "Nothing to do: the next tick of the schedule reads it.",
        State::Failing => return advice_on(account.problems.iter().find(|problem| problem.kind.is_some())),
        State::Fresh => "Nothing to do: it is up to date.",
        State::Backfilling => "Nothing to do: its history is being read, and what changes meanwhile.",
        State::Disconnected => "A new link connects it again.",
    };
    advice.to_owned()
}

fn advice_on(problem: Option<&Problem>) -> String {
    let part = problem.map_or("the records", |problem| &problem.part);
    match problem.and_then(|problem| problem.kind) {
        Some(ProblemKind::Forbidden) => {
            format!("Ask the customer to let the app read {part} again; a new link does that, too.")
        }
        Some(ProblemKind::Absent) => {
            format!("Take {part} out of what is read of the account, or create it in HubSpot.")
        }
        Some(ProblemKind::Unauthorized) => "Wait a minute. If it goes on, send the customer a new link.".to_owned(),
        Some(ProblemKind::Permanent) => "Look at its problems and the log: this does not pass by itself.".to_owned(),
        Some(ProblemKind::Transient) | None => {
            "Wait: it is tried again by itself. If it goes on for an hour, look at the log.".to_owned()
        }
    }
}

/// Returns the label of an operation.
pub(crate) fn button(operation: Operation) -> &'static str {
    match operation {
        Operation::Sync => "Sync now",
        Operation::Pause => "Pause",
        Operation::Resume => "Resume",
        Operation::Resync => "Read everything again",
        Operation::Disconnect => "Disconnect",
    }
}

/// Returns what an operation does, for its confirmation.
pub(super) fn meaning(operation: Operation) -> &'static str {
    match operation {
        Operation::Sync => "The account is checked for changes at once.",
        Operation::Pause => "Nothing is asked of HubSpot for this account until it is resumed.",
        Operation::Resume => "Syncing continues where it stopped.",
        Operation::Resync => {
            "All records are read again from the beginning. What is stored is not stored twice; it takes as \
             long as the first time, and uses HubSpot's limits meanwhile."
        }
        Operation::Disconnect => {
            "The app is uninstalled in HubSpot, which tells the account's administrators by e-mail, and the account's tokens are \
             given back and deleted. What is stored of its records stays. The customer can connect it again."
        }
    }
}

/// Returns what an operation has done. Returns `None` if `name` is not the name of an outcome.
pub(crate) fn done(name: &str) -> Option<&'static str> {
    Some(match name {
        "sync" => "A sync was asked for.",
        "pause" => "The account is paused.",
        "resume" => "The account goes on.",
        "resync" => "Everything is read again.",
        "disconnect" => "The account is disconnected.",
        "owed" => {
            "The account is disconnected. Its access could not be given back to HubSpot yet. This is tried again for seven days; \
             to be sure, let the customer uninstall the app in HubSpot."
        }
        "partly" => {
            "Some object types are read again. There was no time for the others: please read everything again once more."
        }
        "busy" => "A sync of the account is running. Please try again, or pause it first.",
        _ => return None,
    })
}

/// Returns the label of an event.
pub(super) fn event(event: TimelineEvent) -> &'static str {
    match event {
        TimelineEvent::Connected => "Connected",
        TimelineEvent::Disconnected => "Disconnected",
        TimelineEvent::GrantGivenBack => "Its access was given back to HubSpot",
        TimelineEvent::GrantForgotten => "Its access was forgotten, but not given back to HubSpot",
        TimelineEvent::Rejected => "HubSpot rejects its connection",
        TimelineEvent::SyncAsked => "Sync asked for",
        TimelineEvent::ResyncAsked => "Everything is read again",
        TimelineEvent::Paused => "Paused",
        TimelineEvent::Resumed => "Resumed",
        TimelineEvent::Failed => "Sync failed",
        TimelineEvent::BackfillDone => "All of its history was read",
    }
}

/// Returns a duration in the largest unit that is exact enough.
pub(super) fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Returns a rough remaining time.
pub(super) fn left(left: Duration) -> String {
    match left.as_secs() {
        0..60 => "less than a minute left".to_owned(),
        seconds => format!("about {} left", duration(Duration::from_secs(seconds.max(120)))),
    }
}

/// Returns a time, in UTC.
pub(super) fn time(at: DateTime) -> Markup {
    written(at, None)
}

/// Returns a time that the page's script shows relative to now. The server must not: the page would be a different one
/// every second.
pub(super) fn ago(at: DateTime) -> Markup {
    written(at, Some("ago"))
}

fn written(time: DateTime, class: Option<&str>) -> Markup {
    let machine = time.try_to_rfc3339_string().unwrap_or_default();
    let (date, rest) = machine.split_once('T').unwrap_or((&machine, ""));
    let shown = format!("{date} {} UTC", rest.chars().take(8).collect::<String>());
    html! { time class=[class] datetime=(machine) { (shown) } }
}

/// Returns a number with separated thousands.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// Returns a number with its noun, in the plural if it is not 1.
pub(super) fn count(count: i64, thing: &str) -> String {
    format!("{} {thing}{}", number(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_easy_to_read() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(-1_234_567), "-1\u{202f}234\u{202f}567");
        assert_eq!([count(1, "change"), count(1000, "change")], ["1 change", "1\u{202f}000 changes"]);
        let said = [119, 120, 7199, 7200, 172_800].map(|seconds| duration(Duration::from_secs(seconds)));
        assert_eq!(said, ["119 s", "2 min", "119 min", "2 h", "2 days"]);
        let left = [59, 60, 150, 90_000].map(|seconds| left(Duration::from_secs(seconds)));
        assert_eq!(left, ["less than a minute left", "about 2 min left", "about 2 min left", "about 25 h left"]);
    }
}
