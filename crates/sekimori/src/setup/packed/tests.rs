use super::*;

#[test]
fn the_name_of_a_flatpak_stands_behind_its_options() {
    let id = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        flatpak_id(&words).map(str::to_owned)
    };
    let exported =
        "run --branch=stable --arch=x86_64 --command=thunderbird --file-forwarding org.x.Y @@u @@";
    assert_eq!(id(exported).as_deref(), Some("org.x.Y"));
    assert_eq!(id("run org.x.Y//beta").as_deref(), Some("org.x.Y"));
    for line in [
        "install org.x.Y",
        "run",
        "run --user",
        "run ../../x.y",
        "run .x.y",
    ] {
        assert_eq!(id(line), None, "{line}");
    }
}

#[test]
fn a_snap_is_known_by_its_command() {
    let app = |line: &str| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let words = without_env(&words);
        let (first, rest) = words.split_first()?;
        snap_app(Path::new(first), rest)
    };
    let entry = "env BAMF_DESKTOP_FILE_HINT=/var/x.desktop /snap/bin/thunderbird";
    assert_eq!(app(entry).as_deref(), Some("thunderbird"));
    assert_eq!(
        app("/usr/bin/snap run suite.mail").as_deref(),
        Some("suite.mail")
    );
    for line in [
        "/usr/bin/thunderbird",
        "snap install x",
        "/snap/bin/..",
        "snap run",
    ] {
        assert_eq!(app(line), None, "{line}");
    }
}

#[test]
fn the_description_of_a_snap_is_read() {
    let text = "name: x\nversion: 1\napps:\n  other:\n    command: bin/other\n  mail:\n    command-chain:\n\
                \u{20}   - snap/command-chain/desktop-launch\n    command: usr/lib/x/mail --flag\n    plugs:\n\
                \u{20}   - network\n  third:\n    command: bin/third\nbase: core22\n";
    assert_eq!(
        snap_commands(text, "mail"),
        ["snap/command-chain/desktop-launch", "usr/lib/x/mail"]
    );
    let short = "apps:\n    mail:\n        command-chain: [a, b]\n        command: c\n";
    assert_eq!(snap_commands(short, "mail"), ["a", "b", "c"]);
    assert!(snap_commands(text, "none").is_empty());
    assert!(snap_commands("name: mail\n", "mail").is_empty());
}
