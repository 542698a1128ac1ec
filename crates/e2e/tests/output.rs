//! What is printed: names that were made to fool whoever reads them, and standard output and
//! standard error that take nothing, as on a full disk.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;

use e2e::{LIMIT, SERVER, Scene, Theatre, WEB, wait_until};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::io::ioctl_fionbio;
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

/// Whoever reads the daemon's log has stopped reading: nobody waits for it. When it reads again,
/// it hears how much it missed.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let Some(scene) = Scene::open("") else { return };
    let theatre = &scene.theatre;
    let web = theatre.web(WEB);
    theatre.end_daemon(Signal::TERM);
    let fifo = theatre.sandbox().folder().join("log.fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    let mut log = File::options().read(true).write(true).open(&fifo).unwrap();
    ioctl_fionbio(&log, true).unwrap();
    while log.write(&[b'\n'; 4096]).is_ok() {}
    // The daemon opens its end anew, one that waits.
    let unread = format!("exec \"$@\" 2>{}", fifo.display());
    assert!(theatre.raise_by(&["/bin/sh", "-c", &unread, "sh"], &[]));
    let watcher = theatre.watcher();
    assert!(scene.bot_succeeds(&format!("technique storm --server {SERVER} --count 20")));
    scene.enforces(&web);
    let told = || (scene.refusals().len() == 22).then_some(());
    wait_until(LIMIT, told).unwrap_or_else(|| panic!("{}", scene.refusals().len()));
    // Both processes go on.
    theatre.register_as(Path::new("/bin/true"), "launcher", None);
    assert_eq!(theatre.watcher_pid(), Some(watcher));

    let mut heard = Vec::new();
    let _ = log.read_to_end(&mut heard);
    assert!(heard.iter().all(|byte| *byte == b'\n'));
    scene.enforces(&web);
    wait_until(LIMIT, || {
        let _ = log.read_to_end(&mut heard);
        let heard = String::from_utf8_lossy(&heard);
        (heard.contains("lines, they are lost") && heard.contains("refuse")).then_some(())
    })
    .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&heard)));
    assert_eq!(theatre.end_daemon(Signal::TERM), 0);
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

/// Who could not be told has not been told; who does not want to know any more is no failure.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_answer_that_cannot_be_written_is_a_failure() {
    /// A capture of Ethernet without a packet: magic number, version 2.4, and no more.
    const CAPTURE: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let capture = theatre.sandbox().folder().join("empty.pcap");
    fs::write(&capture, CAPTURE.map(u32::to_ne_bytes).concat()).unwrap();
    for words in [
        &["programs"][..],
        &["programs", "--json"],
        &["manpage"],
        &["replay", capture.to_str().unwrap()],
    ] {
        let output = theatre.command(words, None).stdout(full()).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("No space left"), "{words:?}: {said}");
        let (nobody, pipe) = std::io::pipe().unwrap();
        drop(nobody);
        let ended = theatre.command(words, None).stdout(pipe).status();
        assert_eq!(ended.unwrap().code(), Some(0), "{words:?}");
    }
}

/// Nothing in a name moves a cursor, breaks a line or turns the writing round.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_name_is_printed_as_it_is_spelled() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let path = theatre.home().join("a\u{1b}[31mb\nc\u{202e}d");
    let path = path.to_str().unwrap();
    theatre.crew("/bin/cp", &["/usr/bin/true", path]);
    for (words, status) in [
        (&["register", path][..], 0),
        (&["programs"], 0),
        (&["unregister", path], 0),
        (&["unregister", path], 1),
        (&["run", "--config", path], 1),
    ] {
        let ran = theatre.sekimori(words);
        assert_eq!(ran.status, status, "{ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains(r"a\x1b[31mb\x0ac\u{202e}d"), "{said:?}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
    }
}

/// The command that reads an older journal sets aside what is none: it takes no file.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn no_command_destroys_a_file_that_is_no_journal() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let text = "not a journal".repeat(1000);
    let file = theatre.write("notes", &text);
    let ran = theatre.sekimori(&["carry-over", file.to_str().unwrap()]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let folder = fs::read_dir(file.parent().unwrap()).unwrap();
    let aside = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("notes.");
    assert!(!folder.flatten().any(|entry| aside(&entry.file_name())));
}
