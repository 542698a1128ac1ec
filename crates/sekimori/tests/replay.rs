//! `replay` through the real command line.

#[allow(dead_code, reason = "each test file uses its own part")]
mod story;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A capture of raw IP packets with one mail session, on a port of its own.
fn capture() -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        bytes.extend(number.to_le_bytes());
    }
    let mut packet = |from_client: bool, sequence: u32, flags: u8, payload: &[u8]| {
        let (from, to): ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [198, 51, 100, 7]);
        let (from, to, ports) = if from_client {
            (from, to, [40_000_u16, 12_525])
        } else {
            (to, from, [12_525, 40_000])
        };
        let length = 40 + payload.len();
        for number in [1_795_000_000, 500_000, length as u32, length as u32] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([
            0x45,
            0,
            (length >> 8) as u8,
            length as u8,
            0,
            0,
            0,
            0,
            64,
            6,
            0,
            0,
        ]);
        bytes.extend([from, to].concat());
        bytes.extend(ports[0].to_be_bytes());
        bytes.extend(ports[1].to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0x50, flags, 255, 255, 0, 0, 0, 0]);
        bytes.extend(payload);
    };
    packet(true, 10, 2, b"");
    packet(false, 20, 18, b"");
    packet(false, 21, 16, b"220 mx.example ESMTP\r\n");
    packet(true, 11, 16, b"EHLO a.example\r\n");
    packet(false, 43, 16, b"250 mx.example\r\n");
    packet(true, 27, 16, b"MAIL FROM:<a@a.example>\r\n");
    bytes
}

fn replay(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sekimori"))
        .arg("replay")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It need not read all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn two_lines(output: &Output) -> (Value, Value) {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    match lines.as_slice() {
        [flow, summary] => (flow.clone(), summary.clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn json_from_standard_input() {
    let output = replay(&["-", "--json"], &capture());
    assert_eq!(output.status.code(), Some(0));
    let (flow, summary) = two_lines(&output);
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["file"], "-");
    assert_eq!(summary["complete"], true);
    assert_eq!(
        (&summary["packets"], &summary["flows"]),
        (&6.into(), &1.into())
    );
    assert_eq!(flow["type"], "flow");
    assert_eq!(flow["file"], "-");
    assert_eq!(flow["proto"], "tcp");
    assert_eq!(flow["src"], "192.0.2.1:40000");
    assert_eq!(flow["dst"], "198.51.100.7:12525");
    assert_eq!(flow["app"], "smtp");
    assert!(flow["confidence"].as_f64().unwrap() > 0.9);
    assert_eq!(flow["first"], 1_795_000_000.5);
    assert_eq!(
        (&flow["bytes_up"], &flow["bytes_down"]),
        (&41.into(), &38.into())
    );
}

#[test]
fn a_table_for_people() {
    let output = replay(&["-"], &capture());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("a.example from <a@a.example>"), "{text}");
    assert!(
        text.ends_with(
            "1 flows in 6 packets: 0 IRC, 1 mail, 0 not recognised.\n\
             In this capture, no host behaves like a bot.\n"
        ),
        "{text}"
    );
}

#[test]
fn damage_is_said_and_the_rest_told() {
    let mut bytes = capture();
    bytes.truncate(bytes.len() - 5);
    let output = replay(&["-", "--json"], &bytes);
    assert_eq!(output.status.code(), Some(1));
    let (flow, summary) = two_lines(&output);
    assert_eq!(flow["type"], "flow");
    assert_eq!(
        (&summary["complete"], &summary["damaged"]),
        (&false.into(), &true.into())
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1);
    assert!(
        said.contains("5 bytes are missing; the 5 packets before it were read"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_read_is_named() {
    let output = replay(&["/nowhere/at-all.pcap"], b"");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("/nowhere/at-all.pcap cannot be read"),
        "{said}"
    );
    assert_eq!(replay(&[], b"").status.code(), Some(2));
    let output = replay(&["-"], b"this is a letter to somebody, no capture\n");
    assert_eq!(output.status.code(), Some(1));
}

/// The same capture with packets of another link type, whose number says nothing to anybody.
fn unreadable() -> Vec<u8> {
    let mut bytes = capture();
    bytes[20..24].copy_from_slice(&147_u32.to_le_bytes());
    bytes
}

/// The same capture, of which the packets were cut to 44 bytes.
fn cut() -> Vec<u8> {
    let whole = capture();
    let mut bytes = whole[..24].to_vec();
    let mut rest = &whole[24..];
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let kept = length.min(44);
        bytes.extend(&header[..8]);
        bytes.extend(kept.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(&after[..kept as usize]);
        rest = &after[length as usize..];
    }
    bytes
}

#[test]
fn what_is_not_read_has_a_status_of_its_own() {
    let output = replay(&["-", "--json"], &unreadable());
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said,
        "sekimori: -: 6 packets were not read: link type 147 (for private use) is not supported\n"
    );
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["complete"], false);
    let kind = &summary["not_read"][0];
    assert_eq!(
        (&kind["what"], &kind["number"]),
        (&"link-type".into(), &147.into())
    );
    assert_eq!(
        (&kind["name"], &kind["packets"]),
        (&"for private use".into(), &6.into())
    );

    let output = replay(&["-"], &unreadable());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Nothing is known about the hosts"), "{text}");
    assert!(!text.to_lowercase().contains("no host behaves"), "{text}");
}

#[test]
fn cut_payload_qualifies_the_verdict() {
    let output = replay(&["-"], &cut());
    assert_eq!(output.status.code(), Some(4));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.ends_with(
            "Not all of this capture was read. In the rest, no host behaves like a bot.\n"
        ),
        "{text}"
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("4 packets were cut off by the snap length"),
        "{said}"
    );
    let output = replay(&["-", "--json"], &cut());
    let (_, summary) = two_lines(&output);
    assert_eq!(summary["cut"], 4);
}

/// A file that is not read to its end weighs more than packets that are not read.
#[test]
fn a_failure_hides_behind_no_other_status() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("a"), unreadable()).unwrap();
    std::fs::write(path("b"), capture()).unwrap();
    let status = |files: &[&str]| {
        let files: Vec<String> = files.iter().map(|name| path(name)).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        replay(&files, b"").status.code()
    };
    assert_eq!(status(&["b", "b"]), Some(0));
    assert_eq!(status(&["b", "a", "b"]), Some(4));
    assert_eq!(status(&["a", "gone"]), Some(1));
    assert_eq!(status(&["gone", "a"]), Some(1));
}

