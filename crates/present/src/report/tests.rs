//! What the reader of a report sees. Pages are read back by a strict XML parser.

use std::net::{IpAddr, SocketAddr};

use engine::{Evidence, Observation, Sign, Subject, Timestamp};
use proptest::prelude::*;
use protocols::irc::IrcFacts;
use protocols::smtp::SmtpFacts;
use protocols::{Facts, Outcome, Side};
use replay::{FlowRecord, Hosts, Input, Settings, Sink, Timeline, Transport};
use roxmltree::{Document, Node, ParsingOptions};

use super::picture::Picture;
use super::*;

#[allow(dead_code)]
#[path = "../../../sekimori/tests/story/mod.rs"]
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
        timeline.add(flow, || crate::flow_details(flow));
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
        forgotten: false,
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

/// What replay makes of the story.
#[derive(Default)]
struct Reader {
    timeline: Timeline,
    hosts: Hosts,
}

impl Sink for Reader {
    fn flow(&mut self, flow: FlowRecord) {
        self.timeline.add(&flow, || crate::flow_details(&flow));
    }

    fn observe(&mut self, host: IpAddr, observation: &Observation<'_>, time_ns: u64) {
        self.hosts.observe(host, observation, Timestamp(time_ns));
    }
}

/// The bot of the story, as replay finds it.
fn found() -> Host {
    let mut reader = Reader::default();
    let input = Input::new(std::io::Cursor::new(story::capture()));
    replay::replay_into(input, &Settings::default(), &mut reader).unwrap();
    let findings = reader.hosts.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let address = IpAddr::from(story::BOT);
    assert_eq!(findings[0].subject, Subject::Host(address));
    Host {
        address,
        suspicion: findings[0].clone(),
        activity: reader.timeline.take(address),
        forgotten: false,
    }
}

/// The same with evidence that does not depend on how evidence is weighed.
fn bot() -> Host {
    let since = model::parse_rfc3339("2026-11-22T08:15:12Z").unwrap();
    let mut host = found();
    host.suspicion.since = Timestamp(since);
    host.suspicion.score = 65;
    host.suspicion.evidence = vec![
        evidence(
            Sign::IrcSameLineage,
            "joined #parts with key on 203.0.113.66:8080, 3.2 s before 14 refused connections to 11 mail servers",
        ),
        evidence(Sign::FanOut, "42 different mail servers in 2 min"),
        evidence(Sign::NoCulprit, "looks up names like everybody else"),
    ];
    host
}

/// What holds for any page. The text of its body, in one line.
fn checked(page: &str) -> String {
    let document = parsed(page);
    let mut ids: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.attribute("id"))
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id is there twice");
    for node in document.descendants() {
        let name = node.tag_name().name();
        for attribute in node.attributes() {
            let value = attribute.value();
            match attribute.name() {
                "href" => assert!(ids.contains(&value.strip_prefix('#').unwrap()), "{value}"),
                "aria-labelledby" => value
                    .split(' ')
                    .for_each(|id| assert!(ids.contains(&id), "{id}")),
                "x" | "x1" | "x2" | "cx" if value.ends_with('%') => {
                    let percent: f64 = value.trim_end_matches('%').parse().unwrap();
                    assert!((0.0..=100.0).contains(&percent), "{value}");
                }
                other => assert!(
                    !other.starts_with("on") && other != "src",
                    "{name} {other}={value}"
                ),
            }
        }
        assert!(
            !["script", "img", "iframe", "link", "form", "object"].contains(&name),
            "{name}"
        );
    }
    let policy = elements(&document, "meta")
        .into_iter()
        .find(|meta| meta.attribute("http-equiv") == Some("Content-Security-Policy"));
    assert_eq!(
        policy.unwrap().attribute("content"),
        Some("default-src 'none'; style-src 'unsafe-inline'")
    );
    for style in elements(&document, "style") {
        let rules = style.text().unwrap();
        assert!(!rules.contains("url(") && !rules.contains("@import"));
    }
    text(elements(&document, "body")[0])
}

#[track_caller]
fn says(text: &str, words: &str) {
    assert!(text.contains(words), "{words:?} is not in: {text}");
}

#[test]
fn a_bot_is_told_in_words() {
    let report = report(vec![bot()]);
    let said = checked(&page(&report));
    says(
        &said,
        "関守 Sekimori · replay report 1 host behaves like a bot",
    );
    says(&said, "77 flows in 12,345 packets of 1 capture");
    says(
        &said,
        "192.0.2.23 behaves like a bot. 2 observations speak for it; the evidence comes to 65 points. It was enough at 2026-11-22 08:15:12 UTC",
    );
    says(
        &said,
        "it held 1 IRC connection, asked 42 times for mail exchangers (MX), looked up 44 other names, \
         spoke with mail servers in 4 connections, tried 38 connections to mail ports without an answer \
         and opened 60 connections to other ports that came to nothing.",
    );
    says(
        &said,
        "Evidence, strongest first +60 joined #parts with key on 203.0.113.66:8080, 3.2 s before 14 refused \
         connections to 11 mail servers irc-same-lineage · command channel and illegal send in one lineage is \
         what the paper calls a bot +25 42 different mail servers in 2 min fan-out",
    );
    says(&said, "\u{2212}20 looks up names like everybody else");
    says(&said, "IRC 2026-11-22 08:00:05 29 min 203.0.113.66:8080");
    says(&said, "[DEU|XP|SP3]-408173 #parts (key)");
    says(&said, "friend from <offers@customer-08.example>");
    says(&said, "and 30 more of this kind");
}

