//! Which programs are tools that do whatever they are told, by name and by contents.

use std::os::unix::fs::symlink;

use super::*;
use crate::catalog::Catalog;
use crate::identity::tests::as_it_lies_there;

#[test]
fn tools_are_known_by_name_whatever_their_version() {
    use Tool::*;
    let all = [
        (
            Interpreter,
            "python python3 python3.11 python3.11m python3-dbg python2.7 pypy3.9 x86_64-linux-gnu-python3-dbg \
          perl perl5.36 perl5.36.0 perl5.36-x86_64-linux-gnu lua5.4 luajit-2.1.0-beta3 ruby3.1 node nodejs node20 php8.2 \
          php-cgi8.2 php-fpm8.2 tclsh8.6 wish8.6 guile-3.0 guile3.0 java java17 mono mono-sgen dotnet emacs-29.1 emacs-gtk \
          nvim gawk awk Rscript R ld.so ld-linux-x86-64.so.2 ld-linux-aarch64.so.1 ld-2.31.so \
          ld-musl-x86_64.so.1 qemu-x86_64 qemu-arm-static .python3-wrapped original-awk beam.smp wine64",
        ),
        (Editor, "vi vim vim.tiny vim.basic vim.nox vimdiff"),
        (
            Shell,
            "sh bash dash rbash bash5 bash-static zsh zsh5 fish ksh93 mksh tcsh bsd-csh nu pwsh",
        ),
        (
            Multicall,
            "busybox busybox.static busybox-static busybox1.36 toybox toybox-x86_64-linux coreutils",
        ),
        (
            Fetcher,
            "curl curl7.88 wget wget2 aria2c lftp ftp tnftp rsync scp sftp w3m lynx http lwp-request",
        ),
        (
            Relay,
            "nc nc.openbsd nc.traditional ncat netcat socat socat1 telnet telnet.netkit inetutils-telnet openssl \
          openssl1.1 openssl3 gnutls-cli ssh dbclient stunnel4 proxychains proxychains4 proxychains3 tor torsocks nmap",
        ),
        (
            Starter,
            "env setsid setpriv timeout nohup xargs find sudo sudo-rs su doas pkexec runuser systemd-run run0 unshare \
          nsenter chroot bwrap flatpak snap docker podman nice stdbuf script flock dbus-run-session",
        ),
    ];
    for (tool, names) in all {
        for name in names.split_whitespace() {
            assert_eq!(names::tool(name), Some(tool), "{name}");
        }
    }
}

#[test]
fn honest_names_are_no_tools() {
    for name in "thunderbird mutt neomutt msmtp msmtpd swaks sendmail postdrop smtp smtpd send post mail mailx s-nail git \
          git-send-email exim4 claws-mail kmail evolution geary sshd telnetd tcpdump node-mailer nodemailer python-mailer \
          perl-mailer curl-mailer ssh-mailer nullmailer-send qmail-remote ncmpc vit timed environment findmail envelope \
          socatalog shmail bashful wgetter torrent javamail rubymine php-mailer batch script-mailer esmtp dma aerc meli \
          himalaya irssi weechat hexchat xterm kitty konsole gnome-shell openbox i3 systemd cron atd qemu-system-x86_64 \
          qemu-img lightdm luakit postfix master dovecot-lda"
        .split_whitespace()
    {
        assert_eq!(names::tool(name), None, "{name}");
    }
}

/// What the catalog lists under a role can be registered in that role.
#[test]
fn nothing_in_the_catalog_is_refused() {
    let catalog = Catalog::load(None, |_| ()).unwrap();
    for entry in catalog.entries() {
        for path in &entry.paths {
            let name = path.rsplit('/').next().unwrap();
            let tool = names::tool(name);
            // What has to be chosen is shown with what speaks against it.
            assert!(
                entry.chosen || tool.is_none_or(|tool| tool.suits(entry.role)),
                "{path} as {:?}: {tool:?}",
                entry.role
            );
        }
    }
}

fn place() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for folder in ["usr/bin", "etc/alternatives", "opt"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    root
}

