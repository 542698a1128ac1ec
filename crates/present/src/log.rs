//! One line for each entry of the journal.

use engine::{Answer, Entry, FindingKind, GrantChange, JudgedWord, printable, program_name};
use serde_json::Value;

use super::{Style, Tone};

/// One line for an entry as `log --json` prints it: number, time to the second, what, who,
/// where, why. Without a line break. An entry that cannot be read is shown as that.
pub fn log_line(entry: &Value, style: Style) -> String {
    let id = entry["id"].as_u64().unwrap_or(0);
    let time = style.paint(
        Tone::Faint,
        &to_seconds(entry["time"].as_str().unwrap_or("?")),
    );
    let (tone, word, text) = match Entry::deserialize_from(entry) {
        Ok(entry) => line(&entry),
        Err(error) => (
            Tone::Bad,
            "unread",
            printable(&format!("this entry cannot be read: {error}")).into_owned(),
        ),
    };
    format!(
        "{id:>6}  {time}  {}  {text}",
        style.paint(tone, &format!("{word:<13}"))
    )
}

/// What happened in plain words, without number and time.
pub(super) fn line(entry: &Entry) -> (Tone, &'static str, String) {
    match entry {
        Entry::Verdict(verdict) => {
            let (tone, word) = match (verdict.verdict, verdict.observed) {
                (Answer::Allow, _) => (Tone::Good, "allow"),
                (Answer::Refuse, false) => (Tone::Bad, "refuse"),
                (Answer::Refuse, true) => (Tone::Bad, "would refuse"),
            };
            let mut text =
                who(&verdict.program, verdict.pid) + &whither(verdict.judged, verdict.destination);
            text += &format!("  {}", verdict.reason.word());
            if let Some(culprit) = verdict
                .culprit
                .as_deref()
                .filter(|culprit| **culprit != *verdict.program)
            {
                text += &format!("  culprit {}", program_name(culprit));
            }
            if verdict.count > 1 {
                text += &format!("  {} times", grouped(verdict.count));
            }
            (tone, word, text)
        }
        Entry::Grant(grant) => {
            let text = format!(
                "{} ─▶ {}",
                who(&grant.program, grant.pid),
                grant.destination
            );
            match grant.event {
                GrantChange::Opened => (Tone::Good, "grant opened", text),
                GrantChange::Closed => {
                    let (sent, received) = (
                        grant.bytes_sent.unwrap_or(0),
                        grant.bytes_received.unwrap_or(0),
                    );
                    (
                        Tone::Faint,
                        "grant closed",
                        format!("{text}  {sent} bytes sent, {received} received"),
                    )
                }
            }
        }
        Entry::Finding(finding) => {
            let tone = match finding.finding {
                FindingKind::BotSuspected => Tone::Bad,
                FindingKind::IllegalSend => Tone::Strong,
            };
            let culprit = finding.culprit.as_deref().unwrap_or(&finding.program);
            let mut text = format!(
                "culprit {}  {}",
                program_name(culprit),
                finding.reason.map_or("conduct", |reason| reason.word())
            );
            if let Some(strongest) = finding.evidence.first() {
                text += &format!("  {}", printable(&strongest.detail));
            }
            if finding.suppressed > 0 {
                text += &format!("  ({} more held back)", finding.suppressed);
            }
            (tone, finding.finding.word(), text)
        }
        Entry::Notice(notice) => (Tone::Faint, "notice", printable(&notice.text).into_owned()),
    }
}

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn who(program: &str, pid: u32) -> String {
    match pid {
        0 => program_name(program).into_owned(),
        _ => format!("{} (pid {pid})", program_name(program)),
    }
}

fn whither(judged: JudgedWord, destination: Option<std::net::SocketAddr>) -> String {
    match (judged, destination) {
        (JudgedWord::Submit, _) => " to take mail".to_owned(),
        (_, Some(destination)) => format!(" ─▶ {destination}"),
        (_, None) => String::new(),
    }
}

