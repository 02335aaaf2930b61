use common::{hubspot::Record, ids::RecordId};

use super::*;

const SETTINGS: Settings = Settings {
    overlap: Duration::from_secs(300),
    settle: Duration::from_secs(3600),
    fresh_every: Duration::from_secs(30),
    sweep_every: Duration::from_secs(600),
};

fn at(seconds: i64) -> DateTime {
    DateTime::from_millis(seconds * 1000)
}

fn page(ids: &[&str], total: i64, has_more: bool, date: i64) -> Page {
    let row = |id: &&str| {
        let id = (*id).to_owned();
        let record = Record {
            id: RecordId::try_from(id.clone()).unwrap(),
            created_at: at(1),
            modified_at: at(500),
            archived_at: None,
            properties: serde_json::Map::new(),
        };
        Row { id, record: Ok(record) }
    };
    Page { date: at(date), total, rows: ids.iter().map(row).collect(), took: Duration::ZERO, has_more }
}

/// A lane that was met at 10,000 s and has its backfill behind it.
fn met() -> Lane {
    let mut lane = Lane::default();
    due(&mut lane, SETTINGS, at(10_000), at(10_000), &[]);
    meet(&mut lane, at(10_000), SETTINGS);
    let all = lane.backfill.windows[0].clone();
    complete(&mut lane.backfill, &all, at(10_000));
    lane.fresh.mark = Some(at(10_000));
    lane.checked_at = Some(at(10_000));
    lane
}

#[test]
fn a_new_account_is_backfilled_and_then_looked_at() {
    let mut lane = Lane::default();
    assert_eq!(due(&mut lane, SETTINGS, at(10_000), at(9_999), &[]), Some(PassKind::Backfill));
    assert_eq!(lane.backfill.windows, [Window::new(Window::BEGINNING, None)]);
    meet(&mut lane, at(10_002), SETTINGS);
    assert_eq!((lane.fresh.mark, lane.settled.mark), (Some(at(10_002)), Some(at(6_402))));
    assert_eq!(due(&mut lane, SETTINGS, at(10_020), at(9_999), &[]), Some(PassKind::Backfill));
    assert_eq!(due(&mut lane, SETTINGS, at(10_030), at(9_999), &[]), Some(PassKind::Fresh));
    assert_eq!(lane.fresh.windows, [Window::new(at(9_702), None)]);
}

#[test]
fn an_account_that_others_pulled_starts_where_they_stopped() {
    let mut lane = Lane { taken_over_from: Some(at(9_000)), ..Lane::default() };
    due(&mut lane, SETTINGS, at(10_000), at(10_000), &[]);
    meet(&mut lane, at(10_000), SETTINGS);
    assert_eq!(lane.backfill.windows, [Window::new(at(9_000), None)]);
    assert_eq!(lane.settled.mark, Some(at(9_000)));
    let mut ahead = Lane { taken_over_from: Some(at(99_000)), ..Lane::default() };
    due(&mut ahead, SETTINGS, at(10_000), at(10_000), &[]);
    meet(&mut ahead, at(10_000), SETTINGS);
    assert_eq!(ahead.settled.mark, Some(at(10_000)));
}

#[test]
fn a_lane_is_looked_at_once_a_run_and_again_when_the_run_is_long() {
    let mut lane = met();
    assert_eq!(due(&mut lane, SETTINGS, at(10_010), at(10_000), &[]), None);
    let run_started = at(10_009);
    assert_eq!(due(&mut lane, SETTINGS, at(10_010), run_started, &[]), Some(PassKind::Fresh));
    let looked = lane.fresh.windows[0].clone();
    complete(&mut lane.fresh, &looked, at(10_010));
    assert_eq!(due(&mut lane, SETTINGS, at(10_011), run_started, &[]), None);
    assert_eq!(due(&mut lane, SETTINGS, at(10_040), at(10_000), &[]), Some(PassKind::Fresh));
    let mut set_back = met();
    assert_eq!(due(&mut set_back, SETTINGS, at(9_000), at(10_000), &[]), Some(PassKind::Fresh));
}

#[test]
fn the_settled_pass_follows_at_its_distance_in_steps() {
    let mut lane = met();
    lane.fresh.mark = Some(at(10_500));
    assert_eq!(due(&mut lane, SETTINGS, at(10_010), at(10_000), &[]), None);
    lane.fresh.mark = Some(at(10_600));
    assert_eq!(due(&mut lane, SETTINGS, at(10_010), at(10_000), &[]), Some(PassKind::Settled));
    assert_eq!(lane.settled.windows, [Window::new(at(6_400), Some(at(7_000)))]);
}

