//! Mail servers, what takes mail from local programs, and mailers that cannot be registered.

use std::fs;
use std::path::Path;

use engine::printable;
use policy::Role;

use super::{Finding, Machine, some_of};
use crate::proposal::{Offer, Proposal};
use crate::setup::servers::{Blocked, blocked, listening};
use crate::setup::{Fitness, Found, Mailer, Surroundings};

/// Under these names programs find what takes mail.
const SENDMAIL: [&str; 2] = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];

/// Findings about what sends mail on this machine by itself or for others.
pub fn check(machine: &Machine<'_>, found: &Found, around: &Surroundings) -> Vec<Finding> {
    let is_registered = |path: &str| machine.registered.contains(path);
    let mut findings: Vec<Finding> = blocked(found, &listening(around), &is_registered)
        .iter()
        .map(of_server)
        .collect();
    findings.extend(sendmail(machine));
    findings.extend(
        found
            .mailers
            .iter()
            .filter(|mailer| is_sandboxed(mailer))
            .map(of_sandboxed),
    );
    findings.extend(installed(machine, found));
    findings
}

fn of_server(server: &Blocked) -> Finding {
    let (good, bad): (Vec<_>, Vec<_>) = server
        .missing
        .iter()
        .partition(|part| part.fitness == Fitness::Good);
    let text = format!(
        "The system starts the mail server {}, and it is not registered: the gate blocks its mail.",
        server.label()
    );
    let finding = Finding::problem("mail-server", text).offering(
        good.into_iter()
            .map(|part| Offer {
                path: part.path.clone(),
                role: part.role,
                kind: part.kind,
                why: match part.role {
                    Role::System => format!("It starts the other parts of {}.", server.name),
                    _ => format!("It sends for {}, when the system starts it.", server.name),
                },
                safe: true,
            })
            .collect(),
    );
    let why = bad.first().map(|part| match &part.fitness {
        Fitness::Unfit(why) => why.clone(),
        _ => format!("others than root can change {}", part.path.display()),
    });
    match why {
        Some(why) => finding.next(format!("Not offered: {why}")),
        None => finding,
    }
}

/// The program behind the name `sendmail`, when it is not registered.
fn sendmail(machine: &Machine<'_>) -> Option<Finding> {
    let name = SENDMAIL.into_iter().find(|path| Path::new(path).exists())?;
    let file = fs::canonicalize(name).ok()?;
    let file = file.to_str()?;
    if machine.registered.contains(file) || machine.registered.contains(name) {
        return None;
    }
    let text = format!(
        "{name} leads to {}, which is not registered: nobody may hand mail to it.",
        printable(file)
    );
    Some(match machine.proposer.submitter(file) {
        Proposal::Offer(offer) => Finding::problem("sendmail", text).offering(vec![offer]),
        Proposal::Not(why) => {
            Finding::problem("sendmail", text).next(format!("Not offered: {why}"))
        }
    })
}

/// A mailer that only says why it cannot be registered.
fn is_sandboxed(mailer: &Mailer) -> bool {
    !mailer.known
        && mailer.parts.iter().all(|part| {
            matches!(&part.fitness, Fitness::Unfit(why) if why.contains("cannot be registered"))
        })
}

fn of_sandboxed(mailer: &Mailer) -> Finding {
    let why = mailer.parts.iter().find_map(|part| match &part.fitness {
        Fitness::Unfit(why) => Some(why.as_str()),
        _ => None,
    });
    Finding::limit(
        "sandboxed-mailer",
        format!(
            "{} cannot send while the gate is closed: {}.",
            printable(&mailer.name),
            why.unwrap_or("it cannot be registered")
        ),
    )
    .next("Use the mailer that your distribution packages.")
}

/// Mailers that root installed, of which none is registered.
fn installed(machine: &Machine<'_>, found: &Found) -> Option<Finding> {
    let good = |mailer: &&Mailer| {
        mailer.email
            && mailer
                .parts
                .iter()
                .any(|part| part.fitness == Fitness::Good)
    };
    let mailers: Vec<&Mailer> = found.mailers.iter().filter(good).collect();
    let is_registered = |mailer: &&Mailer| {
        mailer.parts.iter().any(|part| {
            part.path
                .to_str()
                .is_some_and(|path| machine.registered.contains(path))
        })
    };
    if mailers.is_empty() || mailers.iter().any(is_registered) {
        return None;
    }
    let names: Vec<String> = mailers.iter().map(|mailer| mailer.name.clone()).collect();
    let text = format!("No installed mailer is registered: {}.", some_of(&names));
    Some(Finding::problem("mailers", text).next("Choose yours: sudo sekimori setup"))
}
