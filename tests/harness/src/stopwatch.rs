//! Measures how long something takes, without the time for which a busy machine kept it waiting. A process that waits
//! for a processor counts as stopped.

use std::{
    collections::HashMap,
    fs,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Ending a slice takes up to 250 ms. A slice that waited longer than that for a processor may not have ended in order.
pub const MAX_PROCESSOR_WAIT: Duration = Duration::from_millis(250);

/// How long each thread of a process has waited for a processor, by thread id.
type Waits = HashMap<String, Duration>;

/// A stopwatch for the work of this process, or of this one and a function's.
#[derive(Debug)]
pub struct Stopwatch {
    began: Instant,
    processes: Vec<(u32, Waits)>,
    late: Duration,
}

impl Stopwatch {
    /// Starts a stopwatch for this process.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts a stopwatch for this process and another one.
    pub fn start_with(other: Option<u32>) -> Self {
        let processes = [Some(std::process::id()), other].into_iter().flatten();
        let processes = processes.map(|process| (process, waits(process))).collect();
        Self { began: Instant::now(), processes, late: late() }
    }

    /// Returns the time until now, including the waiting.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns the time until now, without the waiting.
    pub fn took(&self) -> Duration {
        self.elapsed().saturating_sub(self.waited())
    }

    /// Returns the time for which the machine kept the work waiting: per process, that of the thread that waited
    /// longest for a processor; or, if that is more, the time for which the whole machine stood still.
    pub fn waited(&self) -> Duration {
        let for_processors = self.processes.iter().map(|(process, before)| longest(before, &waits(*process))).sum();
        late().saturating_sub(self.late).max(for_processors)
    }
}

/// Returns the total delay of a thread of this process that only sleeps, ten milliseconds at a time. Linux's counters
/// do not show that a host keeps its virtual machine waiting.
fn late() -> Duration {
    const SLEEP_TIME: Duration = Duration::from_millis(10);
    /// The delay of a sleeping thread on an idle machine.
    const USUAL_DELAY: Duration = Duration::from_millis(5);
    static LATE: OnceLock<()> = OnceLock::new();
    static NANOSECONDS: AtomicU64 = AtomicU64::new(0);
    LATE.get_or_init(|| {
        thread::spawn(|| {
            loop {
                let began = Instant::now();
                thread::sleep(SLEEP_TIME);
                let late = began.elapsed().saturating_sub(SLEEP_TIME + USUAL_DELAY).as_nanos();
                NANOSECONDS.fetch_add(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
    });
    Duration::from_nanos(NANOSECONDS.load(Ordering::Relaxed))
}

fn longest(before: &Waits, now: &Waits) -> Duration {
    let since =
        |(thread, waited): (&String, &Duration)| waited.saturating_sub(before.get(thread).copied().unwrap_or_default());
    now.iter().map(since).max().unwrap_or_default()
}

/// Returns how long the threads of a process were ready to run, but waited for a processor: the second number of each
/// one's `schedstat`, in nanoseconds (<https://docs.kernel.org/scheduler/sched-stats.html>). A process that has ended
/// has no threads.
fn waits(process: u32) -> Waits {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let waited = stat.split(' ').nth(1)?.parse().ok()?;
        Some((thread.file_name().to_string_lossy().into_owned(), Duration::from_nanos(waited)))
    });
    waited.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_counts_and_waiting_for_a_processor_does_not() {
        let sleeping = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(50));
        assert!(sleeping.took() > Duration::from_millis(25), "{:?}", sleeping.took());
        // More threads than processors, each of which has work for half a second.
        let threads = 4 * std::thread::available_parallelism().map_or(1, usize::from);
        let busy = Stopwatch::start();
        let work = || {
            while busy.began.elapsed() < Duration::from_millis(500) {
                std::hint::spin_loop();
            }
            busy.took()
        };
        let took: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(took.iter().any(|took| *took < Duration::from_millis(250)), "{took:?}");
    }
}
