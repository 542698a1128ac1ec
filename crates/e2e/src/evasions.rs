//! The table of evasions: which there are, what is expected of each, and what came of it.
//!
//! The list is `data/evasions.tsv`. A test that plays a row says so here; when
//! [`VARIABLE`] names a file, what it says is added there, a JSON object a line.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use stage::SmtpServer;

const TABLE: &str = include_str!("../data/evasions.tsv");

/// Techniques that are connections of the bot's own. It is no mailer.
pub const OWN_ENGINE: &[&str] = &[
    "plain",
    "nonblocking",
    "ipv6",
    "mapped",
    "fastopen-sendto",
    "fastopen-connect",
    "mptcp",
    "io-uring",
    "io-uring-worker",
    "io-uring-poller",
    "reconnect",
    "mptcp-fastopen",
    "urgent",
    "ip-options",
    "sendfile",
    "full-socket",
    "changing-page",
    "thread",
    "send-fd",
    "greeting-split",
    "greeting-lower",
    "greeting-blank",
    "greeting-spaces",
    "greeting-late",
    "greeting-none",
    "greeting-early",
    "greeting-noop",
    "greeting-long",
    "greeting-burst",
    "greeting-none-early",
    "greeting-packets",
    "greeting-starttls",
    "greeting-starttls-early",
    "double-fork",
    "setsid",
    "reparented",
    "clone-parent",
    "new-user",
    "new-net",
    "new-pid",
    "new-mount",
    "exec-spoofed",
    "inherit-exec",
];

/// Ways to start the user's registered mailer. What runs then is the mailer, driven.
pub const DRIVING: &[&str] = &[
    "fork-exec",
    "double-fork-exec",
    "setsid-exec",
    "reparented-exec",
    "vfork-exec",
    "clone-parent-exec",
    "clone3-exec",
    "new-user-exec",
    "new-net-exec",
    "new-pid-exec",
    "new-mount-exec",
    "exec",
    "thread-exec",
    "exec-descriptor",
    "exec-empty-path",
    "exec-symlink",
    "env-exec",
    "ptrace-traceme",
];

/// Ways to write and to connect that are tried on a port that is no mail port.
pub const PORT_WAYS: &[&str] = &[
    "greeting-split",
    "greeting-lower",
    "greeting-blank",
    "greeting-spaces",
    "greeting-late",
    "greeting-none",
    "greeting-early",
    "greeting-noop",
    "greeting-long",
    "greeting-burst",
    "greeting-starttls",
    "fastopen-sendto",
    "mptcp",
    "io-uring",
];

/// Ways to speak to a server that greets late, and how many bytes of no mail come before.
pub const BEFORE_A_GREETING: &[(&str, u64)] = &[
    ("greeting-none-early", 0),
    ("greeting-packets", 600),
    ("greeting-starttls-early", 10),
];

/// Ways to say the first line so that what is on the wire is not what the server reads, or does
/// not lie where it usually does.
pub const WRAPPED: &[&str] = &[
    "changing-page",
    "full-socket",
    "ip-options",
    "sendfile",
    "urgent",
];

/// Ways to run the mailer's code as another file, or another file as the mailer.
pub const IMPOSTORS: &[&str] = &[
    "exec-memfd",
    "exec-deleted",
    "exec-copy",
    "exec-loader",
    "exec-mounted-over",
    "exec-overlay",
];

/// Packets made by hand that a raw socket sends, which takes CAP_NET_RAW.
pub const RAW: &[&str] = &[
    "raw",
    "raw-options",
    "raw-fragments",
    "raw-fragments-16",
    "raw-ipv6",
    "raw-ipv6-options",
    "raw-tcp",
    "raw-tcp-ipv6",
];

/// Ways to start a program that takes mail for others.
pub const SUBMITTING: &[&str] = &[
    "fork-exec",
    "double-fork-exec",
    "setsid-exec",
    "vfork-exec",
    "new-user-exec",
    // The first process of a pid namespace, which some signals do not reach.
    "new-pid-exec",
    "exec",
    "thread-exec",
    "exec-empty-path",
    "ptrace-traceme",
];

