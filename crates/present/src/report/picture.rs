//! The picture of a host: four lanes (IRC, DNS, mail, scan) over one time axis, as SVG.
//!
//! Places along the axis are in percent and everything else is in pixels, so that one
//! picture fits a wide screen and a phone without scaling its letters. What a colour says is
//! also said by a place, a shape or a word.

use maud::{Markup, Render, html};
use replay::timeline::{Activity, Line, Mark, Track};

use super::axis::{Axis, Tick, lasting, moment, time_of_day};
use super::words::{count, shown};

/// Rules for both the page and a picture by itself. Colours are variables.
pub const STYLE: &str = include_str!("picture.css");
/// Bars side by side.
const COLUMNS: usize = 120;
const LABEL: f64 = 22.0;
const GAP: f64 = 14.0;
const HALF: f64 = 26.0;
const EMPTY: f64 = 10.0;
const ROW: f64 = 16.0;
const ROWS_MAX: usize = 4;
const LEAST_BAR: f64 = 3.0;
/// Where lanes begin; above them stands when the evidence was enough.
const TOP: f64 = 24.0;
const AXIS: f64 = 40.0;

/// What is drawn.
pub struct Picture<'a> {
    /// The host's address.
    pub host: &'a str,
    /// Beginning of the names of its parts; unique on the page.
    pub id: &'a str,
    /// What the host did.
    pub activity: &'a Activity,
    /// When the evidence was enough.
    pub since_ns: u64,
}

/// A lane, its label above it. Later parts are drawn over earlier ones of all lanes.
struct Lane {
    label: Markup,
    marks: Markup,
    /// How tall it is without its label.
    height: f64,
}

impl Picture<'_> {
    /// The picture as part of a page, and its height.
    pub(super) fn draw(&self) -> (Markup, f64) {
        let (first_ns, last_ns) = self.activity.span_ns().unwrap_or((0, 0));
        let axis = Axis::over(first_ns.min(self.since_ns), last_ns.max(self.since_ns));
        let mut y = TOP;
        let mut lanes = Vec::new();
        for lane in [
            irc(axis, self.line(Track::Irc)),
            bars(
                axis,
                ("dns", "DNS"),
                Some((self.line(Track::Names), "name", "names")),
                Some((
                    self.line(Track::Exchangers),
                    "mail exchanger (MX)",
                    "mail exchangers (MX)",
                )),
            ),
            bars(
                axis,
                ("mail", "Mail"),
                Some((
                    self.line(Track::Mail),
                    "connection that spoke",
                    "connections that spoke",
                )),
                Some((self.line(Track::MailTried), "unanswered", "unanswered")),
            ),
            bars(
                axis,
                ("scan", "Scan"),
                Some((
                    self.line(Track::Tried),
                    "unanswered connection",
                    "unanswered connections",
                )),
                None,
            ),
        ] {
            let below = y + LABEL + lane.height + GAP;
            lanes.push((std::mem::replace(&mut y, below), lane));
        }
        let bottom = y - GAP;
        let ticks = axis.ticks();
        let down = |y: f64| format!("translate(0 {y:.0})");
        let markup = html! {
            @for (y, lane) in &lanes {
                @let (above, below) = (y + LABEL, y + LABEL + lane.height);
                rect.plot x="0" y=(above) width="100%" height=(lane.height) rx="4" {}
                g.grid {
                    @for tick in &ticks {
                        line x1=(percent(tick.percent)) x2=(percent(tick.percent)) y1=(above) y2=(below) {}
                    }
                }
                g transform=(down(above)) { (lane.marks) }
            }
            (labels(&ticks, bottom))
            (since(axis, self.since_ns, bottom))
            @for (y, lane) in &lanes { g transform=(down(*y)) { (lane.label) } }
        };
        (markup, bottom + AXIS)
    }

    fn line(&self, track: Track) -> &Line {
        self.activity.line(track)
    }

    pub(super) fn title(&self) -> String {
        format!("Timeline of {}", self.host)
    }

    /// The picture in words, for those who cannot see it.
    pub(super) fn description(&self) -> String {
        let said = |track: Track, one: &str, many: &str| {
            let line = self.line(track);
            let (Some(first), Some(last)) = (line.marks().first(), line.marks().last()) else {
                return format!("No {many}. ");
            };
            let (first, last) = (moment(first.first_ns), moment(last.first_ns));
            format!(
                "{}, begun from {first} to {last} UTC. ",
                count(line.flows(), one, many)
            )
        };
        let mut words = String::from("Four lanes on one time axis. ");
        words += &said(Track::Irc, "IRC connection", "IRC connections");
        words += &said(Track::Names, "lookup of a name", "lookups of names");
        words += &said(
            Track::Exchangers,
            "lookup of a mail exchanger",
            "lookups of mail exchangers",
        );
        words += &said(
            Track::Mail,
            "connection to a mail server",
            "connections to mail servers",
        );
        words += &said(
            Track::MailTried,
            "unanswered connection to a mail port",
            "unanswered connections to mail ports",
        );
        words += &said(
            Track::Tried,
            "other unanswered connection",
            "other unanswered connections",
        );
        words + &format!("The evidence was enough at {} UTC.", moment(self.since_ns))
    }
}