#[test]
fn the_page_names_what_was_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("r.html");
    let place = page.to_str().unwrap();
    let read = |bytes: &[u8]| {
        replay(&["-", "--html", place], bytes);
        std::fs::read_to_string(&page).unwrap()
    };
    let text = read(&unreadable());
    assert!(text.contains("<h1>Nothing was read, so nothing is known about the hosts</h1>"));
    assert!(text.contains("6 packets were not read: link type 147 (for private use)"));
    let text = read(&cut());
    assert!(
        text.contains("<h1>Not everything was read. In the rest, no host behaves like a bot</h1>")
    );
    assert!(text.contains("4 packets were cut off by the snap length"));
    let text = read(&capture());
    assert!(text.contains("<h1>No host behaves like a bot in what was captured</h1>"));
    assert!(!text.contains("not read"));
}

/// The same bot as in the report's story, with and without being judged.
#[test]
fn excluded_hosts_are_not_judged_and_named() {
    let story = story::capture();
    let bot = story::BOT.to_string();
    let found = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let (findings, rest): (Vec<Value>, Vec<Value>) =
            lines.partition(|line: &Value| line["type"] == "finding");
        let excluded = rest.last().unwrap()["excluded"].clone();
        let flows = rest.iter().filter(|line| line["src"].as_str().is_some());
        let of_bot = flows.filter(|line| line["src"].as_str().unwrap().starts_with(&bot));
        (findings.len(), of_bot.count(), excluded)
    };
    let (findings, flows, excluded) = found(&replay(&["-", "--json"], &story));
    assert!(findings == 1 && flows > 0);
    assert_eq!(excluded, serde_json::json!([]));
    for (named, shown) in [
        (bot.as_str(), vec![bot.as_str()]),
        ("192.0.2.0/24", vec!["192.0.2.0/24"]),
        ("198.51.100.1,192.0.2.16/28", vec!["192.0.2.16/28"]),
    ] {
        let output = replay(&["-", "--json", "--exclude", named], &story);
        assert_eq!(
            found(&output),
            (0, flows, serde_json::json!(shown)),
            "{named}"
        );
    }
    let others = replay(&["-", "--json", "--exclude", "192.0.2.10"], &story);
    assert_eq!(found(&others).0, 1);

    let output = replay(&["-", "--exclude", "192.0.2.0/24"], &story);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.ends_with("Not judged, because --exclude names them: 192.0.2.0/24.\n"),
        "{text}"
    );
    let wrong = replay(&["-", "--exclude", "monitor"], &story);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("192.0.2.0/24"), "{said}");
}

#[test]
fn help_and_completions_name_the_exclusion() {
    let said = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sekimori"))
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(said(&["replay", "--help"]).contains("--exclude <HOSTS>"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(said(&["completions", shell]).contains("exclude"), "{shell}");
    }
}

/// Where the configuration says that mail goes to another port, a run of connections there
/// counts as mail.
#[test]
fn mail_ports_come_from_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let evidence = |config: &str| {
        let output = replay(&["-", "--json", "--config", config], &story::capture());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("fan-out")
    };
    assert!(evidence(&write("usual.toml", "mail_ports = [25]\n")));
    assert!(!evidence(&write("other.toml", "mail_ports = [2525]\n")));
    let broken = write("broken.toml", "mail_ports = 25\n");
    let output = replay(&["-", "--config", &broken], &story::capture());
    assert_eq!(output.status.code(), Some(1));
}