/// Variables that make a loader or an interpreter run other code.
pub const VARIABLES: &[&str] = &[
    "LD_PRELOAD=/tmp/evil.so",
    "LD_AUDIT=/tmp/evil.so",
    "LD_LIBRARY_PATH=/tmp",
    "GTK_MODULES=/tmp/evil.so",
    "QT_PLUGIN_PATH=/tmp",
    "PERL5OPT=-Mevil",
    "PYTHONPATH=/tmp",
    "BASH_ENV=/tmp/evil.sh",
    "NODE_OPTIONS=--require=/tmp/evil.js",
    "OPENSSL_CONF=/tmp/evil.cnf",
    "GIO_MODULE_DIR=/tmp",
    "GDK_PIXBUF_MODULE_FILE=/tmp/evil",
    "GTK_IM_MODULE_FILE=/tmp/evil",
    "QT_QPA_PLATFORM_PLUGIN_PATH=/tmp",
    "SASL_PATH=/tmp",
    "PERLLIB=/tmp",
    "GITPERLLIB=/tmp",
    "SHELLOPTS=xtrace",
    "MOZ_MARIONETTE=1",
    "LIBGL_DRIVERS_PATH=/tmp",
    "WEBKIT_INSPECTOR_SERVER=127.0.0.1:1",
    "EDS_CAMEL_PROVIDER_DIR=/tmp",
    "EVOLUTION_MODULEDIR=/tmp",
    "GI_TYPELIB_PATH=/tmp",
    "GST_REGISTRY=/tmp/evil",
    "MESA_LOADER_DRIVER_OVERRIDE=../../tmp/evil",
    "PYTHONPYCACHEPREFIX=/tmp",
    "PYTHONUSERBASE=/tmp",
];

/// Values that begin as honest ones do, or whose path is made of a name; with their rows.
pub const VALUES: &[(&str, &str)] = &[
    ("gtk_modules-second", "GTK_MODULES=gail:/tmp/evil.so"),
    (
        "gtk3_modules-second",
        "GTK3_MODULES=xapp-gtk3-module:../../../../tmp/evil.so",
    ),
    ("ld_preload-parent", "LD_PRELOAD=/usr/lib/../../tmp/evil.so"),
    ("ld_preload-second", "LD_PRELOAD=libm.so.6 /tmp/evil.so"),
    ("ld_library_path-empty", "LD_LIBRARY_PATH=/usr/lib:"),
    (
        "pythonpath-empty",
        "PYTHONPATH=/usr/lib/python3/dist-packages::",
    ),
    ("bash_env-command", "BASH_ENV=/usr/share/$(/tmp/evil)"),
    (
        "node_options-second",
        "NODE_OPTIONS=--no-warnings --import=/tmp/evil.mjs",
    ),
    (
        "qtwebengine-flags",
        "QTWEBENGINE_CHROMIUM_FLAGS=--disable-gpu --renderer-cmd-prefix=/tmp/evil",
    ),
    ("libva-name", "LIBVA_DRIVER_NAME=../../../tmp/evil"),
    ("vdpau-name", "VDPAU_DRIVER=../../tmp/evil"),
    ("glx-name", "__GLX_VENDOR_LIBRARY_NAME=/../tmp/evil"),
    ("gbm-name", "GBM_BACKEND=../../tmp/evil"),
];

/// All [`VARIABLES`] and [`VALUES`], each with its row.
pub fn variable_rows() -> impl Iterator<Item = (String, &'static str)> {
    let named = VARIABLES.iter().map(|variable| {
        let name = variable.split('=').next().unwrap_or_default();
        (name.to_lowercase(), *variable)
    });
    let values = VALUES.iter();
    named.chain(values.map(|(row, variable)| ((*row).to_owned(), *variable)))
}

