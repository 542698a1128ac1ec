//! Code that mailers load because a file of the user's names it, and programs that run code because an
//! argument says so. No variable is set, and no file of the mailer's own has changed.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, PERSON, SERVER, Theatre, evasions, is_missing, word};
use serde_json::Value;

const MSMTP: &str = "/usr/bin/msmtp";
const CC: &str = "/usr/bin/cc";

/// A library that sends a mail by itself as soon as it is loaded.
const LIBRARY: &str = r#"
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static void say(int server, const char *line) {
    char answer[512];
    if (write(server, line, strlen(line)) > 0 && read(server, answer, sizeof answer) < 0) _exit(9);
}

__attribute__((constructor)) static void begin(void) {
    struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(25) };
    struct timeval limit = { .tv_sec = 3 };
    char greeting[512];
    if (write(2, "module loaded\n", 14) < 0) return;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "127.0.0.1", &there.sin_addr);
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(server, (struct sockaddr *)&there, sizeof there) == 0
        && read(server, greeting, sizeof greeting) > 0) {
        say(server, "EHLO bot.example\r\n");
        say(server, "MAIL FROM:<a@example.org>\r\n");
        say(server, "RCPT TO:<b@example.net>\r\n");
    }
    close(server);
}
"#;

/// A file of the person's own.
fn persons(theatre: &Theatre, name: &str, text: &str) -> PathBuf {
    let path = theatre.write(&format!("home/{name}"), text);
    chown(&path, Some(PERSON.0), Some(PERSON.1)).unwrap();
    path
}

fn spoiled(theatre: &Theatre, before: u64, file: &Path) -> Value {
    let finding = theatre.wait_after(before, "the file that was loaded", |entry| {
        entry["type"] == "finding" && entry.to_string().contains(file.to_str().unwrap())
    });
    assert!(finding.to_string().contains("has loaded code"), "{finding}");
    // The packet that waited may be refused before the keeper has told which file it was.
    theatre.wait_after(before, "the end of the grant", |entry| {
        let refused = word(entry, "verdict") == "refuse";
        if refused {
            assert_eq!(entry["reason"], "tampered", "{entry}");
        }
        refused && word(entry, "culprit") == file.to_str().unwrap()
    })
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_mailer_that_has_loaded_a_users_file_sends_nothing() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let code = persons(&theatre, "module.so", &"code ".repeat(2000));
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    // Root's file is loaded by every program.
    let send = ["mailer", "--server", SERVER, "--linger-ms", "200"];
    let with = |file: &Path| {
        let words = send.map(str::to_owned);
        [
            &words[..],
            &["--load".to_owned(), file.display().to_string()],
        ]
        .concat()
    };
    let exit = desktop
        .run(&mailer, with(Path::new("/bin/sh")), LIMIT)
        .unwrap();
    assert!(exit.success(), "{}", desktop.stdout());
    server.wait_for_messages(1, LIMIT).unwrap();

    let before = theatre.newest();
    let exit = desktop.run(&mailer, with(&code), LIMIT).unwrap();
    assert!(!exit.success(), "{}", desktop.stdout());
    let refusal = spoiled(&theatre, before, &code);
    let bytes = evasions::beyond(&server, 1);
    evasions::refused("loaded-code", bytes, &refusal, &code);
    // Started again without it, the mailer is what it was.
    assert!(desktop.run(&mailer, send, LIMIT).unwrap().success());
}

/// The library for TLS loads the modules that the user's files name, and msmtp asks for a key in one.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_module_for_keys_sends_nothing_as_msmtp() {
    if is_missing(&[MSMTP, CC]) {
        return;
    }
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    theatre.register_as(Path::new(MSMTP), "mailer", Some("batch"));
    theatre.register_as(Path::new("/bin/bash"), "shell", None);
    let source = theatre.write("module.c", LIBRARY);
    let module = theatre.home().join("module.so");
    let words = ["-shared", "-fPIC", "-o"];
    let files = [module.to_str().unwrap(), source.to_str().unwrap()];
    theatre.crew(CC, &[&words[..], &files].concat());
    chown(&module, Some(PERSON.0), Some(PERSON.1)).unwrap();
    fs::create_dir_all(theatre.home().join(".config/pkcs11/modules")).unwrap();
    let text = format!("module: {}\ncritical: no\n", module.display());
    persons(&theatre, ".config/pkcs11/modules/keys.module", &text);
    let key = "pkcs11:token=keys;object=mine;type=private";
    let text = format!(
        "account default\nhost 127.0.0.1\nport 25\nfrom alice@example.org\ntls on\ntls_starttls on\n\
         tls_certcheck off\ntls_key_file {key}\ntls_cert_file {key}\n"
    );
    let settings = persons(&theatre, "msmtprc", &text);
    fs::set_permissions(
        &settings,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    if !theatre.raise() {
        return;
    }
    let terminal = theatre.terminal();
    let before = theatre.newest();
    let line = format!(
        "echo Hello | {MSMTP} --file={} bob@example.net",
        settings.display()
    );
    assert_ne!(terminal.run(&line), 0, "{}", terminal.screen());
    let screen = terminal.screen();
    assert!(screen.contains("module loaded"), "{screen}");
    let refusal = spoiled(&theatre, before, &module);
    let bytes = server.payload_bytes();
    evasions::refused("loaded-pkcs11", bytes, &refusal, &module);
}

/// A terminal with an interpreter inside, which an altered menu entry has run code.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_terminal_that_runs_code_by_argument_is_not_the_user() {
    let Some(theatre) = Theatre::open() else {
        return;
    };
    let server = theatre.smtp();
    let mailer = theatre.registered("mailer", "mailer", Some("interactive"));
    let terminals = ["kitty", "wezterm", "awesome"];
    let terminals = terminals.map(|name| theatre.registered(name, "launcher", None));
    if !theatre.raise() {
        return;
    }
    let desktop = theatre.desktop();
    let start = |terminal: &Path, words: &[&str]| {
        let send = [
            "launcher",
            mailer.to_str().unwrap(),
            "mailer",
            "--server",
            SERVER,
        ];
        // The mailer gets them too, and does not know them.
        let words = [&send[..], words].concat();
        desktop.run(terminal, words, LIMIT).unwrap()
    };
    let arguments = [["+runpy", "pass"], ["--config-file", "x"], ["-c", "x.lua"]];
    let rows = ["kitty-runpy", "wezterm-config", "awesome-config"];
    for ((terminal, argument), row) in terminals.iter().zip(&arguments).zip(rows) {
        let before = theatre.newest();
        let exit = start(terminal, argument);
        assert!(!exit.success(), "{row}: {}", desktop.stdout());
        let refusal = theatre.wait_after(before, row, |entry| word(entry, "verdict") == "refuse");
        let shell = terminal.with_file_name("desktop");
        evasions::refused(row, server.payload_bytes(), &refusal, shell);
    }
    // Without them, the same program passes on that the user started the mailer. (The stand-in's own
    // `--server` means something to the other two.)
    let exit = start(&terminals[1], &[]);
    assert!(exit.success(), "{}", desktop.stdout());
    server.wait_for_messages(1, LIMIT).unwrap();
}
