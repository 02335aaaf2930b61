//! What a search has after an id tells how it compares ids.

use super::*;

fn page(ids: &[&str], has_more: bool) -> Page {
    let row = |id: &&str| Row { id: (*id).to_owned(), record: Err(String::new()) };
    let next = has_more.then(|| "more".to_owned());
    Page { date: NOW, total: Some(9), rows: ids.iter().map(row).collect(), took: Duration::ZERO, next }
}

#[tokio::test(start_paused = true)]
async fn each_answer_is_that_of_numbers_that_of_text_or_none() {
    let answers = [
        (Ok(Some(page(&["100"], true))), (true, false)),
        (Ok(Some(page(&["991"], true))), (false, true)),
        (Ok(Some(page(&[], false))), (false, true)),
        (Ok(Some(page(&[], true))), (false, false)),
        (Ok(None), (false, false)),
        (failure(), (false, false)),
    ];
    for (answer, expected) in answers {
        let (budget, tally) = (Budget::start(Duration::from_secs(5), Duration::from_secs(5)), Tally::default());
        let mut state = LaneState::new(World::new(300, 1).saved);
        let tuning = Tuning::new(&budget, &state.lane, 2);
        let case = format!("{answer:?}");
        Reading::new(&mut state, &tuning, &tally).pass.learned_order("99", answer).unwrap();
        let lists = &state.lane.kept.lists;
        assert_eq!((lists.is_numeric, lists.closed.is_some()), expected, "{case}");
    }
}

/// The first page has ids of four digits, as all others.
const IDS: std::ops::Range<usize> = 1_000..3_400;

fn of_one_length(seed: u64) -> World {
    let mut world = World { list: Some(lists::Form::ById), ..World::new(IDS.end, seed) };
    world.modified_at[..IDS.start].fill(-1);
    world
}

type Answer = Result<Option<Page>, SliceError>;

/// Reads a slice of the world. Returns whether the order was asked for.
fn slice(world: &mut World, answer: impl Fn() -> Answer) -> (WindowOutcome, bool) {
    let is_asked = std::cell::Cell::new(false);
    let outcome = read_but(world, Duration::from_millis(200), |job| {
        let Job::LearnOrder { window, after_id } = job else { return None };
        assert!(after_id == "999" && !plan::is_cut(window));
        is_asked.set(true);
        Some(Done::LearnedOrder { after_id: after_id.clone(), page: answer() })
    });
    (outcome, is_asked.get())
}

fn failure() -> Answer {
    Err(HubSpotError::Transient { reason: String::new(), retry_after: None }.into())
}

fn is_complete(world: &World) -> bool {
    let lane = &world.saved;
    lane.backfill.windows.is_empty() && lane.backfilled.read == IDS.len() as i64 && lane.backfill.mark.is_some()
}

