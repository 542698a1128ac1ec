//! `setup`: finds what is installed, asks which mailer is the user's, and registers.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::process::ExitCode;

use engine::printable;

use super::doctor::after_setup;
use super::mode::{change, current, refusal, servers_in_the_way};
use super::programs::{judge_again, register_one};
use crate::catalog::{Catalog, EXTRA_FOLDER};
use crate::failure::Failure;
use crate::mode::Mode;
use crate::output::{say, style};
use crate::paths::Paths;
use crate::polkit::need_root_or_ask;
use crate::render;
use crate::setup::{Choice, Plan, Surroundings, ask, find, plan};

/// `setup`.
pub fn run(yes: bool, anyway: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let flags = [(yes, "--yes"), (anyway, "--anyway")];
    let words = flags.iter().filter(|(set, _)| *set);
    let words: Vec<OsString> = words.map(|(_, word)| (*word).into()).collect();
    need_root_or_ask("setup", &words, paths)?;
    let catalog = Catalog::load(Some(Path::new(EXTRA_FOLDER)))?;
    let found = find(&catalog, &Surroundings::of_this_computer());
    let choice = if yes {
        Choice::Default
    } else if io::stdin().is_terminal() {
        ask(&found, &mut io::stdin().lock(), &mut io::stdout())
            .map_err(|error| Failure::failed(format!("setup: {error}")))?
    } else {
        return Err(Failure {
            status: 2,
            message: "setup needs a terminal; in scripts, use `setup --yes`".to_owned(),
        });
    };
    let plan = plan(&found, &choice);
    let failed = register_all(&plan, paths);
    for (part, why) in &plan.passed_over {
        let path = part.path.display().to_string();
        say(&format!("not registered: {} ({why})", printable(&path)));
    }
    if plan
        .register
        .iter()
        .all(|part| part.role != policy::Role::Mailer)
    {
        say("no mailer was registered: nobody may send mail from here until you register one");
    }
    judge_again(true, paths);
    after_setup(yes, paths)?;
    close(anyway, paths)?;
    if failed > 0 {
        return Err(Failure::failed(format!(
            "{failed} programs could not be registered"
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// Closes a gate that only waited for the mail servers of this machine to be registered. One that was
/// told to observe goes on observing.
fn close(anyway: bool, paths: &Paths) -> Result<(), Failure> {
    let Some((observes, waits)) = current(paths)? else {
        return Ok(());
    };
    if !observes {
        return Ok(());
    }
    if !waits && !anyway {
        say(
            "The gate observes and blocks nothing. When it has seen your usual mail: sudo sekimori learn, then: sudo \
             sekimori enforce",
        );
        return Ok(());
    }
    let servers = servers_in_the_way(paths)?;
    if !servers.is_empty() && !anyway {
        return Err(Failure::failed(refusal(&servers)));
    }
    change(Mode::Enforce, paths)?;
    say(
        "The gate is closed: only registered mailers may send, when the person or the system started them.",
    );
    Ok(())
}

/// Registers what the plan says, one after the other; one that fails does not keep the
/// others. Returns how many failed.
fn register_all(plan: &Plan, paths: &Paths) -> usize {
    let mut rows = Vec::new();
    let mut failed = 0;
    for (path, role, kind) in plan.registrations() {
        match register_one(path, (role, kind), false, paths) {
            Ok(_) => rows.push(vec![
                role.word().to_owned(),
                kind.word().to_owned(),
                printable(&path.display().to_string()).into_owned(),
            ]),
            Err(failure) => {
                failed += 1;
                failure.say();
            }
        }
    }
    say(render::table(&["REGISTERED", "KIND", "PATH"], &rows, style()).trim_end());
    failed
}
