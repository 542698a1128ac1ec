//! Tests of the setup, on made-up root folders.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use guard::catalog::Catalog;
use linux::identity;

use super::find::find_with;
use super::*;

struct Tree {
    folder: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn put(&self, path: &str, contents: &str) -> &Self {
        let path = self.folder.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn binary(&self, path: &str) -> &Self {
        // Files of the same contents would be taken for copies of each other.
        self.put(path, &format!("\x7fELF {path}"))
    }

    fn entry(&self, path: &str, name: &str, exec: &str, more: &str) -> &Self {
        let text = format!(
            "[Desktop Entry]\nType=Application\nName={name}\nExec={exec}\nMimeType=x-scheme-handler/mailto;{more}\n"
        );
        self.put(path, &text)
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            root: self.folder.path().to_path_buf(),
            data_folders: vec!["/home/u/.local/share".into(), "/usr/share".into()],
            own_folders: 1,
            config_folders: vec!["/home/u/.config".into(), "/etc/xdg".into()],
            path: vec!["/usr/bin".into()],
            desktops: vec!["xfce".into()],
            locale: "C".into(),
        }
    }

    /// What lies below /usr and /etc counts as root's, all else as the user's.
    fn find(&self) -> Found {
        let catalog = Catalog::load(None, |_| ()).unwrap();
        let root = fs::canonicalize(self.folder.path()).unwrap();
        find_with(&catalog, &self.around(), &|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.starts_with("#!") {
                let mut program = identity::identify(Path::new("/bin/sh"))?;
                program.script = Some("/bin/sh".into());
                program.path = fs::canonicalize(path).unwrap();
                return Ok(program);
            }
            let mut program = identity::identify(path)?;
            program.root_owned = ["usr", "etc"]
                .iter()
                .any(|top| program.path.starts_with(root.join(top)));
            Ok(program)
        })
    }
}

fn paths(plan: &Plan) -> Vec<String> {
    plan.register
        .iter()
        .map(|part| part.path.display().to_string())
        .collect()
}

fn debian() -> Tree {
    let tree = Tree::new();
    tree.put(
        "/usr/bin/thunderbird",
        "#!/bin/sh\nexec /usr/lib/thunderbird/thunderbird-bin \"$@\"\n",
    )
    .binary("/usr/lib/thunderbird/thunderbird-bin")
    .entry(
        "/usr/share/applications/thunderbird.desktop",
        "Thunderbird",
        "thunderbird %u",
        "",
    )
    .binary("/usr/bin/claws-mail")
    .entry(
        "/usr/share/applications/claws-mail.desktop",
        "Claws Mail",
        "/usr/bin/claws-mail %u",
        "",
    )
    .binary("/usr/bin/mutt")
    .binary("/usr/bin/bash")
    .binary("/usr/bin/xfce4-session")
    .binary("/usr/bin/xterm")
    .binary("/usr/sbin/exim4");
    tree
}

#[test]
fn nobody_asked_takes_every_mailer_that_root_installed() {
    let tree = debian();
    tree.binary("/usr/bin/postbote")
        .entry(
            "/usr/share/applications/postbote.desktop",
            "Postbote",
            "postbote %u",
            "\nCategories=Network;Email;",
        )
        .binary("/usr/bin/links-there")
        .entry(
            "/usr/share/applications/links.desktop",
            "Opens mail addresses",
            "links-there %u",
            "",
        )
        .binary("/home/u/bin/own")
        .entry(
            "/home/u/.local/share/applications/own.desktop",
            "Own",
            "/home/u/bin/own %u",
            "\nCategories=Email;",
        );
    let plan = plan(&tree.find(), &Choice::Default);
    assert_eq!(
        paths(&plan),
        [
            "/usr/bin/thunderbird",
            "/usr/lib/thunderbird/thunderbird-bin",
            "/usr/bin/claws-mail",
            "/usr/bin/mutt",
            "/usr/bin/postbote",
            "/usr/bin/bash",
            "/usr/bin/xfce4-session",
            "/usr/bin/xterm"
        ]
    );
    let exim = plan
        .passed_over
        .iter()
        .find(|(part, _)| part.name == "Exim")
        .unwrap();
    assert!(exim.1.contains("does not start it"));
}

