//! What is read beside the last pages of a history: records without a time, and the count.

use std::cell::Cell;

use super::{lists::Form, *};

const ROWS: usize = 2_400;

type Counted = Result<Option<i64>, SliceError>;

const PAGE_TOOK: Duration = Duration::from_millis(200);

/// Reads a history. `count` replaces the first count that is requested. Returns how many were.
fn read_counting(world: &mut World, count: Option<fn() -> Counted>) -> (WindowOutcome, usize) {
    let counts = Cell::new(0);
    let outcome = read_but(world, PAGE_TOOK, |job| match job {
        Job::Count { id, .. } => {
            counts.set(counts.get() + 1);
            count.filter(|_| counts.get() == 1).map(|count| Done::Counted { id: *id, count: count() })
        }
        _ => None,
    });
    (outcome, counts.get())
}

fn transient() -> SliceError {
    HubSpotError::Transient { reason: String::new(), retry_after: None }.into()
}

/// The history is read, and was proved at once.
fn assert_is_whole(world: &mut World, seed: u64) {
    world.published.sort_unstable();
    assert!(world.published.iter().copied().eq(0..ROWS), "seed {seed}");
    assert!(world.saved.backfill.mark.is_some() && world.saved.backfill.windows.is_empty(), "seed {seed}");
    assert!(
        world.saved.kept.held.iter().all(|held| held.read == ROWS as i64),
        "seed {seed}: counted after an hour only"
    );
    assert_eq!(world.saved.backfilled.read, ROWS as i64);
}

fn world(seed: u64) -> World {
    World { list: Some(Form::ById), ..World::new(ROWS, seed) }
}

#[tokio::test(start_paused = true)]
async fn one_count_proves_a_history_in_which_nothing_changes() {
    for seed in 0..20 {
        let mut world = world(seed);
        assert_eq!(read_counting(&mut world, None), (WindowOutcome::Closed, 1), "seed {seed}");
        assert_is_whole(&mut world, seed);
        assert!(world.saved.kept.undated && world.saved.kept.again.windows.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_early_count_that_proves_nothing_is_made_again() {
    // A record was deleted before it was read, but after it was counted.
    let deleted = || Ok(Some(ROWS as i64 + 1));
    let counts: [fn() -> Counted; 3] = [deleted, || Err(transient()), || Ok(None)];
    for (seed, count) in (0..20).flat_map(|seed| counts.map(|count| (seed, count))) {
        let mut world = world(seed);
        assert_eq!(read_counting(&mut world, Some(count)), (WindowOutcome::Closed, 2), "seed {seed}");
        assert_is_whole(&mut world, seed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_history_does_not_wait_for_records_without_a_time() {
    let without_rows = || Page {
        date: NOW,
        total: Some(300),
        rows: Vec::new(),
        took: Duration::ZERO,
        next: Some("a page without rows, after which others follow".to_owned()),
    };
    for (seed, has_lists, fails) in
        (0..20).flat_map(|seed| [(seed, true, true), (seed, false, true), (seed, false, false)])
    {
        let mut world = World { list: has_lists.then_some(Form::ById), ..World::new(ROWS, seed) };
        let answer = |job: &Job| match job {
            Job::Search(Search { id, half, window, .. }) if window.undated => {
                let page = if fails { Err(transient()) } else { Ok(Some(without_rows())) };
                Some(Done::Searched { id: *id, half: *half, page })
            }
            _ => None,
        };
        assert_eq!(read_but(&mut world, PAGE_TOOK, answer), WindowOutcome::Closed, "seed {seed}");
        assert_is_whole(&mut world, seed);
        assert_eq!(world.saved.kept.held.len(), 1, "seed {seed}: it is counted again after an hour");
        let left = &world.saved.kept.again.windows;
        assert!(left.len() == 1 && left[0].undated, "seed {seed}: they are read after it");
    }
}