#[test]
fn a_window_without_rows_moves_the_mark_to_its_end() {
    let mut lane = met();
    due(&mut lane, SETTINGS, at(10_001), at(10_001), &[]);
    let mut window = lane.fresh.windows[0].clone();
    accept(&mut window, &page(&[], 0, false, 10_002)).unwrap();
    complete(&mut lane.fresh, &window, at(10_000));
    assert_eq!(lane.fresh.mark, Some(at(10_003)));
}

#[test]
fn a_blocked_pass_does_not_block_the_others() {
    let mut lane = met();
    lane.fresh.windows = vec![Window::new(at(0), Some(at(1)))];
    lane.backfill.windows = vec![Window::new(at(0), Some(at(1)))];
    assert_eq!(due(&mut lane, SETTINGS, at(10_010), at(10_000), &[PassKind::Fresh]), Some(PassKind::Backfill));
    assert!(!is_caught_up(&lane));
}

#[test]
fn ids_may_come_as_numbers_or_as_text_but_not_both() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    assert_eq!(accept(&mut window, &page(&["7", "8"], 9, true, 1_000)), Ok(Counting::All));
    assert_eq!(window.order, None);
    window.last_id = Some("8".to_owned());
    assert_eq!(accept(&mut window, &page(&["9", "10"], 9, true, 1_000)), Ok(Counting::All));
    assert_eq!(window.order, Some(IdOrder::Numeric));
    window.last_id = Some("10".to_owned());
    assert_eq!(accept(&mut window, &page(&["100", "11"], 9, true, 1_000)), Err(Disorder));
    let mut lexical = Window::new(at(0), Some(at(1_000)));
    assert_eq!(accept(&mut lexical, &page(&["10", "100", "11", "9"], 4, false, 1_000)), Ok(Counting::All));
    assert_eq!(lexical.order, Some(IdOrder::Lexical));
}

#[test]
fn a_page_must_go_on_behind_the_last_one() {
    let mut window = Window { last_id: Some("8".to_owned()), ..Window::new(at(0), Some(at(1_000))) };
    assert_eq!(accept(&mut window, &page(&["8"], 1, false, 1_000)), Err(Disorder));
    assert_eq!(accept(&mut window, &page(&[], 5, true, 1_000)), Err(Disorder));
    let long = "90071992547409931";
    assert_eq!(accept(&mut window, &page(&["99", long], 2, false, 1_000)), Ok(Counting::All));
}

#[test]
fn a_window_without_an_end_gets_hubspots_time() {
    let mut window = Window::new(at(0), None);
    assert_eq!(accept(&mut window, &page(&["1"], 1, false, 700)), Ok(Counting::All));
    assert_eq!((window.to, window.expected), (Some(at(701)), Some(1)));
    let mut more = Window::new(at(0), None);
    let first = page(&["1", "2"], 9, true, 499);
    let counting = accept(&mut more, &first).unwrap();
    assert_eq!(more.expected, None);
    assert!(!first.rows.iter().any(|row| counting.counts(row)), "they were modified at its end");
    more.read = 2;
    accept(&mut more, &page(&["3"], 1, false, 501)).unwrap();
    assert_eq!((more.to, more.expected), (Some(at(500)), Some(3)));
}

#[test]
fn rows_may_leave_a_window_but_none_may_be_missing() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    (window.read, window.expected) = (10, Some(10));
    assert!(adds_up(&window));
    window.expected = Some(12);
    assert!(!adds_up(&window));
    assert!(is_complete(&window, 10));
    assert!(!is_complete(&window, 11));
}

#[test]
fn a_window_that_does_not_add_up_is_halved_and_the_mark_waits() {
    let mut pass = Pass { windows: vec![Window::new(at(0), Some(at(10)))], ..Pass::default() };
    assert!(repair_first(&mut pass));
    assert!(repair_first(&mut pass));
    assert_eq!(spans(&pass), [(0, 2500), (2500, 5000), (5000, 10_000)]);
    let [first, second, third] = [0, 1, 2].map(|index| pass.windows[index].clone());
    complete(&mut pass, &third, at(1));
    complete(&mut pass, &first, at(1));
    assert_eq!(pass.mark, None);
    complete(&mut pass, &second, at(1));
    assert_eq!((pass.mark, pass.reached), (Some(at(10)), None), "whatever the order in which they were done");
}

fn repair_first(pass: &mut Pass) -> bool {
    let first = pass.windows[0].clone();
    repair(pass, &first)
}

