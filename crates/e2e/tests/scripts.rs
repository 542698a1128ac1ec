//! Registered shell scripts, and shells that are told to read the user's own files first.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Theatre, evasions, is_missing, word};
use rustix::mount::{MountFlags, mount};

const BASH: &str = "/usr/bin/bash";
const DASH: &str = "/usr/bin/dash";
const ZSH: &str = "/usr/bin/zsh";

/// A script of root's in a folder of root's, as `/usr/bin/thunderbird` is on Debian.
fn script(theatre: &Theatre, name: &str, text: &str) -> PathBuf {
    let source = theatre.write(name, text);
    std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = Path::new("/mnt").join(name);
    theatre.crew("cp", &[source.to_str().unwrap(), path.to_str().unwrap()]);
    path
}

/// What the user's profile holds is run as the script when the shell is told to read it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_script_counts_as_itself_only_when_the_shell_reads_nothing_else() {
    if is_missing(&[DASH]) {
        return;
    }
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let batch = theatre.registered("batch", "mailer", Some("batch"));
    for shell in [BASH, DASH] {
        theatre.register_as(Path::new(shell), "shell", None);
    }
    // Of the sandbox's mount namespace only.
    let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
    theatre.sandbox().run_inside(mounted).unwrap().unwrap();
    let send = format!(
        "{} mailer --server {SERVER} --timeout-ms 2000",
        batch.display()
    );
    let wrapper = |name: &str, first: &str| {
        let path = script(
            &theatre,
            name,
            &format!("{first}\n{send} --subject script\n"),
        );
        theatre.register_as(&path, "mailer", Some("interactive"));
        path
    };
    let plain = wrapper("plain", "#!/usr/bin/dash");
    let strict = wrapper("strict", "#!/usr/bin/bash -e");
    let home = theatre.home();
    for name in [".profile", ".bash_profile"] {
        let path = theatre.write(
            &format!("home/{name}"),
            &format!("{send} --subject profile\n"),
        );
        std::os::unix::fs::chown(&path, Some(PERSON.0), Some(PERSON.1)).unwrap();
    }
    assert!(home.join(".profile").exists());
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    // Honest: the script itself, with and without an option in its first line, and by its own shell.
    let (plain, strict) = (plain.to_str().unwrap(), strict.to_str().unwrap());
    let honest: [(&str, &[&str]); 4] = [
        (plain, &[]),
        (strict, &[]),
        (DASH, &[plain]),
        (BASH, &[strict]),
    ];
    for (count, (program, words)) in honest.iter().enumerate() {
        let exit = desktop.run(Path::new(program), *words, LIMIT).unwrap();
        assert!(exit.success(), "{program} {words:?}: {}", desktop.stdout());
        server.wait_for_messages(count + 1, LIMIT).unwrap();
    }
    let before_all = server.payload_bytes();
    for (row, program, words) in [
        ("script-bash-l", BASH, ["-l", strict]),
        ("script-bash-login", BASH, ["--login", strict]),
        ("script-bash-i", BASH, ["-i", strict]),
        ("script-dash-l", DASH, ["-l", plain]),
        ("script-dash-i", DASH, ["-i", plain]),
    ] {
        let before = theatre.newest();
        let exit = desktop.run(Path::new(program), words, LIMIT).unwrap();
        assert!(!exit.success(), "{row}: {}", desktop.stdout());
        let refusal = theatre.wait_after(before, row, |entry| word(entry, "verdict") == "refuse");
        assert_eq!(refusal["reason"], "foreign-origin", "{row}: {refusal}");
        let bytes = server.payload_bytes() - before_all;
        evasions::refused(row, bytes, &refusal, words[1]);
    }
}

/// Shells that read the user's files for every script vouch for none.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_script_of_zsh_is_not_registered() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let mounted = || mount("none", "/mnt", "tmpfs", MountFlags::empty(), c"mode=0755");
    theatre.sandbox().run_inside(mounted).unwrap().unwrap();
    if is_missing(&[ZSH]) {
        return;
    }
    for (first, is_taken) in [
        ("#!/usr/bin/zsh", false),
        ("#!/usr/bin/zsh -f", true),
        ("#!/usr/bin/bash -l", false),
    ] {
        let path = script(&theatre, "wrapper", &format!("{first}\nexit 0\n"));
        let words = ["register", path.to_str().unwrap(), "--as", "mailer"];
        let ran = theatre.sekimori(&words);
        assert_eq!(ran.status == 0, is_taken, "{first}: {ran:?}");
    }
}
