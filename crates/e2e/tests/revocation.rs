//! A registration is taken back while the disk takes nothing: the kernel knows at once, the disk
//! as soon as it can. What is registered then has no right that the disk does not know of.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, Ran, SERVER, Theatre, wait_until, word};
use rustix::mount::{MountFlags, mount};
use rustix::process::Signal;
use stage::{Desktop, SmtpServer};

/// A theatre with its state on a small disk, and a person's desktop.
struct Scene {
    mail: SmtpServer,
    desktop: Desktop,
    mailer: PathBuf,
    other: PathBuf,
    theatre: Theatre,
}

impl Scene {
    fn open() -> Option<Self> {
        let theatre = Theatre::open()?;
        let state = theatre.state();
        let disk = || {
            mount(
                "none",
                state,
                "tmpfs",
                MountFlags::empty(),
                c"size=1m,mode=0755",
            )
        };
        theatre.sandbox().run_inside(disk).unwrap().unwrap();
        let mail = theatre.smtp();
        theatre.register_as(theatre.built_init(), "system", Some("interactive"));
        let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
        let other = theatre.registered("other", "mailer", Some("interactive"));
        if !theatre.raise() {
            return None;
        }
        Some(Self {
            mail,
            desktop: theatre.desktop(),
            mailer,
            other,
            theatre,
        })
    }

    fn fill(&self) {
        let filler = self.theatre.state().join("filler");
        let fill = || fs::write(&filler, vec![0; 2 << 20]).is_err();
        let is_full = self.theatre.sandbox().run_inside(fill).unwrap();
        assert!(is_full, "the disk is not full");
    }

    fn make_room(&self) {
        let filler = self.theatre.state().join("filler");
        let remove = || fs::remove_file(&filler);
        self.theatre.sandbox().run_inside(remove).unwrap().unwrap();
    }

    fn sends(&self, program: &Path) -> bool {
        let before = self.mail.messages().len();
        let words = ["mailer", "--server", SERVER];
        let sent = self.desktop.run(program, words, LIMIT).unwrap().success();
        assert_eq!(self.mail.messages().len() - before, usize::from(sent));
        sent
    }

    fn unregister(&self, program: &Path) -> Ran {
        self.theatre
            .sekimori(&["unregister", program.to_str().unwrap()])
    }

    fn register(&self, program: &Path, role: &str) -> Ran {
        self.theatre
            .sekimori(&["register", program.to_str().unwrap(), "--as", role])
    }

    fn is_listed(&self, program: &Path) -> bool {
        let listed = self.theatre.sekimori(&["programs"]).stdout;
        let path = program.to_str().unwrap();
        listed.lines().any(|line| line.ends_with(path))
    }
}

fn is_half_done(ran: &Ran) {
    assert_eq!(ran.status, 1, "{ran:?}");
    assert_eq!(ran.stderr.trim_end().lines().count(), 1, "{ran:?}");
    for part in ["revoked in the running gate", "programs.json", "comes back"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_full_disk_keeps_no_right_alive() {
    let Some(scene) = Scene::open() else { return };
    assert!(scene.sends(&scene.mailer) && scene.sends(&scene.other));
    scene.fill();
    is_half_done(&scene.unregister(&scene.mailer));
    assert!(!scene.sends(&scene.mailer));
    assert!(!scene.is_listed(&scene.mailer));
    // It is said as often as it is asked for, and nobody else loses a thing.
    is_half_done(&scene.unregister(&scene.mailer));
    assert!(scene.sends(&scene.other));

    // A new registration waits for the disk, ...
    let third = scene.theatre.player("third");
    let ran = scene.register(&third, "mailer");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(!scene.sends(&third) && !scene.is_listed(&third));
    // ... and one in another role takes the first role away all the same.
    let ran = scene.register(&scene.other, "launcher");
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("is not registered as mailer"),
        "{ran:?}"
    );
    assert!(!scene.sends(&scene.other));

    let before = scene.theatre.newest();
    scene.make_room();
    scene
        .theatre
        .wait_after(before, "that it was written", |entry| {
            word(entry, "text") == "the registered programs could be written"
        });
    scene.theatre.end_daemon(Signal::TERM);
    assert!(scene.theatre.raise());
    for program in [&scene.mailer, &scene.other, &third] {
        assert!(
            !scene.is_listed(program) && !scene.sends(program),
            "{}",
            program.display()
        );
    }
    assert_eq!(scene.register(&scene.mailer, "mailer").status, 0);
    assert!(scene.sends(&scene.mailer));
    // The command itself tries again, too.
    scene.fill();
    is_half_done(&scene.unregister(&scene.mailer));
    scene.make_room();
    let ran = scene.unregister(&scene.mailer);
    assert_eq!(ran.status, 0, "{ran:?}");
}

/// Without a daemon the gate decides on, so it has to know.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn without_a_daemon_the_gate_knows_at_once() {
    let Some(scene) = Scene::open() else { return };
    scene.theatre.end_daemon(Signal::TERM);
    assert!(scene.sends(&scene.mailer) && scene.sends(&scene.other));
    scene.fill();
    is_half_done(&scene.unregister(&scene.mailer));
    assert!(!scene.sends(&scene.mailer));
    scene.make_room();
    assert_eq!(scene.unregister(&scene.mailer).status, 0);

    // The file is damaged: nothing is registered on disk, and the gate has a mailer still.
    let file = scene.theatre.state().join("programs.json");
    let spoil = || fs::write(&file, "{").unwrap();
    scene.theatre.sandbox().run_inside(spoil).unwrap();
    assert!(scene.sends(&scene.other));
    let ran = scene.unregister(&scene.other);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("revoked in the running gate"),
        "{ran:?}"
    );
    assert!(!scene.sends(&scene.other));
}

/// A mailer that runs already loses its role, and the connection that it holds its grant.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_that_runs_loses_its_role() {
    let Some(scene) = Scene::open() else { return };
    let words = ["mailer", "--server", SERVER, "--linger-ms", "5000"];
    let mailer = scene.desktop.launch(&scene.mailer, words).unwrap();
    let connected = || (scene.mail.connection_count() == 1).then_some(());
    wait_until(LIMIT, connected).expect("a connected mailer");
    let ran = scene.unregister(&scene.mailer);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.stdout.contains("1 process that runs it"), "{ran:?}");
    assert!(!scene.desktop.wait(mailer, LIMIT).unwrap().success());
    assert_eq!(scene.mail.payload_bytes(), 0);
    assert_eq!(scene.mail.messages().len(), 0);
}