fn spans(pass: &Pass) -> Vec<(i64, i64)> {
    let span = |window: &Window| (window.from.timestamp_millis(), window.to.unwrap().timestamp_millis());
    pass.windows.iter().map(span).collect()
}

#[test]
fn halving_ends() {
    let moment = Window::new(at(0), Some(DateTime::from_millis(1)));
    let mut pass = Pass { windows: vec![moment.clone()], ..Pass::default() };
    assert!(!repair_first(&mut pass));
    assert_eq!(pass.windows, [moment]);
    let mut pass = Pass { windows: vec![Window::new(at(0), Some(at(1_000_000)))], ..Pass::default() };
    let halvings = (0..100).filter(|_| repair_first(&mut pass)).count();
    assert_eq!(halvings, 12);
}

#[test]
fn a_large_window_is_divided_where_half_of_its_rows_are() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    let mut first = page(&["1", "2", "3"], 5_000, true, 1_000);
    for (row, seconds) in first.rows.iter_mut().zip([900, 700, 0]) {
        row.record.as_mut().unwrap().modified_at = at(seconds);
    }
    accept(&mut window, &first).unwrap();
    let mut pass = Pass { windows: vec![window.clone()], ..Pass::default() };
    assert_eq!(divide_at(&pass, &window, &first, 1), None, "one reader is enough");
    assert_eq!(divide_at(&pass, &window, &first, 2), Some(at(700)));
    (pass.windows[0].last_id, pass.windows[0].read) = (Some("3".to_owned()), 3);
    let read = pass.windows[0].clone();
    let parts = halves(&read, Some(&"3".to_owned()), at(700));
    divide(&mut pass, &read, parts);
    assert_eq!(spans(&pass), [(0, 700_000), (700_000, 1_000_000)]);
    for part in &pass.windows {
        assert_eq!((part.start_id.as_deref(), &part.last_id, part.read, part.expected), (Some("3"), &None, 0, None));
    }
    assert_eq!(accept(&mut pass.windows[1], &page(&["3"], 1, false, 1_000)), Err(Disorder), "it begins behind 3");
}

#[test]
fn a_window_is_not_divided_where_that_loses_sight_of_rows_or_is_no_use() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    let first = page(&["1", "2"], 5_000, true, 1_000);
    accept(&mut window, &first).unwrap();
    let pass = Pass { windows: vec![window.clone()], ..Pass::default() };
    assert_eq!(divide_at(&pass, &window, &first, 2), Some(at(750)), "what is left is behind the page");
    let missing = Window { read: 100, expected: Some(5_200), ..window.clone() };
    assert_eq!(divide_at(&pass, &missing, &first, 2), None, "of 200 rows before only 100 were read");
    let divided = Window { divisions: MAX_DIVISIONS, ..window.clone() };
    assert_eq!(divide_at(&pass, &divided, &first, 2), None, "it was divided often enough");
    let few = page(&["1", "2"], 400, true, 1_000);
    assert_eq!(divide_at(&pass, &Window { expected: Some(400), ..window }, &few, 2), None, "a page is left");
}

#[test]
fn the_recycle_bin_is_read_on_its_own_schedule_once_a_run() {
    let mut lane = met();
    let is_due = |lane: &Lane, now| sweep_is_due(lane, SETTINGS, at(now), at(now - 5));
    assert!(!is_due(&lane, 10_599), "it begins with what is in it when the account is met");
    assert!(is_due(&lane, 10_600));
    assert!(is_due(&lane, 9_000), "a clock that was set back does not stop it");
    swept(&mut lane.sweep, Some("300".to_owned()), at(10_600));
    assert_eq!(lane.sweep.after.as_deref(), Some("300"));
    assert!(is_due(&lane, 10_601), "what was begun goes on");
    swept(&mut lane.sweep, None, at(10_602));
    assert!(!is_due(&lane, 10_603));
    let always = Settings { sweep_every: Duration::ZERO, ..SETTINGS };
    assert!(!sweep_is_due(&lane, always, at(10_603), at(10_600)));
    assert!(sweep_is_due(&lane, always, at(10_604), at(10_604)));
}

#[test]
fn a_sweep_that_is_put_off_begins_anew() {
    let mut sweep = Sweep { after: Some("300".to_owned()), ..Sweep::default() };
    put_off(&mut sweep, "why".to_owned(), at(10_600));
    let expected = Sweep { ended_at: Some(at(10_600)), last_error: Some("why".to_owned()), ..Sweep::default() };
    assert_eq!(sweep, expected);
}
