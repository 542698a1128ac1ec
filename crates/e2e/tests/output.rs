//! Standard output and standard error that take nothing, as on a full disk.

use std::fs::File;
use std::process::Stdio;

use e2e::{LIMIT, SERVER, Scene, Theatre, WEB, wait_until};
use rustix::process::Signal;

/// Where whatever is written fails, as on a full disk.
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// The daemon's log cannot be written: every refusal is in the journal all the same, and the
/// watcher does not break on it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_log_that_cannot_be_written_costs_no_entry() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    scene.theatre.end_daemon(Signal::TERM);
    let unheard = ["/bin/sh", "-c", "exec \"$@\" 2>/dev/full", "sh"];
    assert!(scene.theatre.raise_by(&unheard, &[]));
    let watcher = scene.theatre.watcher();
    assert!(scene.bot_succeeds(&format!("technique storm --server {SERVER} --count 20")));
    scene.enforces(&web);
    // Two more by `enforces`.
    let told = || (scene.refusals().len() == 22).then_some(());
    wait_until(LIMIT, told).unwrap_or_else(|| panic!("{}", scene.refusals().len()));
    assert_eq!(scene.theatre.watcher_pid(), Some(watcher));
}

/// What a command cannot say changes neither what it does nor how it ends.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_failure_that_cannot_be_said_keeps_its_status() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    for words in [
        &["status", "--json"][..],
        &["replay", "/nowhere.pcap"],
        &["unregister", "/nowhere"],
    ] {
        let mut command = theatre.command(words, None);
        let ended = command.stdout(Stdio::null()).stderr(full()).status();
        assert_eq!(ended.unwrap().code(), Some(1), "{words:?}");
    }
}
