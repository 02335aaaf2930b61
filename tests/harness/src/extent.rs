//! How much of the longest tests is run: all of it by `make test-full`, a sample by `make test`.

use rand::{SeedableRng, rngs::StdRng, seq::IteratorRandom};

/// Returns how many worlds a test runs in parallel: enough to use the processors, and few enough that other tests do
/// not wait for long.
///
/// # Errors
/// The number of processors cannot be read.
pub fn side_by_side() -> std::io::Result<usize> {
    Ok(std::thread::available_parallelism()?.get() + 1)
}

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A part, selected by the number, which differs from run to run.
    Sample(u64),
    /// All of it.
    Full,
}

impl Extent {
    /// Reads `TEST_EXTENT` (`full`, or a sample) and `TEST_SAMPLE` (the number that selects the sample).
    pub fn of_this_run() -> Self {
        match std::env::var("TEST_EXTENT").as_deref() {
            Ok("full") => Self::Full,
            _ => Self::sample(),
        }
    }

    /// Returns a sample, whatever this run's extent is: of what takes minutes for each object type, one type is run, another
    /// one from run to run.
    pub fn sample() -> Self {
        // Outside of `make test` the sample is always the same.
        Self::Sample(std::env::var("TEST_SAMPLE").ok().and_then(|number| number.parse().ok()).unwrap_or(1))
    }

    /// Returns the first number for a sample, the second one for all.
    pub fn choose<T>(self, sample: T, full: T) -> T {
        if self == Self::Full { full } else { sample }
    }

    /// Returns `count` of these points for a sample, in their order. Returns all of them for [`Self::Full`].
    pub fn some_of<T>(self, points: Vec<T>, count: usize) -> Vec<T> {
        let Self::Sample(number) = self else { return points };
        let mut chosen = (0..points.len()).sample(&mut StdRng::seed_from_u64(number), count);
        chosen.sort_unstable();
        points
            .into_iter()
            .enumerate()
            .filter(|(index, _)| chosen.binary_search(index).is_ok())
            .map(|(_, point)| point)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_part_that_its_number_chooses() {
        let points: Vec<u32> = (0..100).collect();
        let one = Extent::Sample(1).some_of(points.clone(), 10);
        assert_eq!(one.len(), 10);
        assert!(one.is_sorted());
        assert_eq!(one, Extent::Sample(1).some_of(points.clone(), 10));
        assert_ne!(one, Extent::Sample(2).some_of(points.clone(), 10));
        assert_eq!(Extent::Sample(1).some_of(points[..3].to_vec(), 10), [0, 1, 2]);
        assert_eq!(Extent::Full.some_of(points.clone(), 10), points);
    }
}
