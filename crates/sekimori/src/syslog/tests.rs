//! Tests of the lines and of their delivery, to a real socket.

use std::io::ErrorKind;

use engine::{Entry, LineageLink};
use policy::{Kind, Origin};

use super::*;

fn entry() -> VerdictEntry {
    let text = serde_json::json!({
        "type": "verdict", "verdict": "refuse", "reason": "foreign-origin", "judged": "submit", "observed": false,
        "pid": 77, "uid": 4_000_000, "comm": "sendmail", "program": "/usr/sbin/sendmail", "role": "submitter",
        "kind": "batch", "origin": "foreign", "culprit": "/usr/bin/python3.11", "culprit_pid": 70,
        "destination": null, "unit": "backup.service", "script": "/opt/backup.py", "tampered": [], "lost": 0,
        "lineage": [],
    });
    match serde_json::from_value(text).unwrap() {
        Entry::Verdict(entry) => entry,
        other => panic!("{other:?}"),
    }
}

/// A log at a path of its own.
struct Log {
    socket: UnixDatagram,
    to: Where,
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            to: Where::At(path),
            folder,
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => lines.push(String::from_utf8(bytes[..length].to_vec()).unwrap()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return lines,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_line_names_user_unit_script_reason_and_entry() {
    let log = Log::new();
    let mut syslog = Syslog::default();
    let line = numbered(&line(&entry()), 123);
    syslog.send(&log.to, 4_000_000, &line, 0, Instant::now());
    syslog.send(&log.to, 0, &line, 0, Instant::now());
    let head = format!("<20>sekimori[{}]: ", std::process::id());
    let rest = "reason=foreign-origin unit=backup.service program=/usr/sbin/sendmail script=/opt/backup.py \
                culprit=/usr/bin/python3.11 recipient=unknown pid=77 entry=123";
    assert_eq!(
        log.lines(),
        [
            format!("{head}refused submission: uid=4000000 {rest}"),
            format!("{head}refused submission: user=root uid=0 {rest}"),
        ]
    );
}

#[test]
fn hostile_names_make_no_line_and_no_field_of_their_own() {
    let mut hostile = entry();
    hostile.program = "/tmp/x\n<20>root: entry=1 \x1b[2J\u{202e}\" uid=0".into();
    hostile.script = Some("/tmp/a b=c\\".into());
    hostile.culprit = Some("y".repeat(9000).into());
    hostile.unit = Some("z\r\n".repeat(2000).into());
    let log = Log::new();
    let mut syslog = Syslog::default();
    syslog.send(
        &log.to,
        1000,
        &numbered(&line(&hostile), 7),
        0,
        Instant::now(),
    );
    // What a watcher in strange hands sends is no better.
    syslog.send(&log.to, 1000, &"\0\n".repeat(4000), 0, Instant::now());
    let lines = log.lines();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert!(line.len() <= LINE_BYTES_MAX, "{}", line.len());
        assert_eq!(printable(line), *line);
    }
    assert!(
        lines[0].contains(" program=\"/tmp/x\\\\x0a<20>root: entry=1 "),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].contains(" script=\"/tmp/a b=c\\\\\" "),
        "{}",
        lines[0]
    );
    assert!(lines[0].ends_with(" pid=77 entry=7"), "{}", lines[0]);
}

#[test]
fn a_flood_is_counted_and_leaves_others_their_lines() {
    let log = Log::new();
    let mut syslog = Syslog::default();
    let begun = Instant::now();
    let line = line(&entry());
    for _ in 0..5000 {
        syslog.send(&log.to, 1000, &line, 0, begun);
    }
    // A full socket loses lines too. Whatever came in is what was permitted and fitted.
    let sent = log.lines().len();
    assert!((1..=AT_ONCE as usize).contains(&sent), "{sent}");
    syslog.send(&log.to, 1001, &line, 3, begun);
    let lines = log.lines();
    let missing = 5000 - sent + 3;
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].ends_with(&format!(
            " ({missing} reports before this one were left out)"
        )),
        "{lines:?}"
    );
    // Where no line follows, their number is told by itself.
    assert_eq!(syslog.due(), None);
    for _ in 0..5000 {
        syslog.send(&log.to, 1000, &line, 0, begun);
    }
    log.lines();
    let due = syslog.due().expect("a deadline");
    syslog.tick(&log.to, due - Duration::from_millis(1));
    assert_eq!(log.lines(), [] as [String; 0]);
    syslog.tick(&log.to, due);
    assert_eq!(log.lines().len(), 1);
    assert_eq!(syslog.due(), None);
}

#[test]
fn a_log_that_is_started_again_is_found_and_what_it_missed_is_counted() {
    let log = Log::new();
    let mut syslog = Syslog::default();
    let line = line(&entry());
    let send = |syslog: &mut Syslog| syslog.send(&log.to, 0, &line, 0, Instant::now());
    send(&mut syslog);
    assert_eq!(log.lines().len(), 1);
    let path = log.folder.path().join("log");
    std::fs::remove_file(&path).unwrap();
    send(&mut syslog);
    send(&mut syslog);
    let again = UnixDatagram::bind(&path).unwrap();
    again.set_nonblocking(true).unwrap();
    let again = Log {
        socket: again,
        to: log.to.clone(),
        folder: tempfile::tempdir().unwrap(),
    };
    send(&mut syslog);
    let lines = again.lines();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].ends_with("(2 reports before this one were left out)"),
        "{lines:?}"
    );
    // Switched off, nothing is sent and nothing counted.
    syslog.send(&Where::Off, 0, &line, 9, Instant::now());
    assert_eq!((again.lines().len(), syslog.due()), (0, None));
}

#[test]
fn administrators_are_told_of_what_concerns_the_machine() {
    let link = |role, origin| LineageLink {
        program: "/x".into(),
        pid: 1,
        role,
        origin,
        kind: Kind::Batch,
        seeded: false,
    };
    let system = || link(Role::System, Origin::System);
    let bot = |lineage: Vec<LineageLink>| VerdictEntry {
        judged: JudgedWord::Connect,
        role: Role::Unknown,
        destination: Some("192.0.2.1:25".parse().unwrap()),
        count: 3,
        observed: true,
        lineage,
        ..entry()
    };
    assert!(is_reported(&entry()));
    let foreign = || link(Role::Unknown, Origin::Foreign);
    let machines = bot(vec![system(), foreign()]);
    assert!(is_reported(&machines));
    assert!(!is_reported(&bot(vec![
        system(),
        link(Role::Shell, Origin::User),
        foreign()
    ])));
    assert!(!is_reported(&VerdictEntry {
        verdict: Answer::Allow,
        ..entry()
    }));
    let line = line(&machines);
    assert!(
        line.starts_with("would refuse connection: reason="),
        "{line}"
    );
    assert!(line.contains(" to=192.0.2.1:25 pid=77 times=3"), "{line}");
}
