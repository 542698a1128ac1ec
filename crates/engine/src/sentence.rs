//! Why the gate answered as it did, in plain sentences: one for each [`Reason`], here and
//! nowhere else. Warnings and `explain` both take them from here.

use std::net::SocketAddr;

use policy::{Reason, Tamper};

use crate::entry::{FindingEntry, JudgedWord, VerdictEntry};
use crate::printable::program_name;

/// What a sentence is about. Paths may hold anything; the sentence makes them safe to show.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Path of the program that was judged; empty when unknown.
    pub program: &'a str,
    /// Path of the culprit in its lineage.
    pub culprit: Option<&'a str>,
    /// What was judged.
    pub judged: JudgedWord,
    /// The mail server.
    pub destination: Option<SocketAddr>,
    /// Signs of tampering.
    pub tampered: Tamper,
    /// The gate only observes.
    pub observed: bool,
}

impl<'a> From<&'a VerdictEntry> for Case<'a> {
    fn from(entry: &'a VerdictEntry) -> Self {
        Self {
            program: &entry.program,
            culprit: entry.culprit.as_deref(),
            judged: entry.judged,
            destination: entry.destination,
            tampered: entry.tampered,
            observed: entry.observed,
        }
    }
}

impl<'a> From<&'a FindingEntry> for Case<'a> {
    fn from(entry: &'a FindingEntry) -> Self {
        Self {
            program: &entry.program,
            culprit: entry.culprit.as_deref(),
            judged: entry.judged,
            destination: entry.destination,
            tampered: entry.tampered,
            observed: entry.observed,
        }
    }
}

/// What happened and why the gate answered so, in one or two sentences that name the
/// program, the culprit and the destination.
pub fn reason_sentence(reason: Reason, case: &Case<'_>) -> String {
    let attempt = attempt(reason, case);
    let because = because(reason, case);
    let observed = if case.observed && reason != Reason::Permitted {
        " The gate only observes, so it was let through; it would have been refused."
    } else {
        ""
    };
    format!("{attempt}{because}.{observed}")
}

/// What a finding is about, in one or two sentences: a refusal, or conduct.
pub fn finding_sentence(entry: &FindingEntry) -> String {
    if let Some(reason) = entry.reason {
        return reason_sentence(reason, &Case::from(entry));
    }
    let program = program_name(&entry.program);
    let through = match other_culprit(&Case::from(entry)) {
        Some(culprit) => format!(", with {culprit} in its lineage,"),
        None => String::new(),
    };
    capitalised(&format!(
        "{program}{through} behaves on the network as bots do."
    ))
}

fn attempt(reason: Reason, case: &Case<'_>) -> String {
    let program = program_name(case.program);
    let kind = if matches!(reason, Reason::MailOnOtherPort | Reason::NoRoom) {
        "server"
    } else {
        "mail server"
    };
    let server = match case.destination {
        Some(destination) => format!("the {kind} {destination}"),
        None => format!("a {kind}"),
    };
    let linked = if reason == Reason::Permitted {
        ", and may: "
    } else {
        ", but "
    };
    let attempt = match case.judged {
        JudgedWord::Connect => format!("{program} asked for a connection to {server}"),
        JudgedWord::Submit => format!("{program} was started to take mail for another program"),
        JudgedWord::Packet if reason == Reason::GrantOfAnother => {
            format!("{program} wrote into a connection to {server}")
        }
        JudgedWord::Packet if reason == Reason::MailOnOtherPort => {
            format!("{program} spoke to {server}")
        }
        JudgedWord::Packet => format!("{program} sent a packet to {server}"),
        JudgedWord::Conduct => format!("{program} acted on the network"),
    };
    capitalised(&(attempt + linked))
}

