//! `register`, `unregister` and `programs`: through the daemon when one runs, else straight
//! to the disk and into the pinned gate.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use engine::printable;
use linux::gate::Gate;
use linux::pins::Pins;
use policy::{Kind, Role};
use serde_json::Value;

use crate::catalog::{self, Catalog};
use crate::cli::RegisterArgs;
use crate::clock;
use crate::control::client::ask;
use crate::control::protocol::{Request, RootRequest};
use crate::failure::{Failure, need_root};
use crate::keeper::start_again_words as again_words;
use crate::output::{say, style, trouble};
use crate::paths::Paths;
use crate::polkit::need_root_or_ask;
use crate::registry::{Registry, peek};
use crate::{render, status};

/// `register PATH`.
pub fn register(options: &RegisterArgs, paths: &Paths) -> Result<ExitCode, Failure> {
    let path = absolute(&options.path)?;
    let role = Role::from(options.role);
    let mut words = vec![path.clone().into(), "--as".into(), role.word().into()];
    if let Some(kind) = options.kind {
        words.extend(["--kind".into(), Kind::from(kind).word().into()]);
    }
    if options.force {
        words.push("--force".into());
    }
    need_root_or_ask("register", &words, paths)?;
    let kind = match options.kind {
        Some(kind) => kind.into(),
        None => usual_kind(&path, role)?,
    };
    let done = register_one(&path, (role, kind), options.force, paths)?;
    let text = |key: &str| printable(done[key].as_str().unwrap_or("?"));
    say(&format!(
        "registered {} as {} ({})",
        text("path"),
        text("role"),
        text("kind")
    ));
    say(&format!("SHA-256 {}", text("sha256")));
    if done["forced"] == Value::Bool(true) {
        say(
            "note: this program does whatever it is told, so every program that may start it can use its role",
        );
    }
    if done["root_owned"] == Value::Bool(false) {
        say(
            "note: others than root can change this file; after a change it waits for you to register it again",
        );
    }
    judge_again(true, paths);
    Ok(ExitCode::SUCCESS)
}

/// After registrations: has the daemon judge the processes again that are older than the gate, and says
/// what came of it. Without a daemon, the next one does so when it starts.
pub fn judge_again(shown: bool, paths: &Paths) {
    let mut answer = Value::Null;
    let asked = ask(&paths.keeper, &RootRequest::JudgeAgain, |value| {
        answer = value
    });
    match asked {
        Ok(true) if shown => {}
        // A daemon that was just replaced by a newer program does not know the question.
        _ => return,
    }
    let count = |key: &str| answer[key].as_array().map_or(0, Vec::len);
    match count("not_foreign_any_more") {
        0 => {}
        1 => drop(say(
            "1 program that was running before is not foreign any more",
        )),
        count => drop(say(&format!(
            "{count} programs that were running before are not foreign any more"
        ))),
    }
    if let Some(list) = answer["start_again"]
        .as_array()
        .filter(|list| !list.is_empty())
    {
        say(&again_words(list));
    }
}

/// Registers one program and returns it as `programs --json` shows it.
///
/// # Errors
///
/// One line that names the path.
pub fn register_one(
    path: &Path,
    (role, kind): (Role, Kind),
    force: bool,
    paths: &Paths,
) -> Result<Value, Failure> {
    let request = RootRequest::Register {
        path: path.to_owned(),
        role: role.word().to_owned(),
        kind: kind.word().to_owned(),
        force,
    };
    let mut done = Value::Null;
    if ask(&paths.keeper, &request, |value| done = value)? {
        return Ok(done);
    }
    let mut registry = open(paths)?;
    let mut gate = pinned_gate(paths)?;
    let stored = registry.register(path, (role, kind), force, clock::now().0, gate.as_mut())?;
    let entry = registry
        .entries()
        .iter()
        .find(|entry| entry.stored.path == stored.path);
    Ok(entry.map(status::program).unwrap_or_default())
}

/// `unregister PATH`.
pub fn unregister(path: &Path, paths: &Paths) -> Result<ExitCode, Failure> {
    let path = absolute(path)?;
    need_root_or_ask("unregister", &[path.clone().into()], paths)?;
    let mut said = None;
    let request = RootRequest::Unregister { path: path.clone() };
    if !ask(&paths.keeper, &request, |value| {
        said = value["text"].as_str().map(str::to_owned)
    })? {
        let mut gate = pinned_gate(paths)?;
        let done = open(paths)?.unregister(&path, gate.as_mut())?;
        let next = "it comes back when the daemon starts; make room and run this command again before that";
        if let Some(complaint) = done.complaint(next) {
            return Err(complaint.into());
        }
        said = Some(done.words());
    }
    let said = said.unwrap_or_else(|| format!("{} is not registered any more", path.display()));
    say(&printable(&said));
    Ok(ExitCode::SUCCESS)
}

/// `programs`.
pub fn list(json: bool, paths: &Paths) -> Result<ExitCode, Failure> {
    let mut programs = Vec::new();
    if !ask(&paths.socket, &Request::Programs, |value| {
        programs.push(value)
    })? {
        need_root("programs")?;
        programs = peek(paths)?.iter().map(status::program).collect();
    }
    if json {
        programs.iter().all(|program| say(&program.to_string()));
        return Ok(ExitCode::SUCCESS);
    }
    if programs.is_empty() {
        say("no program is registered (sudo sekimori setup)");
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value, key: &str| {
        let text = value[key].as_str().unwrap_or("?");
        printable(text).into_owned()
    };
    let rows: Vec<_> = programs
        .iter()
        .map(|program| {
            ["role", "kind", "state", "path"]
                .map(|key| text(program, key))
                .to_vec()
        })
        .collect();
    say(render::table(&["ROLE", "KIND", "STATE", "PATH"], &rows, style()).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The registered programs, while no daemon has them.
fn open(paths: &Paths) -> Result<Registry, Failure> {
    let (registry, said) = Registry::open(paths)?;
    for text in &said {
        trouble(text);
    }
    Ok(registry)
}

/// The pinned gate, when there is one of our layout.
fn pinned_gate(paths: &Paths) -> Result<Option<Gate>, Failure> {
    let pins = Pins::new(&paths.pins, linux::load::OBJECT);
    if pins.has_maps() {
        Ok(Some(Gate::open(&pins)?))
    } else {
        Ok(None)
    }
}

/// The kind that a program has when nobody says: from the catalog when the role fits.
fn usual_kind(path: &Path, role: Role) -> Result<Kind, Failure> {
    let catalog = Catalog::load(Some(Path::new(catalog::EXTRA_FOLDER)))?;
    if let Some(entry) = catalog.entry_of(path).filter(|entry| entry.role == role) {
        return Ok(entry.kind);
    }
    Ok(catalog::default_kind(role).unwrap_or(Kind::Interactive))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))
}
