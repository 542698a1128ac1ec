//! From many measurements to one figure: the median over the rounds of a difference within
//! each round.
//!
//! Two medians of separate runs would compare the machine's moods. Within a round the states
//! follow each other closely, and a low percentile leaves out what was interrupted.

/// The share of operations in a batch that were at least as fast.
const LOW: f64 = 0.10;
/// Half the width of a 95 % interval, in standard deviations.
const WIDTH: f64 = 1.96;

/// A median over rounds, with the interval in which it lies with 95 % certainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Figure {
    /// Of values, one of each round. None when there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        // Ranks around the median that a binomial distribution keeps 95 % of the time.
        let reach = WIDTH * (values.len() as f64).sqrt() / 2.0;
        let middle = last as f64 / 2.0;
        let at = |rank: f64| values[(rank.max(0.0) as usize).min(last)];
        Some(Self {
            median: (at(middle.floor()) + at(middle.ceil())) / 2.0,
            low: at((middle - reach).floor()),
            high: at((middle + reach).ceil()),
        })
    }

    /// The differences of two series, round by round.
    pub fn difference(ours: &[f64], other: &[f64]) -> Option<Self> {
        Self::of(ours.iter().zip(other).map(|(ours, other)| ours - other))
    }

    /// By how many percent the one is greater than the other, round by round.
    pub fn percent(ours: &[f64], other: &[f64]) -> Option<Self> {
        let pairs = ours.iter().zip(other);
        Self::of(pairs.map(|(ours, other)| (ours / other - 1.0) * 100.0))
    }

    /// The same in another unit.
    pub fn divided_by(self, by: f64) -> Self {
        Self {
            median: self.median / by,
            low: self.low / by,
            high: self.high / by,
        }
    }
}

/// The low percentile of a batch.
pub fn low_percentile(batch: &[u64]) -> f64 {
    at_rank(batch, LOW)
}

/// The middle of a batch.
pub fn middle(batch: &[u64]) -> f64 {
    at_rank(batch, 0.5)
}

fn at_rank(batch: &[u64], share: f64) -> f64 {
    let mut batch = batch.to_vec();
    batch.sort_unstable();
    let rank = (batch.len() as f64 * share) as usize;
    batch.get(rank).map_or(f64::NAN, |ns| *ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_differences() {
        let (off, on) = ([10.0, 20.0, 30.0], [11.0, 21.0, 90.0]);
        let figure = Figure::difference(&on, &off).unwrap();
        assert_eq!(figure.median, 1.0);
        assert_eq!((figure.low, figure.high), (1.0, 60.0));
        assert_eq!(Figure::of([]), None);
        assert_eq!(Figure::of([4.0, 2.0]).unwrap().median, 3.0);
    }

    #[test]
    fn the_interval_narrows_with_more_rounds() {
        let figure = Figure::of((0..=100).map(f64::from)).unwrap();
        assert_eq!(figure.median, 50.0);
        assert_eq!((figure.low, figure.high), (40.0, 60.0));
    }

    #[test]
    fn the_percentile_is_a_low_one() {
        let batch: Vec<u64> = (0..100).rev().collect();
        assert_eq!(low_percentile(&batch), 10.0);
        assert!(low_percentile(&[]).is_nan());
    }

    #[test]
    fn percent_is_of_the_other() {
        assert_eq!(
            Figure::percent(&[101.0], &[100.0]).unwrap().median.round(),
            1.0
        );
    }
}
