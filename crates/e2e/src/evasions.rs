//! The table of evasions: which there are, what is expected of each, and what came of it.
//!
//! The list is `data/evasions.tsv`. A test that plays a row says so here; when
//! [`VARIABLE`] names a file, what it says is added there, a JSON object a line.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use stage::SmtpServer;

const TABLE: &str = include_str!("../data/evasions.tsv");

/// Names the file that takes what tests say of rows.
pub const VARIABLE: &str = "SEKIMORI_EVASIONS";

/// What is expected of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Not a byte reaches the server.
    Blocked,
    /// It gets through, and the remark says why.
    Open,
    /// No test plays it, and the remark says why.
    Unplayed,
}

/// One way to send mail past the gate.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Rows of a kind.
    pub group: &'static str,
    /// Its short name.
    pub id: &'static str,
    /// What is to come of it.
    pub expected: Expected,
    /// The test that plays it, as `file::name`.
    pub test: &'static str,
    /// What is tried.
    pub words: &'static str,
    /// Why it is open or not played, or blocked with another culprit than the right one; or
    /// nothing.
    pub remark: &'static str,
}

/// All rows, in the order of the list.
///
/// # Panics
/// When a line of the list is not as it should be.
pub fn rows() -> impl Iterator<Item = Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| row(line).unwrap_or_else(|| panic!("data/evasions.tsv: {line}")))
}

fn row(line: &'static str) -> Option<Row> {
    let mut cells = line.split('\t');
    let mut next = || cells.next();
    let (group, id) = (next()?, next()?);
    let expected = match next()? {
        "blocked" => Expected::Blocked,
        "open" => Expected::Open,
        "unplayed" => Expected::Unplayed,
        _ => return None,
    };
    let (test, words, remark) = (next()?, next()?, next().unwrap_or_default());
    cells.next().is_none().then_some(Row {
        group,
        id,
        expected,
        test,
        words,
        remark,
    })
}

/// The row was played and refused.
///
/// # Panics
/// When that is not what was expected: a byte has reached the server, or the entry of the
/// journal names another culprit and the row has no remark that says so.
pub fn refused(id: &str, bytes: u64, refusal: &Value, culprit: impl AsRef<Path>) {
    let named = refusal["culprit"].as_str().map(Path::new) == Some(culprit.as_ref());
    let by = refusal["reason"].as_str().unwrap_or("refused");
    note(id, bytes, by, Some(named));
    expect(id, Expected::Blocked);
    assert_eq!(bytes, 0, "{id}: {refusal}");
    let known = rows().any(|row| row.id == id && !row.remark.is_empty());
    assert!(
        named || known,
        "{id}: not {:?}: {refusal}",
        culprit.as_ref()
    );
}

/// The row was played and held up without an entry that names a culprit: by the kernel
/// itself, or packet by packet.
///
/// # Panics
/// When a byte has reached the server.
pub fn stopped(id: &str, bytes: u64, by: &str) {
    note(id, bytes, by, None);
    expect(id, Expected::Blocked);
    assert_eq!(bytes, 0, "{id}");
}

/// The row was played and got through. What was noticed of it is a finding.
///
/// # Panics
/// When the list says that it is blocked.
pub fn got_through(id: &str, bytes: u64, finding: Option<&Value>, culprit: impl AsRef<Path>) {
    let named =
        finding.map(|finding| finding["culprit"].as_str().map(Path::new) == Some(culprit.as_ref()));
    let by = finding.and_then(|finding| finding["finding"].as_str());
    note(id, bytes, by.unwrap_or_default(), named);
    expect(id, Expected::Open);
}

/// What the server got beyond so many messages of the user's, which are the first and alike.
///
/// # Panics
/// When the server got less than that.
pub fn beyond(server: &SmtpServer, users: u64) -> u64 {
    let each = server
        .connections()
        .first()
        .map_or(0, |first| first.payload_bytes);
    let all = server.payload_bytes();
    all.checked_sub(users * each)
        .unwrap_or_else(|| panic!("{all} bytes are no {users} messages of {each}"))
}

fn expect(id: &str, came: Expected) {
    let row = rows().find(|row| row.id == id);
    let expected = row.map(|row| row.expected);
    assert_eq!(expected, Some(came), "{id} in data/evasions.tsv");
}

fn note(id: &str, bytes: u64, by: &str, named: Option<bool>) {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return;
    };
    let line = json!({ "id": id, "bytes": bytes, "by": by, "culprit_named": named });
    let file = File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_is_in_order() {
        let mut ids = HashSet::new();
        for row in rows() {
            assert!(ids.insert(row.id), "{} is there twice", row.id);
            let unplayed = row.expected == Expected::Unplayed;
            assert_eq!(unplayed, !row.test.contains("::"), "{}", row.id);
            assert!(!row.words.contains('|') && !row.remark.contains('|'));
            let explained = row.expected == Expected::Blocked || !row.remark.is_empty();
            assert!(explained, "{}: a remark says why", row.id);
        }
    }

    /// Every technique that the stand-in programs know is a row.
    #[test]
    fn every_technique_has_a_row() {
        let ids: HashSet<_> = rows().map(|row| row.id).collect();
        // Many connections of a bot that are no mail.
        let missing: Vec<_> = stage::TECHNIQUES
            .iter()
            .filter(|name| !ids.contains(*name) && **name != "visits")
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
