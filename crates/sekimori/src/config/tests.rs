//! Tests of the configuration.

use super::*;

fn parse(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("c.toml"))
}

fn complaint(text: &str) -> String {
    let complaint = parse(text).unwrap_err().to_string();
    assert!(!complaint.contains('\n'), "{complaint}");
    complaint
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(parse("").unwrap(), Config::default());
    assert_eq!(parse("# nothing\n").unwrap(), Config::default());
}

#[test]
fn every_key_is_taken() {
    let config = parse(
        "mail_ports = [2525]\nirc_ports = \"6667\"\npacket_watch = \"off\"\ncall_watch = \"on\"\nguard_forwarded = \"on\"\nrate_per_minute = 0\n\
         guard_submitters = false\nnotify = false\nsyslog = false\njournal_keep_days = 1\njournal_max_entries = 1000\n",
    )
    .unwrap();
    let expected = Config {
        mail_ports: vec![2525],
        irc_ports: 6667..=6667,
        packet_watch: PacketWatch::Off,
        call_watch: CallWatch::On,
        guard_forwarded: GuardForwarded::On,
        rate_per_minute: 0,
        guard_submitters: false,
        notify: false,
        syslog: Syslog::Off,
        journal_keep_days: 1,
        journal_max_entries: 1000,
    };
    assert_eq!(config, expected);
}

#[test]
fn an_unknown_key_is_named_with_what_was_meant() {
    assert_eq!(
        complaint("\nmail_port = [25]"),
        "c.toml:2:1: unknown key \"mail_port\"; did you mean \"mail_ports\"?"
    );
    assert_eq!(
        complaint("notfy = true"),
        "c.toml:1:1: unknown key \"notfy\"; did you mean \"notify\"?"
    );
    assert_eq!(
        complaint("journal-keep-days = 3"),
        "c.toml:1:1: unknown key \"journal-keep-days\"; did you mean \"journal_keep_days\"?"
    );
    assert!(
        complaint("colour = 1").starts_with(
            "c.toml:1:1: unknown key \"colour\"; expected one of mail_ports, irc_ports"
        )
    );
    assert!(complaint("[gate]\nnotify = true").starts_with("c.toml:1:2: unknown key \"gate\""));
    assert!(complaint("\"a\\nb\" = 1").contains("unknown key \"a\\nb\""));
}

#[test]
fn a_wrong_value_is_named_with_what_was_expected() {
    assert_eq!(
        complaint("notify = true\nmail_ports = \"25\""),
        "c.toml:2:14: mail_ports: expected a list of 1 to 16 different ports, each from 1 to 65535, found \"25\""
    );
    for bad in [
        "[]",
        "[0]",
        "[65536]",
        "[-1]",
        "[25, 25]",
        "[25.0]",
        "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
    ] {
        assert!(
            complaint(&format!("mail_ports = {bad}")).contains("mail_ports: expected a list"),
            "{bad}"
        );
    }
    for bad in [
        "6667",
        "\"\"",
        "\"6669-6660\"",
        "\"0-5\"",
        "\"6660-66690\"",
        "\"a-b\"",
        "\"1-2-3\"",
    ] {
        assert!(
            complaint(&format!("irc_ports = {bad}")).contains("irc_ports: expected ports"),
            "{bad}"
        );
    }
    assert_eq!(
        complaint("packet_watch = \"some\""),
        "c.toml:1:16: packet_watch: expected \"full\", \"mail\" or \"off\", found \"some\""
    );
    assert!(
        complaint("packet_watch = true")
            .ends_with("expected \"full\", \"mail\" or \"off\", found true")
    );
    assert!(complaint("rate_per_minute = -1").ends_with("found -1"));
    assert!(
        complaint("notify = \"yes\"").ends_with("notify: expected true or false, found \"yes\"")
    );
    assert!(complaint("journal_keep_days = 0").contains("from 1 to 36500"));
    assert!(complaint("journal_max_entries = 1e6").contains("whole number"));
    assert!(complaint("mail_ports = [6667]").contains("both in mail_ports and in irc_ports"));
    assert!(
        complaint(&format!("notify = \"{}\"", "x".repeat(100)))
            .ends_with("found string of 102 characters")
    );
}

#[test]
fn broken_toml_is_one_line_with_its_place() {
    assert!(complaint("notify = true\nnotify = false").starts_with("c.toml:2:1: duplicate key"));
    assert!(complaint("notify = ").starts_with("c.toml:1:10: "));
    assert!(complaint("\u{0}\u{1}\u{7f}").starts_with("c.toml:1:"));
    assert!(complaint("[[[").starts_with("c.toml:1:"));
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| Config::load(Some(path)).unwrap_err().to_string();
    let path = folder.path().join("c.toml");
    assert!(load(&path).ends_with("c.toml: no such file"));
    assert!(load(folder.path()).contains("is a folder"));
    fs::write(&path, b"notify = true\n\x80\xff\x00").unwrap();
    assert!(load(&path).ends_with("c.toml:2:1: is not UTF-8 text, expected a TOML file"));
    fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(load(&path).contains("longer than 1 MiB"));
    fs::write(&path, "").unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap(), Config::default());
    assert_eq!(
        Config::load(Some(Path::new("/dev/null"))).unwrap(),
        Config::default()
    );
}

/// The examples of the table are values that the reader takes, each another one, and what
/// `status` shows of them differs.
#[test]
fn every_key_has_examples_that_differ() {
    assert_eq!(Config::default().shown().len(), KEYS.len());
    for key in KEYS {
        let read = |example: &str| parse(&format!("{} = {example}", key.name)).unwrap();
        let all: Vec<Config> = key.examples.iter().copied().map(read).collect();
        assert_eq!(all[0], Config::default(), "{}", key.name);
        for (index, one) in all.iter().enumerate() {
            for other in &all[..index] {
                assert_ne!(one.shown()[key.name], other.shown()[key.name]);
            }
        }
    }
}

/// A reload takes a key as a whole or not at all, whatever else is in the file.
#[test]
fn a_reload_takes_each_key_as_it_declares() {
    for key in KEYS {
        for (from, to) in pairs(key.examples) {
            let [old, new] =
                [from, to].map(|value| parse(&format!("{} = {value}", key.name)).unwrap());
            let mut running = old.clone();
            let waiting = running.reload(&new);
            match key.takes {
                Takes::Reload => assert_eq!((running, waiting), (new, vec![])),
                Takes::Restart => assert_eq!((running, waiting), (old, vec![key.name])),
            }
        }
    }
}

fn pairs<'a>(all: &'a [&'a str]) -> impl Iterator<Item = (&'a str, &'a str)> {
    all.iter()
        .flat_map(move |one| all.iter().map(move |other| (*one, *other)))
        .filter(|(one, other)| one != other)
}

/// README names every key, and marks those that wait for a restart.
#[test]
fn the_readme_says_which_keys_wait_for_a_restart() {
    let readme = include_str!("../../../../README.md");
    for key in KEYS {
        let line = readme
            .lines()
            .find(|line| line.starts_with(&format!("{} = ", key.name)))
            .unwrap_or_else(|| panic!("README.md does not name {}", key.name));
        let (_, default) = line.split_once(" = ").unwrap();
        assert!(default.starts_with(key.examples[0]), "{line}");
        assert_eq!(
            line.contains("(restart)"),
            key.takes == Takes::Restart,
            "{line}"
        );
    }
}
