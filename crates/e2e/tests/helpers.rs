//! Commands that people type in front of another command, and programs that open links for mail: real
//! ones, registered as the catalog has them.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::{LIMIT, SERVER, Scene, Terminal, evasions, is_missing, word};
use serde_json::Value;
use stage::Start;

const BASH: &str = "/bin/bash";
const SUDO: &str = "/usr/bin/sudo";
const DOAS: &str = "/usr/bin/doas";
const TMUX: &str = "/usr/bin/tmux";
const SCREEN: &str = "/usr/bin/screen";
const VIM: [&str; 2] = ["/usr/bin/vim.tiny", "/usr/bin/vim.basic"];

/// A scene with a shell, these programs as helpers of this kind, and a batch mailer.
fn scene(helpers: &[&str], kind: &str) -> Option<(Scene, PathBuf)> {
    let mut batch = PathBuf::new();
    let scene = Scene::open_after("", |theatre| {
        theatre.register_as(Path::new(BASH), "shell", None);
        for helper in helpers {
            theatre.register_as(Path::new(helper), "helper", Some(kind));
        }
        batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    })?;
    Some((scene, batch))
}

fn send(mailer: &Path) -> String {
    format!("{} mailer --server {SERVER}", mailer.display())
}

fn refusal(scene: &Scene, before: u64, mailer: &Path) -> Value {
    scene.theatre.wait_after(before, "refusal", |entry| {
        word(entry, "verdict") == "refuse" && Some(word(entry, "program")) == mailer.to_str()
    })
}

fn delivered(scene: &Scene, count: usize, what: &str) {
    let messages = scene.mail.wait_for_messages(count, LIMIT);
    let count_now = messages.map(|messages| messages.len());
    assert_eq!(count_now.ok(), Some(count), "{what}");
}

/// A person types `env` or `nice` in front of the mailer's command. The mailer may send as without it.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_command_behind_helpers_is_typed_all_the_same() {
    let all = [
        ("/usr/bin/env", "A=1"),
        ("/usr/bin/nohup", ""),
        ("/usr/bin/timeout", "60"),
        ("/usr/bin/nice", "-n 1"),
        ("/usr/bin/ionice", "-c 3"),
        ("/usr/bin/chrt", "--other 0"),
        ("/usr/bin/taskset", "1"),
        ("/usr/bin/setsid", "-w"),
        ("/usr/bin/prlimit", "--nofile=256"),
        ("/usr/bin/time", ""),
    ];
    let there: Vec<_> = all
        .into_iter()
        .filter(|(path, _)| Path::new(path).exists())
        .collect();
    let paths: Vec<&str> = there.iter().map(|(path, _)| *path).collect();
    let Some((scene, batch)) = scene(&paths, "interactive") else {
        return;
    };
    let terminal = scene.theatre.terminal();
    let send = send(&batch);
    let mut count = 0;
    let mut lines: Vec<String> = there
        .iter()
        .map(|(path, words)| format!("{path} {words} {send}"))
        .collect();
    lines.push(format!("nice nohup env A=1 timeout 60 {send}"));
    // As `su -c` starts it.
    lines.push(format!("nice bash -c '{send}'"));
    for line in lines {
        assert_eq!(terminal.run(&line), 0, "{line}: {}", terminal.screen());
        count += 1;
        delivered(&scene, count, &line);
    }
}

