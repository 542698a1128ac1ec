//! Why the gate answered as it did, in plain sentences: one for each [`Reason`], here and
//! nowhere else. Warnings and `explain` both take them from here.

use std::net::SocketAddr;

use policy::{Reason, Role, Tamper};

use crate::case_kind::{culprit_link, is_script, is_without_person};
use crate::entry::{FindingEntry, JudgedWord, VerdictEntry};
use crate::event::LineageLink;
use crate::printable::program_name;
use crate::tampering::{TamperedBy, tamper_words};

/// What a sentence is about. Paths may hold anything; the sentence makes them safe to show.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Path of the program that was judged; empty when unknown.
    pub program: &'a str,
    /// What that program is registered as.
    pub role: Role,
    /// Its user.
    pub uid: u32,
    /// Path of the culprit in its lineage.
    pub culprit: Option<&'a str>,
    /// The process that the culprit was.
    pub culprit_pid: Option<u32>,
    /// How it was started, oldest first.
    pub lineage: &'a [LineageLink],
    /// What was judged.
    pub judged: JudgedWord,
    /// The mail server.
    pub destination: Option<SocketAddr>,
    /// Signs of tampering.
    pub tampered: Tamper,
    /// The variable or argument that was the first of them.
    pub tampered_by: Option<TamperedBy<'a>>,
    /// The gate only observes.
    pub observed: bool,
}

impl<'a> From<&'a VerdictEntry> for Case<'a> {
    fn from(entry: &'a VerdictEntry) -> Self {
        Self {
            program: &entry.program,
            role: entry.role,
            uid: entry.uid,
            culprit: entry.culprit.as_deref(),
            culprit_pid: entry.culprit_pid,
            lineage: &entry.lineage,
            judged: entry.judged,
            destination: entry.destination,
            tampered: entry.tampered,
            tampered_by: TamperedBy::of(entry.tampered_by.as_deref(), entry.tampered_flaw),
            observed: entry.observed,
        }
    }
}

impl<'a> From<&'a FindingEntry> for Case<'a> {
    fn from(entry: &'a FindingEntry) -> Self {
        Self {
            program: &entry.program,
            role: entry.role,
            uid: entry.uid,
            culprit: entry.culprit.as_deref(),
            culprit_pid: entry.culprit_pid,
            lineage: &entry.lineage,
            judged: entry.judged,
            destination: entry.destination,
            tampered: entry.tampered,
            tampered_by: TamperedBy::of(entry.tampered_by.as_deref(), entry.tampered_flaw),
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
        " The gate only observes, so it let this through; it would have been refused."
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
        JudgedWord::Connect => format!("{program} tried to connect to {server}"),
        JudgedWord::Submit => format!("{program} was started to take mail from another program"),
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
            "the gate has no record of how this process was started".to_owned()
        }
        Reason::NotAMailer => format!("it is not registered as a mailer{}", started_through(case)),
        Reason::FileChanged => "its file is not the one that was registered".to_owned(),
        Reason::ForeignOrigin => foreign(case),
        Reason::NeedsUser => {
            "the system started it, and a mailer of its kind sends only when a person starts it".to_owned()
        }
        Reason::NeedsTerminal => {
            "it sends whatever it is handed, so a person must start it at a terminal, and no person did".to_owned()
        }
        Reason::IndirectStart => format!(
            "it sends whatever it is handed, so your shell must start it directly, and {} stands between the two",
            other_culprit(case).unwrap_or("another program".into())
        ),
        Reason::NeedsSystem => {
            "it is a mail service, which only the system may start, and a user started it".to_owned()
        }
        Reason::Tampered => format!(
            "code that is not its own may run in it{}",
            signs(case)
        ),
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
            "the gate has not permitted this connection: it was not made by connect(), or it is older than the gate".to_owned()
        }
        Reason::GrantOfAnother => {
            "the gate permitted that connection to another process, and this one may not send mail; the permission has ended".to_owned()
        }
        Reason::NoRoom => format!(
            "the socket was filled before, so that the gate could not read what it says there{}",
            started_through(case)
        ),
        Reason::MailOnOtherPort => format!(
            "what it said is mail (SMTP or LMTP), which it may not send, whatever the port{}",
            started_through(case)
        ),
    }
}

/// Why a process does not act for the user, in words that name who stands in the way.
fn foreign(case: &Case<'_>) -> String {
    if let Some(culprit) = other_culprit(case) {
        let link = culprit_link(case).map(|(_, link)| link);
        return match link {
            Some(link) if link.seeded => {
                format!("it was started through {culprit}, which was running before the gate")
            }
            Some(link) if link.role == Role::Shell || is_script(&link.program) => format!(
                "it was started through {culprit}, which ran a script or a command that is not registered"
            ),
            Some(link) if link.role != Role::Unknown && is_without_person(case.lineage) => {
                format!("it was started through {culprit}, which no person started")
            }
            Some(link) if link.role != Role::Unknown => format!(
                "it was started through {culprit}, which was not started as a {} should be",
                link.role.word()
            ),
            _ => format!("it was started through {culprit}, which is not registered"),
        };
    }
    if case.tampered.any() {
        return format!(
            "code that is not its own may run in it, and it must be started again{}",
            signs(case)
        );
    }
    if case.lineage.last().is_some_and(|link| link.seeded) {
        return "it was running before the gate, and must be started again".to_owned();
    }
    if is_without_person(case.lineage) {
        return "no person started it, and no service that is registered".to_owned();
    }
    match case.culprit {
        Some(_) => "nothing that is registered started it".to_owned(),
        None => "the gate has not seen how it was started".to_owned(),
    }
}

fn started_through(case: &Case<'_>) -> String {
    other_culprit(case).map_or_else(String::new, |culprit| {
        format!(", and it was started through {culprit}")
    })
}

/// The culprit when it is somebody else than the program itself.
fn other_culprit<'a>(case: &Case<'a>) -> Option<std::borrow::Cow<'a, str>> {
    case.culprit
        .filter(|culprit| *culprit != case.program)
        .map(program_name)
}

fn signs(case: &Case<'_>) -> String {
    let words = tamper_words(case.tampered, case.tampered_by);
    if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
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
            role: Role::Mailer,
            uid: 1000,
            culprit: Some("/tmp/bot"),
            culprit_pid: None,
            lineage: &[],
            judged: JudgedWord::Connect,
            destination: Some("192.0.2.25:587".parse().unwrap()),
            tampered: Tamper::TRACED.with(Tamper::ENVIRONMENT),
            tampered_by: None,
            observed: false,
        }
    }

    #[test]
    fn a_sentence_names_program_culprit_and_destination() {
        assert_eq!(
            reason_sentence(Reason::ForeignOrigin, &case()),
            "/usr/bin/thunderbird tried to connect to the mail server 192.0.2.25:587, but it was started through \
             /tmp/bot, which is not registered."
        );
        assert_eq!(
            reason_sentence(
                Reason::NotAMailer,
                &Case {
                    program: "/tmp/bot",
                    ..case()
                }
            ),
            "/tmp/bot tried to connect to the mail server 192.0.2.25:587, but it is not registered as a mailer."
        );
        assert_eq!(
            reason_sentence(Reason::Tampered, &case()),
            "/usr/bin/thunderbird tried to connect to the mail server 192.0.2.25:587, but code that is not its own \
             may run in it: a loader or interpreter variable is set in its environment; another process traced it."
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
                "The gate only observes, so it let this through; it would have been refused."
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
