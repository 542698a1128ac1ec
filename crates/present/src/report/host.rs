//! The section of one suspicious host: what it did in words, its picture, the evidence, and
//! its IRC and mail connections.

use engine::{Evidence, Sign};
use maud::{Markup, html};
use replay::timeline::{Activity, Kept, Track};

use super::Host;
use super::axis::{lasting, moment, time_of_day};
use super::picture::Picture;
use super::words::{bytes, count, shown};

/// Most lines of evidence that are shown.
const EVIDENCE_MAX: usize = 40;
/// Longest line of evidence, in letters.
const DETAIL_LETTERS_MAX: usize = 400;

/// The section; `file` is named when there are several.
pub fn section(
    host: &Host,
    number: usize,
    file: Option<&str>,
    span_ns: Option<(u64, u64)>,
) -> Markup {
    let address = host.address.to_string();
    let id = format!("host-{number}");
    html! {
        section.host id=(id) aria-labelledby=(format!("{id}-name")) {
            div.title {
                h2 id=(format!("{id}-name")) { (address) }
                span.finding { "bot-suspected" }
            }
            @if let Some(file) = file { p.file { "in " (file) } }
            (lead(host, span_ns))
            @match &host.activity {
                Some(activity) => {
                    figure {
                        (Picture { host: &address, id: &id, activity, since_ns: host.suspicion.since.0 })
                    }
                }
                None if host.forgotten => p.missing {
                    "There is no picture. There were too many hosts in this capture to keep what all of them did, "
                    "or this host opened no connection that a picture shows."
                }
                None => p.missing {
                    "There is no picture: in this capture, the host opened no connection that a picture shows "
                    "(IRC, mail, name lookups, attempts without an answer). The evidence comes from what others said of it, "
                    "or from connections of other protocols."
                }
            }
            (evidence(host))
            @if let Some(activity) = &host.activity { (connections(activity)) }
        }
    }
}

/// What it comes to, in sentences.
fn lead(host: &Host, span_ns: Option<(u64, u64)>) -> Markup {
    let suspicion = &host.suspicion;
    let speaking = suspicion
        .evidence
        .iter()
        .filter(|evidence| evidence.weight > 0)
        .count();
    let after = span_ns
        .map(|(first_ns, _)| suspicion.since.0.saturating_sub(first_ns))
        .filter(|after_ns| *after_ns > 0);
    html! {
        p.lead {
            strong { (host.address) " behaves like a bot." } " "
            (count(speaking as u64, "observation speaks", "observations speak")) " for it; the evidence comes to "
            (count(u64::try_from(suspicion.score).unwrap_or(0), "point", "points"))
            ". It was enough at " time datetime=(model::rfc3339(suspicion.since.0)) { (moment(suspicion.since.0)) } " UTC"
            @if let Some(after_ns) = after { ", " (lasting(after_ns)) " into the capture" }
            "."
        }
        @if let Some(activity) = &host.activity { p { (deeds(activity)) } }
    }
}

/// What its tracks come to, as a sentence.
fn deeds(activity: &Activity) -> String {
    let flows = |track: Track| activity.line(track).flows();
    let mut deeds = Vec::new();
    if flows(Track::Irc) > 0 {
        deeds.push(format!(
            "held {}",
            count(flows(Track::Irc), "IRC connection", "IRC connections")
        ));
    }
    if flows(Track::Exchangers) > 0 {
        deeds.push(format!(
            "asked {} for mail exchangers (MX)",
            count(flows(Track::Exchangers), "time", "times")
        ));
    }
    if flows(Track::Names) > 0 {
        deeds.push(format!(
            "looked up {}",
            count(flows(Track::Names), "other name", "other names")
        ));
    }
    if flows(Track::Mail) > 0 {
        let connections = count(flows(Track::Mail), "connection", "connections");
        deeds.push(format!("spoke with mail servers in {connections}"));
    }
    if flows(Track::MailTried) > 0 {
        deeds.push(format!(
            "tried {} to mail ports without an answer",
            count(flows(Track::MailTried), "connection", "connections")
        ));
    }
    if flows(Track::Tried) > 0 {
        deeds.push(format!(
            "opened {} to other ports that came to nothing",
            count(flows(Track::Tried), "connection", "connections")
        ));
    }
    let said = match deeds.as_slice() {
        [] => return String::new(),
        [one] => one.clone(),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    };
    let over = activity
        .span_ns()
        .map(|(first_ns, last_ns)| last_ns - first_ns)
        .filter(|ns| *ns > 0)
        .map(|ns| format!("Within {}", lasting(ns)))
        .unwrap_or_else(|| "At one moment".to_owned());
    format!("{over} it {said}.")
}