/// The words that make the stand-in program try a technique at a server, where that is to run
/// a mailer with this mailer.
pub fn technique_words(name: &str, server: &str, mailer: &str) -> Vec<String> {
    let mut words = vec!["technique", name, "--server", server];
    words.extend(["--timeout-ms", "1000", "--as", "/usr/bin/thunderbird"]);
    words.extend(["--env", "LD_LIBRARY_PATH=/nonexistent"]);
    if name != "send-fd" {
        words.extend(["--", mailer, "mailer", "--server", server]);
        words.extend(["--timeout-ms", "1000"]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// Names the file that takes what tests say of rows.
pub const VARIABLE: &str = "SEKIMORI_EVASIONS";

/// What is expected of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Not a byte reaches the server.
    Blocked,
    /// It gets through, and the remark says why.
    Open,
    /// It gets through, or could, and SECURITY.md says why that remains: the remark is the
    /// heading there.
    Outside,
    /// Something else than the tests of this crate plays it, and the remark says what.
    Elsewhere,
}

/// One way to send mail past the gate.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Rows of a kind.
    pub group: &'static str,
    /// Its short name.
    pub id: &'static str,
    /// What is to come of it.
    pub expected: Expected,
    /// The test that plays it, as `file::name`.
    pub test: &'static str,
    /// What is tried.
    pub words: &'static str,
    /// Why it is open or what plays it, or blocked with another culprit than the right one; where
    /// SECURITY.md says why it is out of scope; or nothing.
    pub remark: &'static str,
}

/// What may be typed at a terminal that makes another program send by a mailer: row, line, and
/// the culprit. That is whoever said what to do, or stands between the person and the mailer.
/// `send` is the line that starts the mailer, and all that stands in `script`.
pub fn typed_lines<'a>(
    send: &str,
    script: &'a Path,
    bot: &'a Path,
) -> Vec<(&'static str, String, &'a Path)> {
    let shell = Path::new("/bin/bash");
    let (script_path, bot_path) = (script.display(), bot.display());
    vec![
        (
            "typed-bash-script",
            format!("/bin/bash {script_path}"),
            script,
        ),
        (
            "typed-bash-stdin",
            format!("/bin/bash < {script_path}"),
            shell,
        ),
        (
            "typed-bash-pipe",
            format!("cat {script_path} | /bin/bash"),
            shell,
        ),
        ("typed-bash-c", format!("/bin/bash -c '{send}'"), shell),
        (
            "typed-env",
            format!("env {send}"),
            Path::new("/usr/bin/env"),
        ),
        (
            "typed-nohup",
            format!("nohup {send}"),
            Path::new("/usr/bin/nohup"),
        ),
        (
            "typed-setsid",
            format!("setsid -w {send}"),
            Path::new("/usr/bin/setsid"),
        ),
        (
            "typed-xargs",
            format!("echo x | xargs {send} --subject"),
            Path::new("/usr/bin/xargs"),
        ),
        (
            "typed-find",
            format!("find {script_path} -exec {send} ';'"),
            Path::new("/usr/bin/find"),
        ),
        ("typed-bot", format!("{bot_path} launcher {send}"), bot),
        // A shell that the bot holds, though it stands on the very terminal.
        (
            "typed-bot-shell",
            format!("{bot_path} launcher /bin/bash -i <<< '{send}'"),
            bot,
        ),
        (
            "typed-script",
            format!("script -qec '/bin/bash -i' /dev/null <<< '{send}'"),
            Path::new("/bin/sh"),
        ),
    ]
}

/// All rows, in the order of the list.
///
/// # Panics
/// When a line of the list is not as it should be.
pub fn rows() -> impl Iterator<Item = Row> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| row(line).unwrap_or_else(|| panic!("data/evasions.tsv: {line}")))
}

fn row(line: &'static str) -> Option<Row> {
    let mut cells = line.split('\t');
    let mut next = || cells.next();
    let (group, id) = (next()?, next()?);
    let expected = match next()? {
        "blocked" => Expected::Blocked,
        "open" => Expected::Open,
        "outside" => Expected::Outside,
        "elsewhere" => Expected::Elsewhere,
        _ => return None,
    };
    let (test, words, remark) = (next()?, next()?, next().unwrap_or_default());
    cells.next().is_none().then_some(Row {
        group,
        id,
        expected,
        test,
        words,
        remark,
    })
}

/// The row was played and refused.
///
/// # Panics
/// When that is not what was expected: a byte has reached the server, or the entry of the
/// journal names another culprit and the row has no remark that says so.
pub fn refused(id: &str, bytes: u64, refusal: &Value, culprit: impl AsRef<Path>) {
    let named = refusal["culprit"].as_str().map(Path::new) == Some(culprit.as_ref());
    let by = refusal["reason"].as_str().unwrap_or("refused");
    note(id, bytes, by, Some(named));
    expect(id, Expected::Blocked);
    assert_eq!(bytes, 0, "{id}: {refusal}");
    let known = rows().any(|row| row.id == id && !row.remark.is_empty());
    assert!(
        named || known,
        "{id}: not {:?}: {refusal}",
        culprit.as_ref()
    );
}

