//! A model of HubSpot's search limit on a network that holds requests up, and with other apps that use the same limit. It
//! decides what the limiter's rule is worth, in shares of the limit, over many seeds. The table that it prints is in
//! `docs/decisions/0023-hubspot-counts-arrivals.md`.

use std::{cell::RefCell, rc::Rc};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{task::LocalSet, time::sleep};

use super::*;

const LIMIT: usize = 5;
const PERIOD: Duration = Duration::from_secs(1);

/// How long a long and a short run take, of the model's time. A short one is a first load of some 20,000 records.
const LONG: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_secs(12);

/// How many pages are requested concurrently.
const READERS: usize = 4;

/// The least time that an answer takes.
const LATENCY: Duration = Duration::from_millis(150);

/// What happens to requests, in milliseconds at most, each between 0 and that.
#[derive(Clone, Copy, Default)]
struct Network {
    /// Before HubSpot counts a request.
    held_up: u64,
    /// While HubSpot answers, or on the way back.
    answering: u64,
}

/// The searches of other apps.
#[derive(Clone, Copy, PartialEq)]
enum Others {
    None,
    /// Two a second.
    Even,
    /// Four at once, every two seconds.
    Bursts,
    /// Two a second in every second half minute.
    OfficeHours,
}

/// HubSpot's side: the requests accepted within the last period. Refused ones do not count.
#[derive(Default)]
struct Server {
    accepted: VecDeque<Instant>,
}

impl Server {
    fn accepts(&mut self) -> bool {
        let now = Instant::now();
        while self.accepted.front().is_some_and(|at| *at + PERIOD <= now) {
            self.accepted.pop_front();
        }
        let is_accepted = self.accepted.len() < LIMIT;
        if is_accepted {
            self.accepted.push_back(now);
        }
        is_accepted
    }
}

/// What became of the requests of a run.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    length: Duration,
    accepted: usize,
    refused: usize,
    others: usize,
}

impl Outcome {
    /// These requests, as a share of the limit.
    fn share(self, requests: usize) -> f64 {
        requests as f64 / self.length.as_secs_f64() / LIMIT as f64
    }

    /// The share of the limit that others leave.
    fn share_of_rest(self) -> f64 {
        self.share(self.accepted) / (1.0 - self.share(self.others))
    }

    fn refused(self) -> f64 {
        self.refused as f64 / (self.accepted + self.refused) as f64
    }
}

async fn run(length: Duration, network: Network, others: Others, seed: u64) -> Outcome {
    let limiter = Limiter::new(NonZeroU32::new(5).unwrap(), PERIOD, &LimiterSnapshot::default());
    let (limiter, server) = (Rc::new(limiter), Rc::new(RefCell::new(Server::default())));
    let (outcome, random) = (
        Rc::new(RefCell::new(Outcome { length, ..Outcome::default() })),
        Rc::new(RefCell::new(StdRng::seed_from_u64(seed))),
    );
    let ends = Instant::now() + length;
    let tasks = LocalSet::new();
    for _ in 0..READERS {
        let (limiter, server, outcome, random) = (limiter.clone(), server.clone(), outcome.clone(), random.clone());
        tasks.spawn_local(async move {
            while let Some(permit) = limiter.admit(Some(ends)).await {
                let up_to = |millis: u64| Duration::from_micros(random.borrow_mut().random_range(0..=millis * 1000));
                sleep(up_to(network.held_up)).await;
                let is_accepted = server.borrow_mut().accepts();
                sleep(LATENCY + if is_accepted { up_to(network.answering) } else { Duration::ZERO }).await;
                limiter.record_answer(&permit);
                if is_accepted {
                    limiter.record_success();
                    outcome.borrow_mut().accepted += 1;
                } else {
                    limiter.record_refusal(&permit, None);
                    outcome.borrow_mut().refused += 1;
                }
            }
        });
    }
    if others != Others::None {
        let (server, outcome) = (server.clone(), outcome.clone());
        tasks.spawn_local(async move {
            let (pause, count) = if others == Others::Bursts { (2_000, 4) } else { (500, 1) };
            while Instant::now() < ends {
                sleep(Duration::from_millis(pause)).await;
                let rests = others == Others::OfficeHours && ((ends - Instant::now()).as_secs() / 30).is_multiple_of(2);
                let accepted = (0..if rests { 0 } else { count }).filter(|_| server.borrow_mut().accepts()).count();
                outcome.borrow_mut().others += accepted;
            }
        });
    }
    tasks.await;
    outcome.take()
}

/// Runs with many seeds, and prints and returns the share of what others leave and the part of the requests that is
/// refused, on average.
async fn runs(name: &str, length: Duration, network: Network, others: Others) -> (f64, f64) {
    let seeds = if length == LONG { 10 } else { 100 };
    let mut outcomes = Vec::new();
    for seed in 0..seeds {
        outcomes.push(run(length, network, others, seed).await);
    }
    let mean = |figure: fn(Outcome) -> f64| outcomes.iter().map(|outcome| figure(*outcome)).sum::<f64>() / seeds as f64;
    let (share, refused) = (mean(Outcome::share_of_rest), mean(Outcome::refused));
    let taken = mean(|outcome| outcome.others as f64 / outcome.length.as_secs_f64());
    println!("| {name} | {:.1} % | {:.2} % | {taken:.2} a second |", share * 100.0, refused * 100.0);
    (share, refused)
}

#[tokio::test(start_paused = true)]
async fn limit_is_used_and_hardly_exceeded_on_any_network() {
    let (quiet, held_up) = (Network::default(), Network { held_up: 250, answering: 0 });
    let (a_little, slow) = (Network { held_up: 50, answering: 50 }, Network { held_up: 0, answering: 250 });
    let both = Network { held_up: 125, answering: 125 };
    // The least share of what others leave, and the largest part of requests that is refused.
    let table = [
        ("quiet", LONG, quiet, Others::None, 0.97, 0.001),
        ("held up by 0 to 50 ms, answered in 0 to 50 ms", LONG, a_little, Others::None, 0.93, 0.01),
        ("held up by 0 to 250 ms", LONG, held_up, Others::None, 0.85, 0.01),
        ("answered in 0 to 250 ms", LONG, slow, Others::None, 0.97, 0.001),
        ("held up by 0 to 125 ms, answered in 0 to 125 ms", LONG, both, Others::None, 0.85, 0.01),
        ("quiet, others: two a second", LONG, quiet, Others::Even, 0.9, 0.03),
        ("quiet, others: four at once", LONG, quiet, Others::Bursts, 0.9, 0.03),
        ("held up by 0 to 250 ms, others: two a second", LONG, held_up, Others::Even, 0.78, 0.04),
        ("quiet, others: every second half minute", LONG, quiet, Others::OfficeHours, 0.9, 0.02),
        ("12 s, held up by 0 to 250 ms", SHORT, held_up, Others::None, 0.88, 0.03),
        ("12 s, held up by 0 to 250 ms, others: two a second", SHORT, held_up, Others::Even, 0.9, 0.11),
    ];
    println!("| network | share of what others leave | refused | others |\n|---|---|---|---|");
    for (name, length, network, others, least, most) in table {
        let (share, refused) = runs(name, length, network, others).await;
        assert!(share >= least && refused <= most, "{name}: {share:.3} of the limit, {refused:.4} refused");
    }
}
