use hubspot::Record;
use model::{checkpoint::IdOrder, ids::RecordId};

use super::*;

const SETTINGS: Settings = Settings::USUAL;

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
    let next = has_more.then(|| "next".to_owned());
    Page { date: at(date), total: Some(total), rows: ids.iter().map(row).collect(), took: Duration::ZERO, next }
}

/// A lane that was first read at 10,000 s, and whose backfill is complete.
fn met() -> Lane {
    let mut lane = Lane::default();
    next_due(&mut lane, SETTINGS, at(10_000), at(10_000));
    record_first_contact(&mut lane, at(10_000), SETTINGS);
    let all = lane.backfill.windows[0].clone();
    complete(&mut lane.backfill, &all, at(10_000));
    (lane.fresh.mark, lane.checked_at) = (Some(at(10_000)), Some(at(10_000)));
    lane.kept.undated = true;
    lane
}

#[test]
fn a_new_account_is_backfilled_and_then_looked_at() {
    let mut lane = Lane::default();
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_000), at(9_999)), Some(Due::Pass(PassKind::Backfill)));
    assert_eq!(lane.backfill.windows, [Window::new(Window::BEGINNING, None)]);
    record_first_contact(&mut lane, at(10_002), SETTINGS);
    assert_eq!((lane.fresh.mark, lane.settled.mark), (Some(at(10_002)), Some(at(6_402))));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_020), at(9_999)), Some(Due::Pass(PassKind::Backfill)));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_030), at(9_999)), Some(Due::Pass(PassKind::Fresh)));
    assert_eq!(lane.fresh.windows, [Window::new(at(9_702), None)]);
}

#[test]
fn an_account_that_others_pulled_starts_where_they_stopped() {
    let mut lane = Lane { legacy_watermark: Some(at(9_000)), ..Lane::default() };
    next_due(&mut lane, SETTINGS, at(10_000), at(10_000));
    record_first_contact(&mut lane, at(10_000), SETTINGS);
    assert_eq!(lane.backfill.windows, [Window::new(at(9_000), None)]);
    assert_eq!(lane.settled.mark, Some(at(9_000)));
    let mut ahead = Lane { legacy_watermark: Some(at(99_000)), ..Lane::default() };
    next_due(&mut ahead, SETTINGS, at(10_000), at(10_000));
    record_first_contact(&mut ahead, at(10_000), SETTINGS);
    assert_eq!(ahead.settled.mark, Some(at(10_000)));
}

#[test]
fn a_lane_is_looked_at_once_a_run_and_again_when_the_run_is_long() {
    let mut lane = met();
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_010), at(10_000)), None);
    let run_started = at(10_009);
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_010), run_started), Some(Due::Pass(PassKind::Fresh)));
    let looked = lane.fresh.windows[0].clone();
    complete(&mut lane.fresh, &looked, at(10_010));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_011), run_started), None);
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_040), at(10_000)), Some(Due::Pass(PassKind::Fresh)));
    let mut set_back = met();
    assert_eq!(next_due(&mut set_back, SETTINGS, at(9_000), at(10_000)), Some(Due::Pass(PassKind::Fresh)));
}

#[test]
fn the_settled_pass_follows_at_its_distance_in_steps() {
    let mut lane = met();
    lane.fresh.mark = Some(at(10_500));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_010), at(10_000)), None);
    lane.fresh.mark = Some(at(10_600));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_010), at(10_000)), Some(Due::Pass(PassKind::Settled)));
    assert_eq!(lane.settled.windows, [Window::new(at(6_400), Some(at(7_000)))]);
}

#[test]
fn a_window_without_rows_moves_the_mark_to_its_end() {
    let mut lane = met();
    next_due(&mut lane, SETTINGS, at(10_001), at(10_001));
    let mut window = lane.fresh.windows[0].clone();
    validate_page(&mut window, &mut page(&[], 0, false, 10_002)).unwrap();
    complete(&mut lane.fresh, &window, at(10_000));
    assert_eq!(lane.fresh.mark, Some(at(10_003)));
}

/// A window that is held since 1,000 s and counted again at `retry_at`.
fn held(from: i64, to: i64, retry_at: i64) -> Window {
    let hold = Hold { since: at(1_000), tries: 1, retry_at: at(retry_at), unproved: false };
    Window { hold: Some(hold), ..Window::new(at(from), Some(at(to))) }
}

