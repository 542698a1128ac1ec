//! The captures themselves: what was read of each, and which protocols are in them.

use maud::{Markup, html};

use super::axis::{lasting, moment};
use super::words::{bytes, count, grouped, shown};
use super::{Capture, NAME_LETTERS_MAX, Report};

/// The section.
pub fn section(report: &Report) -> Markup {
    html! {
        section #captures {
            h2 { "The captures" }
            (files(report))
            (protocols(report))
        }
    }
}

fn files(report: &Report) -> Markup {
    html! {
        div.wide role="region" aria-label="Captures" tabindex="0" {
            table {
                thead {
                    tr {
                        th scope="col" { "File" }
                        th.number scope="col" { "Packets" }
                        th.number scope="col" { "Bytes" }
                        th.number scope="col" { "Flows" }
                        th scope="col" { "From (UTC)" }
                        th scope="col" { "Lasting" }
                        th.number scope="col" { "Suspicious" }
                    }
                }
                @for file in &report.files { (row(file)) }
            }
        }
        @let rest = &report.rest;
        @if rest.captures > 0 {
            p.more {
                "And " (count(rest.captures, "more capture", "more captures")) " with " (count(rest.flows, "flow", "flows"))
                ", for which this page has no room."
                @if rest.damaged > 0 { " Of these, " (grouped(rest.damaged)) " could not be read to the end." }
                @if rest.not_read > 0 { " Of " (grouped(rest.not_read)) ", some packets were not read." }
            }
        }
    }
}

fn row(file: &Capture) -> Markup {
    html! {
        tbody {
            tr {
                th.file scope="row" { (shown(&file.name, NAME_LETTERS_MAX)) }
                td.number { (grouped(file.packets)) }
                td.number { (bytes(file.bytes)) }
                td.number { (grouped(file.flows)) }
                @match file.span_ns {
                    Some((first_ns, last_ns)) => {
                        td.time { (moment(first_ns)) }
                        td.time { (lasting(last_ns - first_ns)) }
                    }
                    None => {
                        td { "–" }
                        td { "–" }
                    }
                }
                td.number { (grouped(file.hosts.len() as u64 + file.hosts_more)) }
            }
            @for (at, note) in file.notes.iter().enumerate() {
                tr class=(if at == 0 && file.damaged { "note damage" } else { "note" }) {
                    td colspan="7" {
                        @if at == 0 && file.damaged { strong { "Damaged: " } }
                        (shown(note, 2 * NAME_LETTERS_MAX))
                    }
                }
            }
        }
    }
}

fn protocols(report: &Report) -> Markup {
    let all: u64 = report.apps.values().map(|traffic| traffic.flows).sum();
    if all == 0 {
        return html! {
            h3 { "By protocol" }
            p { "There was no flow of TCP or UDP." }
        };
    }
    let mut apps: Vec<_> = report.apps.iter().collect();
    apps.sort_by_key(|(app, traffic)| (std::cmp::Reverse(traffic.flows), **app));
    html! {
        h3 { "By protocol" }
        div.wide role="region" aria-label="By protocol" tabindex="0" {
            table.protocols {
                thead {
                    tr {
                        th scope="col" { "Protocol" }
                        th.number scope="col" { "Flows" }
                        th scope="col" { "Share" }
                        th.number scope="col" { "Sent" }
                        th.number scope="col" { "Received" }
                    }
                }
                tbody {
                    @for (app, traffic) in apps {
                        @let share = traffic.flows as f64 * 100.0 / all as f64;
                        tr {
                            th scope="row" { (app.word()) }
                            td.number { (grouped(traffic.flows)) }
                            td.share {
                                span.bar aria-hidden="true" { span style=(format!("width:{share:.1}%")) {} }
                                span.percent { (format!("{share:.1} %")) }
                            }
                            td.number { (bytes(traffic.bytes_up)) }
                            td.number { (bytes(traffic.bytes_down)) }
                        }
                    }
                }
            }
        }
    }
}
