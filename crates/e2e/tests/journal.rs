//! What happens to the journal and its disk: the gate decides on, what is registered stays
//! registered, and what was lost is said. (A disk that fills up while the daemon runs:
//! `lifecycle.rs`; a journal that was damaged before it starts: also `commands.rs`.)

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use e2e::{LIMIT, SERVER, Scene, Theatre, WEB, wait_until, watcher_account, word};
use journal::Journal;
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::process::Signal;
use serde_json::Value;

/// A disk for the journal alone, so that it can be filled or made read-only.
const DISK: &str = "disk";

/// The daemon starts, the gate is not up, and the journal cannot be written.
fn starts_without_a_writable_journal(
    spoil: impl FnOnce(&Path) + Send,
    mend: impl FnOnce(&Path) + Send,
) {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let mail = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let session = theatre.registered("session", "session", None);
    let bot = theatre.player("bot");
    let (state, disk) = (theatre.state(), theatre.state().join(DISK));
    let work = || {
        fs::create_dir(&disk).unwrap();
        mount("none", &disk, "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
        let journal = disk.join("journal.db");
        drop(Journal::open(&journal).unwrap());
        let (user, group) = watcher_account();
        chown(&journal, Some(user), Some(group)).unwrap();
        // The watcher sees nothing but its folder, so the way there must not leave it.
        symlink(format!("{DISK}/journal.db"), state.join("journal.db")).unwrap();
        spoil(&disk);
    };
    theatre.sandbox().run_inside(work).unwrap();
    if !theatre.raise() {
        return;
    }
    let scene = Scene {
        mail,
        desktop: theatre.start_desktop(&session),
        mailer,
        bot,
        theatre,
    };
    let web = scene.theatre.web(WEB);
    assert_eq!(scene.theatre.status()["daemon"]["adopted"], false);
    scene.enforces(&web);
    let unwritten = || {
        let status = scene.theatre.status();
        status["daemon"]["entries_not_written"].as_u64().unwrap()
    };
    // The start and two refusals.
    wait_until(LIMIT, || (unwritten() >= 3).then_some(())).expect("entries that are not kept");
    assert_eq!(scene.times_said("what it does is not kept"), 1);
    // What there is can be read.
    assert_eq!(scene.theatre.log(), [] as [Value; 0]);

    scene.theatre.sandbox().run_inside(|| mend(&disk)).unwrap();
    scene.notice_after(0, "the journal can be written again");
    assert_eq!(scene.times_said("what it does is not kept"), 1);
    scene.run_bot(&format!("bot --smtp {SERVER}"));
    wait_until(LIMIT, || (scene.refusals().len() == 1).then_some(())).expect("a refusal");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_read_only_disk_does_not_keep_the_gate_from_closing() {
    let flags = |disk: &Path, flags| mount_remount(disk, flags, "").unwrap();
    starts_without_a_writable_journal(
        |disk| flags(disk, MountFlags::RDONLY),
        |disk| flags(disk, MountFlags::empty()),
    );
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_full_disk_does_not_keep_the_gate_from_closing() {
    starts_without_a_writable_journal(
        |disk| {
            fs::write(disk.join("filler"), vec![0; 2 << 20]).expect_err("a full disk");
        },
        |disk| fs::remove_file(disk.join("filler")).unwrap(),
    );
}

/// Garbage in the middle of the journal while nobody has it open: it is set aside, and what
/// was registered stays registered.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_journal_damaged_in_part_keeps_the_registered_programs() {
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    let storm = format!("technique storm --server {SERVER} --count 200 --spread yes");
    assert!(scene.bot_succeeds(&storm));
    wait_until(LIMIT, || (scene.refusals().len() == 200).then_some(())).expect("200 refusals");
    let last = scene.theatre.newest();
    scene.theatre.end_daemon(Signal::TERM);

    let path = scene.theatre.state().join("journal.db");
    let bytes = fs::metadata(&path).unwrap().len();
    assert!(bytes > 40_000, "{bytes} bytes");
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(bytes - 16_384)).unwrap();
    file.write_all(&[0x5a; 16_384]).unwrap();
    drop(file);

    assert!(scene.theatre.raise());
    let said = scene.notice_after(0, "was damaged");
    // Init, mailer and desktop: the journal's damage is none of theirs.
    assert_eq!(registered(&scene.theatre).len(), 3);
    // Ids go on where they were.
    assert!(said["id"].as_u64() > Some(last), "{said}");
    scene.enforces(&web);
}

/// The journal breaks while the daemon has it open. That is noticed and said, a new one is
/// begun, ids go on, and what was registered is registered at the next start, too. Returns
/// what was said.
fn goes_on_after(spoil: impl FnOnce(&Path)) -> Option<String> {
    let scene = Scene::open("")?;
    let web = scene.theatre.web(WEB);
    let storm = format!("technique storm --server {SERVER} --count 300 --spread yes");
    assert!(scene.bot_succeeds(&storm));
    wait_until(LIMIT, || (scene.refusals().len() == 300).then_some(())).expect("300 refusals");
    let registered = registered(&scene.theatre);
    assert_eq!(registered.len(), 3);
    // Closing the journal carries its log over: from now on the file itself counts.
    scene.theatre.end_daemon(Signal::TERM);
    assert!(scene.theatre.raise());
    let last = scene.theatre.newest();

    let path = scene.theatre.state().join("journal.db");
    spoil(&path);
    scene.enforces(&web);
    let said = scene.notice_after(last, "new one");
    let text = word(&said, "text").to_owned();
    assert!(text.starts_with("the journal was "), "{said}");
    assert_eq!(scene.times_said(&text), 1);
    wait_until(LIMIT, || {
        let new = |refusal: &Value| refusal["id"].as_u64() > Some(last);
        let refusals = scene.refusals();
        (refusals.into_iter().filter(new).count() == 2).then_some(())
    })
    .expect("both refusals");
    assert_eq!(scene.theatre.status()["daemon"]["entries_not_written"], 0);
    assert_eq!(self::registered(&scene.theatre), registered);
    let aside = aside(&path).map(|aside| text.contains(&*aside.to_string_lossy()));
    assert_eq!(aside, text.contains("set aside").then_some(true), "{text}");

    // And at the next start.
    scene.theatre.end_daemon(Signal::TERM);
    assert!(scene.theatre.raise());
    assert_eq!(self::registered(&scene.theatre), registered);
    scene.enforces(&web);
    assert_eq!(
        scene.times_said("the journal was damaged"),
        text.matches("damaged:").count()
    );
    Some(text)
}

fn registered(theatre: &Theatre) -> Vec<String> {
    let ran = theatre.sekimori(&["programs", "--json"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let read = |line: &str| serde_json::from_str::<Value>(line).expect("an object");
    let path = |line: &str| word(&read(line), "path").to_owned();
    ran.stdout.lines().map(path).collect()
}

fn aside(path: &Path) -> Option<PathBuf> {
    let begin = format!("{}.damaged-", path.display());
    let files = fs::read_dir(path.parent().expect("a folder")).expect("a folder");
    // Its log may have come along.
    let is_log = |name: &str| name.ends_with("-wal") || name.ends_with("-shm");
    files.flatten().map(|file| file.path()).find(|file| {
        let name = file.to_string_lossy();
        name.starts_with(&begin) && !is_log(&name)
    })
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_journal_overwritten_while_it_is_open_is_set_aside() {
    let said = goes_on_after(|path| {
        let mut file = fs::File::options().write(true).open(path).unwrap();
        let bytes = file.metadata().unwrap().len();
        assert!(bytes > 200_000, "{bytes} bytes");
        file.write_all(&vec![0x5a; bytes as usize]).unwrap();
    });
    let Some(said) = said else { return };
    assert!(said.contains("set aside"), "{said}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_journal_cut_short_while_it_is_open_is_set_aside() {
    let said = goes_on_after(|path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(4096).unwrap();
    });
    let Some(said) = said else { return };
    assert!(said.contains("set aside"), "{said}");
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_journal_removed_while_it_is_open_is_begun_anew() {
    let said = goes_on_after(|path| fs::remove_file(path).unwrap());
    let Some(said) = said else { return };
    assert!(said.contains("removed: a new one was begun"), "{said}");
}

/// A later version has written the journal, and an older one is put in its place: the gate
/// stands as before, what is registered is registered, one line says why nothing is kept, and
/// the journal stays as it is.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_newer_journal_is_left_alone_and_the_gate_goes_on() {
    const FORMAT_AT: u64 = 60;
    let Some(scene) = Scene::open("") else { return };
    let web = scene.theatre.web(WEB);
    scene.theatre.end_daemon(Signal::TERM);
    let path = scene.theatre.state().join("journal.db");
    let mut file = fs::File::options().write(true).open(&path).unwrap();
    // SQLite keeps the user version there, big-endian (file format, section 1.3).
    file.seek(SeekFrom::Start(FORMAT_AT)).unwrap();
    file.write_all(&9_u32.to_be_bytes()).unwrap();
    drop(file);
    let before = fs::read(&path).unwrap();
    // Without a daemon, too.
    assert!(!scene.bot_succeeds(&format!("bot --smtp {SERVER}")));

    assert!(scene.theatre.raise());
    scene.enforces(&web);
    let said = "has format 9, which is newer than this program's format 1";
    wait_until(LIMIT, || (scene.times_said(said) > 0).then_some(())).expect("why");
    assert_eq!(
        scene.times_said(said),
        1,
        "{}",
        scene.theatre.daemon_words()
    );
    assert_eq!(registered(&scene.theatre).len(), 3);
    let log = scene.theatre.sekimori(&["log"]);
    assert_eq!(log.status, 1, "{log:?}");
    assert!(log.stderr.contains(said), "{log:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// A program that is refused all the time does not fill the disk before the next hour begins.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_flood_of_refusals_does_not_outgrow_the_journal() {
    const WRITTEN: u64 = 6000;
    // And as many again that are written before it is looked through, and one turn's reports.
    const KEPT: usize = 1000 + 1000 + 2048;
    let Some(scene) = Scene::open("journal_max_entries = 1000") else {
        return;
    };
    let storm = format!("technique storm --server {SERVER} --count 2000 --spread yes");
    let flooded = || {
        assert!(scene.bot_succeeds(&storm));
        (scene.theatre.newest() > WRITTEN).then_some(())
    };
    wait_until(LIMIT, flooded).unwrap_or_else(|| panic!("{}", scene.theatre.newest()));
    let log = scene.theatre.log();
    assert!(log.len() <= KEPT, "{} entries", log.len());
    // Refusals go first: what is known about the program stays.
    assert!(!scene.findings().is_empty());
}