#[test]
fn a_window_that_is_held_holds_up_nothing() {
    let mut lane = met();
    next_due(&mut lane, SETTINGS, at(10_001), at(10_001));
    let window = Window { to: Some(at(10_002)), ..lane.fresh.windows[0].clone() };
    hold(&mut lane, PassKind::Fresh, &window, true, at(10_003));
    assert_eq!((lane.fresh.mark, lane.fresh.windows.len()), (Some(at(10_002)), 0));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_004), at(10_001)), None, "its time has not come");
    lane.backfill.windows = vec![Window::new(at(0), Some(at(1)))];
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_020), at(10_001)), Some(Due::Pass(PassKind::Backfill)));
    let counted = lane.kept.held[0].clone();
    lane.checked_at = Some(at(10_060));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_063), at(10_001)), Some(Due::Count(counted.clone())));
    release(&mut lane, &counted);
    read_again(&mut lane, counted);
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_063), at(10_001)), Some(Due::Pass(PassKind::Again)));
    let again = lane.kept.again.windows[0].clone();
    hold(&mut lane, PassKind::Again, &again, true, at(10_064));
    let hold = lane.kept.held[0].hold.unwrap();
    assert_eq!((hold.since, hold.tries, hold.retry_at), (at(10_003), 2, at(10_064 + 120)));
}

#[test]
fn a_window_that_could_not_be_read_further_goes_on_from_where_it_stands() {
    let mut lane = met();
    let window =
        Window { last_id: Some("7".to_owned()), read: 7, expected: Some(9), ..Window::new(at(0), Some(at(1))) };
    hold(&mut lane, PassKind::Settled, &window, false, at(10_000));
    assert_eq!((lane.kept.held[0].last_id.as_deref(), lane.kept.held[0].read), (Some("7"), 7));
    let held = lane.kept.held[0].clone();
    release(&mut lane, &held);
    read_again(&mut lane, held);
    assert_eq!((lane.kept.again.windows[0].last_id.as_deref(), lane.kept.held.len()), (Some("7"), 0));
}

#[test]
fn records_without_a_time_are_read_once_the_history_is() {
    let mut lane = met();
    lane.kept.undated = false;
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_001), at(10_000)), Some(Due::Pass(PassKind::Again)));
    assert_eq!(lane.kept.again.windows, [Window::of_undated()]);
    let undated = lane.kept.again.windows[0].clone();
    complete(&mut lane.kept.again, &undated, at(10_002));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_003), at(10_000)), None);
}

#[test]
fn a_window_is_held_for_a_day_at_most() {
    let window = held(0, 10, 2_000);
    assert!(!is_held_too_long(&window, at(1_000 + 86_399)));
    assert!(is_held_too_long(&window, at(1_000 + 86_400)));
    assert!(!is_held_too_long(&Window::new(at(0), None), at(1_000_000)));
}

#[test]
fn many_windows_that_are_held_become_fewer() {
    let mut lane = met();
    for index in 0..100 {
        // Each three windows lie close together.
        let from = index * 100 + index % 3;
        hold(&mut lane, PassKind::Settled, &held(from, from + 1, 0), true, at(50_000));
        assert!(lane.kept.held.len() <= 32);
    }
    assert!(!is_worth_halving(&lane));
    let is_held =
        |seconds| lane.kept.held.iter().any(|held| held.from <= at(seconds) && at(seconds) < held.to.unwrap());
    assert!((0..100).all(|index| is_held(index * 100 + index % 3)));
}

#[test]
fn the_history_is_counted_once_more_unless_a_part_of_it_is_held() {
    let mut lane = met();
    lane.backfilled.read = 7;
    recount_later(&mut lane, SETTINGS, at(10_000));
    recount_later(&mut lane, SETTINGS, at(10_000));
    assert_eq!(lane.kept.held.len(), 1);
    assert_eq!((lane.kept.held[0].read, lane.kept.held[0].hold.unwrap().retry_at), (7, at(13_600)));
    let mut lane = met();
    hold(&mut lane, PassKind::Backfill, &Window::new(at(0), Some(at(1))), true, at(10_000));
    recount_later(&mut lane, SETTINGS, at(10_000));
    assert_eq!(lane.kept.held.len(), 1);
}

#[test]
fn other_passes_get_as_much_time_as_a_look_for_changes_took() {
    let mut lane = met();
    lane.backfill.windows = vec![Window::new(at(0), Some(at(1)))];
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_100), at(10_100)), Some(Due::Pass(PassKind::Fresh)));
    let looked = lane.fresh.windows[0].clone();
    complete(&mut lane.fresh, &looked, at(10_131));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_132), at(10_100)), Some(Due::Pass(PassKind::Backfill)));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_160), at(10_140)), Some(Due::Pass(PassKind::Backfill)));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_161), at(10_140)), Some(Due::Pass(PassKind::Fresh)));
    // If nothing else waits, reported changes are looked for at once.
    let mut lane = met();
    lane.fresh.completed_at = Some(at(10_020));
    assert_eq!(next_due(&mut lane, SETTINGS, at(10_021), at(10_021)), Some(Due::Pass(PassKind::Fresh)));
}

