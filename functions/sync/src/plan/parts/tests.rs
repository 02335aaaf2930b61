//! What is cut, joined and counted.

use hubspot::{Record, Row};
use model::{checkpoint::PassKind, ids::RecordId};

use super::*;
use crate::plan::{bisect_for_reread, complete};

fn at(seconds: i64) -> DateTime {
    DateTime::from_millis(seconds * 1000)
}

fn page(ids: impl Iterator<Item = u64>, total: Option<i64>) -> Page {
    let row = |id: u64| Row {
        id: id.to_string(),
        record: Ok(Record {
            id: RecordId::try_from(id.to_string()).unwrap(),
            created_at: at(0),
            modified_at: at(0),
            archived_at: None,
            properties: serde_json::Map::new(),
        }),
    };
    let next = Some("more".to_owned());
    Page { date: at(10_000), total, rows: ids.map(row).collect(), took: Duration::ZERO, next }
}

/// A lane whose history of 10,000 rows is a window of parts.
fn lane() -> Lane {
    let mut lane = Lane { first_seen: Some(at(10_000)), ..Lane::default() };
    let mut window = Window { expected: Some(10_000), ..Window::new(at(1), Some(at(10_001))) };
    begin_parts(&mut window, at(10_000), Duration::from_secs(3_600));
    lane.backfill.windows = vec![window];
    lane
}

/// Cuts the window at this place.
fn cut(lane: &mut Lane, index: usize, ids: &[u128]) -> Vec<Window> {
    let mut window = lane.backfill.windows[index].clone();
    cut_window(lane.pass_mut(PassKind::Backfill), &mut window, ids)
}

fn ends(lane: &Lane) -> Vec<(Option<&str>, Option<&str>)> {
    lane.backfill.windows.iter().map(|window| (window.start_id.as_deref(), window.end_id())).collect()
}

#[test]
fn what_is_left_is_shared_by_the_rows_and_not_by_the_ids() {
    let (window, search) = (lane().backfill.windows.remove(0), page((0..200).map(|id| 1_000 + 10 * id), Some(10_200)));
    let outlook = Outlook::of(&search).unwrap();
    assert_eq!(outlook.left(&window, f64::MAX), 10_000.0);
    // The last id is 2990. A page is already requested.
    let half = |takers| cuts(&outlook, &window, 1e9, 200, takers, true);
    assert_eq!(half(1), [2_990 + 10 * (200 + 4_900)]);
    assert_eq!(half(2), [2_990 + 10 * (200 + 4_900), 2_990 + 10 * (200 + 7_350)]);
    let third = cuts(&outlook, &window, 1e9, 100, 2, false);
    assert_eq!(third, [2_990 + 10 * (100 + 3_300), 2_990 + 10 * (100 + 6_600)]);
    assert!(half(0).is_empty());
    for (left, shares) in [(300, false), (399, false), (400, true)] {
        let outlook = Outlook::of(&page(1..201, Some(200 + left))).unwrap();
        assert_eq!(!cuts(&outlook, &window, 1e9, 200, 1, true).is_empty(), shares, "{left}");
    }
}

#[test]
fn where_nothing_counts_the_rows_the_ids_do() {
    let mut lane = lane();
    cut(&mut lane, 0, &[5_000]);
    let outlook = Outlook::of(&page((1..=200).map(|id| id * 2), None)).unwrap();
    let window = &lane.backfill.windows[0];
    assert_eq!(outlook.left(window, 1e9), 2_300.0);
    assert_eq!(cuts(&outlook, window, 1e9, 0, 1, true), [400 + 2_300]);
    // The last part has no end: all that is left may be in it.
    assert_eq!(outlook.left(&lane.backfill.windows[1], 700.0), 700.0);
    // The rows of the next page are further apart than all ids that are left: the middle of the ids is a beginning.
    let sparse = Outlook::of(&page((1..=200).map(|id| id * 20), Some(9_000))).unwrap();
    assert_eq!(cuts(&sparse, window, 1e9, 0, 1, true), [4_500]);
    // Of several cuts, one by the rows may come after one by the ids.
    let uneven = Outlook::of(&page((1..=200).map(|id| id * 2), Some(3_000))).unwrap();
    for takers in 1..=4 {
        let cuts = cuts(&uneven, window, 1e9, 0, takers, true);
        assert!(cuts.is_sorted_by(|before, cut| before < cut) && *cuts.last().unwrap() < 5_000, "{cuts:?}");
    }
}

#[test]
fn the_last_page_and_ids_that_are_no_numbers_tell_nothing() {
    let mut last = page(1..10, Some(9));
    last.next = None;
    assert_eq!(Outlook::of(&last), None);
    assert_eq!(Outlook::of(&page(1..2, Some(9))), None);
    let mut odd = page(1..10, Some(90));
    odd.rows[0].id = "x".to_owned();
    assert_eq!(Outlook::of(&odd), None);
}