/// A bot gains nothing by starting the mailer behind a helper.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_helper_vouches_for_nobody_itself() {
    let Some((scene, batch)) = scene(&["/usr/bin/env"], "interactive") else {
        return;
    };
    let theatre = &scene.theatre;
    let send = send(&batch);
    let script = theatre.write("script.sh", &format!("{send}\n"));
    let perl = Path::new("/usr/bin/perl");
    let bash = fs::canonicalize(BASH).unwrap();
    let lines = [
        (
            "helper-bot",
            format!("{} launcher /usr/bin/env {send}", scene.bot.display()),
            scene.bot.as_path(),
        ),
        (
            "helper-script",
            format!("env bash {}", script.display()),
            script.as_path(),
        ),
        (
            "helper-code",
            format!("env bash -c 'true; {send}'"),
            bash.as_path(),
        ),
        (
            "helper-interpreter",
            format!("env perl -e 'exec @ARGV' {send}"),
            perl,
        ),
        (
            "helper-feeds",
            format!("env bash <<< '{send}'"),
            bash.as_path(),
        ),
    ];
    let terminal = theatre.terminal();
    for (row, line, culprit) in lines {
        let before = theatre.newest();
        terminal.run(&line);
        let refusal = refusal(&scene, before, &batch);
        assert_eq!(refusal["reason"], "foreign-origin", "{line}: {refusal}");
        evasions::refused(row, scene.mail.payload_bytes(), &refusal, culprit);
    }
    // The variables that it sets are looked at as all others are.
    let before = theatre.newest();
    let library = theatre.home().join("evil.so");
    terminal.run(&format!("env LD_PRELOAD={} {send}", library.display()));
    let spoiled = refusal(&scene, before, &batch);
    assert_eq!(spoiled["reason"], "tampered", "{spoiled}");
    evasions::stopped("helper-preload", scene.mail.payload_bytes(), "tampered");
    // Nobody typed what the desktop starts.
    let before = theatre.newest();
    let pid = scene.start(Path::new("/usr/bin/env"), &format!("A=1 {send}"));
    scene.desktop.wait(pid, LIMIT).unwrap();
    let asked = refusal(&scene, before, &batch);
    assert_eq!(asked["reason"], "needs-terminal", "{asked}");
    evasions::stopped(
        "helper-desktop",
        scene.mail.payload_bytes(),
        "needs-terminal",
    );
    // A menu entry may begin with `env`: an interactive mailer is the user's there.
    let words = format!("A=1 {}", self::send(&scene.mailer));
    let pid = scene.start(Path::new("/usr/bin/env"), &words);
    assert!(scene.desktop.wait(pid, LIMIT).unwrap().success());
    delivered(&scene, 1, "env in a menu entry");
}

/// sudo forks, and gives the command a terminal of its own.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_command_behind_sudo_is_typed_all_the_same() {
    if is_missing(&[SUDO]) {
        return;
    }
    let Some((scene, batch)) = scene(&[SUDO, "/usr/bin/env"], "interactive") else {
        return;
    };
    let theatre = &scene.theatre;
    let rules = theatre.write(
        "sudoers",
        "Defaults use_pty\nnobody ALL=(ALL) NOPASSWD: ALL\n",
    );
    theatre.crew("chmod", &["0440", rules.to_str().unwrap()]);
    theatre.lay_over(&rules, "/etc/sudoers");
    theatre.own_run_folder();
    let terminal = theatre.terminal();
    let send = send(&batch);
    for (index, words) in ["", "-u daemon", "-u daemon env A=1"]
        .into_iter()
        .enumerate()
    {
        let line = format!("sudo -n {words} {send}");
        assert_eq!(terminal.run(&line), 0, "{line}: {}", terminal.screen());
        delivered(&scene, index + 1, &line);
    }
}

/// doas does the same as sudo.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_command_behind_doas_is_typed_all_the_same() {
    if is_missing(&[DOAS]) {
        return;
    }
    let Some((scene, batch)) = scene(&[DOAS], "interactive") else {
        return;
    };
    let theatre = &scene.theatre;
    let etc = theatre.sandbox().folder().join("etc");
    theatre.crew("cp", &["-a", "/etc", etc.to_str().unwrap()]);
    let rules = theatre.write("etc/doas.conf", "permit nopass keepenv nobody\n");
    theatre.crew("chmod", &["0400", rules.to_str().unwrap()]);
    theatre.lay_over(&etc, "/etc");
    theatre.own_run_folder();
    let terminal = theatre.terminal();
    let send = send(&batch);
    for (index, words) in ["", "-u daemon"].into_iter().enumerate() {
        let line = format!("doas -n {words} {send}");
        assert_eq!(terminal.run(&line), 0, "{line}: {}", terminal.screen());
        delivered(&scene, index + 1, &line);
    }
}

