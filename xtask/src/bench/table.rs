//! The table: what was measured, against which target, and met or missed by how much.

use std::fmt::Write as _;

use serde_json::json;

use super::figures::Figure;

/// What a value is judged by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// Nothing: the interval reaches down to zero, or nearly.
    Nothing,
    /// It stands there for comparison.
    None,
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The value, or why there is none.
    pub value: Result<Figure, String>,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be.
    pub target: Target,
    /// What empty programs on the same hooks come to.
    pub floor: Option<Figure>,
}

impl Row {
    /// Of a figure that may be missing.
    pub fn new(
        what: impl Into<String>,
        figure: Option<Figure>,
        unit: &'static str,
        target: Target,
    ) -> Self {
        let value = figure.ok_or_else(|| "not measured".to_owned());
        Self {
            what: what.into(),
            value,
            unit,
            target,
            floor: None,
        }
    }

    /// Beside what empty programs on the same hooks come to.
    #[must_use]
    pub fn above(mut self, floor: Option<Figure>) -> Self {
        self.floor = floor;
        self
    }

    /// Of a single number.
    pub fn number(what: impl Into<String>, value: f64, unit: &'static str, target: Target) -> Self {
        let exact = Figure {
            median: value,
            low: value,
            high: value,
        };
        Self::new(what, Some(exact), unit, target)
    }

    /// Of what could not be measured, and why.
    pub fn missing(what: impl Into<String>, reason: &str, target: Target) -> Self {
        Self {
            what: what.into(),
            value: Err(reason.to_owned()),
            unit: "",
            target,
            floor: None,
        }
    }

    /// By how much the target is missed. None when it is met, or when there is none.
    pub fn missed_by(&self) -> Option<f64> {
        let figure = self.value.as_ref().ok()?;
        let (over, met) = match self.target {
            Target::AtMost(most) => (figure.median - most, figure.median <= most),
            Target::AtLeast(least) => (least - figure.median, figure.median >= least),
            Target::Nothing => (figure.median, figure.low <= 0.0),
            Target::None => return None,
        };
        (!met).then_some(over)
    }

    /// Whether the target is missed, and empty programs on the same hooks would miss it too.
    pub fn is_below_the_floor(&self) -> bool {
        let floor = self.floor.map(|floor| floor.median);
        self.missed_by().is_some()
            && match (self.target, floor) {
                (Target::AtMost(most), Some(floor)) => floor > most,
                _ => false,
            }
    }

    fn measured(&self) -> String {
        match &self.value {
            Ok(Figure { median, low, high }) if low == high => self.with_unit(*median),
            Ok(figure) => format!(
                "{} ({} to {})",
                self.with_unit(figure.median),
                self.rounded(figure.low),
                self.rounded(figure.high)
            ),
            Err(reason) => reason.clone(),
        }
    }

    fn wanted(&self) -> String {
        match self.target {
            Target::AtMost(most) => format!("≤ {}", self.with_unit(most)),
            Target::AtLeast(least) => format!("≥ {}", self.with_unit(least)),
            Target::Nothing => "nothing".to_owned(),
            Target::None => String::new(),
        }
    }

    fn outcome(&self) -> String {
        match (&self.value, self.target, self.missed_by()) {
            (Err(_), ..) | (_, Target::None, _) => String::new(),
            (.., None) => "met".to_owned(),
            (.., Some(by)) if self.is_below_the_floor() => {
                format!("MISSED by {}, as by empty programs", self.with_unit(by))
            }
            (.., Some(by)) => format!("MISSED by {}", self.with_unit(by)),
        }
    }

    fn with_unit(&self, value: f64) -> String {
        format!("{} {}", self.rounded(value), self.unit)
            .trim_end()
            .to_owned()
    }

    fn rounded(&self, value: f64) -> String {
        let places = match self.unit {
            "" if value.fract() != 0.0 => 2,
            "" | "/s" | "MB" | "MB/s" => 0,
            "ns" | "ms" | "MiB" | "GiB/s" => 1,
            "µs" => 3,
            _ => 2,
        };
        // No minus in front of nothing.
        let text = format!("{value:.places$}");
        match text.strip_prefix('-') {
            Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
            _ => text,
        }
    }
}

