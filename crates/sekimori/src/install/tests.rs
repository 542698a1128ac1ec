use super::*;

#[derive(Default)]
struct Recorder {
    runs: bool,
    refuses: bool,
    told: Vec<String>,
}

impl ServiceManager for Recorder {
    fn runs(&self) -> bool {
        self.runs
    }

    fn tell(&mut self, words: &[&str]) -> Result<()> {
        self.told.push(words.join(" "));
        if self.refuses {
            bail!("systemctl {} failed: no", words.join(" "))
        } else {
            Ok(())
        }
    }

    fn make_account(&mut self, file: &str) -> Result<()> {
        self.told.push(format!("account {file}"));
        if self.refuses { bail!("no") } else { Ok(()) }
    }
}

fn installed(root: &Path, manager: &mut Recorder) -> (Result<()>, String) {
    let executable = root.join("built");
    fs::write(&executable, b"program").unwrap();
    let pieces = Pieces {
        executable: &executable,
        texts: vec![(MANPAGE, b"manual".to_vec())],
    };
    let mut out = Vec::new();
    let result = install(&pieces, root, manager, &mut out);
    (result, String::from_utf8(out).unwrap())
}

fn uninstalled(
    root: &Path,
    purge: bool,
    manager: &mut Recorder,
    pins: bool,
) -> (Result<()>, String) {
    let mut out = Vec::new();
    let result = uninstall(root, purge, manager, &mut || Ok(pins), &mut out);
    (result, String::from_utf8(out).unwrap())
}

#[test]
fn without_systemd_it_says_what_it_did_not_do() {
    let folder = tempfile::tempdir().unwrap();
    let (result, said) = installed(folder.path(), &mut Recorder::default());
    result.unwrap();
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "installed /usr/local/sbin/sekimori",
            "installed /etc/systemd/system/sekimori.service",
            "installed /etc/sysusers.d/sekimori.conf",
            "installed /usr/local/share/man/man1/sekimori.1",
            "systemd does not run here: sekimori.service was neither enabled nor started. \
             Have `/usr/local/sbin/sekimori run` started at boot, before the network",
        ]
    );
    let binary = below(folder.path(), BINARY);
    assert_eq!(fs::read(&binary).unwrap(), b"program");
    assert_eq!(fs::metadata(&binary).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(
        fs::metadata(below(folder.path(), UNIT)).unwrap().mode() & 0o7777,
        0o644
    );
    assert_eq!(
        fs::read_dir(binary.parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn with_systemd_the_unit_is_enabled_and_restarted() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Recorder {
        runs: true,
        ..Recorder::default()
    };
    installed(folder.path(), &mut manager).0.unwrap();
    let expected = [
        "account /etc/sysusers.d/sekimori.conf",
        "daemon-reload",
        "enable sekimori.service",
        "restart sekimori.service",
    ];
    assert_eq!(manager.told, expected);
    installed(folder.path(), &mut manager).0.unwrap();
    let pieces = Pieces {
        executable: &below(folder.path(), BINARY),
        texts: Vec::new(),
    };
    let mut out = Vec::new();
    install(&pieces, folder.path(), &mut manager, &mut out).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .starts_with("/usr/local/sbin/sekimori is this program already\n")
    );
    assert_eq!(fs::read(below(folder.path(), BINARY)).unwrap(), b"program");
}

/// What is left must be able to open it.
#[test]
fn while_the_gate_cannot_be_opened_nothing_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut manager = Recorder::default();
    installed(root, &mut manager).0.unwrap();
    fs::create_dir_all(below(root, STATE)).unwrap();
    let mut out = Vec::new();
    let fails = &mut || anyhow::bail!("a daemon runs");
    let error = uninstall(root, true, &mut manager, fails, &mut out).unwrap_err();
    assert_eq!(format!("{error:#}"), "nothing was removed: a daemon runs");
    for path in [BINARY, UNIT, STATE] {
        assert!(below(root, path).exists(), "{path}");
    }
    uninstalled(root, true, &mut manager, true).0.unwrap();
    for path in [BINARY, UNIT, STATE] {
        assert!(!below(root, path).exists(), "{path}");
    }
}