fn put(root: &Path, path: &str, text: &[u8]) {
    fs::write(root.join(path.trim_start_matches('/')), text).unwrap();
}

#[test]
fn links_to_a_tool_are_followed() {
    let place = place();
    let root = place.path();
    put(root, "/usr/bin/nc.openbsd", b"\x7fELF nc");
    symlink("/usr/bin/nc.openbsd", root.join("etc/alternatives/carry")).unwrap();
    symlink("/etc/alternatives/carry", root.join("usr/bin/mymailer")).unwrap();
    let objection = Tools::below(root)
        .objection(
            Path::new("/usr/bin/mymailer"),
            Role::Mailer,
            None,
            &as_it_lies_there,
        )
        .unwrap();
    assert_eq!(objection.tool, Tool::Relay);
    assert!(objection.known_as.ends_with("/nc.openbsd"), "{objection}");
    // A loop of links ends.
    symlink("loop", root.join("opt/loop")).unwrap();
    assert_eq!(
        Tools::below(root).objection(
            Path::new("/opt/loop"),
            Role::Mailer,
            None,
            &as_it_lies_there
        ),
        None
    );
}

#[test]
fn a_copy_or_a_second_name_of_a_tool_is_known_by_its_contents() {
    let place = place();
    let root = place.path();
    put(root, "/usr/bin/python3.11", b"\x7fELF python");
    put(root, "/opt/other", b"\x7fELF pythoN");
    put(root, "/opt/copy", b"\x7fELF python");
    fs::hard_link(root.join("usr/bin/python3.11"), root.join("opt/second")).unwrap();
    {
        use std::os::unix::fs::PermissionsExt as _;
        for file in ["usr/bin/python3.11", "opt/other", "opt/copy"] {
            fs::set_permissions(root.join(file), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let tool = |path: &str| {
        Tools::below(root)
            .objection(Path::new(path), Role::Mailer, None, &as_it_lies_there)
            .map(|objection| objection.tool)
    };
    assert_eq!(tool("/opt/second"), Some(Tool::Interpreter));
    assert_eq!(tool("/opt/copy"), Some(Tool::Interpreter));
    assert_eq!(tool("/opt/other"), None);
}

#[test]
fn a_role_that_fits_is_permitted() {
    let refused = |name: &str, role| {
        objection(
            &Path::new("/nonexistent").join(name),
            role,
            "",
            &as_it_lies_there,
        )
    };
    for (name, role) in [
        ("bash", Role::Shell),
        ("busybox", Role::Shell),
        ("sudo", Role::Launcher),
        ("dbus-run-session", Role::System),
        ("thunderbird", Role::Mailer),
    ] {
        assert_eq!(refused(name, role), None, "{name}");
    }
    for role in [Role::Mailer, Role::Submitter, Role::Chat, Role::Session] {
        for name in ["bash", "python3", "curl", "socat", "env", "busybox"] {
            assert!(refused(name, role).is_some(), "{name} as {role:?}");
        }
    }
    for (name, role) in [
        ("python3", Role::Shell),
        ("python3", Role::Launcher),
        ("bash", Role::Launcher),
        ("bash", Role::System),
        ("socat", Role::System),
        ("curl", Role::Launcher),
    ] {
        assert!(refused(name, role).is_some(), "{name} as {role:?}");
    }
}

/// The refusal says what the program is, why that matters, and what to register instead.
#[test]
fn an_objection_names_what_to_register_instead() {
    let words = |name: &str, role| {
        let path = Path::new("/nonexistent").join(name);
        let text = objection(&path, role, "", &as_it_lies_there)
            .unwrap()
            .to_string();
        assert!(text.contains("--force") && !text.contains('\n'), "{text}");
        text
    };
    assert!(
        words("python3", Role::Mailer).contains("sekimori register /PATH/TO/SCRIPT --as mailer")
    );
    assert!(words("curl", Role::Mailer).contains("/usr/bin/msmtp"));
    assert!(words("env", Role::Mailer).contains("the program that it starts"));
    assert!(words("bash", Role::Launcher).contains("--as shell"));
    assert!(words("bash", Role::Mailer).contains("the script that it runs"));
}
