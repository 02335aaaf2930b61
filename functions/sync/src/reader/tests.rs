//! Passes are read with jobs that end in any order, against rows in memory.

use std::{collections::BTreeSet, time::Duration};

use hubspot::{HubSpotError, Page, Record, Row};
use model::{
    checkpoint::{Lane, PassKind, Window},
    ids::RecordId,
    object::ObjectType,
    time::DateTime,
};

mod last;
mod lists;
mod order;

use super::{
    doors::Lists,
    job::{Done, Job, PublishedBatch, Search},
    pass::PassReader,
};
use crate::{
    batch::BATCH_ROWS,
    budget::Budget,
    error::SliceError,
    lane::WindowOutcome,
    ledger::{PublishLedger, PublishTerms},
    plan::{self, RowCounting, Settings},
    preparation::Prepared,
    state::LaneState,
    tally::Tally,
    tuning::Tuning,
};

const SETTINGS: Settings = Settings { sweep_every: None, ..Settings::USUAL };

/// When HubSpot answers.
const NOW: DateTime = DateTime::from_millis(100_000_000);

/// The rows of HubSpot's pages.
const PAGE: usize = 130;

/// A HubSpot in memory, and what came of a lane that is read from it.
struct World {
    /// When each record was modified, by its id. Less than 0 if there is no such record.
    modified_at: Vec<i64>,
    published: Vec<usize>,
    saved: Lane,
    /// The effects, in order: `m` if rows were marked as pending, `p` for a batch, `s` for a checkpoint.
    effects: String,
    /// How many searches are answered before there is no time left.
    searches: usize,
    /// Chooses the job that ends next.
    seed: u64,
    /// True if pages are sometimes prepared in parts.
    has_parts: bool,
    /// How lists answer. `None` if they are not used.
    list: Option<lists::Form>,
    /// How many lists were requested.
    lists: usize,
}

impl World {
    fn new(records: usize, seed: u64) -> Self {
        let modified_at = (0..records).map(|id| 1_000_000 + (id as i64 * 7_919) % 1_000_000).collect();
        let (mut saved, searches) = (Lane::default(), usize::MAX);
        plan::next_due(&mut saved, SETTINGS, NOW, NOW);
        let (published, effects, has_parts) = (vec![], String::new(), seed > 0);
        Self { modified_at, published, saved, effects, searches, seed, has_parts, list: None, lists: 0 }
    }

    fn chance(&mut self, choices: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % choices
    }

    fn holds(&self, window: &Window, id: usize) -> bool {
        let at = DateTime::from_millis(self.modified_at[id]);
        let is_before_end = window.end_id().is_none_or(|end| id <= end.parse().unwrap());
        window.from <= at && window.to.is_none_or(|to| at < to) && is_before_end
    }

    fn is_behind(last_id: Option<&String>, id: usize) -> bool {
        Self::first(last_id) <= id
    }

    /// The least id after this one.
    fn first(last_id: Option<&String>) -> usize {
        last_id.map_or(0, |last| last.parse::<usize>().unwrap() + 1)
    }

    fn search(&mut self, search: &Search) -> Option<Page> {
        self.searches = self.searches.checked_sub(1)?;
        let window = &search.window;
        let after = search.last_id.as_ref().or(window.last_id.as_ref()).or(window.start_id.as_ref());
        let ids = (Self::first(after)..self.modified_at.len()).filter(|id| self.holds(window, *id));
        let row = |id: usize| Row { id: id.to_string(), record: Ok(self.record(id)) };
        let (rows, total) = (ids.clone().take(PAGE).map(row).collect(), ids.count());
        let next = (total > PAGE).then(|| "more".to_owned());
        Some(Page { date: NOW, total: Some(total as i64), rows, took: Duration::ZERO, next })
    }

    fn record(&self, id: usize) -> Record {
        Record {
            id: RecordId::try_from(id.to_string()).unwrap(),
            created_at: DateTime::from_millis(1),
            modified_at: DateTime::from_millis(self.modified_at[id]),
            archived_at: None,
            properties: serde_json::Map::new(),
        }
    }

    /// A crash right now would lose nothing: what is not published is still to be read.
    fn assert_nothing_is_lost(&self) {
        if self.list.is_some_and(lists::Form::leaves_out) {
            return;
        }
        let published: BTreeSet<usize> = self.published.iter().copied().collect();
        let is_unread = |window: &&Window| !plan::is_read(window);
        let first = |window: &Window| Self::first(window.last_id.as_ref().or(window.start_id.as_ref()));
        let windows = self.saved.backfill.windows.iter().filter(is_unread);
        let windows: Vec<(usize, &Window)> = windows.map(|window| (first(window), window)).collect();
        let exists = |id: &usize| self.modified_at[*id] >= 0;
        for id in (0..self.modified_at.len()).filter(exists).filter(|id| !published.contains(id)) {
            let is_to_be_read = windows.iter().any(|(first, window)| *first <= id && self.holds(window, id));
            assert!(is_to_be_read, "{id} is lost: {:?}", self.saved.backfill);
        }
    }

