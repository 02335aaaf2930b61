//! The order of ids: as numbers, or as text. Lists have that of numbers.

use std::cmp::Ordering;

use hubspot::{Page, Row};
use model::checkpoint::{IdOrder, Window};

use super::RowCounting;

/// The rows of a page are in no order of ids. Reading on from its last id might skip some.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disorder;

/// Returns the order of ids, of those possible so far, that also holds for these ids. Returns `None` if both orders do.
///
/// # Errors
/// No order holds.
pub(super) fn compatible_id_order<'a>(
    order: Option<IdOrder>,
    ids: impl Iterator<Item = &'a str>,
) -> Result<Option<IdOrder>, Disorder> {
    let mut numeric = order != Some(IdOrder::Lexical);
    let mut lexical = order != Some(IdOrder::Numeric);
    let mut previous: Option<&str> = None;
    for id in ids {
        if let Some(previous) = previous {
            numeric &= by_number(previous, id) == Ordering::Less;
            lexical &= previous < id;
        }
        previous = Some(id);
    }
    match (numeric, lexical) {
        (true, true) => Ok(None),
        (true, false) => Ok(Some(IdOrder::Numeric)),
        (false, true) => Ok(Some(IdOrder::Lexical)),
        (false, false) => Err(Disorder),
    }
}

/// Compares decimal numbers of any length.
fn by_number(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then(left.cmp(right))
}

/// Validates a page of a list before its rows are published, and removes repeated rows. Lists show records as they are now:
/// those modified after the end of the window do not count towards its total.
///
/// # Errors
/// The ids are not in the order of numbers.
pub(crate) fn validate_list(window: &Window, page: &mut Page) -> Result<RowCounting, Disorder> {
    remove_repeated(page);
    compatible_id_order(Some(IdOrder::Numeric), ids(window, page))?;
    Ok(window.to.map_or(RowCounting::All, RowCounting::Before))
}

/// Removes rows that come twice.
pub(super) fn remove_repeated(page: &mut Page) {
    page.rows.dedup_by(|row, before| row.id == before.id);
}

/// Returns the ids of a page, with the one before it.
pub(super) fn ids<'a>(window: &'a Window, page: &'a Page) -> impl Iterator<Item = &'a str> {
    let before = window.last_id.as_ref().or(window.start_id.as_ref());
    before.into_iter().chain(page.rows.iter().map(|row| &row.id)).map(String::as_str)
}

/// Returns true if the rows of a page have ids as numbers, and cannot have them as text.
pub(crate) fn is_numeric(rows: &[Row]) -> bool {
    compatible_id_order(None, rows.iter().map(|row| row.id.as_str())) == Ok(Some(IdOrder::Numeric))
}

/// Returns an id that is less than one of these as numbers, and greater as text: 99 if there is 100. What HubSpot has after
/// it shows how searches compare ids. Returns `None` if there is none.
pub(crate) fn id_that_tells<'a>(mut ids: impl Iterator<Item = &'a str>) -> Option<String> {
    let below = |id: &str| "9".repeat(id.len().saturating_sub(1));
    ids.find_map(|id| Some(below(id)).filter(|below| !below.is_empty() && id < below.as_str()))
}

/// Returns true if searches compare ids as numbers. `found` is what a search has after [`id_that_tells`].
pub(crate) fn are_compared_as_numbers(id: &str, found: &[Row]) -> bool {
    found.first().is_some_and(|row| row.id.as_str() < id && by_number(id, &row.id) == Ordering::Less)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::time::DateTime;

    use super::*;

    fn page(ids: &[&str]) -> Page {
        let row = |id: &&str| Row { id: (*id).to_owned(), record: Err(String::new()) };
        let rows = ids.iter().map(row).collect();
        Page { date: DateTime::from_millis(0), total: None, rows, took: Duration::ZERO, next: None }
    }

    fn window(last_id: &str) -> Window {
        let to = DateTime::from_millis(1_000);
        Window { last_id: Some(last_id.to_owned()), ..Window::new(DateTime::from_millis(0), Some(to)) }
    }

    #[test]
    fn list_has_the_order_of_numbers_and_counts_rows_of_the_window_alone() {
        for (ids, is_valid) in [(&["99", "100"], true), (&["100", "99"], false), (&["100", "100"], true)] {
            let mut page = page(ids);
            let to = DateTime::from_millis(1_000);
            let accepted = if is_valid { Ok(RowCounting::Before(to)) } else { Err(Disorder) };
            assert_eq!(validate_list(&window("9"), &mut page), accepted, "{ids:?}");
        }
        assert_eq!(validate_list(&window("100"), &mut page(&["99"])), Err(Disorder));
    }

    #[test]
    fn longer_id_after_a_greater_digit_is_in_the_order_of_numbers_alone() {
        for (ids, is) in
            [(&["51", "101"], true), (&["100", "101"], false), (&["10", "100"], false), (&["100", "99"], false)]
        {
            assert_eq!(is_numeric(&page(ids).rows), is, "{ids:?}");
        }
    }

    #[test]
    fn what_comes_after_an_id_tells_how_ids_are_compared() {
        for (ids, id) in [
            (vec!["100", "101", "351"], Some("99")),
            (vec!["1", "101", "87123456789"], Some("99")),
            (vec!["998", "999", "1000"], Some("999")),
            (vec!["7", "8", "9", "99", "990"], None),
            (vec![], None),
        ] {
            assert_eq!(id_that_tells(ids.iter().copied()).as_deref(), id, "{ids:?}");
        }
        for (found, are_numbers) in
            [(vec!["100"], true), (vec!["87123456789"], true), (vec!["991"], false), (vec![], false)]
        {
            assert_eq!(are_compared_as_numbers("99", &page(&found).rows), are_numbers, "{found:?}");
        }
    }
}