/// `2026-01-01T00:00:00.123456Z` without the fraction.
pub(super) fn to_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, fraction)) => {
            let zone = fraction.trim_start_matches(|letter: char| letter.is_ascii_digit());
            printable(&format!("{seconds}{zone}")).into_owned()
        }
        None => printable(time).into_owned(),
    }
}

/// Reading an entry from JSON that has `id` and `time` in front of it.
pub(super) trait FromJournal: Sized {
    fn deserialize_from(entry: &Value) -> Result<Self, serde_json::Error>;
}

impl FromJournal for Entry {
    fn deserialize_from(entry: &Value) -> Result<Self, serde_json::Error> {
        serde::Deserialize::deserialize(entry)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::explain::tests::{entry, finding, verdict};
    use super::*;

    fn plain(entry: &Value) -> String {
        log_line(entry, Style::default())
    }

    #[test]
    fn each_type_of_entry_has_its_line() {
        assert_eq!(
            plain(&verdict()),
            "    41  2026-01-01T00:00:02Z  refuse         /usr/bin/thunderbird (pid 4243) ─▶ 192.0.2.25:587  \
             foreign-origin  culprit /tmp/update"
        );
        assert_eq!(
            plain(&finding()),
            "    42  2026-01-01T00:00:02Z  bot-suspected  culprit /tmp/update  foreign-origin  IRC connection to \
             192.0.2.66:6667 by /tmp/update (pid 4242), open for 62 s  (17 more held back)"
        );
        let grant = json!({"type": "grant", "event": "closed", "cookie": 1, "pid": 9, "uid": 1000,
            "program": "/usr/bin/msmtp", "destination": "[2001:db8::1]:465", "bytes_sent": 1234, "bytes_received": 56});
        assert_eq!(
            plain(&entry(43, grant.clone())),
            "    43  2026-01-01T00:00:02Z  grant closed   /usr/bin/msmtp (pid 9) ─▶ [2001:db8::1]:465  1234 bytes \
             sent, 56 received"
        );
        let mut opened = grant;
        opened["event"] = "opened".into();
        assert_eq!(
            plain(&entry(43, opened)),
            "    43  2026-01-01T00:00:02Z  grant opened   /usr/bin/msmtp (pid 9) ─▶ [2001:db8::1]:465"
        );
        assert_eq!(
            plain(&entry(
                44,
                json!({"type": "notice", "text": "the gate is up"})
            )),
            "    44  2026-01-01T00:00:02Z  notice         the gate is up"
        );
    }

    #[test]
    fn an_entry_that_stands_for_many_says_how_many() {
        let mut many = verdict();
        many["count"] = 1_234_567.into();
        let line = plain(&many);
        assert!(
            line.ends_with("foreign-origin  culprit /tmp/update  1,234,567 times"),
            "{line}"
        );
        let numbers = [0, 12, 999, 1000, 45_678].map(grouped);
        assert_eq!(numbers, ["0", "12", "999", "1,000", "45,678"]);
    }

    #[test]
    fn observed_and_submitted_read_differently() {
        let mut observed = verdict();
        observed["observed"] = true.into();
        observed["judged"] = "submit".into();
        observed["destination"] = Value::Null;
        assert_eq!(
            plain(&observed),
            "    41  2026-01-01T00:00:02Z  would refuse   /usr/bin/thunderbird (pid 4243) to take mail  \
             foreign-origin  culprit /tmp/update"
        );
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let mut hostile = verdict();
        hostile["program"] = "/tmp/\x1b]0;owned\x07\r\nx".into();
        hostile["culprit"] = "/tmp/\u{202e}x".into();
        for value in [
            hostile,
            entry(1, json!({"type": "notice", "text": "a\x1b[2Jb\n"})),
            entry(1, json!({"type": "\x1b[2J"})),
            json!({"id": 1, "time": "\x1b[2J.5Z"}),
            json!([]),
        ] {
            let line = plain(&value);
            assert!(engine::printable(&line) == line, "{line:?}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_read_says_why() {
        let mut odd = verdict();
        odd["reason"] = "bad-mood".into();
        assert_eq!(
            plain(&odd),
            "    41  2026-01-01T00:00:02Z  unread         this entry cannot be read: unknown reason 'bad-mood'"
        );
    }
}
