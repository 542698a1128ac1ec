//! The time axis: which moments get a label, and what it says. All in UTC.

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// What is shorter is drawn as if it lasted this long.
const SHORTEST: u64 = SECOND / 10;
/// Most labels on an axis; the longer ones below a second need more room.
const TICKS_MAX: u64 = 8;
const FINE_TICKS_MAX: u64 = 5;
/// Steps that people count in, from a millisecond to days.
const STEPS: [u64; 30] = {
    const MS: u64 = SECOND / 1000;
    [
        MS,
        2 * MS,
        5 * MS,
        10 * MS,
        20 * MS,
        50 * MS,
        100 * MS,
        200 * MS,
        500 * MS,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
        15 * SECOND,
        30 * SECOND,
        MINUTE,
        2 * MINUTE,
        5 * MINUTE,
        10 * MINUTE,
        15 * MINUTE,
        30 * MINUTE,
        HOUR,
        2 * HOUR,
        3 * HOUR,
        6 * HOUR,
        12 * HOUR,
        DAY,
        2 * DAY,
        5 * DAY,
        10 * DAY,
    ]
};

/// A stretch of time on paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    start_ns: u64,
    end_ns: u64,
}

/// A labelled moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Its place, 0 at the left end and 100 at the right.
    pub percent: f64,
    /// The time of day, or the day when days are counted.
    pub label: String,
    /// The day, where it is not that of the label before.
    pub day: Option<String>,
}

impl Axis {
    /// From the first moment to the last, with a little room on both sides.
    pub fn over(first_ns: u64, last_ns: u64) -> Self {
        let span = last_ns.saturating_sub(first_ns);
        let margin = (span / 50).max(SHORTEST.saturating_sub(span) / 2).max(1);
        Self {
            start_ns: first_ns.saturating_sub(margin),
            end_ns: last_ns.max(first_ns).saturating_add(margin),
        }
    }

    /// Where a moment lies, from 0 to 100.
    pub fn percent(self, time_ns: u64) -> f64 {
        let at = time_ns.clamp(self.start_ns, self.end_ns) - self.start_ns;
        at as f64 / self.length_ns() as f64 * 100.0
    }

    /// How long it is.
    pub const fn length_ns(self) -> u64 {
        self.end_ns - self.start_ns
    }

    /// Its first moment.
    pub const fn start_ns(self) -> u64 {
        self.start_ns
    }

    /// Labels at round times.
    pub fn ticks(self) -> Vec<Tick> {
        let step = self.step();
        let mut ticks = Vec::new();
        let mut day_before = None;
        let mut at = self.start_ns.checked_next_multiple_of(step);
        while let Some(time_ns) = at.filter(|time_ns| *time_ns <= self.end_ns) {
            let (day, clock) = (day(time_ns), clock(time_ns, step));
            let new_day = day_before.as_ref() != Some(&day);
            ticks.push(Tick {
                percent: self.percent(time_ns),
                label: if step >= DAY { day.clone() } else { clock },
                day: (step < DAY && new_day).then(|| day.clone()),
            });
            day_before = Some(day);
            at = time_ns.checked_add(step);
        }
        ticks
    }

    fn step(self) -> u64 {
        let length = self.length_ns();
        let fits = |step: u64| {
            length / step
                <= if step < SECOND {
                    FINE_TICKS_MAX
                } else {
                    TICKS_MAX
                }
        };
        if let Some(step) = STEPS.into_iter().find(|step| fits(*step)) {
            return step;
        }
        let mut step = 10 * DAY;
        while !fits(step) {
            step *= 2;
        }
        step
    }
}

/// `2026-11-22`.
fn day(time_ns: u64) -> String {
    model::rfc3339(time_ns)[..10].to_owned()
}

/// The time of day, as exact as labels that are `step` apart have to be.
fn clock(time_ns: u64, step: u64) -> String {
    let text = model::rfc3339(time_ns);
    let length = match step {
        MINUTE.. => 5,
        SECOND.. => 8,
        _ => 12,
    };
    text[11..11 + length].to_owned()
}