/// As Markdown, aligned so that it can be read as it is.
pub fn markdown(rows: &[Row]) -> String {
    let mut cells = vec![["What", "Measured", "Target", ""].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        [
            row.what.clone(),
            row.measured(),
            row.wanted(),
            row.outcome(),
        ]
    }));
    let width = |column: usize| {
        let lengths = cells.iter().map(|cells| cells[column].chars().count());
        lengths.max().unwrap_or(0)
    };
    let widths = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for (number, line) in cells.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in widths {
                let _ = write!(text, "|{:-<1$}", "", width + 2);
            }
            text.push_str("|\n");
        }
    }
    text
}

/// One JSON object a line.
pub fn json_lines(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut subject = "";
    for row in rows {
        // In the table such a line is read below the one that names its subject.
        let what = match row.what.strip_prefix("… ") {
            Some(rest) => format!("{subject}: {rest}"),
            None => {
                subject = row.what.split(": nothing").next().unwrap_or_default();
                row.what.clone()
            }
        };
        let figure = row.value.as_ref().ok();
        let target = match row.target {
            Target::AtMost(bound) | Target::AtLeast(bound) => Some(bound),
            Target::Nothing => Some(0.0),
            Target::None => None,
        };
        let line = json!({
            "what": what,
            "unit": row.unit,
            "value": figure.map(|figure| figure.median),
            "low": figure.map(|figure| figure.low),
            "high": figure.map(|figure| figure.high),
            "target": target,
            "met": target.and(figure).map(|_| row.missed_by().is_none()),
            "empty_programs": row.floor.map(|floor| floor.median),
            "reason": row.value.as_ref().err(),
        });
        let _ = writeln!(text, "{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(low: f64, median: f64, high: f64, target: Target) -> Row {
        Row::new("a thing", Some(Figure { median, low, high }), "µs", target)
    }

    #[test]
    fn a_target_is_met_or_missed_by_so_much() {
        assert_eq!(row(0.1, 0.2, 0.3, Target::AtMost(0.25)).outcome(), "met");
        assert_eq!(
            row(0.1, 0.3, 0.4, Target::AtMost(0.25)).outcome(),
            "MISSED by 0.050 µs"
        );
        assert_eq!(row(-0.1, 0.2, 0.4, Target::Nothing).outcome(), "met");
        assert_eq!(
            row(0.1, 0.2, 0.4, Target::Nothing).outcome(),
            "MISSED by 0.200 µs"
        );
        assert_eq!(row(0.1, 0.2, 0.4, Target::None).outcome(), "");
        assert_eq!(row(0.1, 0.2, 0.4, Target::AtLeast(0.2)).outcome(), "met");
        assert_eq!(
            row(0.1, 0.2, 0.4, Target::AtLeast(1.0)).outcome(),
            "MISSED by 0.800 µs"
        );
    }

    #[test]
    fn a_target_below_what_empty_programs_cost_is_said() {
        let floor = |median| {
            Some(Figure {
                median,
                low: median,
                high: median,
            })
        };
        let missed = || row(0.1, 0.3, 0.4, Target::AtMost(0.25));
        assert_eq!(
            missed().above(floor(0.26)).outcome(),
            "MISSED by 0.050 µs, as by empty programs"
        );
        assert_eq!(missed().above(floor(0.24)).outcome(), "MISSED by 0.050 µs");
        let met = row(0.1, 0.2, 0.3, Target::AtMost(0.25)).above(floor(0.26));
        assert_eq!(met.outcome(), "met");
    }

    #[test]
    fn what_is_missing_says_why() {
        let row = Row::new("a thing", None, "µs", Target::AtMost(1.0));
        assert_eq!(
            (row.measured().as_str(), row.outcome().as_str()),
            ("not measured", "")
        );
        assert!(json_lines(&[row]).contains("\"met\":null"));
    }

    #[test]
    fn the_table_is_aligned() {
        let text = markdown(&[row(-0.0001, -0.0001, -0.0001, Target::Nothing)]);
        let lengths: Vec<_> = text.lines().map(|line| line.chars().count()).collect();
        assert!(lengths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(text.contains("| 0.000 µs "), "{text}");
    }
}