#[test]
fn uninstalling_undoes_it_and_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut manager = Recorder {
        runs: true,
        ..Recorder::default()
    };
    installed(root, &mut manager).0.unwrap();
    fs::create_dir_all(below(root, STATE)).unwrap();
    fs::write(below(root, STATE).join("journal.db"), "x").unwrap();
    manager.told.clear();

    let (result, said) = uninstalled(root, false, &mut manager, true);
    result.unwrap();
    assert_eq!(
        manager.told,
        ["disable --now sekimori.service", "daemon-reload"]
    );
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "stopped and disabled sekimori.service",
            "opened the gate: mail ports are no longer guarded",
            "removed /etc/systemd/system/sekimori.service",
            "removed /etc/sysusers.d/sekimori.conf",
            "removed /usr/local/share/man/man1/sekimori.1",
            "removed /usr/local/sbin/sekimori",
            "removed /etc/sekimori, which was empty",
            "kept /var/lib/sekimori (remove it with: sekimori uninstall --purge)",
        ]
    );

    manager.told.clear();
    let (result, said) = uninstalled(root, true, &mut manager, false);
    result.unwrap();
    assert_eq!(said, "removed /var/lib/sekimori\n");
    let (result, said) = uninstalled(root, true, &mut manager, false);
    result.unwrap();
    assert_eq!(
        (said.as_str(), manager.told.len()),
        ("nothing was installed\n", 0)
    );
}

#[test]
fn one_failure_does_not_stop_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut manager = Recorder::default();
    installed(folder.path(), &mut manager).0.unwrap();
    manager.runs = true;
    manager.refuses = true;
    let (result, said) = uninstalled(folder.path(), false, &mut manager, true);
    assert_eq!(
        result.unwrap_err().to_string(),
        "2 of the steps above failed"
    );
    assert!(said.starts_with("failed: systemctl disable --now sekimori.service failed: no\n"));
    assert!(!below(folder.path(), BINARY).exists());
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(below(folder.path(), BINARY)).unwrap();
    let (result, _) = installed(folder.path(), &mut Recorder::default());
    assert!(
        format!("{:#}", result.unwrap_err())
            .contains("/usr/local/sbin/sekimori: cannot be written")
    );
}

#[test]
fn the_starter_is_told_under_both_kinds_of_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    send_state(path.as_os_str().as_bytes(), "READY=1").unwrap();
    let name = format!("sekimori-test-{}", std::process::id());
    let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    send_state(format!("@{name}").as_bytes(), "READY=1").unwrap();
    for socket in [socket, hidden] {
        let mut bytes = [0; 16];
        assert_eq!(socket.recv(&mut bytes).unwrap(), 7);
        assert_eq!(&bytes[..7], b"READY=1");
    }
    assert!(send_state(b"/no/such/socket", "READY=1").is_err());
}

/// Rules for polkit are put where polkit is, and name the installed program.
#[test]
fn polkit_has_rules_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let rules = below(folder.path(), POLKIT_RULES);
    installed(folder.path(), &mut Recorder::default())
        .0
        .unwrap();
    assert!(!rules.exists());
    fs::create_dir_all(rules.parent().unwrap()).unwrap();
    installed(folder.path(), &mut Recorder::default())
        .0
        .unwrap();
    let text = fs::read_to_string(&rules).unwrap();
    let options = roxmltree::ParsingOptions {
        allow_dtd: true,
        ..roxmltree::ParsingOptions::default()
    };
    let rules = roxmltree::Document::parse_with_options(&text, options).unwrap();
    let of = |wanted: &str| -> Vec<&str> {
        let nodes = rules.descendants().filter(|node| {
            node.attribute("key")
                .is_some_and(|key| key.ends_with(wanted))
        });
        nodes.filter_map(|node| node.text()).collect()
    };
    assert_eq!(of("exec.path"), [BINARY; 3]);
    assert_eq!(of("exec.argv1"), ["register", "unregister", "setup"]);
    for answer in ["allow_any", "allow_inactive", "allow_active"] {
        let mut nodes = rules.descendants().filter(|node| node.has_tag_name(answer));
        assert!(nodes.all(|node| node.text() == Some("auth_admin")));
    }
}

#[test]
fn the_account_is_the_one_that_the_daemon_looks_for() {
    let line = format!("u {} ", crate::keeper::ACCOUNT_NAME);
    assert!(ACCOUNT_TEXT.lines().any(|text| text.starts_with(&line)));
}