#[test]
fn the_picture_is_also_told_in_words() {
    let page = page(&report(vec![bot()]));
    let document = parsed(&page);
    let pictures = elements(&document, "svg");
    assert_eq!(pictures.len(), 1);
    let picture = pictures[0];
    assert_eq!(picture.attribute("role"), Some("img"));
    let said = text(picture);
    says(&said, "Timeline of 192.0.2.23");
    says(
        &said,
        "1 IRC connection, begun from 2026-11-22 08:00:05 to 2026-11-22 08:00:05 UTC. 44 lookups of names",
    );
    says(&said, "The evidence was enough at 2026-11-22 08:15:12 UTC.");
    says(&said, "IRC 1 connection to 203.0.113.66:8080");
    says(&said, "DNS ▲ 44 names ▼ 42 mail exchangers (MX)");
    says(&said, "Mail ▲ 4 connections that spoke ▼ 38 unanswered");
    says(&said, "Scan 60 unanswered connections");
    says(&said, "08:00 2026-11-22 UTC 08:05 08:10 08:15 08:20 08:25");
    says(&said, "evidence enough, 08:15:12");
}

#[test]
fn without_a_suspicious_host_it_says_so_and_gives_the_summary() {
    let mut report = report(vec![]);
    let traffic = Traffic {
        flows: 1500,
        bytes_up: 10,
        bytes_down: 2_500_000,
    };
    report.apps.insert(App::Http, traffic);
    report.apps.insert(
        App::Dns,
        Traffic {
            flows: 500,
            ..traffic
        },
    );
    let page = page(&report);
    let said = checked(&page);
    says(&said, "No host behaves like a bot");
    says(&said, "That is no proof that all is well");
    says(
        &said,
        "night.pcap 12,345 6.0 MB 77 1970-01-01 00:00:00 1 h 0",
    );
    says(&said, "http 1,500 75.0 % 10 B 2.5 MB dns 500 25.0 %");
    assert!(!page.contains("<svg"));
    assert!(!said.contains("behave like bots") && !said.contains("Evidence"));
}

#[test]
fn damage_is_said_at_the_top_and_at_the_file() {
    let mut report = report(vec![]);
    report.files[0].damaged = true;
    report.files[0].notes = vec![
        "it ends in the middle".to_owned(),
        "7 <odd> ones".to_owned(),
    ];
    report.files.push(Capture {
        name: "letter.txt".to_owned(),
        damaged: true,
        notes: vec!["it is no capture".to_owned()],
        ..Capture::default()
    });
    let said = checked(&page(&report));
    says(&said, "Not everything could be read. See the captures");
    says(&said, "Damaged: it ends in the middle 7 <odd> ones");
    says(&said, "letter.txt 0 0 B 0 – – 0 Damaged: it is no capture");
}

#[test]
fn captures_beyond_the_room_are_counted() {
    let mut report = report(vec![]);
    report.rest = Rest {
        captures: 2,
        packets: 1000,
        flows: 23,
        damaged: 1,
        not_read: 0,
        hosts: 0,
    };
    let said = checked(&page(&report));
    says(&said, "100 flows in 13,345 packets of 3 captures");
    says(&said, "Not everything could be read.");
    says(
        &said,
        "And 2 more captures with 23 flows, for which this page has no room. Of these, 1 could not be read",
    );
}

#[test]
fn nothing_at_all_is_a_page_too() {
    let said = checked(&page(&Report::default()));
    says(&said, "0 flows in 0 packets of 0 captures.");
    says(&said, "There was no flow of TCP or UDP.");
}

const HOSTILE: &str =
    "</td></table><script>alert(1)</script>\" onload='x' &amp; ]]> <!-- \u{202e}\x1b[2J\u{ffff}";

#[test]
fn what_captures_hold_is_only_ever_text() {
    let mut irc = IrcFacts::default();
    irc.line(Side::Client, b"NICK <b>&amp;");
    irc.nick = Some(HOSTILE.to_owned());
    irc.line(Side::Client, b"JOIN #<script>alert('x')</script> key");
    let smtp = SmtpFacts {
        helo: Some(HOSTILE.to_owned()),
        ..SmtpFacts::default()
    };
    let flows = [
        flow(App::Irc, 8080, Facts::Irc(Box::new(irc)), SECOND, SECOND),
        flow(App::Smtp, 25, Facts::Smtp(Box::new(smtp)), SECOND, SECOND),
    ];
    let host = host(
        flows[0].client.ip(),
        &flows,
        SECOND,
        vec![evidence(Sign::IrcSameLineage, HOSTILE)],
    );
    let mut report = report(vec![host]);
    report.files[0].name = HOSTILE.to_owned();
    report.files[0].notes = vec![HOSTILE.to_owned()];
    report.files.push(Capture::default());
    let page = page(&report);
    let said = checked(&page);
    says(
        &said,
        "+60 </td></table><script>alert(1)</script>\" onload='x' &amp; ]]> <!-- \\u{202e}\\x1b[2J\u{fffd}",
    );
    says(&said, "in </td></table>");
    assert!(!page.contains("<script") && !page.contains('\x1b') && !page.contains('\u{202e}'));
}

