//! Many readers of the journal beside a flood of refusals.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{LIMIT, LONG, PERSON, SERVER, Scene, wait_until};

/// A log of 4 MiB is cut; a batch is far below the rest.
const LOG_BYTES_MAX: u64 = 6 * 1024 * 1024;
/// Clients of one user.
const READERS: usize = 16;

/// Sixteen clients of one user read all the time while its bot floods the gate: the journal's log
/// stays short, no report is lost because of the readers, and others are answered.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn sixteen_readers_of_one_user_harm_nobody() {
    const COUNT: u64 = 3000;
    let Some(scene) = Scene::open("") else { return };
    let theatre = &scene.theatre;
    let log = theatre.state().join("journal.db-wal");
    let log_bytes = || fs::metadata(&log).map_or(0, |about| about.len());
    let ending = AtomicBool::new(false);
    let (longest, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    let storm = format!("technique storm --server {SERVER} --count {COUNT}");
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !ending.load(Ordering::Relaxed) {
                    let ran = theatre.sekimori_as(&["log", "--json"], Some(PERSON));
                    answered.fetch_add(u64::from(ran.status == 0), Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !ending.load(Ordering::Relaxed) {
                longest.fetch_max(log_bytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let pid = scene.start_bot(&storm);
        let ended = scene.desktop.wait(pid, LONG);
        // Root and another user are answered meanwhile.
        for user in [None, Some((1234, 1234))] {
            let asked = || theatre.sekimori_as(&["status", "--json"], user).status == 0;
            wait_until(LONG, || asked().then_some(())).expect("a status");
        }
        // Readers go on until everything has been written down.
        let told = || {
            let told = refusals_told(&scene);
            (told + theatre.counter("events_lost") >= COUNT).then_some(())
        };
        let told = wait_until(LONG, told);
        ending.store(true, Ordering::Relaxed);
        assert!(ended.expect("the end of the storm").success());
        told.expect("every refusal");
    });
    println!(
        "{} answers; the log was {} bytes long",
        answered.load(Ordering::Relaxed),
        longest.load(Ordering::Relaxed)
    );
    assert!(answered.load(Ordering::Relaxed) >= READERS as u64);
    let longest = longest.load(Ordering::Relaxed);
    assert!(longest <= LOG_BYTES_MAX, "{longest} bytes");
    assert_eq!(theatre.counter("events_lost"), 0);
    assert_eq!(refusals_told(&scene), COUNT);
    wait_until(LIMIT, || (!scene.findings().is_empty()).then_some(())).expect("a finding");
}

/// How many refusals the journal tells of.
fn refusals_told(scene: &Scene) -> u64 {
    scene.refusals().len() as u64
}
