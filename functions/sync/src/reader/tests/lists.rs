//! A history that lists and searches read side by side.

use model::checkpoint::ListDoor;

use super::*;

/// How lists answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// By id, after any id.
    ById,
    /// In descending order.
    Descending,
    /// From the first record on, whatever was asked.
    FromStart,
    /// As if each page were the last one.
    OnePage,
    /// Without this record.
    Without(usize),
    /// With this error, after so many answers.
    Fails(usize, u16),
    /// Not in time, after so many answers.
    Late(usize),
}

impl Form {
    /// Returns true if lists leave rows out, and nothing shows it at once.
    pub(super) fn leaves_out(self) -> bool {
        matches!(self, Self::OnePage | Self::Without(_))
    }
}

impl World {
    pub(super) fn list(&mut self, window: &Window, last_id: Option<String>) -> Result<Option<Page>, SliceError> {
        self.lists += 1;
        let form = self.list.unwrap();
        match form {
            Form::Fails(after, status) if self.lists > after => {
                let (reason, message) = (String::new(), String::new());
                return Err(match status {
                    500.. => HubSpotError::Transient { reason, retry_after: None }.into(),
                    401 => HubSpotError::Unauthorized.into(),
                    _ => HubSpotError::Rejected { status, message }.into(),
                });
            }
            Form::Late(after) if self.lists > after => return Ok(None),
            _ => {}
        }
        let after = last_id.as_ref().or(window.last_id.as_ref()).or(window.start_id.as_ref());
        let after = after.filter(|_| form != Form::FromStart);
        let ids = (Self::first(after)..self.modified_at.len()).filter(|id| form != Form::Without(*id));
        let row = |id: usize| Row { id: id.to_string(), record: Ok(self.record(id)) };
        let mut rows: Vec<Row> = ids.clone().take(PAGE).map(row).collect();
        if form == Form::Descending {
            rows.reverse();
        }
        let next = (ids.count() > PAGE && form != Form::OnePage).then(|| "more".to_owned());
        Ok(Some(Page { date: NOW, total: None, rows, took: Duration::ZERO, next }))
    }
}

/// What is known of lists after a history that was read without failures.
fn known() -> ListDoor {
    ListDoor { is_numeric: true, ..ListDoor::default() }
}

fn published(world: &mut World) -> Vec<usize> {
    let mut published = world.published.clone();
    published.sort_unstable();
    published
}

const ROWS: usize = 2_400;

fn world(form: Form, seed: u64) -> World {
    World { list: Some(form), ..World::new(ROWS, seed) }
}

#[tokio::test(start_paused = true)]
async fn each_row_is_read_once_by_one_of_the_two() {
    for seed in 0..6 {
        let mut world = world(Form::ById, seed);
        assert_eq!(read(&mut world, Duration::from_millis(200)), WindowOutcome::Closed);
        assert!(published(&mut world).into_iter().eq(0..ROWS), "seed {seed}");
        assert!(world.lists * PAGE > ROWS / 4, "seed {seed}: {} lists", world.lists);
        let lane = &world.saved;
        assert_eq!((lane.backfill.windows.len(), lane.backfilled.read), (0, ROWS as i64), "seed {seed}");
        assert!(lane.backfill.mark.is_some() && lane.kept.lists == known());
        assert!(lane.kept.held.iter().all(|held| held.read == ROWS as i64), "it is counted again after an hour");
    }
}

#[tokio::test(start_paused = true)]
async fn slices_that_had_no_time_go_on_with_both() {
    for seed in 0..6 {
        let (mut world, mut slices) = (world(Form::Late(2), seed), 0);
        while !world.saved.backfill.windows.is_empty() || slices == 0 {
            world.searches = 2 + world.chance(6);
            world.lists = world.chance(3);
            read(&mut world, Duration::from_millis(200));
            slices += 1;
            assert!(slices < 200, "seed {seed}: {:?}", world.saved.backfill);
        }
        let published: BTreeSet<usize> = world.published.iter().copied().collect();
        assert_eq!(published.len(), ROWS, "seed {seed}");
        assert!(world.saved.backfill.mark.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn searches_read_what_lists_do_not() {
    let forms = [
        (Form::Descending, true),
        (Form::FromStart, true),
        (Form::Fails(0, 500), false),
        (Form::Fails(3, 500), false),
        (Form::Fails(3, 414), true),
        (Form::Late(3), false),
    ];
    for (form, closes) in forms {
        for seed in 0..4 {
            let mut world = world(form, seed);
            assert_eq!(read(&mut world, Duration::from_millis(200)), WindowOutcome::Closed);
            let rows: BTreeSet<usize> = world.published.iter().copied().collect();
            assert_eq!(rows.len(), ROWS, "{form:?}, seed {seed}");
            assert_eq!(world.saved.kept.lists.closed.is_some(), closes, "{form:?}");
            assert!(world.saved.backfill.mark.is_some(), "{form:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_lists_leave_out_are_missed_in_the_count_and_read_again() {
    for form in [Form::Without(ROWS - 1), Form::Without(ROWS * 3 / 4), Form::OnePage] {
        let mut world = world(form, 3);
        assert_eq!(read(&mut world, Duration::from_millis(200)), WindowOutcome::Closed);
        let rows: BTreeSet<usize> = world.published.iter().copied().collect();
        assert!(rows.len() < ROWS, "{form:?}");
        let is_counted_soon = |held: &Window| {
            held.start_id.is_none()
                && held.part.is_none()
                && held.hold.unwrap().is_unproved()
                && held.read < ROWS as i64
        };
        assert!(world.saved.kept.held.iter().any(is_counted_soon), "{form:?}: {:?}", world.saved.kept.held);
    }
}

#[tokio::test(start_paused = true)]
async fn after_some_failures_lists_are_used_no_more() {
    let mut world = world(Form::Fails(0, 503), 1);
    for slice in 1..=plan::MAX_LIST_FAILURES {
        world.searches = 2;
        read(&mut world, Duration::from_millis(200));
        assert_eq!(world.saved.kept.lists.failures, slice);
    }
    assert!(world.saved.kept.lists.closed.is_some());
    world.searches = usize::MAX;
    let lists = world.lists;
    assert_eq!(read(&mut world, Duration::from_millis(200)), WindowOutcome::Closed);
    assert_eq!(world.lists, lists);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_token_ends_the_pass() {
    let mut world = world(Form::Fails(1, 401), 0);
    let budget = Budget::start(Duration::from_secs(5), Duration::from_secs(5));
    let (mut state, tally) = (LaneState::new(world.saved.clone()), Tally::default());
    let tuning = Tuning::new(&budget, &state.lane, 2);
    let mut reading = Reading::new(&mut state, &tuning, &tally).with_lists(true);
    let failed = loop {
        if let Err(error) = reading.ask() {
            break error;
        }
        let job = reading.jobs.remove(0);
        if let Err(error) = reading.pass.take(world.perform(job)) {
            break error;
        }
    };
    assert!(matches!(failed, SliceError::HubSpot(HubSpotError::Unauthorized)));
}
