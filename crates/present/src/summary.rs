//! What a capture came to, and what of it was not read, in words or as JSON.

use replay::{Amount, Error, Network, Summary, What};
use serde::Serialize;

/// One sentence for each kind of what was not read, as far as conversations could be in it.
pub fn not_read(summary: &Summary) -> Vec<String> {
    let kinds = summary.not_read.telling();
    kinds
        .iter()
        .map(|(what, amount)| sentence(*what, *amount))
        .collect()
}

fn sentence(what: What, amount: Amount) -> String {
    let (packets, were) = match amount.packets {
        1 => ("1 packet".to_owned(), "was"),
        packets => (format!("{packets} packets"), "were"),
    };
    match what {
        What::CutPayload => format!(
            "{packets} {were} cut off by the snap length, and the rest of the payload was not read"
        ),
        What::CutHeaders => format!("{packets} {were} cut off within the headers and not read"),
        What::Fragments => {
            format!("{packets} {were} not read: fragments of datagrams that are not whole")
        }
        What::LinkType(_) => {
            format!("{packets} {were} not read: {what} is not supported")
        }
        what => format!("{packets} {were} not read: {what}"),
    }
}

/// Whether a host behaves like a bot, in one sentence that claims no more than was read.
pub fn verdict(summary: &Summary, hosts: usize) -> String {
    let known = match hosts {
        0 => "no host behaves like a bot".to_owned(),
        1 => "1 host behaves like a bot".to_owned(),
        hosts => format!("{hosts} hosts behave like bots"),
    };
    if summary.is_complete() {
        return format!("In this capture, {known}.");
    }
    if summary.flows == 0 {
        return "Nothing is known about the hosts: no connection of this capture was read."
            .to_owned();
    }
    format!("Not all of this capture was read. In the rest, {known}.")
}

/// Which hosts were not judged, so that silence about them is not taken for an all-clear.
pub fn not_judged(excluded: &[Network]) -> Option<String> {
    let names: Vec<String> = excluded.iter().map(Network::to_string).collect();
    (!names.is_empty()).then(|| {
        format!(
            "Not judged, because --exclude names them: {}.",
            names.join(", ")
        )
    })
}

#[derive(Serialize)]
struct Kind {
    what: &'static str,
    number: Option<u32>,
    name: Option<&'static str>,
    packets: u64,
    bytes: u64,
}

/// The last line of each capture in `replay --json`: its members are a contract.
pub fn summary_json(
    file: &str,
    read: Result<&Summary, &Error>,
    findings: usize,
    excluded: &[Network],
) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        file: &'a str,
        /// Nothing below says that a part was not read.
        complete: bool,
        packets: u64,
        bytes: u64,
        flows: u64,
        findings: usize,
        /// Packets that the snap length cut off.
        cut: u64,
        damaged: bool,
        /// What is wrong with the file, in words.
        damage: Option<String>,
        /// In these, conversations of hosts could be.
        not_read: Vec<Kind>,
        /// In these, they could not.
        passed_over: Vec<Kind>,
        /// Hosts of these were not judged.
        excluded: Vec<String>,
    }
    let nothing = Summary::default();
    let summary = read.unwrap_or(&nothing);
    let kind = |(what, amount): &(What, Amount)| Kind {
        what: what.kind(),
        number: what.number(),
        name: what.name(),
        packets: amount.packets,
        bytes: amount.bytes,
    };
    let (telling, others): (Vec<_>, Vec<_>) = summary
        .not_read
        .kinds()
        .into_iter()
        .partition(|(what, _)| what.may_hold_conversations());
    let cut = [What::CutPayload, What::CutHeaders];
    let damage = match read {
        Ok(summary) => summary.damage.as_ref().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    };
    let line = Line {
        r#type: "summary",
        file,
        complete: read.is_ok_and(Summary::is_complete),
        packets: summary.packets,
        bytes: summary.bytes,
        flows: summary.flows,
        findings,
        cut: cut
            .iter()
            .map(|what| summary.not_read.amount(*what).packets)
            .sum(),
        damaged: damage.is_some(),
        damage,
        not_read: telling.iter().map(kind).collect(),
        passed_over: others.iter().map(kind).collect(),
        excluded: excluded.iter().map(Network::to_string).collect(),
    };
    serde_json::to_string(&line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_contract() {
        assert_eq!(
            summary_json("a.pcap", Ok(&Summary::default()), 0, &[]),
            r#"{"type":"summary","file":"a.pcap","complete":true,"packets":0,"bytes":0,"flows":0,"findings":0,"cut":0,"damaged":false,"damage":null,"not_read":[],"passed_over":[],"excluded":[]}"#
        );
        let failed = summary_json("a.txt", Err(&Error::NoCapture), 0, &[]);
        assert!(
            failed.contains(r#""complete":false"#) && failed.contains(r#""damaged":true"#),
            "{failed}"
        );
    }

    #[test]
    fn each_kind_has_a_sentence() {
        let amount = |packets| Amount {
            packets,
            bytes: 100,
        };
        for (what, packets, words) in [
            (
                What::LinkType(147),
                2,
                "2 packets were not read: link type 147 (for private use) is not supported",
            ),
            (
                What::EtherType(0x7777),
                1,
                "1 packet was not read: ethertype 0x7777",
            ),
            (
                What::Encrypted("Wi-Fi"),
                3,
                "3 packets were not read: Wi-Fi, which is encrypted",
            ),
            (
                What::CutPayload,
                1,
                "1 packet was cut off by the snap length, and the rest of the payload was not read",
            ),
        ] {
            assert_eq!(sentence(what, amount(packets)), words);
        }
    }
}