#[test]
fn the_desktops_default_is_taken_with_all_its_files() {
    let tree = debian();
    tree.put(
        "/home/u/.config/mimeapps.list",
        "[Default Applications]\nx-scheme-handler/mailto=gone.desktop;thunderbird.desktop;\n",
    );
    let plan = plan(&tree.find(), &Choice::Default);
    assert_eq!(
        paths(&plan)[..2],
        [
            "/usr/bin/thunderbird",
            "/usr/lib/thunderbird/thunderbird-bin"
        ]
    );
    let (choice, text) = answer(&tree.find(), "\n");
    assert_eq!(choice.unwrap(), Choice::Mailers(vec![0]), "{text}");
}

#[test]
fn the_desktops_own_list_comes_first() {
    let tree = debian();
    tree.put(
        "/home/u/.config/mimeapps.list",
        "[Default Applications]\nx-scheme-handler/mailto=thunderbird.desktop\n",
    )
    .put(
        "/home/u/.config/xfce-mimeapps.list",
        "[Default Applications]\nx-scheme-handler/mailto=claws-mail.desktop\n",
    );
    let found = tree.find();
    assert_eq!(
        found
            .mailers
            .iter()
            .find(|mailer| mailer.default)
            .unwrap()
            .name,
        "Claws Mail"
    );
}

#[test]
fn services_are_taken_when_enabled() {
    let tree = debian();
    fs::create_dir_all(tree.folder.path().join("etc/rc3.d")).unwrap();
    symlink(
        "../init.d/exim4",
        tree.folder.path().join("etc/rc3.d/S01exim4"),
    )
    .unwrap();
    let plan = plan(&tree.find(), &Choice::Default);
    assert!(
        plan.registrations()
            .any(|it| it == (Path::new("/usr/sbin/exim4"), Role::Mailer, Kind::Service))
    );
}

#[test]
fn helpers_of_a_service_go_with_it() {
    let tree = Tree::new();
    tree.binary("/usr/sbin/dovecot")
        .binary("/usr/lib/dovecot/lmtp");
    let dovecot = (Path::new("/usr/sbin/dovecot"), Role::System, Kind::Batch);
    let registers = |tree: &Tree| {
        let plan = plan(&tree.find(), &Choice::Default);
        plan.registrations().any(|it| it == dovecot)
    };
    assert!(!registers(&tree), "the machine does not start it");
    let wanted = tree
        .folder
        .path()
        .join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wanted).unwrap();
    let unit = "/lib/systemd/system/dovecot.service";
    symlink(unit, wanted.join("dovecot.service")).unwrap();
    assert!(registers(&tree));
}

#[test]
fn a_hidden_entry_hides_and_a_missing_program_does_not_count() {
    let tree = Tree::new();
    tree.binary("/usr/bin/m")
        .entry(
            "/usr/share/applications/a.desktop",
            "A",
            "m %u",
            "\nTryExec=/usr/bin/none",
        )
        .entry("/usr/share/applications/b.desktop", "B", "none %u", "")
        .entry("/usr/share/applications/c.desktop", "C", "m %u", "")
        .put(
            "/home/u/.local/share/applications/c.desktop",
            "[Desktop Entry]\nType=Application\nHidden=true\n",
        );
    assert!(tree.find().mailers.is_empty());
}

#[test]
fn a_wrapper_leads_to_the_program_behind_it() {
    let tree = Tree::new();
    tree.put("/usr/bin/m", "#!/bin/sh\nexec /usr/lib/m/m-bin \"$@\"\n")
        .binary("/usr/lib/m/m-bin")
        .entry("/usr/share/applications/org/m.desktop", "M", "m %u", "")
        .put(
            "/etc/xdg/mimeapps.list",
            "[Default Applications]\nx-scheme-handler/mailto=org-m.desktop\n",
        );
    let found = tree.find();
    assert!(found.mailers[0].default && !found.mailers[0].known);
    assert_eq!(
        plan(&found, &Choice::Default).register,
        [],
        "only a person can vouch for it"
    );
    assert_eq!(
        paths(&plan(&found, &Choice::Mailers(vec![0]))),
        ["/usr/bin/m", "/usr/lib/m/m-bin"]
    );
}