impl Render for Picture<'_> {
    fn render(&self) -> Markup {
        let (markup, height) = self.draw();
        let (title, description) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        html! {
            svg.timeline xmlns="http://www.w3.org/2000/svg" width="100%" height=(height) role="img"
                aria-labelledby=(format!("{title} {description}")) {
                title id=(title) { (self.title()) }
                desc id=(description) { (self.description()) }
                (markup)
            }
        }
    }
}

/// Connections as beams from their beginning to their end, in rows where they overlap.
fn irc(axis: Axis, line: &Line) -> Lane {
    let mut rows: Vec<f64> = Vec::new();
    let beams: Vec<(usize, f64, f64, &Mark)> = line
        .marks()
        .iter()
        .map(|mark| {
            let (from, to) = (axis.percent(mark.first_ns), axis.percent(mark.last_ns));
            // Round ends take some room; where all rows are taken, beams lie on the last.
            let row = rows
                .iter()
                .position(|end| end + 1.5 < from)
                .unwrap_or_else(|| rows.len().min(ROWS_MAX - 1));
            if row == rows.len() {
                rows.push(to);
            } else {
                rows[row] = rows[row].max(to);
            }
            (row, from, to, mark)
        })
        .collect();
    let height = if rows.is_empty() {
        EMPTY
    } else {
        rows.len() as f64 * ROW + 8.0
    };
    let servers = match line.kept() {
        [] => String::new(),
        [one] => format!(" to {}", one.server),
        [one, ..] => {
            let others = line.kept().iter().any(|kept| kept.server != one.server);
            format!(
                " to {}{}",
                one.server,
                if others { " and others" } else { "" }
            )
        }
    };
    let said = match line.flows() {
        0 => "none seen".to_owned(),
        flows => count(flows, "connection", "connections") + &servers,
    };
    let marks = html! {
        g.irc {
            @for (row, from, to, mark) in beams {
                @let y = 4.0 + ROW * (row as f64 + 0.5);
                line.beam x1=(percent(from)) x2=(percent(to)) y1=(y) y2=(y) {
                    title { (hint(mark, "connection", "connections")) }
                }
            }
        }
    };
    Lane {
        label: label("irc", "IRC", &[shown(&said, 60)], None),
        marks,
        height,
    }
}

/// What one half of a lane shows: its line, and the words for one and for many.
type Half<'a> = Option<(&'a Line, &'a str, &'a str)>;

