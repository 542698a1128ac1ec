//! A flow of a capture, as a row of a table or as JSON.

use engine::printable;
use protocols::{App, Facts, Tunnel};
use replay::FlowRecord;
use serde::Serialize;

use super::{Style, Tone, padded};

/// The headings over [`flow_line`]. Rows come one by one, so widths are fixed.
pub const FLOW_HEADINGS: &str = "\
FIRST SEEN (UTC)     APP        SURE  FROM                   TO (SERVER)            SENT      RECEIVED  DETAILS";

/// One row.
pub fn flow_line(flow: &FlowRecord, style: Style) -> String {
    let outcome = &flow.outcome;
    let tone = match outcome.app {
        App::Irc | App::Smtp => Tone::Bad,
        App::Unknown => Tone::Faint,
        _ => Tone::Good,
    };
    let sure = match outcome.app {
        App::Unknown => String::new(),
        _ => format!("{:.0} %", outcome.confidence * 100.0),
    };
    let time = model::rfc3339(flow.first_ns);
    let time = time.get(..19).unwrap_or(&time).replace('T', " ");
    let app = match outcome.app {
        App::Unknown => flow.transport.word(),
        app => app.word(),
    };
    let line = format!(
        "{}  {}  {}  {}  {}  {}  {}  {}",
        padded(&time, 19),
        style.paint(tone, &padded(app, 9)),
        padded(&sure, 4),
        padded(&flow.client.to_string(), 21),
        padded(&flow.server.to_string(), 21),
        padded(&size(flow.bytes_up), 8),
        padded(&size(flow.bytes_down), 8),
        flow_details(flow),
    );
    line.trim_end().to_owned()
}

/// A number of bytes in at most eight letters.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

/// What was learned, in a few words that are safe to print.
pub fn flow_details(flow: &FlowRecord) -> String {
    let outcome = &flow.outcome;
    let mut words = Vec::new();
    match &outcome.facts {
        Facts::Irc(facts) => {
            words.extend(facts.nick.clone());
            words.extend(facts.channels.iter().take(3).map(|channel| {
                let key = if channel.with_key { " (key)" } else { "" };
                format!("{}{key}", channel.name)
            }));
        }
        Facts::Smtp(facts) => {
            words.extend(facts.helo.clone());
            words.extend(
                facts
                    .mail_from
                    .as_ref()
                    .map(|from| format!("from <{from}>")),
            );
            words.extend(facts.starttls.then(|| "STARTTLS".to_owned()));
        }
        Facts::Dns(message) => words.extend(message.questions.iter().take(2).map(|question| {
            let kind = match question.record_type {
                1 => "A".to_owned(),
                15 => "MX".to_owned(),
                28 => "AAAA".to_owned(),
                other => format!("type {other}"),
            };
            format!("{kind} {}", question.name)
        })),
        Facts::Tls(hello) => words.extend(hello.server_name.clone()),
        Facts::Http(facts) => {
            words.extend(facts.host.clone());
            words.push(facts.target.clone());
        }
        _ => {}
    }
    words.extend(outcome.through.map(|tunnel| {
        match tunnel {
            Tunnel::HttpConnect => "through HTTP CONNECT",
            Tunnel::Socks4 => "through SOCKS 4",
            Tunnel::Socks5 => "through SOCKS 5",
            Tunnel::WebSocket => "over WebSocket",
        }
        .to_owned()
    }));
    let mut text = words.join(" ");
    if let Some((end, _)) = text.char_indices().nth(60) {
        text.truncate(end);
        text.push('…');
    }
    printable(&text).into_owned()
}

/// One line of `replay --json`: its members are a contract.
pub fn flow_json(flow: &FlowRecord, file: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        file: &'a str,
        proto: &'static str,
        src: String,
        dst: String,
        app: &'static str,
        confidence: f32,
        /// Seconds since 1970, to the microsecond.
        first: f64,
        last: f64,
        bytes_up: u64,
        bytes_down: u64,
    }
    let seconds = |ns: u64| (ns / 1000) as f64 / 1e6;
    let line = Line {
        r#type: "flow",
        file,
        proto: flow.transport.word(),
        src: flow.client.to_string(),
        dst: flow.server.to_string(),
        app: flow.outcome.app.word(),
        confidence: flow.outcome.confidence,
        first: seconds(flow.first_ns),
        last: seconds(flow.last_ns),
        bytes_up: flow.bytes_up,
        bytes_down: flow.bytes_down,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use protocols::Outcome;
    use replay::Transport;

    use super::*;

    fn flow() -> FlowRecord {
        let mut facts = protocols::irc::IrcFacts::default();
        facts.line(protocols::Side::Client, b"NICK a\x1b[2J");
        facts.line(protocols::Side::Client, b"NICK bot");
        facts.line(protocols::Side::Client, b"JOIN #\x1b[2J key");
        FlowRecord {
            transport: Transport::Tcp,
            client: "192.0.2.1:40000".parse().unwrap(),
            server: "[2001:db8::1]:8080".parse().unwrap(),
            outcome: Outcome {
                app: App::Irc,
                confidence: 0.99,
                facts: Facts::Irc(Box::new(facts)),
                ..Outcome::default()
            },
            first_ns: 1_795_000_000_123_456_789,
            last_ns: 1_795_000_001_000_000_000,
            bytes_up: 120,
            bytes_down: 45_000,
            packets: 9,
        }
    }

    #[test]
    fn json_is_the_contract() {
        assert_eq!(
            flow_json(&flow(), "a.pcap"),
            r##"{"type":"flow","file":"a.pcap","proto":"tcp","src":"192.0.2.1:40000","dst":"[2001:db8::1]:8080","app":"irc","confidence":0.99,"first":1795000000.123456,"last":1795000001.0,"bytes_up":120,"bytes_down":45000}"##
        );
    }

    #[test]
    fn a_row_cannot_steer_the_terminal() {
        let line = flow_line(&flow(), Style::default());
        assert!(line.contains("bot #\\x1b[2J (key)"), "{line}");
        assert!(!line.contains('\x1b'));
        assert!(line.contains("45 kB"));
    }
}
