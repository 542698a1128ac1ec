//! What came of the rows: written as each ends, and merged with what an earlier run left.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What came of one row on one machine.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Played {
    /// The machine.
    pub machine: String,
    /// The row.
    pub row: String,
    /// Whether it came to what is expected.
    pub good: bool,
    /// What was seen, in words.
    pub got: String,
    /// The refusal in the journal.
    #[serde(default)]
    pub refusal: Option<Refusal>,
    /// The advice that was followed, and what came of it.
    #[serde(default)]
    pub followed: Option<Followed>,
    /// Which build was tried.
    pub build: String,
}

/// A refusal in the journal.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the entry.
    pub id: u64,
    /// The reason.
    pub reason: String,
    /// The program that was refused.
    pub program: String,
    /// The first program that made it foreign.
    pub culprit: Option<String>,
    /// The lineage, oldest first: program, role and origin.
    #[serde(default)]
    pub lineage: Vec<String>,
    /// What `explain` says to do.
    #[serde(default)]
    pub advice: Vec<String>,
}

/// An advice that was followed.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Followed {
    /// What was done.
    pub step: String,
    /// Whether the row worked then.
    pub worked: bool,
    /// What was seen.
    pub got: String,
}

/// A line of the file.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A machine on which rows were not played, and why.
    Unplayed {
        machine: String,
        why: String,
    },
    Played(Box<Played>),
}

/// All results, by machine and row.
#[derive(Default)]
pub struct Results {
    file: PathBuf,
    played: BTreeMap<(String, String), Played>,
    unplayed: BTreeMap<String, String>,
}

impl Results {
    /// What earlier runs left in this file.
    ///
    /// # Errors
    ///
    /// When there is a file that cannot be read.
    pub fn read(file: &Path) -> Result<Self> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let mut results = Self::of(&text);
        results.file = file.to_owned();
        Ok(results)
    }

    /// The later line counts. A line that was cut off in the middle does not.
    fn of(text: &str) -> Self {
        let mut results = Self::default();
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
        {
            results.take(line);
        }
        results
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Played(played) => {
                self.unplayed.remove(&played.machine);
                let key = (played.machine.clone(), played.row.clone());
                self.played.insert(key, *played);
            }
            Line::Unplayed { machine, why } => drop(self.unplayed.insert(machine, why)),
        }
    }

    /// Keeps a result, and writes it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn add(&mut self, played: Played) -> Result<()> {
        self.write(Line::Played(Box::new(played)))
    }

    /// Says why a machine's rows were not played.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn leave_out(&mut self, machine: &str, why: String) -> Result<()> {
        self.write(Line::Unplayed {
            machine: machine.to_owned(),
            why,
        })
    }

    fn write(&mut self, line: Line) -> Result<()> {
        let text = serde_json::to_string(&line)? + "\n";
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.file)
            .with_context(|| self.file.display().to_string())?;
        file.write_all(text.as_bytes())
            .with_context(|| self.file.display().to_string())?;
        self.take(line);
        Ok(())
    }

    /// What came of a row.
    pub fn get(&self, machine: &str, row: &str) -> Option<&Played> {
        self.played.get(&(machine.to_owned(), row.to_owned()))
    }

    /// Why the last try to play a machine's rows failed.
    pub fn why_not(&self, machine: &str) -> Option<&str> {
        self.unplayed.get(machine).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(machine: &str, row: &str, build: &str) -> Played {
        Played {
            machine: machine.to_owned(),
            row: row.to_owned(),
            good: true,
            got: "sent".to_owned(),
            refusal: None,
            followed: None,
            build: build.to_owned(),
        }
    }

    fn line(played: Played) -> String {
        serde_json::to_string(&Line::Played(Box::new(played))).unwrap()
    }

    #[test]
    fn the_later_result_counts_and_others_stay() {
        let lines = [
            played("exim", "cron", "one"),
            played("xfce", "dock", "one"),
            played("exim", "cron", "two"),
        ];
        let results = Results::of(&lines.map(line).join("\n"));
        assert_eq!(results.get("exim", "cron").unwrap().build, "two");
        assert_eq!(results.get("xfce", "dock").unwrap().build, "one");
        assert!(results.get("xfce", "cron").is_none());
    }

    #[test]
    fn a_run_that_was_cut_off_keeps_what_it_has() {
        let whole = line(played("exim", "cron", "one"));
        let cut = &line(played("exim", "mail", "one"))[..40];
        let results = Results::of(&format!("{whole}\n{cut}"));
        assert!(results.get("exim", "cron").is_some());
        assert!(results.get("exim", "mail").is_none());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("results.jsonl");
        let mut results = Results::read(&file).unwrap();
        results
            .leave_out("gnome", "no packages".to_owned())
            .unwrap();
        results
            .leave_out("xfce", "it did not come up".to_owned())
            .unwrap();
        results.add(played("xfce", "dock", "one")).unwrap();
        let again = Results::read(&file).unwrap();
        assert_eq!(again.why_not("gnome"), Some("no packages"));
        assert_eq!(again.why_not("xfce"), None);
        assert_eq!(
            again.get("xfce", "dock"),
            Some(&played("xfce", "dock", "one"))
        );
    }
}