#[test]
fn long_things_are_cut() {
    let long = "x".repeat(100_000);
    let flows = vec![flow(App::Irc, 8080, Facts::None, SECOND, SECOND)];
    let many = (0..1000)
        .map(|_| evidence(Sign::IrcSameLineage, &long))
        .collect();
    let mut report = report(vec![host(flows[0].client.ip(), &flows, SECOND, many)]);
    report.files[0].name = long.clone();
    report.files[0].notes = vec![long];
    let page = page(&report);
    says(&checked(&page), "And 960 weaker ones more.");
    assert!(page.len() < 80_000, "{}", page.len());
}

#[test]
fn many_hosts_in_several_captures() {
    let mut report = Report::default();
    for file in 0..3_u8 {
        let hosts = (0..20_u8)
            .map(|number| {
                let mut flow = flow(App::Irc, 6667, Facts::None, SECOND, SECOND);
                let address = IpAddr::from([10, 0, file, number]);
                flow.client = SocketAddr::new(address, 40_000);
                host(
                    address,
                    &[flow],
                    SECOND,
                    vec![evidence(Sign::FanOut, "many")],
                )
            })
            .collect();
        report.files.push(Capture {
            name: format!("night-{file}.pcap"),
            hosts,
            ..Capture::default()
        });
    }
    report.files[1].hosts_more = 5;
    let page = page(&report);
    let said = checked(&page);
    says(&said, "65 hosts behave like bots");
    says(
        &said,
        "10.0.0.0 25 points since 1970-01-01 00:00:01 in night-0.pcap 10.0.0.1",
    );
    says(&said, "10.0.2.19 bot-suspected in night-2.pcap");
    says(
        &said,
        "This page has room for 60 hosts. 5 more suspicious hosts are left out;",
    );
    let document = parsed(&page);
    assert_eq!(elements(&document, "svg").len(), 60);
    let links = elements(&document, "a");
    assert_eq!(
        links
            .iter()
            .filter(|link| link.attribute("href").unwrap().starts_with("#host-"))
            .count(),
        60
    );
}

#[test]
fn one_packet_makes_a_picture() {
    let flows = [flow(App::Irc, 8080, Facts::None, 5 * SECOND, 0)];
    let said = checked(&page(&report(vec![host(
        flows[0].client.ip(),
        &flows,
        5 * SECOND,
        vec![],
    )])));
    says(&said, "At one moment it held 1 IRC connection.");
    says(
        &said,
        "00:00:04.960 1970-01-01 UTC 00:00:04.980 00:00:05.000",
    );
    says(
        &said,
        "0 observations speak for it; the evidence comes to 0 points.",
    );
}

#[test]
fn from_the_first_to_the_last_moment_that_can_be() {
    let flows = [
        flow(App::Irc, 8080, Facts::None, 0, u64::MAX),
        flow(App::Smtp, 25, Facts::None, u64::MAX, 0),
        flow(App::Smtp, 25, Facts::None, 0, 0),
    ];
    let said = checked(&page(&report(vec![host(
        flows[0].client.ip(),
        &flows,
        u64::MAX,
        vec![],
    )])));
    says(&said, "Within 213503 d 23 h it held");
    says(&said, "1970-01-01");
    says(&said, "evidence enough, 23:34:33");
}

#[test]
fn a_missing_picture_has_its_reason() {
    let mut one = bot();
    one.activity = None;
    let said = checked(&page(&report(vec![one])));
    says(&said, "the host opened no connection that a picture shows");
    assert!(!said.contains("too many hosts"), "{said}");
    let mut one = bot();
    one.activity = None;
    one.forgotten = true;
    let said = checked(&page(&report(vec![one])));
    says(&said, "There were too many hosts in this capture");
}

proptest! {
    #[test]
    fn any_text_makes_a_page(name in any::<String>(), detail in any::<String>(), nick in any::<String>()) {
        let facts = IrcFacts { nick: Some(nick), ..IrcFacts::default() };
        let flows = [flow(App::Irc, 8080, Facts::Irc(Box::new(facts)), SECOND, SECOND)];
        let mut report = report(vec![host(flows[0].client.ip(), &flows, SECOND, vec![evidence(Sign::FanOut, &detail)])]);
        report.files[0].name = name.clone();
        report.files[0].notes = vec![name];
        checked(&page(&report));
    }
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
    let host = found();
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
