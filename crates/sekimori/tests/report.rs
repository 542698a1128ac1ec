//! `replay --html` through the real command line.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use roxmltree::{Document, ParsingOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

mod story;

fn replay(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sekimori"))
        .current_dir(folder)
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A folder with the story in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("story.pcap"), story::capture()).unwrap();
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The text of a page, in one line; it has to be well-formed.
fn text(page: &str) -> String {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(page, options).unwrap();
    let words: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.text().filter(|_| node.is_text()))
        .collect();
    let text = words.join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_page_beside_the_flows() {
    let folder = folder();
    let output = replay(
        folder.path(),
        &["story.pcap", "--json", "--html", "report.html"],
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let flows = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["type"] == "flow")
        .count();
    let report = folder.path().join("report.html");
    let page = fs::read_to_string(&report).unwrap();
    let text = text(&page);
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(text.contains(&format!("{flows} flows in ")), "{text}");
    assert!(text.contains(" from 2026-11-22 08:00:04 to 2026-11-22 08:29:"));
    assert!(text.contains("story.pcap"));
    assert!(text.contains("By protocol Protocol Flows Share Sent Received dns "));
    // As any file: who may read it is for the mask of the process to say.
    let mode = fs::metadata(&report).unwrap().permissions().mode();
    fs::write(folder.path().join("other"), "").unwrap();
    let usual = fs::metadata(folder.path().join("other")).unwrap();
    assert_eq!(mode, usual.permissions().mode());
    fs::remove_file(folder.path().join("other")).unwrap();
    assert_eq!(names(folder.path()), ["report.html", "story.pcap"]);
}

#[test]
fn the_bot_is_on_it_and_nobody_else() {
    let folder = folder();
    let output = replay(
        folder.path(),
        &["story.pcap", "--json", "--html", "report.html"],
    );
    let findings: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["type"] == "finding")
        .collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0]["host"], story::BOT.to_string());
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    let text = text(&page);
    assert!(text.contains("1 host behaves like a bot"));
    assert!(text.contains(&format!("{} bot-suspected", story::BOT)));
    assert_eq!(page.matches("<svg").count(), 1);
    // All that the finding says stands there, in its order.
    let mut rest = text.as_str();
    for evidence in findings[0]["evidence"].as_array().unwrap() {
        let detail = evidence["detail"].as_str().unwrap();
        let (_, behind) = rest
            .split_once(detail)
            .unwrap_or_else(|| panic!("{detail}"));
        rest = behind;
    }
    let (ip, port) = story::MASTER;
    assert!(text.contains(&format!("IRC 1 connection to {ip}:{port}")));
    assert!(text.contains(&format!("▼ {} mail exchangers (MX)", story::ATTEMPTS)));
    assert!(text.contains(&format!("Scan {} unanswered", story::SCANNED)));
    for innocent in story::INNOCENT {
        assert!(!text.contains(&innocent.to_string()), "{innocent}");
    }
}

#[test]
fn the_same_capture_makes_the_same_page() {
    let folder = folder();
    for page in ["one.html", "two.html", "two.html"] {
        let output = replay(folder.path(), &["story.pcap", "--html", page]);
        assert_eq!(output.status.code(), Some(0));
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(read("one.html"), read("two.html"));
}

#[test]
fn several_captures_on_one_page_with_what_was_wrong() {
    let folder = folder();
    let mut cut = story::capture();
    cut.truncate(cut.len() / 2);
    fs::write(folder.path().join("cut<b>.pcap"), cut).unwrap();
    fs::write(folder.path().join("letter"), "Dear Sir or Madam").unwrap();
    let files = ["story.pcap", "cut<b>.pcap", "letter", "gone.pcap"];
    let output = replay(folder.path(), &[&files[..], &["--html", "r.html"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = text(&fs::read_to_string(folder.path().join("r.html")).unwrap());
    assert!(text.contains("of 4 captures"), "{text}");
    assert!(text.contains("Not everything could be read."));
    assert!(text.contains("cut<b>.pcap") && text.contains("Damaged: it ends in the middle"));
    assert!(text.contains("Damaged: it is no capture"));
    assert!(text.contains("Damaged: it cannot be read"));
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_read() {
    let folder = folder();
    for (report, why) in [
        ("nowhere/r.html", "No such file"),
        ("story.pcap", "one of the captures"),
        (".", "it is no file"),
    ] {
        let output = replay(folder.path(), &["story.pcap", "--html", report]);
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = said(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("sekimori: the report ") && said.contains(why),
            "{said}"
        );
    }
    // The flag took the capture for its own: it stays what it was.
    fs::copy(
        folder.path().join("story.pcap"),
        folder.path().join("b.pcap"),
    )
    .unwrap();
    let output = replay(folder.path(), &["--html", "story.pcap", "b.pcap"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("not overwritten"));
    assert_eq!(names(folder.path()), ["b.pcap", "story.pcap"]);
    assert_eq!(
        fs::read(folder.path().join("story.pcap")).unwrap(),
        story::capture()
    );
}

/// A replay that reads from a pipe, of which it has got so much.
fn reading(folder: &Path, stdout: Stdio) -> Child {
    // A job in the background of a script ignores Ctrl-C, and so would what it starts.
    Command::new("env")
        .arg("--default-signal=INT")
        .arg(env!("CARGO_BIN_EXE_sekimori"))
        .current_dir(folder)
        .args(["replay", "-", "--json", "--html", "r.html"])
        .stdin(Stdio::piped())
        .stdout(stdout)
        .spawn()
        .unwrap()
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let old = "<!DOCTYPE html>\n<p>of yesterday</p>";
    fs::write(folder.path().join("r.html"), old).unwrap();
    let mut child = reading(folder.path(), Stdio::null());
    let mut input = child.stdin.take().unwrap();
    input.write_all(&story::capture()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success());
    assert_eq!(names(folder.path()), ["r.html"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("r.html")).unwrap(),
        old
    );
}

#[test]
fn the_page_is_made_when_nobody_reads_the_flows() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = reading(folder.path(), Stdio::piped());
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    input.write_all(&story::capture()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    let page = fs::read_to_string(folder.path().join("r.html")).unwrap();
    assert!(text(&page).contains("of 1 capture,"));
}