#[tokio::test(start_paused = true)]
async fn both_read_while_the_order_is_asked_for_and_nothing_is_complete_before_the_answer() {
    for seed in 0..6 {
        for answers in [1, 2, 4] {
            let mut world = of_one_length(seed);
            for answer in 1..answers {
                let no_answer = || if answer % 2 == 0 { Ok(None) } else { failure() };
                assert_eq!(slice(&mut world, no_answer), (WindowOutcome::OutOfTime, true), "seed {seed}");
                assert!(!is_complete(&world) && !world.saved.kept.lists.is_numeric);
            }
            let numbers = || Ok(Some(page(&["1000"], true)));
            assert_eq!(slice(&mut world, numbers), (WindowOutcome::Closed, true), "seed {seed}");
            assert!(is_complete(&world), "seed {seed}: {:?}", world.saved);
            world.published.sort_unstable();
            assert!(world.published.iter().copied().eq(IDS), "seed {seed}: each row is read once");
            assert!(world.lists * PAGE > IDS.len() / 4 && world.saved.kept.lists.closed.is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_numbers_as_an_answer_the_history_is_read_again_as_one_window() {
    for seed in 0..6 {
        let mut world = of_one_length(seed);
        let text = || Ok(Some(page(&["9991"], false)));
        assert_eq!(slice(&mut world, text), (WindowOutcome::Closed, true), "seed {seed}");
        assert!(is_complete(&world) && world.saved.kept.lists.closed.is_some(), "seed {seed}: {:?}", world.saved);

        let mut world = of_one_length(seed);
        for slices in 1..plan::MAX_ORDER_FAILURES {
            assert_eq!(slice(&mut world, failure), (WindowOutcome::OutOfTime, true), "seed {seed}");
            assert!(!is_complete(&world) && world.saved.kept.lists.order_failures == slices);
        }
        assert_eq!(slice(&mut world, failure), (WindowOutcome::Closed, true), "seed {seed}");
        assert!(is_complete(&world) && world.saved.kept.lists.closed.is_some(), "seed {seed}: {:?}", world.saved);
    }
}

/// The answer comes before anything is cut, and before the first page is published: the checkpoint has no part yet.
#[tokio::test(start_paused = true)]
async fn nothing_is_cut_after_an_early_answer_of_text() {
    let mut world = of_one_length(0);
    let budget = Budget::start(Duration::from_secs(500), Duration::from_secs(500));
    let (mut state, tally) = (LaneState::new(world.saved.clone()), Tally::default());
    let tuning = Tuning::new(&budget, &state.lane, 2);
    tuning.pace.page_took(Duration::from_millis(200));
    let mut reading = Reading::new(&mut state, &tuning, &tally).with_lists(true);
    (reading.pass.lists.pages_per_second, reading.pass.search_rps) = (0.0, 1.0);
    reading.ask().unwrap();
    reading.end(&mut world, is_search);
    let position = reading.jobs.iter().position(|job| matches!(job, Job::LearnOrder { .. })).unwrap();
    reading.jobs.remove(position);
    reading.pass.learned_order("999", Ok(Some(page(&["9991"], false)))).unwrap();
    // The other lane has ended: more searches are free.
    reading.pass.search_rps = 20.0;
    assert_eq!(reading.run(&mut world, |_| None), WindowOutcome::Closed);
    assert!(is_complete(&world) && world.lists == 0, "{:?}", world.saved);
    world.published.sort_unstable();
    assert!(world.published.iter().copied().eq(IDS), "each row is read once");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_concerns_the_account_ends_the_pass() {
    for error in [
        HubSpotError::Unauthorized,
        HubSpotError::RateLimited { policy: hubspot::RateLimit::Secondly, retry_after: None },
    ] {
        let (budget, tally) = (Budget::start(Duration::from_secs(5), Duration::from_secs(5)), Tally::default());
        let mut state = LaneState::new(World::new(300, 1).saved);
        let tuning = Tuning::new(&budget, &state.lane, 2);
        assert!(Reading::new(&mut state, &tuning, &tally).pass.learned_order("99", Err(error.into())).is_err());
        assert_eq!(state.lane.kept.lists.order_failures, 0);
    }
}

/// The rows of a part that cannot be held by itself are read with all others.
#[tokio::test(start_paused = true)]
async fn part_that_fails_before_the_answer_is_read_with_all_others() {
    for seed in 0..6 {
        let mut world = of_one_length(seed);
        let has_failed = std::cell::Cell::new(false);
        let outcome = read_but(&mut world, Duration::from_millis(200), |job| match job {
            Job::LearnOrder { after_id, .. } => Some(Done::LearnedOrder { after_id: after_id.clone(), page: Ok(None) }),
            Job::Search(search) if plan::is_cut(&search.window) && !has_failed.replace(true) => {
                let page = Page { next: Some("more".to_owned()), ..page(&[], true) };
                Some(Done::Searched { id: search.id, half: search.half, page: Ok(Some(page)) })
            }
            _ => None,
        });
        assert!(outcome == WindowOutcome::Closed && has_failed.get(), "seed {seed}");
        assert!(is_complete(&world) && world.saved.kept.lists.closed.is_some(), "seed {seed}: {:?}", world.saved);
        let rows: BTreeSet<usize> = world.published.iter().copied().collect();
        assert!(rows.into_iter().eq(IDS), "seed {seed}");
    }
}