    fn perform(&mut self, job: Job) -> Done {
        match job {
            Job::Search(search) => {
                let page = Ok(self.search(&search));
                Done::Searched { id: search.id, half: search.half, page }
            }
            Job::List { id, window, last_id, .. } => {
                Done::Searched { id, half: None, page: self.list(&window, last_id) }
            }
            Job::LearnOrder { .. } => panic!("the first page shows it"),
            Job::Prepare { id, preparation } => {
                let mut rows = preparation.rows;
                let ledger = PublishLedger::new(ObjectType::COMPANIES, PublishTerms::default(), [].into());
                let rest =
                    if self.has_parts && self.chance(4) == 0 { rows.split_off(rows.len().div_ceil(2)) } else { vec![] };
                Done::Prepared { id, prepared: Ok(Prepared { rows, ledger, rest }) }
            }
            Job::Count { id, window, up_to_id, .. } => {
                let is_counted = |id: &usize| up_to_id.as_ref().is_none_or(|last| !Self::is_behind(Some(last), *id));
                let ids = (0..self.modified_at.len()).filter(|id| self.holds(&window, *id));
                let ids = ids.filter(|id| Self::is_behind(window.start_id.as_ref(), *id)).filter(is_counted);
                Done::Counted { id, count: Ok(Some(ids.count() as i64)) }
            }
            Job::Mark(publication) => {
                self.effects.push('m');
                Done::Marked { publication, marked: Ok(()) }
            }
            Job::Publish(mut publication) => {
                self.effects.push('p');
                let rest = publication.rows.split_off(publication.rows.len().min(BATCH_ROWS));
                let rows = std::mem::replace(&mut publication.rows, rest);
                let read = rows.iter().filter(|row| publication.counting.counts(row)).count() as i64;
                self.published.extend(rows.iter().map(|row| row.id.parse::<usize>().unwrap()));
                let last_id = rows.last().map(|row| row.id.clone());
                let is_countable =
                    |row: &&Row| publication.counted_to.is_some_and(|to| RowCounting::Before(to).counts(row));
                let countable = rows.iter().filter(is_countable).count() as i64;
                let (is_read, marks, set_aside_until) = (true, vec![], None);
                let batch = PublishedBatch { read, countable, last_id, is_read, marks, set_aside_until };
                Done::Published { publication, batch: Ok(batch) }
            }
            Job::Save(lane) => {
                self.effects.push('s');
                self.saved = *lane;
                Done::Saved(Ok(()))
            }
        }
    }
}

/// A pass that is read from a world, with the jobs under way.
struct Reading<'a> {
    pass: PassReader<'a>,
    jobs: Vec<Job>,
}

impl<'a> Reading<'a> {
    fn with_lists(mut self, are_allowed: bool) -> Self {
        self.pass.lists = Lists { are_allowed, pages_per_second: 5.5, ..Lists::default() };
        self
    }

    fn new(state: &'a mut LaneState, tuning: &'a Tuning<'a>, tally: &'a Tally) -> Self {
        let mut pass = PassReader::new(PassKind::Backfill, ObjectType::COMPANIES, state, tuning, tally, SETTINGS);
        pass.search_rps = 5.0;
        Self { pass, jobs: vec![] }
    }

    fn ask(&mut self) -> Result<(), SliceError> {
        self.jobs.extend(self.pass.next_jobs()?);
        let writes = self.jobs.iter().filter(|job| matches!(job, Job::Publish(_) | Job::Save(_))).count();
        assert!(writes <= 1, "one thing at a time is written");
        Ok(())
    }

    fn has(&self, is: impl Fn(&Job) -> bool) -> bool {
        self.jobs.iter().any(is)
    }

    /// Does the first such job.
    fn end(&mut self, world: &mut World, is: impl Fn(&Job) -> bool) {
        let job = self.jobs.remove(self.jobs.iter().position(is).unwrap());
        self.pass.take(world.perform(job)).unwrap();
        self.ask().unwrap();
    }

    /// Does jobs in any order, until nothing is left to do. `instead` replaces what a job would give.
    fn run(&mut self, world: &mut World, instead: impl Fn(&Job) -> Option<Done>) -> WindowOutcome {
        self.ask().unwrap();
        while !self.jobs.is_empty() {
            let job = self.jobs.swap_remove(world.chance(self.jobs.len()));
            let is_saved = matches!(job, Job::Save(_));
            let done = instead(&job).unwrap_or_else(|| world.perform(job));
            self.pass.take(done).unwrap();
            if is_saved {
                world.assert_nothing_is_lost();
            }
            self.ask().unwrap();
        }
        self.pass.outcome()
    }
}