/// `2026-11-22 08:15:03`, to the second.
pub fn moment(time_ns: u64) -> String {
    model::rfc3339(time_ns)[..19].replace('T', " ")
}

/// `08:15:03`.
pub fn time_of_day(time_ns: u64) -> String {
    clock(time_ns, SECOND)
}

/// How long something lasted, in two units at most.
pub fn lasting(ns: u64) -> String {
    let seconds = ns / SECOND;
    let two = |much: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{much} {unit}"),
        _ => format!("{much} {unit} {rest} {small}"),
    };
    match seconds {
        0 if ns == 0 => "no time".to_owned(),
        0 if ns < SECOND / 1000 => "less than 1 ms".to_owned(),
        0 => format!("{} ms", ns / (SECOND / 1000)),
        1..10 => format!("{}.{} s", seconds, ns % SECOND / (SECOND / 10)),
        10..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds / 60 % 60, "min"),
        _ => two(seconds / 86_400, "d", seconds / 3600 % 24, "h"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(first_ns: u64, last_ns: u64) -> Vec<String> {
        let ticks = Axis::over(first_ns, last_ns).ticks();
        ticks
            .into_iter()
            .map(|tick| match tick.day {
                Some(day) => format!("{} ({day})", tick.label),
                None => tick.label,
            })
            .collect()
    }

    fn time(text: &str) -> u64 {
        model::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn labels_are_round_times() {
        assert_eq!(
            labels(time("2026-11-22T08:00:10Z"), time("2026-11-22T08:31:00Z")),
            [
                "08:00 (2026-11-22)",
                "08:05",
                "08:10",
                "08:15",
                "08:20",
                "08:25",
                "08:30"
            ]
        );
    }

    #[test]
    fn a_new_day_is_named() {
        assert_eq!(
            labels(time("2026-11-22T20:30:00Z"), time("2026-11-23T03:10:00Z")),
            [
                "21:00 (2026-11-22)",
                "22:00",
                "23:00",
                "00:00 (2026-11-23)",
                "01:00",
                "02:00",
                "03:00"
            ]
        );
    }

    #[test]
    fn weeks_are_counted_in_days() {
        let labels = labels(time("2026-11-01T00:00:00Z"), time("2026-11-12T00:00:00Z"));
        assert!(labels.contains(&"2026-11-05".to_owned()), "{labels:?}");
    }

    #[test]
    fn a_moment_alone_has_an_axis() {
        let at = time("2026-11-22T08:15:03.250Z");
        let labels = labels(at, at);
        assert_eq!(labels[0], "08:15:03.200 (2026-11-22)");
        assert!(labels.len() >= 3, "{labels:?}");
    }

    #[test]
    fn times_in_words() {
        for (ns, words) in [
            (0, "no time"),
            (900, "less than 1 ms"),
            (3_250_000_000, "3.2 s"),
            (59 * SECOND, "59 s"),
            (120 * SECOND, "2 min"),
            (3_725 * SECOND, "1 h 2 min"),
            (90_000 * SECOND, "1 d 1 h"),
        ] {
            assert_eq!(lasting(ns), words);
        }
    }

    proptest! {
        #[test]
        fn any_span_has_a_few_labels_in_order(first in any::<u64>(), span in any::<u64>(), narrow in 0u32..64) {
            let last = first.saturating_add(span >> narrow);
            let axis = Axis::over(first, last);
            let ticks = axis.ticks();
            prop_assert!((1..=TICKS_MAX as usize + 1).contains(&ticks.len()), "{:?}", ticks);
            prop_assert!(ticks.is_sorted_by(|one, next| one.percent < next.percent));
            for percent in [axis.percent(first), axis.percent(last), axis.percent(0), axis.percent(u64::MAX)] {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
        }
    }
}
