//! How long something takes, less the time for which a busy machine kept it waiting for a processor. What must be over
//! within five seconds is over in time if it would have been with a processor to itself: like a process that is
//! stopped, one that waits for a processor keeps no time.

use std::{
    fs,
    time::{Duration, Instant},
};

/// A stopwatch for what this process, or it and another one, do.
#[derive(Debug)]
pub struct Stopwatch {
    began: Instant,
    other: Option<u32>,
    waited: Duration,
}

impl Stopwatch {
    /// Starts, for what this process does.
    pub fn start() -> Self {
        Self { began: Instant::now(), other: None, waited: waited(std::process::id()) }
    }

    /// Starts, for what this process and another one do.
    pub fn start_with(other: Option<u32>) -> Self {
        let now = Self::start();
        Self { waited: now.waited + other.map(waited).unwrap_or_default(), other, ..now }
    }

    /// Returns how long it took until now, the waiting included.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns how long it took until now, less the waiting.
    pub fn took(&self) -> Duration {
        self.elapsed().saturating_sub(self.waited())
    }

    /// Returns for how long the machine kept it waiting for a processor. Threads that wait at the same time are added up.
    pub fn waited(&self) -> Duration {
        let waited = waited(std::process::id()) + self.other.map(waited).unwrap_or_default();
        waited.saturating_sub(self.waited)
    }
}

/// Returns for how long the threads of a process were ready to run, and waited for a processor: the second number of
/// each thread's `schedstat`, in nanoseconds (<https://docs.kernel.org/scheduler/sched-stats.html>). Returns zero if the
/// process has ended.
fn waited(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let waited = threads.filter_map(|thread| {
        let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos)
    });
    waited.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_counts_and_waiting_for_a_processor_does_not() {
        let sleeping = Stopwatch::start();
        std::thread::sleep(Duration::from_millis(50));
        assert!(sleeping.took() > Duration::from_millis(25), "{:?}", sleeping.took());
        // More threads than processors, each of which has half a second's work to do.
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