#[test]
fn ids_may_come_as_numbers_or_as_text_but_not_both() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    assert_eq!(validate_page(&mut window, &mut page(&["7", "8"], 9, true, 1_000)), Ok(RowCounting::All));
    assert_eq!(window.order, None);
    window.last_id = Some("8".to_owned());
    assert_eq!(validate_page(&mut window, &mut page(&["9", "10"], 9, true, 1_000)), Ok(RowCounting::All));
    assert_eq!(window.order, Some(IdOrder::Numeric));
    window.last_id = Some("10".to_owned());
    assert_eq!(validate_page(&mut window, &mut page(&["100", "11"], 9, true, 1_000)), Err(Disorder));
    let mut lexical = Window::new(at(0), Some(at(1_000)));
    assert_eq!(
        validate_page(&mut lexical, &mut page(&["10", "100", "11", "9"], 4, false, 1_000)),
        Ok(RowCounting::All)
    );
    assert_eq!(lexical.order, Some(IdOrder::Lexical));
}

#[test]
fn a_page_must_go_on_behind_the_last_one() {
    let mut window = Window { last_id: Some("8".to_owned()), ..Window::new(at(0), Some(at(1_000))) };
    assert_eq!(validate_page(&mut window, &mut page(&["8"], 1, false, 1_000)), Err(Disorder));
    let mut twice = page(&["9", "9", "10"], 3, true, 1_000);
    assert_eq!(validate_page(&mut window, &mut twice), Ok(RowCounting::All));
    assert_eq!(twice.rows.len(), 2, "a row that comes twice is one row");
    let long = "90071992547409931";
    assert_eq!(validate_page(&mut window, &mut page(&["99", long], 2, false, 1_000)), Ok(RowCounting::All));
}

#[test]
fn a_window_without_an_end_gets_hubspots_time() {
    let mut window = Window::new(at(0), None);
    assert_eq!(validate_page(&mut window, &mut page(&["1"], 1, false, 700)), Ok(RowCounting::All));
    assert_eq!((window.to, window.expected), (Some(at(701)), Some(1)));
    let mut more = Window::new(at(0), None);
    let mut first = page(&["1", "2"], 9, true, 499);
    let counting = validate_page(&mut more, &mut first).unwrap();
    assert_eq!(more.expected, None);
    assert!(!first.rows.iter().any(|row| counting.counts(row)), "they were modified at its end");
    (more.read, more.last_id) = (2, Some("2".to_owned()));
    validate_page(&mut more, &mut page(&["3"], 1, false, 501)).unwrap();
    assert_eq!((more.to, more.expected), (Some(at(500)), None), "it is counted when it is closed");
}

#[test]
fn rows_may_leave_a_window_but_none_may_be_missing() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    (window.read, window.expected) = (10, Some(10));
    assert!(count_matches(&window));
    window.expected = Some(12);
    assert!(!count_matches(&window));
    assert!(covers(&window, 10));
    assert!(!covers(&window, 11));
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
    bisect_for_reread(pass, &first)
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
    assert_eq!(pass.windows, [moment], "it is for the caller to hold it");
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
    validate_page(&mut window, &mut first).unwrap();
    let mut pass = Pass { windows: vec![window.clone()], ..Pass::default() };
    assert_eq!(split_point(&pass, &window, &first, 1), None, "one reader is enough");
    assert_eq!(split_point(&pass, &window, &first, 2), Some(at(700)));
    (pass.windows[0].last_id, pass.windows[0].read) = (Some("3".to_owned()), 3);
    let read = pass.windows[0].clone();
    let parts = split_window(&read, Some(&"3".to_owned()), at(700));
    replace_with_halves(&mut pass, &read, parts);
    assert_eq!(spans(&pass), [(0, 700_000), (700_000, 1_000_000)]);
    for part in &pass.windows {
        assert_eq!((part.start_id.as_deref(), &part.last_id, part.read, part.expected), (Some("3"), &None, 0, None));
    }
    assert_eq!(
        validate_page(&mut pass.windows[1], &mut page(&["3"], 1, false, 1_000)),
        Err(Disorder),
        "it begins behind 3"
    );
}

