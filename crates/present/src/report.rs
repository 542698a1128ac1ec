//! The report of `replay --html`: one page that needs nothing but itself.
//!
//! Pure: plain data in, text out. The templates escape everything; there is no script, and
//! the page forbids itself to load anything.

mod axis;
mod captures;
mod host;
mod picture;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;

use engine::Suspicion;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use protocols::App;
use replay::timeline::Activity;

use words::{count, shown};

/// Longest name of a file that is shown, in letters.
const NAME_LETTERS_MAX: usize = 200;

/// All that the page shows.
#[derive(Debug, Default)]
pub struct Report {
    /// The captures, in the order in which they were read.
    pub files: Vec<Capture>,
    /// The captures beyond those that the page has room for.
    pub rest: Rest,
    /// What the flows of all captures are.
    pub apps: BTreeMap<App, Traffic>,
}

/// Captures that are only counted.
#[derive(Debug, Default)]
pub struct Rest {
    /// How many.
    pub captures: u64,
    /// Packets in them.
    pub packets: u64,
    /// Flows in them.
    pub flows: u64,
    /// How many of them could not be read to their end.
    pub damaged: u64,
    /// How many of them hold what was not read.
    pub not_read: u64,
    /// Suspicious hosts in them.
    pub hosts: u64,
}

/// What one capture came to.
#[derive(Debug, Default)]
pub struct Capture {
    /// Its name, as the user gave it.
    pub name: String,
    /// Packets read.
    pub packets: u64,
    /// Their bytes, as captured.
    pub bytes: u64,
    /// Flows told.
    pub flows: u64,
    /// Its first and its last moment, nanoseconds since 1970; none without a flow.
    pub span_ns: Option<(u64, u64)>,
    /// What was wrong, or left out, one sentence each.
    pub notes: Vec<String>,
    /// The first of the notes says that not all of it could be read.
    pub damaged: bool,
    /// Packets were not read in which conversations could be; the notes name them.
    pub not_read: bool,
    /// Hosts that behave like bots, strongest evidence first.
    pub hosts: Vec<Host>,
    /// More of them, beyond those that the page has room for.
    pub hosts_more: u64,
}

/// A host that behaves like a bot.
#[derive(Debug)]
pub struct Host {
    /// Its address.
    pub address: IpAddr,
    /// What was found.
    pub suspicion: Suspicion,
    /// What it did; none when it was not kept.
    pub activity: Option<Box<Activity>>,
    /// What some hosts of its capture did was forgotten, because there were too many.
    pub forgotten: bool,
}

/// Some flows together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// How many.
    pub flows: u64,
    /// Payload from clients to servers.
    pub bytes_up: u64,
    /// Payload from servers to clients.
    pub bytes_down: u64,
}

/// Written as it is: well-formed XML too, so that any parser can read the page.
const HEAD: PreEscaped<&str> = PreEscaped(
    r#"<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta name="referrer" content="no-referrer"/>
<meta name="robots" content="noindex"/>
"#,
);
const STYLE: &str = include_str!("report/style.css");

impl Report {
    /// Writes the page.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let head = html! {
            (DOCTYPE)
            (PreEscaped("\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">"))
            head {
                (HEAD)
                title { (self.verdict()) " · Sekimori replay report" }
                style { (PreEscaped(STYLE)) (PreEscaped(picture::STYLE)) }
            }
            (PreEscaped("\n<body>"))
            a.skip href="#captures" { "To the summary of the captures" }
            (self.header())
            (PreEscaped("\n<main>"))
            (self.contents())
        };
        out.write_all(head.into_string().as_bytes())?;
        // One by one: the whole page can be much larger than each part of it.
        for (number, file, host) in self.hosts() {
            let several = self.files.len() > 1;
            let name = several.then(|| shown(&file.name, NAME_LETTERS_MAX));
            let section = host::section(host, number, name.as_deref(), file.span_ns);
            out.write_all(b"\n")?;
            out.write_all(section.into_string().as_bytes())?;
        }
        let rest = html! {
            (self.beyond())
            (captures::section(self))
            (how_to_read(self.count_hosts() > 0))
            (PreEscaped("</main>\n"))
            footer { "Made by Sekimori " (env!("CARGO_PKG_VERSION")) " with " code { "sekimori replay --html" } ". All times are UTC." }
            (PreEscaped("</body>\n</html>\n"))
        };
        out.write_all(rest.into_string().as_bytes())
    }

    /// Hosts with their numbers on the page.
    fn hosts(&self) -> impl Iterator<Item = (usize, &Capture, &Host)> {
        self.files
            .iter()
            .flat_map(|file| file.hosts.iter().map(move |host| (file, host)))
            .enumerate()
            .map(|(at, (file, host))| (at + 1, file, host))
    }