fn is_search(job: &Job) -> bool {
    matches!(job, Job::Search(_))
}

fn is_publish(job: &Job) -> bool {
    matches!(job, Job::Publish(_))
}

/// Reads the backfill of a world as far as its searches allow.
fn read(world: &mut World, page_took: Duration) -> WindowOutcome {
    read_but(world, page_took, |_| None)
}

/// Does the same. `instead` as for [`Reading::run`].
fn read_but(world: &mut World, page_took: Duration, instead: impl Fn(&Job) -> Option<Done>) -> WindowOutcome {
    let budget = Budget::start(Duration::from_secs(500), Duration::from_secs(500));
    let (mut state, tally) = (LaneState::new(world.saved.clone()), Tally::default());
    let tuning = Tuning::new(&budget, &state.lane, 2);
    tuning.pace.page_took(page_took);
    Reading::new(&mut state, &tuning, &tally).with_lists(world.list.is_some()).run(world, instead)
}

#[tokio::test(start_paused = true)]
async fn a_pass_is_read_whole_in_whatever_order_its_jobs_end() {
    for seed in 0..40 {
        let mut world = World::new(900, seed);
        assert_eq!(read(&mut world, Duration::from_millis(600)), WindowOutcome::Closed);
        world.published.sort_unstable();
        assert!(world.published.iter().copied().eq(0..900), "seed {seed}: each row is published once");
        assert_eq!((world.saved.backfill.windows.len(), world.saved.backfilled.read), (0, 900), "seed {seed}");
        assert!(world.saved.backfill.mark.is_some() && world.saved.kept.held.iter().all(|held| held.read == 900));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_goes_on_where_slices_had_no_time_any_more() {
    for seed in 0..20 {
        let (mut world, mut slices) = (World::new(900, seed), 0);
        while !world.saved.backfill.windows.is_empty() || slices == 0 {
            world.searches = 1 + world.chance(4);
            read(&mut world, Duration::from_millis(600));
            slices += 1;
            assert!(slices < 100, "seed {seed}");
        }
        let published: BTreeSet<usize> = world.published.iter().copied().collect();
        assert_eq!(published.len(), 900, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_batch_is_checkpointed_before_the_next_one_and_the_next_page_is_asked_for_meanwhile() {
    let mut world = World::new(2 * PAGE, 0);
    world.saved.kept.undated = true;
    let budget = Budget::start(Duration::from_secs(5), Duration::from_secs(5));
    let (mut state, tally) = (LaneState::new(world.saved.clone()), Tally::default());
    let tuning = Tuning::new(&budget, &state.lane, 2);
    let mut reading = Reading::new(&mut state, &tuning, &tally);
    reading.ask().unwrap();
    reading.end(&mut world, is_search);
    assert!(reading.has(is_search), "the page behind the one that is prepared");
    reading.end(&mut world, |job| matches!(job, Job::Prepare { .. }));
    reading.end(&mut world, |job| matches!(job, Job::Mark(_)));
    assert!(reading.has(is_search) && reading.has(is_publish));
    reading.end(&mut world, is_search);
    assert!(!reading.has(is_search) && reading.jobs.len() == 1, "one page ahead is enough");
    while !reading.jobs.is_empty() {
        reading.end(&mut world, |_| true);
    }
    // The last batch of a window is checkpointed when it is closed.
    assert_eq!(world.effects, "mpspsmpsps");
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_the_page_that_is_being_published() {
    let mut world = World::new(2 * PAGE, 0);
    let budget = Budget::start(Duration::from_secs(5), Duration::from_secs(5));
    let (mut state, tally) = (LaneState::new(world.saved.clone()), Tally::default());
    let tuning = Tuning::new(&budget, &state.lane, 2);
    let mut reading = Reading::new(&mut state, &tuning, &tally);
    reading.ask().unwrap();
    reading.end(&mut world, is_search);
    let position = reading.jobs.iter().position(is_search).unwrap();
    let Job::Search(search) = reading.jobs.remove(position) else { unreachable!() };
    let page = Err(HubSpotError::Unauthorized.into());
    reading.pass.take(Done::Searched { id: search.id, half: None, page }).unwrap();
    let failed = loop {
        if let Err(error) = reading.ask() {
            break error;
        }
        let job = reading.jobs.pop().unwrap();
        reading.pass.take(world.perform(job)).unwrap();
    };
    assert!(matches!(failed, SliceError::HubSpot(HubSpotError::Unauthorized)));
    assert_eq!((world.published.len(), world.saved.backfill.windows[0].read), (PAGE, PAGE as i64));
}