fn evidence(host: &Host) -> Markup {
    let evidence = &host.suspicion.evidence;
    let most = evidence
        .iter()
        .map(|one| one.weight.unsigned_abs())
        .max()
        .unwrap_or(1)
        .max(1);
    let left_out = evidence.len().saturating_sub(EVIDENCE_MAX) as u64;
    html! {
        h3 { "Evidence, strongest first" }
        ol.evidence {
            @for one in evidence.iter().take(EVIDENCE_MAX) {
                li class=[(one.weight < 0).then_some("against")] {
                    span.weight { (signed(one.weight)) }
                    div.what {
                        p.detail { (shown(&one.detail, DETAIL_LETTERS_MAX)) }
                        div.share aria-hidden="true" {
                            span style=(format!("width:{}%", u64::from(one.weight.unsigned_abs()) * 100 / u64::from(most))) {}
                        }
                        p.why { (why(one)) }
                    }
                }
            }
        }
        @if left_out > 0 { p.more { "And " (count(left_out, "weaker one", "weaker ones")) " more." } }
    }
}

/// The name of the sign, as JSON has it, and why it weighs as much.
fn why(evidence: &Evidence) -> Markup {
    html! {
        code { (sign_word(evidence.what)) }
        @let why = evidence.what.why();
        @if !why.is_empty() { " · " (why) }
    }
}

fn sign_word(sign: Sign) -> String {
    match serde_json::to_value(sign) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn signed(weight: i32) -> String {
    if weight < 0 {
        format!("\u{2212}{}", weight.unsigned_abs())
    } else {
        format!("+{weight}")
    }
}

fn connections(activity: &Activity) -> Markup {
    let tracks = [
        (Track::Irc, "IRC", "irc"),
        (Track::Mail, "Mail", "mail"),
        (Track::MailTried, "Mail, unanswered", "mail"),
    ];
    let shown = |track| activity.line(track).kept();
    if tracks.iter().all(|(track, ..)| shown(*track).is_empty()) {
        return html! {};
    }
    html! {
        h3 { "IRC and mail connections" }
        div.wide role="region" aria-label="IRC and mail connections" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "What" }
                        th scope="col" { "Begun (UTC)" }
                        th scope="col" { "Lasted" }
                        th scope="col" { "Server" }
                        th.number scope="col" { "Sent" }
                        th.number scope="col" { "Received" }
                        th scope="col" { "Details" }
                    }
                }
                @for (track, name, class) in tracks {
                    @let kept = in_order(shown(track));
                    @let more = activity.line(track).flows() - kept.len() as u64;
                    @if !kept.is_empty() {
                        tbody {
                            @for one in kept { (row(one, name, class)) }
                            @if more > 0 {
                                tr.more { td colspan="7" { "and " (count(more, "more", "more")) " of this kind" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn in_order(kept: &[Kept]) -> Vec<&Kept> {
    let mut kept: Vec<&Kept> = kept.iter().collect();
    kept.sort_by_key(|one| (one.first_ns, one.client, one.server));
    kept
}

fn row(kept: &Kept, name: &str, class: &str) -> Markup {
    let moment = moment(kept.first_ns);
    let day = moment.get(..10).unwrap_or_default();
    html! {
        tr {
            td.kind { span class=(class) { (name) } }
            td.time { time datetime=(model::rfc3339(kept.first_ns)) { span.day { (day) } " " (time_of_day(kept.first_ns)) } }
            td.time { (lasting(kept.last_ns - kept.first_ns)) }
            td.address { (kept.server) }
            td.number { (bytes(kept.bytes_up)) }
            td.number { (bytes(kept.bytes_down)) }
            td.words { (shown(&kept.words, replay::timeline::WORDS_MAX_BYTES)) }
        }
    }
}
