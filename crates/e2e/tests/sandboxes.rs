//! Mailers in a Flatpak and in a snap: built here, installed as root installs them, and started by the
//! real programs.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Scene, evasions, is_missing, wait_until, word};
use rustix::mount::{MountFlags, mount};
use serde_json::Value;

const FLATPAK: &str = "/usr/bin/flatpak";
const BWRAP: &str = "/usr/bin/bwrap";
const MKSQUASHFS: &str = "/usr/bin/mksquashfs";
const FOLDER: &str = "/var/lib/flatpak";
const FILES: &str = "/var/lib/flatpak/app/org.example.Mail/current/active/files";

/// Builds a runtime that has a shell, and a mailer with a start script, and installs both.
const INSTALL: &str = r#"set -e
work=$1 player=$2
mkdir -p $work/runtime/usr/bin $work/app/files/bin $work/app/export
cp /bin/bash $work/runtime/usr/bin/bash
cp /bin/dash $work/runtime/usr/bin/sh
for file in /bin/bash /bin/dash $player; do ldd $file | grep -o '/[^ ]*'; done | sort -u |
while read library; do
    place=$work/runtime/usr/${library#/usr}
    mkdir -p $(dirname $place)
    cp -L $library $place
done
printf '[Runtime]\nname=org.example.Platform\n' > $work/runtime/metadata
printf '[Application]\nname=org.example.Mail\nruntime=org.example.Platform/x86_64/1\ncommand=mail-start\n\n[Context]\nshared=network;\n' > $work/app/metadata
printf '#!/bin/sh\nexec /app/bin/mailer "$@"\n' > $work/app/files/bin/mail-start
chmod 755 $work/app/files/bin/mail-start
cp $player $work/app/files/bin/mailer
export HOME=$work XDG_DATA_HOME=$work/data
flatpak build-export --disable-sandbox --files=usr $work/repo $work/runtime 1
flatpak build-export --disable-sandbox $work/repo $work/app 1
flatpak --system remote-add --no-gpg-verify test file://$work/repo
flatpak --system install -y --noninteractive --no-related test runtime/org.example.Platform/x86_64/1 app/org.example.Mail/x86_64/1
"#;

/// The next release of it, deployed in another folder.
const UPDATE: &str = r#"set -e
work=$1
printf 'x' >> $work/app/files/bin/mailer
export HOME=$work XDG_DATA_HOME=$work/data
flatpak build-export --disable-sandbox $work/repo $work/app 1
flatpak --system update -y --noninteractive --no-related
"#;

fn refusal(scene: &Scene, before: u64) -> Value {
    scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse"
    })
}

fn delivered(scene: &Scene, count: usize, what: &str) {
    let messages = scene.mail.wait_for_messages(count, LIMIT);
    assert_eq!(
        messages.map(|all| all.len()).ok(),
        Some(count),
        "{what}: {}",
        scene.desktop.stdout()
    );
}

fn start(scene: &Scene, program: &str, words: &str) -> bool {
    let pid = scene.start(Path::new(program), words);
    scene.desktop.wait(pid, LIMIT).unwrap().success()
}

