//! What the reader of a report sees. Pages are read back by a strict XML parser.

use std::net::{IpAddr, SocketAddr};

use engine::{Evidence, Sign, Subject, Timestamp};
use maud::PreEscaped;
use protocols::irc::IrcFacts;
use protocols::smtp::SmtpFacts;
use protocols::{Facts, Outcome, Side};
use replay::{FlowRecord, Input, Settings, Timeline, Transport};
use roxmltree::{Document, Node, ParsingOptions};

use super::picture::Picture;
use super::*;

#[allow(dead_code)]
#[path = "../../../tests/story/mod.rs"]
mod story;

const SECOND: u64 = 1_000_000_000;

fn page(report: &Report) -> String {
    let mut out = Vec::new();
    report.write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap_or_else(|error| panic!("{error}\n{page}"))
}

/// All text below a node, in one line.
fn text(node: Node<'_, '_>) -> String {
    let words: Vec<&str> = node
        .descendants()
        .filter_map(|node| node.text().filter(|_| node.is_text()))
        .collect();
    words
        .join(" ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn elements<'a>(document: &'a Document<'_>, name: &str) -> Vec<Node<'a, 'a>> {
    document
        .descendants()
        .filter(|node| {
            node.has_tag_name(("http://www.w3.org/1999/xhtml", name))
                || node.has_tag_name(("http://www.w3.org/2000/svg", name))
        })
        .collect()
}

fn flow(app: App, port: u16, facts: Facts, first_ns: u64, lasts_ns: u64) -> FlowRecord {
    FlowRecord {
        transport: Transport::Tcp,
        client: "192.0.2.1:40000".parse().unwrap(),
        server: SocketAddr::new([198, 51, 100, 7].into(), port),
        outcome: Outcome {
            app,
            confidence: 0.99,
            facts,
            ..Outcome::default()
        },
        first_ns,
        last_ns: first_ns.saturating_add(lasts_ns),
        bytes_up: 100,
        bytes_down: 2000,
        packets: 9,
    }
}

fn evidence(what: Sign, detail: &str) -> Evidence {
    Evidence {
        what,
        weight: what.weight(),
        detail: detail.to_owned(),
    }
}

/// A host with these flows, and evidence.
fn host(address: IpAddr, flows: &[FlowRecord], since_ns: u64, evidence: Vec<Evidence>) -> Host {
    let mut timeline = Timeline::default();
    for flow in flows {
        timeline.add(flow, || crate::render::flow_details(flow));
    }
    Host {
        address,
        suspicion: Suspicion {
            subject: Subject::Host(address),
            since: Timestamp(since_ns),
            score: evidence.iter().map(|one| one.weight).sum(),
            evidence,
        },
        activity: timeline.take(address),
    }
}

fn report(hosts: Vec<Host>) -> Report {
    Report {
        files: vec![Capture {
            name: "night.pcap".to_owned(),
            packets: 12_345,
            bytes: 6_000_000,
            flows: 77,
            span_ns: Some((0, 3600 * SECOND)),
            hosts,
            ..Capture::default()
        }],
        ..Report::default()
    }
}

/// The bot of the story, as replay sees it.
fn bot() -> Host {
    let address = IpAddr::from(story::BOT);
    let mut timeline = Timeline::default();
    let input = Input::new(std::io::Cursor::new(story::capture()));
    replay::replay(input, &Settings::default(), |flow| {
        timeline.add(&flow, || crate::render::flow_details(&flow));
    })
    .unwrap();
    let since = journal::parse_rfc3339("2026-11-22T08:15:12Z").unwrap();
    Host {
        address,
        suspicion: Suspicion {
            subject: Subject::Host(address),
            since: Timestamp(since),
            score: 130,
            evidence: vec![
                evidence(
                    Sign::IrcSameLineage,
                    "joined #parts with key on 203.0.113.66:8080, 3.2 s before 14 refused connections to 11 mail servers",
                ),
                evidence(Sign::FanOut, "42 different mail servers in 2 min"),
                evidence(Sign::NoCulprit, "looks up names like everybody else"),
            ],
        },
        activity: timeline.take(address),
    }
}

#[test]
fn look() {
    let Ok(folder) = std::env::var("LOOK") else {
        return;
    };
    let mut one = report(vec![bot()]);
    one.apps.insert(
        App::Dns,
        Traffic {
            flows: 70,
            bytes_up: 20,
            bytes_down: 30_000,
        },
    );
    one.apps.insert(
        App::Irc,
        Traffic {
            flows: 2,
            bytes_up: 20,
            bytes_down: 30_000,
        },
    );
    one.files[0].damaged = true;
    one.files[0].notes = vec![
        "ends in the middle".to_owned(),
        "something was left out".to_owned(),
    ];
    std::fs::write(format!("{folder}/one.html"), page(&one)).unwrap();
    std::fs::write(format!("{folder}/none.html"), page(&report(vec![]))).unwrap();
}

/// The picture in the README: that of the story's bot, on a ground of its own.
#[test]
fn the_picture_in_the_readme_is_what_a_report_draws() {
    const COLOURS: [(&str, &str); 10] = [
        ("card", "#ffffff"),
        ("ink", "#1c2127"),
        ("soft", "#57606a"),
        ("plot", "#f3f4f1"),
        ("grid", "#dcdfda"),
        ("irc", "#7a3fae"),
        ("dns", "#1b68a8"),
        ("mail", "#b0560d"),
        ("scan", "#39764a"),
        ("alarm", "#b3261e"),
    ];
    const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
    const WIDTH: u32 = 920;
    let host = bot();
    let address = host.address.to_string();
    let picture = Picture {
        host: &address,
        id: "bot",
        activity: host.activity.as_ref().unwrap(),
        since_ns: host.suspicion.since.0,
    };
    let (markup, height) = picture.draw();
    let mut style = picture::STYLE.to_owned();
    for (name, colour) in COLOURS {
        style = style.replace(&format!("var(--{name})"), colour);
    }
    assert!(!style.contains("var("), "{style}");
    let all = height + 100.0;
    let drawn = html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(WIDTH) height=(all) viewBox=(format!("0 0 {WIDTH} {all}"))
            role="img" aria-labelledby="title description" {
            title id="title" { (picture.title()) }
            desc id="description" { (picture.description()) }
            style { (PreEscaped(style)) }
            rect x="0.5" y="0.5" width=(WIDTH - 1) height=(all - 1.0) rx="10" fill="#ffffff" stroke="#dcdfda" {}
            g font-family=(FONT) {
                text x="28" y="42" font-size="20" font-weight="700" fill="#1c2127" { (address) }
                rect x="144" y="24" width="114" height="25" rx="12.5" fill="none" stroke="#b3261e" stroke-width="1.5" {}
                text x="201" y="41" font-size="13" font-weight="600" fill="#b3261e" text-anchor="middle" { "bot-suspected" }
            }
            svg.timeline x="28" y="74" width=(WIDTH - 56) height=(height) { (markup) }
        }
    };
    let drawn = drawn.into_string() + "\n";
    parsed(&drawn);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/replay-report.svg");
    if std::env::var_os("SEKIMORI_DRAW").is_some() {
        std::fs::write(path, &drawn).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        known == drawn,
        "docs/replay-report.svg is not what a report draws; SEKIMORI_DRAW=1 cargo test draws it anew"
    );
}
