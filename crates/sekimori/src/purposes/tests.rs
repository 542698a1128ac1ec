//! What is proposed, and above all what is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use guard::proposal::{Began, Proposal, ask_yes};
use policy::{Kind, Role};

use super::*;

fn proposer() -> Proposer {
    super::proposer(Catalog::load(None, |_| ()).unwrap())
}

fn why_not(proposal: Proposal) -> String {
    match proposal {
        Proposal::Not(why) => why,
        Proposal::Offer(offer) => panic!("offered: {offer:?}"),
    }
}

/// Real programs of this machine. Each would speak for everybody who starts it.
#[test]
fn what_runs_anything_for_anybody_is_explained_and_not_offered() {
    let proposer = proposer();
    let mut tried = 0;
    for path in [
        "/usr/bin/unshare",
        "/usr/bin/systemd-run",
        "/usr/bin/python3",
        "/usr/bin/perl",
        "/usr/bin/xargs",
        "/usr/bin/script",
        "/usr/bin/nsenter",
        "/usr/bin/setarch",
        "/usr/bin/find",
        "/usr/bin/flock",
    ] {
        if !Path::new(path).exists() {
            continue;
        }
        tried += 1;
        let why = why_not(proposer.starter(path));
        assert!(why.contains("every program could pass for you"), "{why}");
        for began in [Began::System, Began::Shell, Began::Desktop] {
            why_not(proposer.sender(path, began));
        }
    }
    assert!(tried > 2, "this machine has no programs");
}

#[test]
fn what_others_than_root_can_change_is_not_offered() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to make files of others");
        return;
    }
    // Not in a folder for temporary files, which would be reason enough.
    let folder = tempfile::Builder::new()
        .prefix("sekimori-panel")
        .tempdir_in("/var/lib")
        .unwrap();
    let program = folder.path().join("panel");
    fs::copy("/bin/true", &program).unwrap();
    let text = program.to_str().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let Proposal::Offer(offer) = proposer().starter(text) else {
        panic!("a copy of root's own is a program like any other");
    };
    assert!(!offer.safe && offer.role == Role::Launcher, "{offer:?}");
    assert!(
        offer
            .why
            .contains("only if it starts programs because you click")
    );
    std::os::unix::fs::chown(&program, Some(65534), None).unwrap();
    assert!(why_not(proposer().starter(text)).contains("Others than root can change"));
    // Another name hides nothing.
    let other = folder.path().join("desk");
    symlink("/usr/bin/xargs", &other).unwrap();
    why_not(proposer().starter(other.to_str().unwrap()));
    fs::copy("/usr/bin/xargs", folder.path().join("copy")).unwrap();
    why_not(proposer().starter(folder.path().join("copy").to_str().unwrap()));
}

#[test]
fn what_is_not_there_or_runs_elsewhere_is_explained() {
    let proposer = proposer();
    for (path, word) in [
        ("/tmp/panel", "temporary"),
        ("/nowhere/panel", "/nowhere/panel"),
        ("panel", "container"),
        ("", "container"),
        ("/usr/bin/panel (deleted)", "deleted"),
    ] {
        let why = why_not(proposer.starter(path));
        assert!(why.contains(word), "{path}: {why}");
    }
}

#[test]
fn the_catalog_says_what_a_known_program_is() {
    let proposer = proposer();
    let Proposal::Offer(offer) = proposer.starter("/bin/bash") else {
        panic!("bash is known");
    };
    assert_eq!((offer.role, offer.safe), (Role::Shell, true));
    assert!(offer.command().starts_with("sudo sekimori register /"));
    assert_eq!(offer.json(true)["registered"], true);
}

/// An editor runs what a file of the user's says. Nobody registers one who has not read that.
#[test]
fn what_has_to_be_chosen_is_no_safe_offer() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, whose file the catalog has to be");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let list = |role: &str, path: &str| {
        let text = format!(
            "[[program]]\nname = \"x\"\nrole = \"{role}\"\nkind = \"batch\"\npaths = [\"{path}\"]\nchosen = true\nwhy = \"it \
             reads .xrc\"\n"
        );
        fs::write(folder.path().join("x.toml"), text).unwrap();
        super::proposer(Catalog::load(Some(folder.path()), |_| ()).unwrap())
    };
    let Proposal::Offer(offer) = list("helper", "/usr/bin/cat").starter("/usr/bin/cat") else {
        panic!("a person may choose it");
    };
    assert!(!offer.safe && offer.why.contains(".xrc"), "{offer:?}");
    // As a mailer it would send for everybody, and registering it takes more than a yes.
    let why = why_not(list("mailer", "/usr/bin/perl").starter("/usr/bin/perl"));
    assert!(why.contains(".xrc"), "{why}");
}

/// A browser opens what a page names, so its kind is the narrow one.
#[test]
fn a_browser_is_a_launcher_of_the_narrow_kind() {
    let program = fs::canonicalize("/bin/true").unwrap();
    let catalog = Catalog::load(None, |_| ()).unwrap();
    let proposer = Proposer::new(
        catalog,
        identity::identify,
        Box::new(|_| Some(Purpose::Browser)),
    );
    let Proposal::Offer(offer) = proposer.starter(program.to_str().unwrap()) else {
        panic!("a file of root's");
    };
    assert_eq!((offer.role, offer.kind), (Role::Launcher, Kind::Batch));
    assert!(offer.command().ends_with("--as launcher --kind batch"));
}

#[test]
fn roots_own_files_tell_what_a_program_is_for() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, whose files they have to be");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    let put = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let entry = |exec: &str, more: &str| {
        format!("[Desktop Entry]\nType=Application\nName=x\nExec={exec}\n{more}\n")
    };
    for program in ["term", "files", "web", "panel", "desk", "write", "other"] {
        put(&format!("usr/bin/{program}"), program);
    }
    put("usr/share/xsessions/d.desktop", &entry("/usr/bin/desk", ""));
    put("etc/xdg/autostart/p.desktop", &entry("panel --daemon", ""));
    let menu = |name: &str, categories: &str| {
        let text = entry(name, &format!("Categories={categories}"));
        put(&format!("usr/share/applications/{name}.desktop"), &text)
    };
    menu("term", "System;TerminalEmulator;");
    menu("files", "FileManager;");
    menu("web", "Network;WebBrowser;");
    menu("write", "Network;Email;");
    let others = menu("other", "TerminalEmulator;");
    fs::set_permissions(&others, fs::Permissions::from_mode(0o666)).unwrap();
    let purposes = Purposes::below(&root);
    let of = |name: &str| purposes.of(&root.join("usr/bin").join(name));
    assert_eq!(of("desk"), Some(Purpose::Session));
    assert_eq!(of("panel"), Some(Purpose::DesktopPart));
    assert_eq!(of("term"), Some(Purpose::Terminal));
    assert_eq!(of("files"), Some(Purpose::FileManager));
    assert_eq!(of("web"), Some(Purpose::Browser));
    assert_eq!(of("write"), Some(Purpose::Mailer));
    assert_eq!(of("other"), None, "others can write that file");
}

#[test]
fn only_a_clear_yes_is_one() {
    let answer = |text: &str| {
        let mut output = Vec::new();
        ask_yes("Register it?", &mut text.as_bytes(), &mut output).unwrap()
    };
    assert!(answer("y\n") && answer("yes\n") && answer(" Y \n"));
    for no in ["", "\n", "n\n", "yo\n", "please\n"] {
        assert!(!answer(no), "{no:?}");
    }
}