fn shell(scene_work: &Path, theatre: &e2e::Theatre, name: &str, text: &str, more: &[&str]) {
    let script = theatre.write(name, text);
    let work = scene_work.to_str().unwrap();
    let mut words = vec![script.to_str().unwrap(), work];
    words.extend(more);
    theatre.crew("/bin/sh", &words);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_flatpak_that_root_installed_sends() {
    if is_missing(&[FLATPAK, BWRAP, FOLDER, "/bin/dash"]) {
        return;
    }
    let (mut work, mut batch) = (PathBuf::new(), PathBuf::new());
    let scene = Scene::open_after("", |theatre| {
        work = theatre.sandbox().folder().join("flatpak");
        fs::create_dir(&work).unwrap();
        let mounted = || mount("none", FOLDER, "tmpfs", MountFlags::empty(), c"mode=0755");
        theatre.sandbox().run_inside(mounted).unwrap().unwrap();
        theatre.own_run_folder();
        let player = theatre.built_player().to_str().unwrap();
        shell(&work, theatre, "install.sh", INSTALL, &[player]);
        theatre.register_as(Path::new(FLATPAK), "sandbox", None);
        theatre.register_as(Path::new(BWRAP), "sandbox", Some("batch"));
        let files = Path::new(FILES);
        theatre.register_as(&files.join("bin/mail-start"), "sandbox", Some("service"));
        theatre.register_as(&files.join("bin/mailer"), "mailer", Some("interactive"));
        batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    });
    let Some(scene) = scene else { return };
    let theatre = &scene.theatre;
    let send = format!("mailer --server {SERVER}");

    // As a menu entry has it, and without the start script.
    let exported = "run --branch=1 --arch=x86_64 --command=mail-start --file-forwarding";
    assert!(start(
        &scene,
        FLATPAK,
        &format!("{exported} org.example.Mail {send}")
    ));
    delivered(&scene, 1, "the menu entry");
    assert!(start(
        &scene,
        FLATPAK,
        &format!("run --command=mailer org.example.Mail {send}")
    ));
    delivered(&scene, 2, "the program itself");

    let bot = scene.bot.display();
    let home = theatre.home();
    let evil = home.join("evil.so");
    let folder = batch.parent().unwrap().display();
    let attempts = [
        (
            "flatpak-bot",
            scene.bot.to_str().unwrap(),
            format!("launcher {FLATPAK} run org.example.Mail {send}"),
            "foreign-origin",
        ),
        (
            "flatpak-command",
            FLATPAK,
            format!("run --command=sh org.example.Mail /app/bin/mail-start {send}"),
            "foreign-origin",
        ),
        (
            "flatpak-env",
            FLATPAK,
            format!(
                "run --env=LD_PRELOAD={} org.example.Mail {send}",
                evil.display()
            ),
            "tampered",
        ),
        (
            "flatpak-batch",
            FLATPAK,
            format!(
                "run --filesystem={folder} --command={} org.example.Mail {send}",
                batch.display()
            ),
            "needs-terminal",
        ),
        (
            "flatpak-engine",
            FLATPAK,
            format!(
                "run --filesystem={folder} --command={bot} org.example.Mail technique plain --server {SERVER}"
            ),
            "not-a-mailer",
        ),
        (
            "flatpak-bwrap",
            BWRAP,
            format!("--dev-bind / / {FILES}/bin/mailer {send}"),
            "foreign-origin",
        ),
        (
            "flatpak-bwrap-over",
            BWRAP,
            format!(
                "--dev-bind / / --bind {} {FILES}/../export {FILES}/bin/mailer {send}",
                home.display()
            ),
            "foreign-origin",
        ),
    ];
    for (row, program, words, reason) in attempts {
        let before = theatre.newest();
        start(&scene, program, &words);
        let refused = refusal(&scene, before);
        assert_eq!(refused["reason"], reason, "{row}: {refused}");
        evasions::stopped(row, evasions::beyond(&scene.mail, 2), reason);
    }

    // What its user has installed, any program of that user can change.
    // `flatpak --user install` would ask the system bus; the files that it leaves are these.
    let users = home.join(".local/share");
    fs::create_dir_all(&users).unwrap();
    theatre.crew("cp", &["-a", FOLDER, users.to_str().unwrap()]);
    let owner = format!("{}:{}", PERSON.0, PERSON.1);
    let local = home.join(".local");
    theatre.crew("chown", &["-hR", &owner, local.to_str().unwrap()]);
    let before = theatre.newest();
    start(
        &scene,
        FLATPAK,
        &format!("run --user org.example.Mail {send}"),
    );
    let refused = refusal(&scene, before);
    assert_eq!(refused["reason"], "not-a-mailer", "{refused}");
    evasions::stopped(
        "flatpak-user",
        evasions::beyond(&scene.mail, 2),
        "not-a-mailer",
    );

    // The libraries of that user's runtime take the place of those of root's.
    let before = theatre.newest();
    let words = format!("run --system org.example.Mail {send}");
    start(&scene, FLATPAK, &words);
    let refused = refusal(&scene, before);
    let bytes = evasions::beyond(&scene.mail, 2);
    evasions::stopped("flatpak-runtime", bytes, word(&refused, "reason"));
    theatre.crew("rm", &["-r", local.to_str().unwrap()]);

    // An update is accepted by itself, because root has deployed it.
    shell(&work, theatre, "update.sh", UPDATE, &[]);
    let sends = || {
        start(
            &scene,
            FLATPAK,
            &format!("run --system org.example.Mail {send}"),
        )
        .then_some(())
    };
    wait_until(LIMIT, sends).expect("the new release is accepted");
}

/// The shape of a snap: a squashfs with a start script, mounted by revision, and a link that is turned.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mounted_snap_sends_and_is_looked_at_again_when_it_is_mounted_anew() {
    if is_missing(&[MKSQUASHFS, "/bin/dash", "/dev/loop-control"]) {
        return;
    }
    let mut mailer = PathBuf::new();
    let snap = Path::new("/mnt/snap/mail");
    let mount_it = |theatre: &e2e::Theatre, revision: &str, text: &str| {
        let script = theatre.write("mount.sh", MOUNT);
        let player = theatre.built_player().to_str().unwrap();
        let work = theatre.sandbox().folder().join("snap");
        let words = [
            script.to_str().unwrap(),
            work.to_str().unwrap(),
            player,
            revision,
            text,
        ];
        theatre.crew("/bin/sh", &words);
    };
    let scene = Scene::open_after("", |theatre| {
        let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
        theatre.sandbox().run_inside(mounted).unwrap().unwrap();
        mount_it(theatre, "1", "");
        theatre.registered("snap-run", "sandbox", None);
        theatre.registered("snap-confine", "sandbox", Some("batch"));
        let inside = snap.join("current");
        theatre.register_as(&inside.join("chain/launch"), "sandbox", Some("service"));
        mailer = inside.join("bin/mailer");
        theatre.register_as(&mailer, "mailer", Some("interactive"));
    });
    let Some(scene) = scene else { return };
    let theatre = &scene.theatre;
    let folder = scene.bot.parent().unwrap().to_owned();
    let (run, confine) = (folder.join("snap-run"), folder.join("snap-confine"));
    let send = |revision: &str| {
        format!(
            "launcher {} launcher {1}/{revision}/chain/launch {1}/{revision}/bin/mailer mailer --server {SERVER}",
            confine.display(),
            snap.display()
        )
    };
    let run_path = run.to_str().unwrap();
    assert!(start(&scene, run_path, &send("1")));
    delivered(&scene, 1, "the first revision");
    // Only below the command that starts snaps.
    let before = theatre.newest();
    let words = send("1");
    let words = words
        .strip_prefix(&format!("launcher {} ", confine.display()))
        .unwrap();
    start(&scene, confine.to_str().unwrap(), words);
    let refused = refusal(&scene, before);
    assert_eq!(refused["reason"], "foreign-origin", "{refused}");
    let bytes = evasions::beyond(&scene.mail, 1);
    evasions::stopped("snap-confine", bytes, "foreign-origin");
    // The next revision is another file system, at another device.
    mount_it(theatre, "2", "x");
    let sends = || start(&scene, run_path, &send("2")).then_some(());
    wait_until(LIMIT, sends).expect("the new revision is accepted");
    // Lazily: the keeper may still be reading the new revision.
    theatre.crew("umount", &["-l", "/mnt/snap/mail/1", "/mnt/snap/mail/2"]);
}

/// Makes a revision and mounts it. Its start script sets what those of real snaps set.
const MOUNT: &str = r#"set -e
work=$1 player=$2 revision=$3 text=$4
mkdir -p $work/root/bin $work/root/chain /mnt/snap/mail/$revision
cp $player $work/root/bin/mailer
printf '%s' "$text" >> $work/root/bin/mailer
printf '#!/bin/sh\nexport GIO_MODULE_DIR=$HOME/snap/mail/common/.cache/gio-modules\nexec "$@"\n' > $work/root/chain/launch
chmod 755 $work/root/chain/launch
mksquashfs $work/root $work/$revision.snap -all-root -noappend -quiet -no-progress > /dev/null
mount -t squashfs -o loop,ro,nodev $work/$revision.snap /mnt/snap/mail/$revision
ln -sfn $revision /mnt/snap/mail/current
"#;
