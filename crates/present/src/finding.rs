//! A suspicious host of a capture, in words or as JSON.

use engine::{Evidence, FindingKind, Subject, Suspicion};
use serde::Serialize;

use super::{Style, Tone};

/// The host, and what speaks for it, strongest first.
pub fn finding_lines(finding: &Suspicion, style: Style) -> Vec<String> {
    let kind = style.paint(Tone::Bad, "bot-suspected");
    let time = model::rfc3339(finding.since.0);
    let time = time.get(..19).unwrap_or(&time).replace('T', " ");
    let mut lines = vec![format!(
        "{kind}  {}  since {time}, score {}",
        style.paint(Tone::Strong, &host(&finding.subject)),
        finding.score
    )];
    lines.extend(finding.evidence.iter().map(|evidence| {
        let weight = format!("{:+4}", evidence.weight);
        format!(
            "  {}  {}",
            style.paint(Tone::Faint, &weight),
            evidence.detail
        )
    }));
    lines
}

/// One line of `replay --json`: its members are a contract.
pub fn finding_json(finding: &Suspicion, file: &str) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        file: &'a str,
        finding: FindingKind,
        host: String,
        time: String,
        score: i32,
        evidence: &'a [Evidence],
    }
    let line = Line {
        r#type: "finding",
        file,
        finding: FindingKind::BotSuspected,
        host: host(&finding.subject),
        time: model::rfc3339(finding.since.0),
        score: finding.score,
        evidence: &finding.evidence,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

fn host(subject: &Subject) -> String {
    match subject {
        Subject::Host(address) => address.to_string(),
        Subject::Lineage { program, pid, .. } => {
            format!("{} (pid {pid})", engine::program_name(program))
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::{Sign, Timestamp};

    use super::*;

    fn finding() -> Suspicion {
        Suspicion {
            subject: Subject::Host("192.0.2.7".parse().unwrap()),
            since: Timestamp(1_795_000_000_000_000_000),
            score: 75,
            evidence: vec![
                Evidence {
                    what: Sign::BotCommand,
                    weight: 40,
                    detail: "\"!scan 10.x.x.x\" in #x by m".to_owned(),
                },
                Evidence {
                    what: Sign::Scan,
                    weight: 35,
                    detail: "40 hosts did not answer on port 23 in 4.0 s".to_owned(),
                },
            ],
        }
    }

    #[test]
    fn json_is_the_contract() {
        assert_eq!(
            finding_json(&finding(), "a.pcap"),
            r##"{"type":"finding","file":"a.pcap","finding":"bot-suspected","host":"192.0.2.7","time":"2026-11-18T11:06:40.000000Z","score":75,"evidence":[{"what":"bot-command","weight":40,"detail":"\"!scan 10.x.x.x\" in #x by m"},{"what":"scan","weight":35,"detail":"40 hosts did not answer on port 23 in 4.0 s"}]}"##
        );
    }

    #[test]
    fn lines_with_and_without_colour() {
        let plain = finding_lines(&finding(), Style::default());
        assert_eq!(
            plain,
            [
                "bot-suspected  192.0.2.7  since 2026-11-18 11:06:40, score 75",
                "   +40  \"!scan 10.x.x.x\" in #x by m",
                "   +35  40 hosts did not answer on port 23 in 4.0 s",
            ]
        );
        let coloured = finding_lines(&finding(), Style { colour: true });
        assert!(coloured[0].starts_with("\x1b[31mbot-suspected\x1b[0m"));
    }
}