fn because(reason: Reason, case: &Case<'_>) -> String {
    match reason {
        Reason::Permitted => match case.judged {
            JudgedWord::Connect | JudgedWord::Packet | JudgedWord::Conduct => {
                "it is a registered mailer, unchanged, and was started as a mailer of its kind should be".to_owned()
            }
            JudgedWord::Submit => "whoever started it may send mail".to_owned(),
        },
        Reason::UnknownProcess => {
            "the gate has no record of how this process came to be; it must be started anew".to_owned()
        }
        Reason::NotAMailer => format!("it is not registered as a mailer{}", started_through(case)),
        Reason::FileChanged => "its file is not the one that was registered".to_owned(),
        Reason::ForeignOrigin => match other_culprit(case) {
            Some(culprit) => format!("it does not act for the user: {culprit} stands in its lineage"),
            None if case.tampered.any() => format!(
                "it shows signs of tampering and counts as foreign until it is started again{}",
                signs(case.tampered)
            ),
            None if case.culprit.is_some() => {
                "it does not act for the user: it was not started by a desktop, a shell or a service that is registered"
                    .to_owned()
            }
            None => "nothing shows that it acts for the user: its lineage has a gap or is older than the gate".to_owned(),
        },
        Reason::NeedsUser => {
            "it was started by the system, and a mailer of its kind sends only when the user starts it".to_owned()
        }
        Reason::NeedsTerminal => {
            "it sends whatever it is handed, so it must be started at a terminal, and it was not".to_owned()
        }
        Reason::NeedsSystem => "it is a mail service, and was started by a user instead of the system".to_owned(),
        Reason::Tampered => format!("it has been tampered with{}", signs(case.tampered)),
        Reason::RateExceeded => "it opens connections faster than its limit allows".to_owned(),
        Reason::NeedsRule => {
            "it acts for the machine itself, which hands its mail to this machine's mail server; mail to other \
             machines needs a rule"
                .to_owned()
        }
        Reason::Multipath => {
            "it asked for Multipath TCP, where nothing tells who writes into a connection".to_owned()
        }
        Reason::NoGrant => {
            "this connection has no grant: it was not made through connect(), or is older than the gate".to_owned()
        }
        Reason::GrantOfAnother => {
            "the connection was granted to another process, and it may not send mail itself; the grant has ended".to_owned()
        }
        Reason::NoRoom => format!(
            "its socket was filled up before, so that what it says there could not be read{}",
            started_through(case)
        ),
        Reason::MailOnOtherPort => format!(
            "what it said is mail (SMTP or LMTP), which it may not send, whatever the port{}",
            started_through(case)
        ),
    }
}

fn started_through(case: &Case<'_>) -> String {
    other_culprit(case).map_or_else(String::new, |culprit| {
        format!(", and {culprit} stands in its lineage")
    })
}

/// The culprit when it is somebody else than the program itself.
fn other_culprit<'a>(case: &Case<'a>) -> Option<std::borrow::Cow<'a, str>> {
    case.culprit
        .filter(|culprit| *culprit != case.program)
        .map(program_name)
}

fn signs(tampered: Tamper) -> String {
    let words: Vec<_> = tampered.words().collect();
    if words.is_empty() {
        String::new()
    } else {
        format!(": {}", words.join("; "))
    }
}

fn capitalised(sentence: &str) -> String {
    match sentence.strip_prefix("an unknown") {
        Some(rest) => format!("An unknown{rest}"),
        None => sentence.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case<'static> {
        Case {
            program: "/usr/bin/thunderbird",
            culprit: Some("/tmp/bot"),
            judged: JudgedWord::Connect,
            destination: Some("192.0.2.25:587".parse().unwrap()),
            tampered: Tamper::TRACED.with(Tamper::ENVIRONMENT),
            observed: false,
        }
    }

    #[test]
    fn a_sentence_names_program_culprit_and_destination() {
        assert_eq!(
            reason_sentence(Reason::ForeignOrigin, &case()),
            "/usr/bin/thunderbird asked for a connection to the mail server 192.0.2.25:587, but it does not act \
             for the user: /tmp/bot stands in its lineage."
        );
        assert_eq!(
            reason_sentence(
                Reason::NotAMailer,
                &Case {
                    program: "/tmp/bot",
                    ..case()
                }
            ),
            "/tmp/bot asked for a connection to the mail server 192.0.2.25:587, but it is not registered as a mailer."
        );
        assert_eq!(
            reason_sentence(Reason::Tampered, &case()),
            "/usr/bin/thunderbird asked for a connection to the mail server 192.0.2.25:587, but it has been tampered \
             with: a loader or interpreter variable is set in its environment; another process traced it."
        );
    }

    #[test]
    fn an_observed_refusal_says_so() {
        let text = reason_sentence(
            Reason::NotAMailer,
            &Case {
                observed: true,
                ..case()
            },
        );
        assert!(
            text.ends_with(
                "The gate only observes, so it was let through; it would have been refused."
            ),
            "{text}"
        );
        let text = reason_sentence(
            Reason::Permitted,
            &Case {
                observed: true,
                ..case()
            },
        );
        assert!(!text.contains("refused"), "{text}");
    }

    #[test]
    fn every_reason_has_one_printable_line_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            for judged in [JudgedWord::Connect, JudgedWord::Submit, JudgedWord::Packet] {
                let hostile = Case {
                    program: "/tmp/\x1b[31m\n",
                    judged,
                    ..case()
                };
                let text = reason_sentence(reason, &hostile);
                assert!(
                    text.ends_with('.') && !text.chars().any(char::is_control),
                    "{text}"
                );
                assert!(seen.insert(text.clone()), "{text}");
            }
        }
    }
}