#[test]
fn totals_account_for_what_comes_before_a_division_or_do_not() {
    let window = Window::new(at(0), Some(at(1_000)));
    assert!(accounts_for(&window, 1_000, 200, [Some(300), Some(500)]));
    assert!(!accounts_for(&window, 1_000, 199, [Some(300), Some(500)]), "the page leaves a row out");
    assert!(!accounts_for(&window, 1_000, 200, [Some(300), None]), "a part was not asked for");
    let further = Window { read: 200, expected: Some(1_200), ..window };
    assert!(accounts_for(&further, 1_000, 200, [Some(300), Some(500)]));
    let missing = Window { expected: Some(1_201), ..further.clone() };
    assert!(!accounts_for(&missing, 1_000, 200, [Some(300), Some(500)]), "a page before left a row out");
    let unknown = Window { expected: None, ..further };
    assert!(!accounts_for(&unknown, 1_000, 200, [Some(300), Some(500)]));
}

#[test]
fn a_window_is_not_divided_where_that_is_no_use() {
    let mut window = Window::new(at(0), Some(at(1_000)));
    let mut first = page(&["1", "2"], 5_000, true, 1_000);
    validate_page(&mut window, &mut first).unwrap();
    let pass = Pass { windows: vec![window.clone()], ..Pass::default() };
    assert_eq!(split_point(&pass, &window, &first, 2), Some(at(750)), "what is left is behind the page");
    let divided = Window { divisions: MAX_DIVISIONS, ..window.clone() };
    assert_eq!(split_point(&pass, &divided, &first, 2), None, "it was divided often enough");
    let few = page(&["1", "2"], 400, true, 1_000);
    assert_eq!(split_point(&pass, &Window { expected: Some(400), ..window }, &few, 2), None, "a page is left");
}

#[test]
fn the_recycle_bin_is_read_on_its_own_schedule_once_a_run() {
    let mut lane = met();
    let is_due = |lane: &Lane, now| sweep_is_due(lane, SETTINGS, at(now), at(now - 5));
    assert!(!is_due(&lane, 10_599), "it begins with what is in it when the account is met");
    assert!(is_due(&lane, 10_600));
    assert!(is_due(&lane, 9_000), "a clock that was set back does not stop it");
    sweep_page_done(&mut lane.sweep, Some("300".to_owned()), at(10_600));
    assert_eq!(lane.sweep.after.as_deref(), Some("300"));
    assert!(is_due(&lane, 10_601), "what was begun goes on");
    sweep_page_done(&mut lane.sweep, None, at(10_602));
    assert!(!is_due(&lane, 10_603));
    let always = Settings { sweep_every: Some(Duration::ZERO), ..SETTINGS };
    assert!(!sweep_is_due(&lane, always, at(10_603), at(10_600)));
    assert!(sweep_is_due(&lane, always, at(10_604), at(10_604)));
    let never = Settings { sweep_every: None, ..SETTINGS };
    assert!(!sweep_is_due(&lane, never, at(1_000_000), at(1_000_000)));
    let told = Settings { sweep_since: Some(at(20_000)), ..never };
    assert!(sweep_is_due(&lane, told, at(20_001), at(20_001)), "but for what HubSpot tells of");
}

#[test]
fn a_sweep_that_fails_is_put_off_for_longer_each_time_and_begins_anew() {
    let mut lane = met();
    lane.sweep.after = Some("300".to_owned());
    let is_due = |lane: &Lane, now| sweep_is_due(lane, SETTINGS, at(now), at(now - 5));
    postpone_sweep(&mut lane.sweep, "why".to_owned(), at(10_600));
    assert!(!is_due(&lane, 10_659) && is_due(&lane, 10_660));
    postpone_sweep(&mut lane.sweep, "why".to_owned(), at(10_660));
    assert!(!is_due(&lane, 10_779) && is_due(&lane, 10_780));
    assert_eq!(lane.sweep.after.as_deref(), Some("300"));
    postpone_sweep(&mut lane.sweep, "why".to_owned(), at(10_780));
    assert_eq!((lane.sweep.after.as_deref(), lane.sweep.last_error.as_deref()), (None, Some("why")));
    sweep_page_done(&mut lane.sweep, None, at(11_100));
    assert_eq!((lane.sweep.attempts, lane.sweep.retry_at), (0, None));
}

#[test]
fn deletions_that_hubspot_told_of_are_looked_for_by_a_sweep_that_began_later() {
    let mut lane = met();
    lane.sweep.began_at = Some(at(10_005));
    let told = |at| Settings { sweep_since: Some(at), ..SETTINGS };
    assert!(!sweep_is_due(&lane, told(at(10_004)), at(10_010), at(10_000)));
    assert!(sweep_is_due(&lane, told(at(10_006)), at(10_010), at(10_000)));
}