    fn count_hosts(&self) -> u64 {
        self.hosts().count() as u64 + self.hosts_more()
    }

    fn hosts_more(&self) -> u64 {
        let more: u64 = self.files.iter().map(|file| file.hosts_more).sum();
        more + self.rest.hosts
    }

    /// Was all of every capture read?
    fn whole(&self) -> bool {
        self.rest.damaged == 0
            && self.rest.not_read == 0
            && self
                .files
                .iter()
                .all(|file| !file.damaged && !file.not_read)
    }

    fn verdict(&self) -> String {
        match self.count_hosts() {
            0 if self.whole() => "No host behaves like a bot in what was captured".to_owned(),
            0 if self.flows() == 0 => {
                "Nothing was read, so nothing is known about the hosts".to_owned()
            }
            0 => "Not everything was read. In the rest, no host behaves like a bot".to_owned(),
            1 => "1 host behaves like a bot".to_owned(),
            hosts => count(hosts, "", "hosts behave like bots"),
        }
    }

    fn flows(&self) -> u64 {
        let flows: u64 = self.files.iter().map(|file| file.flows).sum();
        flows + self.rest.flows
    }

    fn header(&self) -> Markup {
        let hosts = self.count_hosts();
        let class = match (hosts, self.whole()) {
            (0, true) => "good",
            (0, false) => "unsure",
            _ => "bad",
        };
        let files = self.files.len() as u64 + self.rest.captures;
        let sum = |of: fn(&Capture) -> u64| self.files.iter().map(of).sum::<u64>();
        let read = format!(
            "{} in {} of {}",
            count(self.flows(), "flow", "flows"),
            count(
                sum(|file| file.packets) + self.rest.packets,
                "packet",
                "packets"
            ),
            count(files, "capture", "captures")
        );
        let first = self
            .files
            .iter()
            .filter_map(|file| Some(file.span_ns?.0))
            .min();
        let last = self
            .files
            .iter()
            .filter_map(|file| Some(file.span_ns?.1))
            .max();
        html! {
            header class=(class) {
                p.product { span lang="ja" { "関守" } " Sekimori · replay report" }
                h1 { (self.verdict()) }
                p.read {
                    (read)
                    @if let (Some(first), Some(last)) = (first, last) {
                        ", from " (axis::moment(first)) " to " (axis::moment(last)) " UTC"
                    }
                    "."
                }
                @if hosts == 0 {
                    p {
                        "What was seen does not add up to a bot for any host. That is no proof that all is well: "
                        "what was not captured, or was encrypted, was not seen."
                    }
                }
                @if !self.whole() {
                    p.damage { strong { "Not everything could be read." } " See " a href="#captures" { "the captures" } " for what is missing." }
                }
            }
        }
    }

    /// The hosts in short, when there are several.
    fn contents(&self) -> Markup {
        if self.hosts().nth(1).is_none() {
            return html! {};
        }
        let several = self.files.len() > 1;
        html! {
            nav aria-label="Suspicious hosts" {
                ul {
                    @for (number, file, host) in self.hosts() {
                        li {
                            a href=(format!("#host-{number}")) { (host.address) }
                            span.score { (host.suspicion.score) " points" }
                            span.when { "since " (axis::moment(host.suspicion.since.0)) }
                            @if several { span.file { "in " (shown(&file.name, NAME_LETTERS_MAX)) } }
                        }
                    }
                }
            }
        }
    }

    fn beyond(&self) -> Markup {
        html! {
            @if self.hosts_more() > 0 {
                p.beyond {
                    "This page has room for " (self.hosts().count()) " hosts. "
                    (count(self.hosts_more(), "more suspicious host is", "more suspicious hosts are"))
                    " left out; " code { "sekimori replay --json" } " tells them all."
                }
            }
        }
    }
}

fn how_to_read(suspicious: bool) -> Markup {
    html! {
        section #reading {
            h2 { "How to read this" }
            @if suspicious {
                p {
                    "A host is called suspicious when the weights of its evidence together are enough. A weight above zero speaks "
                    "for an infection, one below zero against it; only their order and proportion mean something. "
                    "Each line of evidence says what was seen and why it weighs as much."
                }
                p {
                    "In a picture, all lanes share one time axis. A beam in the lane IRC lasts as long as its connection. In the other lanes, "
                    "the taller a bar, the more began at that time (twice as tall is four times as many). "
                    "▲ bars stand on the line and are filled, ▼ bars hang below it and are hollow. "
                    "The dashed line is the moment at which the evidence was enough."
                }
            }
            p {
                "A connection belongs to the host that opened it. A host behind address translation stands for all behind it. "
                "“Unanswered” are TCP connections without a single byte of payload: refused, dropped, or closed at once. "
                "Protocols are recognised by what is said, whatever the port."
            }
        }
    }
}