#[test]
fn what_only_calls_itself_a_mailer_is_not_offered() {
    let tree = Tree::new();
    tree.binary("/usr/bin/browser")
        .binary("/usr/bin/flatpak")
        .binary("/usr/bin/bash")
        .binary("/home/u/bin/evil")
        .entry(
            "/usr/share/applications/browser.desktop",
            "Web",
            "browser %u",
            "x-scheme-handler/https;",
        )
        .entry("/usr/share/applications/sh.desktop", "Sh", "bash -c x", "")
        .entry(
            "/usr/share/applications/f.desktop",
            "F",
            "/usr/bin/flatpak run org.f @@u %u @@",
            "",
        )
        .entry(
            "/home/u/.local/share/applications/e.desktop",
            "Thunderbird",
            "/home/u/bin/evil %u",
            "",
        )
        .put(
            "/home/u/.config/mimeapps.list",
            "[Default Applications]\nx-scheme-handler/mailto=e.desktop\n",
        );
    let found = tree.find();
    let names: Vec<_> = found
        .mailers
        .iter()
        .map(|mailer| mailer.name.as_str())
        .collect();
    assert_eq!(names, ["Thunderbird", "F"]);
    assert!(
        found
            .mailers
            .iter()
            .all(|mailer| !mailer.default && !mailer.registrable())
    );
    let plan = plan(&found, &Choice::Mailers(vec![0, 1]));
    assert_eq!(paths(&plan), ["/usr/bin/bash", "/usr/bin/flatpak"]);
    let whys: Vec<_> = plan
        .passed_over
        .iter()
        .map(|(_, why)| why.as_str())
        .collect();
    assert!(whys[0].contains("sekimori register /home/u/bin/evil --as mailer --kind interactive"));
    assert!(whys[1].contains("sudo flatpak install --system org.f"));
}

/// A menu entry, a launch script or the machine's own catalog may lead to an interpreter.
#[test]
fn what_does_whatever_it_is_told_is_never_offered() {
    let tree = Tree::new();
    for tool in ["python3.11", "socat", "curl", "env", "busybox"] {
        tree.binary(&format!("/usr/bin/{tool}"));
        let (file, exec) = (
            format!("/usr/share/applications/{tool}.desktop"),
            format!("{tool} %u"),
        );
        tree.entry(&file, tool, &exec, "");
    }
    symlink("python3.11", tree.folder.path().join("usr/bin/mailer")).unwrap();
    tree.entry(
        "/usr/share/applications/link.desktop",
        "Link",
        "mailer %u",
        "",
    )
    .put(
        "/usr/bin/mail-script",
        "#!/bin/sh\nexec /usr/bin/python3.11 /opt/m.py\n",
    )
    .entry(
        "/usr/share/applications/s.desktop",
        "Script",
        "mail-script %u",
        "",
    );
    let found = tree.find();
    let offered: Vec<_> = found
        .mailers
        .iter()
        .filter(|mailer| mailer.registrable())
        .collect();
    // The script itself is a program of its own.
    let names: Vec<_> = offered.iter().map(|mailer| mailer.name.as_str()).collect();
    assert_eq!(names, ["Script"]);
    let all = (0..found.mailers.len()).collect();
    assert_eq!(
        paths(&plan(&found, &Choice::Mailers(all))),
        ["/usr/bin/mail-script", "/usr/bin/env"]
    );
}

#[test]
fn helpers_go_with_their_mailer() {
    let tree = Tree::new();
    tree.binary("/usr/bin/kmail")
        .binary("/usr/bin/akonadi_maildispatcher_agent")
        .binary("/usr/bin/akonadi_control");
    let found = tree.find();
    assert_eq!(plan(&found, &Choice::Mailers(vec![])).register, []);
    assert_eq!(
        plan(&found, &Choice::Default).register.len(),
        3,
        "the only mailer is the proposal"
    );
}