/// The row was played and held up without an entry that names a culprit: by the kernel
/// itself, or packet by packet.
///
/// # Panics
/// When a byte has reached the server.
pub fn stopped(id: &str, bytes: u64, by: &str) {
    note(id, bytes, by, None);
    expect(id, Expected::Blocked);
    assert_eq!(bytes, 0, "{id}");
}

/// The row was played and got through. What was noticed of it is a finding.
///
/// # Panics
/// When the list says that it is blocked, or nothing got through.
pub fn got_through(id: &str, bytes: u64, finding: Option<&Value>, culprit: impl AsRef<Path>) {
    let named =
        finding.map(|finding| finding["culprit"].as_str().map(Path::new) == Some(culprit.as_ref()));
    let by = finding.and_then(|finding| finding["finding"].as_str());
    note(id, bytes, by.unwrap_or_default(), named);
    let expected = expected(id);
    assert!(
        matches!(expected, Some(Expected::Open | Expected::Outside)),
        "{id} in data/evasions.tsv: {expected:?}, and {bytes} bytes got through"
    );
    assert!(bytes > 0, "{id}: nothing got through");
}

/// The row was played against another guard than Sekimori.
pub fn against(peer: &str, id: &str, bytes: u64) {
    assert!(expected(id).is_some(), "{id} in data/evasions.tsv");
    write(&json!({ "id": id, "peer": peer, "bytes": bytes }));
}

/// What the server got beyond so many messages of the user's, which are the first and alike.
///
/// # Panics
/// When the server got less than that.
pub fn beyond(server: &SmtpServer, users: u64) -> u64 {
    let each = server
        .connections()
        .first()
        .map_or(0, |first| first.payload_bytes);
    let all = server.payload_bytes();
    all.checked_sub(users * each)
        .unwrap_or_else(|| panic!("{all} bytes are no {users} messages of {each}"))
}

fn expect(id: &str, came: Expected) {
    assert_eq!(expected(id), Some(came), "{id} in data/evasions.tsv");
}

fn expected(id: &str) -> Option<Expected> {
    rows().find(|row| row.id == id).map(|row| row.expected)
}

fn note(id: &str, bytes: u64, by: &str, named: Option<bool>) {
    write(&json!({ "id": id, "bytes": bytes, "by": by, "culprit_named": named }));
}

fn write(line: &Value) {
    let Some(path) = std::env::var_os(VARIABLE) else {
        return;
    };
    let file = File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("{}: {error}", Path::new(&path).display()));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_list_is_in_order() {
        let mut ids = HashSet::new();
        for row in rows() {
            assert!(ids.insert(row.id), "{} is there twice", row.id);
            let played = row.test.contains("::");
            match row.expected {
                Expected::Blocked | Expected::Open => assert!(played, "{}", row.id),
                Expected::Elsewhere => assert!(!played, "{}", row.id),
                // What cannot be played at all has no test.
                Expected::Outside => assert!(played || row.test == "-", "{}", row.id),
            }
            assert!(!row.words.contains('|') && !row.remark.contains('|'));
            let explained = row.expected == Expected::Blocked || !row.remark.is_empty();
            assert!(explained, "{}: a remark says why", row.id);
        }
    }

    /// What is out of scope is so for a reason that users are told.
    #[test]
    fn what_is_out_of_scope_stands_in_the_security_page() {
        let page = include_str!("../../../SECURITY.md");
        let (_, remains) = page.split_once("## Known to remain").unwrap();
        for row in rows().filter(|row| row.expected == Expected::Outside) {
            let heading = format!("- **{}", row.remark);
            assert!(remains.contains(&heading), "{}: {heading}", row.id);
        }
    }

    /// Every technique that the stand-in programs know is a row.
    #[test]
    fn every_technique_has_a_row() {
        let ids: HashSet<_> = rows().map(|row| row.id).collect();
        // Many connections and programs of a bot that are no mail, and the end of a mailer's.
        let no_mail = ["visits", "connects", "spawns", "farewell", "raw-answer"];
        let missing: Vec<_> = stage::TECHNIQUES
            .iter()
            .filter(|name| !ids.contains(*name) && !no_mail.contains(name))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