/// What a person types into a shell in a window of tmux or screen may send. What a start-up file or a
/// program at the socket has tmux or screen start may not.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn in_a_multiplexer_only_what_is_typed_counts() {
    if is_missing(&[TMUX, SCREEN]) {
        return;
    }
    let mut batch = PathBuf::new();
    let Some(scene) = Scene::open_after("", |theatre| {
        theatre.register_as(Path::new(BASH), "shell", None);
        theatre.register_as(Path::new(TMUX), "launcher", None);
        theatre.register_as(Path::new(SCREEN), "launcher", None);
        batch = theatre.registered("batch-mailer", "mailer", Some("batch"));
    }) else {
        return;
    };
    let theatre = &scene.theatre;
    let home = theatre.home();
    let terminal = theatre.terminal();
    let send = send(&batch);
    // Screen permits nothing to a user of this name.
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let users = theatre.write("passwd", &users.replace("nobody:", "person:"));
    theatre.crew("chmod", &["0644", users.to_str().unwrap()]);
    theatre.lay_over(&users, "/etc/passwd");
    // The windows of tmux have login shells.
    theatre.write("home/.bash_profile", ". ~/.bashrc\n");
    theatre.write("home/.screenrc", "startup_message off\n");
    terminal.run(&format!(
        "export HOME={0} TMUX_TMPDIR={0} SCREENDIR={0}/screens TERM=xterm SHELL=/bin/bash; \
         mkdir -m 700 {0}/screens",
        home.display()
    ));
    let windows = [
        ("tmux -L own new-session", "[exited]"),
        ("screen", "[screen is terminating]"),
    ];
    for (index, (line, end)) in windows.into_iter().enumerate() {
        let pty = terminal.pty();
        pty.type_line(line).unwrap();
        pty.read_until(Terminal::PROMPT, LIMIT).unwrap();
        pty.type_line(&send).unwrap();
        delivered(&scene, index + 1, line);
        pty.type_line("exit").unwrap();
        pty.read_until(end, LIMIT).unwrap();
        pty.read_until(Terminal::PROMPT, LIMIT).unwrap();
        assert_eq!(terminal.run("true"), 0, "{line}");
    }
    let held_up = |row: &str, line: &str, reason: &str| {
        let before = theatre.newest();
        terminal.run(line);
        let refused = refusal(&scene, before, &batch);
        assert_eq!(refused["reason"], reason, "{row}: {refused}");
        evasions::stopped(row, evasions::beyond(&scene.mail, 2), reason);
    };
    // The user's own server is asked by the bot.
    terminal.run("tmux -L own new-session -d");
    let bot = format!(
        "{} launcher {TMUX} -L own new-window {send}",
        scene.bot.display()
    );
    held_up("tmux-window", &bot, "indirect-start");
    terminal.run("tmux -L own kill-server");
    // The bot has planted a line in the user's file.
    theatre.write("home/.tmux.conf", &format!("run-shell -b '{send}'\n"));
    held_up("tmux-conf", "tmux -L conf new-session -d", "foreign-origin");
    terminal.run("tmux -L conf kill-server");
    theatre.write("home/.screenrc", &format!("screen {send}\n"));
    held_up("screenrc", "screen -d -m", "indirect-start");
}

/// `:!git send-email` and its like: an editor that root has registered for it has a shell start one program.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn an_editor_that_is_a_helper_starts_a_command_that_is_typed_into_it() {
    let Some(vim) = VIM.into_iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: not installed: {VIM:?}");
        return;
    };
    let Some((scene, batch)) = scene(&[vim], "interactive") else {
        return;
    };
    let terminal = scene.theatre.terminal();
    let line = format!(
        "SHELL=/bin/bash {vim} -u NONE -e -s -c '!{}' -c q",
        send(&batch)
    );
    terminal.run(&line);
    delivered(&scene, 1, &line);
    let before = scene.theatre.newest();
    terminal.run(&format!(
        "{} launcher {vim} -u NONE -e -s -c '!{}' -c q",
        scene.bot.display(),
        send(&batch)
    ));
    let refused = refusal(&scene, before, &batch);
    evasions::refused(
        "vim-bot",
        evasions::beyond(&scene.mail, 1),
        &refused,
        &scene.bot,
    );
}

/// An editor runs what its start-up file says before anybody has typed into it. So setup registers none.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_start_up_file_of_an_editor_sends_nothing() {
    let Some(vim) = VIM.into_iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: not installed: {VIM:?}");
        return;
    };
    let Some((scene, batch)) = scene(&[], "interactive") else {
        return;
    };
    let theatre = &scene.theatre;
    theatre.write("home/.vimrc", &format!("silent !{}\n", send(&batch)));
    let terminal = theatre.terminal();
    let before = theatre.newest();
    terminal.run(&format!(
        "HOME={} TERM=xterm SHELL=/bin/bash {vim} -c q",
        theatre.home().display()
    ));
    let refused = refusal(&scene, before, &batch);
    assert_eq!(refused["reason"], "foreign-origin", "{refused}");
    let vim = fs::canonicalize(vim).unwrap();
    evasions::refused("vimrc", scene.mail.payload_bytes(), &refused, &vim);
}

