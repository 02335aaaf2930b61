//! Properties that are chosen later than their object type.

use std::collections::BTreeSet;

use model::checkpoint::{Backfilled, CalculatedProperties, ChosenProperties, ListDoor, Pass};

use super::{DateTime, Lane, Window, start};

/// Records the properties that are read of a lane. If some are new, the lane's history is read again, and the records that
/// have one of them are published again. Returns true if the lane has changed: it is saved before anything is published,
/// because the actions' ids have the time of the choice.
pub(crate) fn choose_properties(lane: &mut Lane, names: &[String], now: DateTime) -> bool {
    let names: BTreeSet<&String> = names.iter().collect();
    let chosen = |names: BTreeSet<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    let Some(before) = lane.kept.properties.take() else {
        lane.kept.properties = Some(ChosenProperties { names: chosen(names), ..ChosenProperties::default() });
        return false;
    };
    if names.iter().copied().eq(&before.names) {
        lane.kept.properties = Some(before);
        return false;
    }
    let is_new = |name: &&String| !before.names.contains(*name);
    let mut added: BTreeSet<&String> = names.iter().copied().filter(is_new).collect();
    let reads_again = !added.is_empty() && lane.first_seen.is_some();
    let (added, added_at) = if reads_again {
        // Those that were added before have not reached all records yet.
        if lane.has_history_to_read() {
            added.extend(before.added.iter().filter(|name| names.contains(*name)));
        } else {
            lane.backfilled = Backfilled::default();
        }
        // Rows that are read again count twice, so the history cannot be counted as a whole.
        lane.backfilled.from = None;
        lane.backfill = Pass { windows: vec![Window::new(start(lane), None)], ..Pass::default() };
        lane.kept.undated = false;
        lane.kept.lists = ListDoor::default();
        (chosen(added), Some(now))
    } else {
        (before.added.clone(), before.added_at)
    };
    lane.kept.properties = Some(ChosenProperties { names: chosen(names), added, added_at });
    true
}

/// Records which of the properties that are read HubSpot calculates, according to its list. If the history of the lane is
/// still to be read, their values are read with it, and compared only later.
pub(crate) fn learn_calculated(lane: &mut Lane, names: Vec<String>, now: DateTime) {
    let mut comparison = lane.kept.calculated.take().unwrap_or_default().comparison;
    if lane.has_history_to_read() {
        comparison.ended_at.get_or_insert(now);
    }
    lane.kept.calculated = Some(CalculatedProperties { names, learned_at: Some(now), comparison });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1000)
    }

    fn names(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    /// A lane that has read its history with these properties.
    fn read_with(chosen: &str) -> Lane {
        let mut lane = Lane { first_seen: Some(at(50)), ..Lane::default() };
        assert!(!choose_properties(&mut lane, &names(chosen), at(50)), "there is nothing to read again");
        lane.kept.undated = true;
        lane
    }

    #[test]
    fn a_property_that_is_chosen_later_reads_the_history_again() {
        let mut lane = read_with("b a");
        assert!(!choose_properties(&mut lane, &names("a b"), at(60)));
        assert!(!lane.has_history_to_read());
        assert!(choose_properties(&mut lane, &names("a b c"), at(70)));
        assert_eq!(lane.backfill.windows, [Window::new(Window::BEGINNING, None)]);
        assert!(!lane.kept.undated);
        let expected = ChosenProperties { names: names("a b c"), added: names("c"), added_at: Some(at(70)) };
        assert_eq!(lane.kept.properties, Some(expected));
        assert!(!choose_properties(&mut lane, &names("a b c"), at(80)));
    }

    #[test]
    fn what_was_added_before_the_history_was_read_again_is_still_added() {
        let mut lane = read_with("a");
        choose_properties(&mut lane, &names("a b x"), at(70));
        choose_properties(&mut lane, &names("a b c"), at(80));
        let properties = lane.kept.properties.clone().unwrap();
        assert_eq!((properties.added, properties.added_at), (names("b c"), Some(at(80))));
        lane.backfill = Pass::default();
        choose_properties(&mut lane, &names("a b c d"), at(90));
        assert_eq!(lane.kept.properties.unwrap().added, ["d"]);
    }

    #[test]
    fn a_property_that_is_no_longer_chosen_reads_nothing_again() {
        let mut lane = read_with("a b");
        assert!(choose_properties(&mut lane, &names("a"), at(70)));
        assert!(!lane.has_history_to_read());
        assert!(choose_properties(&mut lane, &names("a b"), at(80)), "it may have changed meanwhile");
        assert!(lane.has_history_to_read());
    }

    #[test]
    fn an_object_type_that_was_never_read_has_no_history_to_read_again() {
        let mut lane = Lane::default();
        choose_properties(&mut lane, &names("a"), at(60));
        assert!(choose_properties(&mut lane, &names("a b"), at(70)));
        assert!(lane.backfill.windows.is_empty());
        assert_eq!(lane.kept.properties.unwrap().added_at, None);
    }
}