#[test]
fn parts_have_beginnings_of_their_own_and_are_joined_in_any_order() {
    let orders = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]];
    for order in orders {
        let mut lane = lane();
        assert_eq!(cut(&mut lane, 0, &[400, 600]).len(), 2);
        assert_eq!(cut(&mut lane, 0, &[200]).len(), 1);
        let (ids, windows) = (ends(&lane), lane.backfill.windows.clone());
        let parts = [(None, Some("200")), (Some("400"), Some("600")), (Some("600"), None), (Some("200"), Some("400"))];
        assert_eq!(ids, parts);
        let mut froms: Vec<DateTime> = windows.iter().map(|window| window.from).collect();
        froms.sort_unstable();
        froms.dedup();
        assert_eq!((froms.len(), froms[3]), (4, at(1)), "older releases tell windows apart by them");
        assert!(windows.iter().all(|window| window.expected.is_none()));
        for (index, place) in order.into_iter().enumerate() {
            let mut window = windows[place].clone();
            (window.read, window.last_id) = (100, Some(format!("{place}99")));
            window.part.as_mut().unwrap().countable = 90;
            part_is_read(&mut lane.backfill, &window);
            let left = lane.backfill.windows.iter().filter(|window| !window.part.as_ref().unwrap().is_read).count();
            assert_eq!(left, 3 - index);
        }
        let [whole] = &lane.backfill.windows[..] else { panic!("{:?}", ends(&lane)) };
        assert_eq!((whole.from, whole.read, whole.end_id(), whole.start_id.as_ref()), (at(1), 400, None, None));
        let counted = to_be_counted(whole);
        assert_eq!((counted.from, counted.to, counted.read), (at(1), Some(at(6_400)), 360));
        assert_eq!((counted.part.as_ref(), counted.expected), (None, None));
        complete(&mut lane.backfill, &counted, at(11_000));
        assert_eq!((lane.backfill.windows.len(), lane.backfill.mark), (0, Some(at(10_001))));
    }
}

#[test]
fn a_page_ends_with_its_part() {
    let mut lane = lane();
    cut(&mut lane, 0, &[150]);
    let (mut page, window) = (page(1..201, Some(1_000)), &mut lane.backfill.windows[0]);
    assert_eq!(end_at_part(window, &mut page), Ok(()));
    assert_eq!((page.rows.len(), page.rows[149].id.as_str(), page.has_more()), (150, "150", false));
    window.order = Some(IdOrder::Lexical);
    assert_eq!(end_at_part(window, &mut page), Err(Disorder));
}

#[test]
fn a_part_that_does_not_add_up_is_read_again_up_to_its_own_end() {
    let mut lane = lane();
    cut(&mut lane, 0, &[150]);
    let first = lane.backfill.windows[0].clone();
    assert!(bisect_for_reread(&mut lane.backfill, &first));
    assert_eq!(ends(&lane), [(None, Some("150")), (None, Some("150")), (Some("150"), None)]);
    assert!(!is_part(&lane.backfill.windows[0]) && is_part(&lane.backfill.windows[2]));
    let second = lane.backfill.windows[2].clone();
    assert!(bisect_for_reread(&mut lane.backfill, &second));
    let mut froms: Vec<DateTime> = lane.backfill.windows.iter().map(|window| window.from).collect();
    froms.sort_unstable();
    froms.dedup();
    assert_eq!(froms.len(), 4);
}

#[test]
fn a_history_in_another_order_is_read_again_as_a_whole() {
    let mut lane = lane();
    lane.backfilled.read = 700;
    cut(&mut lane, 0, &[150, 300]);
    lane.backfill.windows[1].read = 200;
    lane.backfill.windows[2].read = 400;
    read_whole(&mut lane);
    let [whole] = &lane.backfill.windows[..] else { panic!("{:?}", ends(&lane)) };
    assert!(whole.from < at(1) && whole.to == Some(at(10_001)));
    assert_eq!((whole.part.as_ref(), whole.read, lane.backfilled.read), (None, 0, 100));
}

#[test]
fn only_a_history_of_which_all_parts_are_there_is_counted_as_a_whole() {
    let mut lane = lane();
    let whole = whole_to_be_counted(&lane.backfill).unwrap();
    cut(&mut lane, 0, &[400, 600]);
    let (first, last) = (lane.backfill.windows[0].clone(), lane.backfill.windows[2].clone());
    part_is_read(&mut lane.backfill, &first);
    lane.backfill.windows.push(Window::of_undated());
    let parts = whole_to_be_counted(&lane.backfill).unwrap();
    assert!(extent(&parts) == extent(&whole) && parts.part.is_none(), "{parts:?}");
    assert_eq!(lane.backfill.windows.len(), 4, "the parts stay as they are");
    // A part that is read again, or was held, is not among them.
    let mut again = lane.backfill.clone();
    again.windows[2].repairs = 1;
    assert!(whole_to_be_counted(&again).is_none());
    lane.backfill.windows.retain(|window| window.from != last.from);
    assert!(whole_to_be_counted(&lane.backfill).is_none());
}

#[test]
fn the_last_part_has_what_the_others_have_not() {
    let mut lane = lane();
    cut(&mut lane, 0, &[5_000]);
    let outlook = Outlook::of(&page((1..=200).map(|id| id * 2), None)).unwrap();
    let [first, last] = [0, 1].map(|index| lane.backfill.windows[index].clone());
    assert_eq!((outlook.rows_of(&first), outlook.rows_of(&last)), (2_500.0, 0.0));
    assert_eq!(outlook.rows_of(&Window { last_id: Some("3000".to_owned()), ..first.clone() }), 1_000.0);
    assert_eq!(["4999", "5000", "5001", "x"].map(|id| is_at_end(&first, id)), [false, true, true, false]);
    assert!(!is_at_end(&last, "9000"));
}