#[test]
fn the_unit_starts_the_installed_program() {
    assert!(UNIT_TEXT.contains(&format!("ExecStart={BINARY} run\n")));
    assert!(
        UNIT_TEXT
            .lines()
            .all(|line| !line.starts_with("ProtectKernelTunables"))
    );
}

/// All values of a key in the unit, in its section.
fn values<'a>(section: &str, key: &str) -> Vec<&'a str> {
    let mut here = "";
    let mut values = Vec::new();
    for line in UNIT_TEXT.lines() {
        if line.starts_with('[') {
            here = line.trim_matches(['[', ']']);
        } else if let Some((name, value)) = line.split_once('=')
            && (here, name) == (section, key)
        {
            values.extend(value.split_whitespace());
        }
    }
    values
}

/// Network managers wait for `network-pre.target`, everything else for `sysinit.target`
/// (bootup(7), systemd.special(7)), and both wait until the gate is closed.
#[test]
fn the_unit_comes_before_the_network_and_before_every_login() {
    let before = values("Unit", "Before");
    for target in ["sysinit.target", "network-pre.target", "shutdown.target"] {
        assert!(before.contains(&target), "{before:?}");
    }
    // Nobody starts this target but who wants it.
    assert!(values("Unit", "Wants").contains(&"network-pre.target"));
    assert_eq!(values("Install", "WantedBy"), ["sysinit.target"]);
    // It waits for the word of the daemon, not for its start.
    assert_eq!(values("Service", "Type"), ["notify"]);
    assert_eq!(values("Service", "Restart"), ["always"]);
    assert_eq!(values("Unit", "StartLimitIntervalSec"), ["0"]);
}

/// A daemon that could not load the gate leaves firewall rules behind, and a machine that cannot
/// have the gate is not tried again.
#[test]
fn the_unit_closes_the_mail_ports_without_a_gate_too() {
    let close = format!("ExecStopPost=-+{BINARY} boot-fallback close\n");
    let open = format!("ExecStartPost=-+{BINARY} boot-fallback open\n");
    assert!(UNIT_TEXT.contains(&close) && UNIT_TEXT.contains(&open));
    assert_eq!(values("Service", "RestartPreventExitStatus"), ["3"]);
    // The number of failed starts in a row lies in the runtime folder.
    assert_eq!(values("Service", "RuntimeDirectoryPreserve"), ["restart"]);
}

/// Which interfaces there are, and the rules for forwarded packets, go by netlink; all other
/// sockets are files.
#[test]
fn the_unit_permits_no_sockets_but_files_and_netlink() {
    let families = values("Service", "RestrictAddressFamilies");
    assert_eq!(families, ["AF_UNIX", "AF_NETLINK"]);
    assert!(values("Service", "CapabilityBoundingSet").contains(&"CAP_NET_ADMIN"));
}

/// What it waits for itself comes first of all: anything later would be a cycle, which
/// systemd breaks by leaving a unit out.
#[test]
fn the_unit_waits_for_nothing_that_waits_for_it() {
    assert_eq!(values("Unit", "DefaultDependencies"), ["no"]);
    let early = ["local-fs.target", "sys-kernel-tracing.mount"];
    for key in ["After", "Requires", "BindsTo", "Requisite"] {
        let late: Vec<_> = values("Unit", key)
            .into_iter()
            .filter(|unit| !early.contains(unit))
            .collect();
        assert!(late.is_empty(), "{key}: {late:?}");
    }
    // Mounts of these are part of local-fs.target, or of the root.
    for path in values("Unit", "RequiresMountsFor") {
        let near = ["/usr", "/var", "/etc"];
        assert!(near.iter().any(|top| path.starts_with(top)), "{path}");
    }
}

#[test]
fn systemd_reads_the_unit_as_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join(UNIT_NAME);
    // Where the program is not installed, that would be its complaint.
    let text = UNIT_TEXT.replace(BINARY, "/bin/true");
    fs::write(&unit, text).unwrap();
    let ran = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&unit)
        .stdin(Stdio::null())
        .output();
    let Ok(output) = ran else {
        println!("skipped: systemd-analyze is not here");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_it: Vec<_> = said
        .lines()
        .filter(|line| line.contains("sekimori"))
        .collect();
    assert!(
        output.status.success() && about_it.is_empty(),
        "{about_it:?}"
    );
}