/// A browser starts the mailer for a link. A page, an add-on or a download says what it starts.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_browser_starts_a_mailer_and_no_shell() {
    let Some((scene, batch)) = scene(&[], "interactive") else {
        return;
    };
    let theatre = &scene.theatre;
    let browser = theatre.registered("browser", "launcher", Some("batch"));
    let opener = theatre.registered("opener", "launcher", None);
    let through = |mailer: &Path| {
        let words = format!("launcher {} launcher {}", opener.display(), send(mailer));
        let pid = scene.start(&browser, &words);
        scene.desktop.wait(pid, LIMIT).unwrap()
    };
    let before = theatre.newest();
    through(&batch);
    let refused = refusal(&scene, before, &batch);
    assert_eq!(refused["reason"], "needs-terminal", "{refused}");
    evasions::stopped(
        "browser-batch",
        scene.mail.payload_bytes(),
        "needs-terminal",
    );

    // A terminal emulator that the browser has started for a scheme of the bot's own.
    let desktop = theatre.registered("other-desktop", "session", None);
    let start = Start::new(&desktop).args([
        "launcher",
        browser.to_str().unwrap(),
        "launcher",
        opener.to_str().unwrap(),
        "launcher",
        BASH,
    ]);
    let pty = theatre
        .sandbox()
        .start_on_pty(&theatre.person(start).directory(theatre.home()))
        .unwrap();
    pty.read_until(Terminal::PROMPT, LIMIT).unwrap();
    let before = theatre.newest();
    pty.type_line(&send(&batch)).unwrap();
    let refused = refusal(&scene, before, &batch);
    assert_eq!(refused["reason"], "foreign-origin", "{refused}");
    let shell = fs::canonicalize(BASH).unwrap();
    evasions::refused(
        "browser-terminal",
        scene.mail.payload_bytes(),
        &refused,
        &shell,
    );

    let before = theatre.newest();
    scene.run_bot(&format!(
        "launcher {} launcher {}",
        browser.display(),
        send(&scene.mailer)
    ));
    let refused = refusal(&scene, before, &scene.mailer);
    evasions::refused(
        "browser-driven",
        scene.mail.payload_bytes(),
        &refused,
        &scene.bot,
    );
    assert!(through(&scene.mailer).success());
    delivered(&scene, 1, "a link for mail");
}

/// Editors start bash with a start-up file of their own, which root has installed with them, and
/// terminals start it with `--posix` and a file in `ENV`.
#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_start_up_file_of_roots_leaves_a_shell_interactive() {
    const ROOTS: &str = "/usr/share/base-files/profile";
    if is_missing(&[ROOTS]) {
        return;
    }
    let Some((scene, batch)) = scene(&[], "interactive") else {
        return;
    };
    let theatre = &scene.theatre;
    let prompt = format!("PS1='{}'\n", Terminal::PROMPT);
    theatre.lay_over(&theatre.write("integration.bash", &prompt), ROOTS);
    let users = theatre.write("home/rc.bash", &prompt);
    let users = users.to_str().unwrap();
    let desktop = theatre.registered("other-desktop", "session", None);
    let editor = theatre.registered("editor", "launcher", None);
    let shell = |words: &[&str]| {
        let start = Start::new(&desktop)
            .args(["launcher", editor.to_str().unwrap(), "launcher", BASH])
            .args(words)
            .env("ENV", users);
        let start = theatre.person(start).directory(theatre.home());
        let pty = theatre.sandbox().start_on_pty(&start).unwrap();
        pty.read_until(Terminal::PROMPT, LIMIT).unwrap();
        pty.type_line(&send(&batch)).unwrap();
        pty
    };
    let honest = [
        &["--init-file", ROOTS][..],
        &["--rcfile", ROOTS, "-i"],
        &["--posix"],
    ];
    for (index, words) in honest.into_iter().enumerate() {
        let pty = shell(words);
        delivered(&scene, index + 1, &format!("{words:?}: {}", pty.screen()));
    }
    let dots = format!("/usr/share/../..{users}");
    for words in [
        ["--init-file", users],
        ["--rcfile", users],
        ["--init-file", &dots],
    ] {
        let before = theatre.newest();
        let _pty = shell(&words);
        let refused = refusal(&scene, before, &batch);
        assert_eq!(refused["reason"], "foreign-origin", "{words:?}: {refused}");
        let bytes = evasions::beyond(&scene.mail, 3);
        let bash = fs::canonicalize(BASH).unwrap();
        evasions::refused("init-file", bytes, &refused, &bash);
    }
}