fn answer(found: &Found, text: &str) -> (io::Result<Choice>, String) {
    let mut output = Vec::new();
    let choice = ask(found, &mut text.as_bytes(), &mut output);
    (choice, String::from_utf8(output).unwrap())
}

#[test]
fn the_question_shows_each_mailer_and_takes_numbers() {
    let tree = debian();
    tree.put(
        "/home/u/.config/mimeapps.list",
        "[Default Applications]\nx-scheme-handler/mailto=claws-mail.desktop\n",
    );
    let found = tree.find();
    let (choice, text) = answer(&found, "\n");
    assert_eq!(choice.unwrap(), Choice::Mailers(vec![1]));
    assert_eq!(
        text,
        "These mailers are installed:\n   \
         1  Thunderbird  /usr/bin/thunderbird\n   \
         2  Claws Mail  /usr/bin/claws-mail (opens mail addresses on this desktop)\n   \
         3  Mutt  /usr/bin/mutt (sends for a person at a prompt only)\n\
         Which of them are yours? Numbers, or \"none\" [2]: "
    );
    assert_eq!(
        answer(&found, "1, 3\n").0.unwrap(),
        Choice::Mailers(vec![0, 2])
    );
    assert_eq!(answer(&found, "none\n").0.unwrap(), Choice::Mailers(vec![]));
    assert_eq!(
        answer(&found, "4\nx\n2\n").0.unwrap(),
        Choice::Mailers(vec![1])
    );
    assert!(answer(&found, "4\n-1\n1 9\n2\n").0.is_err());
    assert!(
        answer(&found, "")
            .0
            .unwrap_err()
            .to_string()
            .contains("--yes")
    );
}

#[test]
fn without_a_default_enter_takes_all_that_are_graphical() {
    let (choice, text) = answer(&debian().find(), "\n");
    assert_eq!(choice.unwrap(), Choice::Mailers(vec![0, 1]));
    assert!(text.ends_with("[1, 2]: "), "{text}");
}

fn blocked(tree: &Tree, registered: &[&str]) -> Vec<String> {
    let is_registered = |path: &str| registered.contains(&path);
    let blocked = servers::blocked(&tree.find(), &[], &is_registered);
    blocked
        .iter()
        .flat_map(|server| &server.missing)
        .map(|part| part.path.display().to_string())
        .collect()
}

#[test]
fn a_mail_server_that_the_system_starts_is_blocked_until_all_of_it_is_registered() {
    let tree = debian();
    assert!(blocked(&tree, &[]).is_empty(), "nothing starts it");
    fs::create_dir_all(tree.folder.path().join("etc/rc3.d")).unwrap();
    symlink(
        "../init.d/exim4",
        tree.folder.path().join("etc/rc3.d/S01exim4"),
    )
    .unwrap();
    assert_eq!(blocked(&tree, &[]), ["/usr/sbin/exim4"]);
    assert!(blocked(&tree, &["/usr/sbin/exim4"]).is_empty());
    let all = plan(&tree.find(), &Choice::Default);
    let all = paths(&all);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert!(blocked(&tree, &all).is_empty());
}

#[test]
fn a_service_gets_what_helps_it() {
    let tree = Tree::new();
    tree.binary("/usr/sbin/dovecot")
        .binary("/usr/lib/dovecot/lmtp")
        .put(
            "/etc/systemd/system/multi-user.target.wants/dovecot.service",
            "",
        );
    let plan = plan(&tree.find(), &Choice::Mailers(vec![]));
    let missing = blocked(&tree, &[]);
    assert!(!missing.is_empty(), "the catalog knows Dovecot");
    for path in missing {
        assert!(paths(&plan).contains(&path), "{path}: {:?}", paths(&plan));
    }
}

#[test]
fn without_a_mailer_it_says_what_to_do() {
    let (choice, text) = answer(&Found::default(), "");
    assert_eq!(choice.unwrap(), Choice::Mailers(vec![]));
    assert!(text.contains("sekimori register PATH"));
}