/// How often something happened, as bars: one kind upwards, the other downwards.
fn bars(axis: Axis, (class, name): (&str, &str), up: Half<'_>, down: Half<'_>) -> Lane {
    let halves = [("up", "▲", up), ("down", "▼", down)]
        .map(|(way, arrow, half)| half.map(|half| (way, arrow, half, columns(axis, half.0))));
    let seen = halves
        .iter()
        .flatten()
        .any(|(_, _, (line, ..), _)| line.flows() > 0);
    let both = halves.iter().flatten().count() == 2;
    let peak = halves
        .iter()
        .flatten()
        .flat_map(|(.., columns)| columns.iter().copied())
        .fold(0.0, f64::max);
    let said: Vec<String> = match seen {
        false => vec!["none seen".to_owned()],
        true => halves
            .iter()
            .flatten()
            .map(|(_, arrow, (line, one, many), _)| {
                let arrow = if both { *arrow } else { "" };
                format!("{arrow} {}", count(line.flows(), one, many))
                    .trim()
                    .to_owned()
            })
            .collect(),
    };
    let height = match (seen, both) {
        (false, _) => EMPTY,
        (true, true) => 2.0 * HALF + 8.0,
        (true, false) => HALF + 10.0,
    };
    let middle = 4.0 + HALF;
    let wide = axis.length_ns() / COLUMNS as u64;
    let most = format!("highest bar: {} in {}", peak.ceil() as u64, lasting(wide));
    let marks = html! {
        @if seen {
            g class=(class) {
                @for (way, _, (_, one, many), columns) in halves.iter().flatten() {
                    @for (at, much) in columns.iter().enumerate().filter(|(_, much)| **much > 0.0) {
                        @let tall = LEAST_BAR + (HALF - LEAST_BAR) * (much / peak).sqrt();
                        rect class=(way) x=(percent(at as f64 * 100.0 / COLUMNS as f64 + 0.06))
                            width=(percent(100.0 / COLUMNS as f64 - 0.12))
                            y=(format!("{:.1}", if *way == "up" { middle - tall } else { middle })) height=(format!("{tall:.1}")) {
                            title { (column_hint(axis, at, *much, one, many)) }
                        }
                    }
                }
                line.base x1="0" x2="100%" y1=(middle) y2=(middle) {}
            }
        }
    };
    Lane {
        label: label(class, name, &said, seen.then_some(most.as_str())),
        marks,
        height,
    }
}

/// How much falls into each column. A bin that is wider than a column is spread over those
/// that it covers.
fn columns(axis: Axis, line: &Line) -> Vec<f64> {
    let mut columns = vec![0.0; COLUMNS];
    let place = |time_ns: u64| axis.percent(time_ns) * COLUMNS as f64 / 100.0;
    for mark in line.marks() {
        let (_, end_ns) = line.bin(mark.first_ns);
        // Those that began last in the bin ended no earlier than they began.
        let end_ns = end_ns.min(mark.last_ns).max(mark.first_ns);
        let (from, to) = (place(mark.first_ns), place(end_ns));
        let (left, right) = (from as usize, (to as usize).min(COLUMNS - 1));
        let left = left.min(right);
        if left == right || mark.flows == 1 {
            columns[left] += mark.flows as f64;
            continue;
        }
        for (at, column) in columns.iter_mut().enumerate().take(right + 1).skip(left) {
            let covered = (to.min(at as f64 + 1.0) - from.max(at as f64)).max(0.0);
            *column += mark.flows as f64 * covered / (to - from);
        }
    }
    columns
}

fn label(class: &str, name: &str, said: &[String], most: Option<&str>) -> Markup {
    html! {
        text.label x="0" y="15" {
            tspan class=(format!("name {class}")) { (name) }
            @for words in said { tspan.said dx="10" { (words) } }
        }
        @if let Some(most) = most { text.most x="100%" y="15" text-anchor="end" { (most) } }
    }
}

