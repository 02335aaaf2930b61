//! How often an account is looked at for changes (`docs/decisions/0029-a-quiet-account-is-looked-at-less-often.md`).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{self, DateTime};

/// Ticks up to this long before a look is due make it: a message waits a little in its queue, so that two looks are rarely as
/// far apart as their ticks.
const SLACK: Duration = Duration::from_secs(60);

/// An account in which nothing has changed for this many times a pause is looked at after such a pause.
const QUIET_PAUSES: u32 = 12;

/// After this long without a change, the search index has caught up, and webhooks alone are enough.
const SETTLED: Duration = Duration::from_secs(1800);

/// What is known of webhooks counts for this long.
const WEBHOOKS_KNOWN: Duration = Duration::from_secs(86_400);

/// How long after a change its webhook may arrive, or how long before a look finds it.
pub const WEBHOOK_DELAY: Duration = Duration::from_secs(600);

/// When an account that is caught up is looked at again. Until then, ticks leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextLook {
    /// The first tick after this time looks at it.
    pub at: DateTime,
    /// The digest of what the account's entry chooses ([`crate::account::Account::digest`]). If it has changed, the next tick
    /// looks at the account.
    pub entry: i64,
}

/// What the pause between two looks depends on.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// The longest pause (`SYNC_QUIET_SECONDS`). If it is zero, each tick looks at the account.
    pub longest: Duration,
    /// The pause that the account's entry asks for (`lookEverySeconds`), if it does.
    pub wanted: Option<Duration>,
    /// After how long an account counts as behind (`FRESHNESS_ALARM_SECONDS`). No pause is longer than half of it.
    pub behind_after: Duration,
    /// When a change was last published. If none ever was: when the account was first read.
    pub changed_at: DateTime,
    /// When a webhook last arrived.
    pub notified_at: Option<DateTime>,
    /// When a look last found a change that no webhook had reported.
    pub unannounced_at: Option<DateTime>,
}

impl Looks {
    /// Returns when the account is due after a look that began at `began`. Returns `None` if each tick is to look at it.
    pub fn next(&self, began: DateTime, now: DateTime) -> Option<DateTime> {
        let pause = self.pause(now).min(self.behind_after / 2);
        (pause > SLACK).then(|| time::after(began, pause.saturating_sub(SLACK)))
    }

    fn pause(&self, now: DateTime) -> Duration {
        if let Some(wanted) = self.wanted {
            return wanted;
        }
        let quiet = time::between(self.changed_at, now);
        if self.webhooks_work(now) && quiet >= SETTLED {
            self.longest
        } else {
            (quiet / QUIET_PAUSES).min(self.longest)
        }
    }

    /// Returns true if a webhook has arrived within a day, and webhooks have reported all changes of that day.
    fn webhooks_work(&self, now: DateTime) -> bool {
        let is_recent = |at: Option<DateTime>| at.is_some_and(|at| time::between(at, now) < WEBHOOKS_KNOWN);
        is_recent(self.notified_at) && !is_recent(self.unannounced_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const NOW: DateTime = DateTime::from_millis(1_800_000_000_000);

    fn ago(seconds: u64) -> DateTime {
        time::before(NOW, Duration::from_secs(seconds))
    }

    fn looks(changed: u64) -> Looks {
        Looks {
            longest: Duration::from_secs(900),
            wanted: None,
            behind_after: Duration::from_secs(1800),
            changed_at: ago(changed),
            notified_at: None,
            unannounced_at: None,
        }
    }

    /// Returns how many seconds after its look the account is due. 0 is with each tick.
    fn due(looks: Looks) -> u64 {
        looks.next(NOW, NOW).map_or(0, |at| time::between(NOW, at).as_secs())
    }

    #[test]
    fn the_longer_nothing_has_changed_the_longer_is_the_pause_up_to_its_bound() {
        let table = [(0, 0), (5 * MINUTE, 0), (HOUR, 240), (2 * HOUR, 540), (3 * HOUR, 840), (1000 * HOUR, 840)];
        for (changed, pause) in table {
            assert_eq!(due(looks(changed)), pause, "{changed} s after the last change");
        }
        assert_eq!(due(Looks { longest: Duration::ZERO, ..looks(1000 * HOUR) }), 0, "it is switched off");
    }

    #[test]
    fn webhooks_that_tell_of_all_changes_make_the_pause_long_at_once() {
        let told = |at| Looks { notified_at: Some(ago(at)), ..looks(31 * MINUTE) };
        assert_eq!(due(looks(31 * MINUTE)), 95);
        assert_eq!(due(told(31 * MINUTE)), 840);
        assert_eq!(due(Looks { changed_at: ago(29 * MINUTE), ..told(29 * MINUTE) }), 85, "the index may lag");
        assert_eq!(due(told(25 * HOUR)), 95, "they may have stopped");
        assert_eq!(due(Looks { unannounced_at: Some(ago(HOUR)), ..told(HOUR) }), 95, "they do not tell everything");
        assert_eq!(due(Looks { unannounced_at: Some(ago(25 * HOUR)), ..told(HOUR) }), 840);
    }

    #[test]
    fn an_entry_may_ask_for_another_pause_but_for_none_that_raises_the_alarm() {
        let wanted = |seconds, changed| Looks { wanted: Some(Duration::from_secs(seconds)), ..looks(changed) };
        assert_eq!(due(wanted(0, 1000 * HOUR)), 0);
        assert_eq!(due(wanted(600, 0)), 540);
        assert_eq!(due(wanted(HOUR, 0)), 840, "half of the time after which it is behind");
    }
}