fn labels(ticks: &[Tick], bottom: f64) -> Markup {
    html! {
        g.ticks {
            line.axis x1="0" x2="100%" y1=(bottom + 6.0) y2=(bottom + 6.0) {}
            @for (at, tick) in ticks.iter().enumerate() {
                @let (x, anchor) = (percent(tick.percent), anchor(tick.percent));
                line.axis x1=(x) x2=(x) y1=(bottom + 2.0) y2=(bottom + 10.0) {}
                // Every other one may be left out where there is little room.
                text class=[(at % 2 == 1).then_some("spare")] x=(x) y=(bottom + 23.0) text-anchor=(anchor) { (tick.label) }
                @if let Some(day) = &tick.day {
                    text.day x=(x) y=(bottom + 37.0) text-anchor=(anchor) { (day) " UTC" }
                }
            }
        }
    }
}

/// Labels at the ends stay inside.
fn anchor(percent: f64) -> &'static str {
    match percent {
        ..6.0 => "start",
        94.0.. => "end",
        _ => "middle",
    }
}

fn since(axis: Axis, since_ns: u64, bottom: f64) -> Markup {
    let at = axis.percent(since_ns);
    let x = percent(at);
    let left = at > 50.0;
    html! {
        g.since {
            line x1=(x) x2=(x) y1="6" y2=(bottom + 6.0) {}
            circle cx=(x) cy="6" r="4" {}
            text x=(x) y="10" dx=(if left { "-9" } else { "9" }) text-anchor=(if left { "end" } else { "start" }) {
                "evidence enough, " (time_of_day(since_ns))
            }
        }
    }
}

fn hint(mark: &Mark, one: &str, many: &str) -> String {
    format!(
        "{}: {} to {} UTC",
        count(mark.flows, one, many),
        moment(mark.first_ns),
        time_of_day(mark.last_ns)
    )
}

fn column_hint(axis: Axis, at: usize, much: f64, one: &str, many: &str) -> String {
    let wide = axis.length_ns() as f64 / COLUMNS as f64;
    let begin = axis.start_ns().saturating_add((wide * at as f64) as u64);
    let much = (much.round() as u64).max(1);
    format!("{}, from {} UTC", count(much, one, many), moment(begin))
}

fn percent(value: f64) -> String {
    format!("{:.2}%", value.clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocols::{App, Outcome};
    use replay::{FlowRecord, Timeline, Transport};

    use super::*;

    fn activity(times: &[u64]) -> Box<Activity> {
        let mut timeline = Timeline::default();
        let client = "192.0.2.1:4000".parse().unwrap();
        for first_ns in times {
            let flow = FlowRecord {
                transport: Transport::Tcp,
                client,
                server: "192.0.2.2:445".parse().unwrap(),
                outcome: Outcome {
                    app: App::Unknown,
                    ..Outcome::default()
                },
                first_ns: *first_ns,
                last_ns: *first_ns,
                bytes_up: 0,
                bytes_down: 0,
                packets: 1,
            };
            timeline.add(&flow, String::new);
        }
        timeline.take(client.ip()).unwrap()
    }

    #[test]
    fn bars_stand_where_it_happened() {
        let axis = Axis::over(0, 120_000_000_000);
        let activity = activity(&[1, 2, 60_000_000_000, 120_000_000_000]);
        let columns = columns(axis, activity.line(Track::Tried));
        let filled: Vec<_> = columns
            .iter()
            .enumerate()
            .filter(|(_, much)| **much > 0.0)
            .collect();
        assert_eq!(filled, [(0, &2.0), (58, &1.0), (117, &1.0)]);
    }

    proptest! {
        #[test]
        fn bars_add_up(times in prop::collection::vec(any::<u64>(), 1..500), narrow in 0u32..60) {
            let times: Vec<u64> = times.into_iter().map(|time| time >> narrow).collect();
            let activity = activity(&times);
            let (first_ns, last_ns) = activity.span_ns().unwrap();
            let columns = columns(Axis::over(first_ns, last_ns), activity.line(Track::Tried));
            let sum: f64 = columns.iter().sum();
            prop_assert!((sum - times.len() as f64).abs() < 0.001, "{sum}");
        }
    }
}
