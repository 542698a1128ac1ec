//! Real clients of real servers that carry text about mail: every byte arrives, and nobody is accused.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use e2e::{LIMIT, Scene, is_missing, wait_until, word};
use stage::Place;

/// A web server that keeps what is posted.
const WEB: &str = "import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        open(sys.argv[1], 'wb').write(body)
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(('127.0.0.1', 8081), Page).serve_forever()
";

/// A mailbox, the trace of a session, and a piece of a standard, again and again.
fn text() -> String {
    let piece = "From anna@example.org Thu Jan  1 00:00:00 2026\nSubject: mail\n\n\
                 S: 220 mx.example.org ESMTP\nEHLO client.example.org\nMAIL FROM:<a@example.org>\n\
                 RCPT TO:<b@example.org>\nDATA\n.\nQUIT\n\n4.1.1.1  Extended HELLO\nHELO host\n";
    piece.repeat(400)
}

/// A server of the crew's; it ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(scene: &Scene, port: u16, line: &str) -> Server {
    let mut words = line.split_whitespace();
    let program = words.next().unwrap();
    let sandbox = scene.theatre.sandbox();
    let mut command = sandbox.command(program, Place::Crew, None).unwrap();
    command
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let server = Server(command.stderr(Stdio::null()).spawn().unwrap());
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let is_up = || scene.theatre.connect(at).ok().map(drop::<TcpStream>);
    wait_until(LIMIT, is_up).unwrap_or_else(|| panic!("{line}: nobody listens"));
    server
}

/// An unregistered program runs this line of the shell to its end.
fn run(scene: &Scene, line: &str) {
    let pid = scene
        .desktop
        .launch(Path::new("/bin/sh"), ["-c", line])
        .unwrap();
    let exit = scene.desktop.wait(pid, LIMIT).unwrap();
    assert!(exit.success(), "{line}: {}", scene.desktop.stdout());
}

fn accuses_nobody(scene: &Scene) {
    let accused = scene
        .theatre
        .log()
        .into_iter()
        .find(|entry| word(entry, "verdict") == "refuse" || entry["type"] == "finding");
    assert_eq!(accused, None);
}

/// Waits until a file holds this.
fn holds(path: &Path, text: &str) {
    let arrived = || (fs::read(path).ok()? == text.as_bytes()).then_some(());
    wait_until(LIMIT, arrived).unwrap_or_else(|| panic!("{}: not what was sent", path.display()));
}

/// The scene, the text's file and a folder that everybody may write into.
fn open(programs: &[&str]) -> Option<(Scene, String, String)> {
    if is_missing(programs) {
        return None;
    }
    let scene = Scene::open("")?;
    let file = scene
        .theatre
        .write("page.txt", &text())
        .display()
        .to_string();
    let folder = scene.theatre.sandbox().folder().join("in");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    Some((scene, file, folder.display().to_string()))
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_page_is_posted() {
    let programs = ["/usr/bin/curl", "/usr/bin/python3"];
    let Some((scene, file, folder)) = open(&programs) else {
        return;
    };
    let script = scene.theatre.write("web.py", WEB).display().to_string();
    let _server = serve(&scene, 8081, &format!("python3 {script} {folder}/page"));
    run(
        &scene,
        &format!("curl -sS --data-binary @{file} http://127.0.0.1:8081/wiki"),
    );
    holds(&Path::new(&folder).join("page"), &text());
    accuses_nobody(&scene);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_file_is_put_by_ftp() {
    let programs = ["/usr/bin/curl", "/usr/sbin/vsftpd"];
    let Some((scene, file, folder)) = open(&programs) else {
        return;
    };
    let root = scene.theatre.sandbox().folder().join("ftp");
    fs::create_dir_all(root.join("in")).unwrap();
    fs::set_permissions(root.join("in"), fs::Permissions::from_mode(0o777)).unwrap();
    let lines = format!(
        "listen=YES\nlisten_port=2121\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\n\
         anon_root={}\nwrite_enable=YES\nanon_upload_enable=YES\nanon_umask=022\nsecure_chroot_dir={folder}\n\
         seccomp_sandbox=NO\nlocal_enable=NO\n",
        root.display()
    );
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = scene
        .theatre
        .write("vsftpd.conf", &lines)
        .display()
        .to_string();
    let _server = serve(&scene, 2121, &format!("/usr/sbin/vsftpd {settings}"));
    run(
        &scene,
        &format!("curl -sS -T {file} ftp://127.0.0.1:2121/in/page"),
    );
    holds(&root.join("in/page"), &text());
    accuses_nobody(&scene);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_file_is_copied_by_rsync() {
    let Some((scene, file, folder)) = open(&["/usr/bin/rsync"]) else {
        return;
    };
    let lines = format!("use chroot = no\n[in]\npath = {folder}\nread only = no\n");
    let settings = scene
        .theatre
        .write("rsyncd.conf", &lines)
        .display()
        .to_string();
    let line = format!("rsync --daemon --no-detach --port 8730 --config {settings}");
    let _server = serve(&scene, 8730, &line);
    run(
        &scene,
        &format!("rsync {file} rsync://127.0.0.1:8730/in/page"),
    );
    holds(&Path::new(&folder).join("page"), &text());
    accuses_nobody(&scene);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn values_are_kept_in_redis_and_memcached() {
    let programs = [
        "/usr/bin/redis-server",
        "/usr/bin/redis-cli",
        "/usr/bin/memcached",
        "/usr/bin/nc",
    ];
    let Some((scene, file, folder)) = open(&programs) else {
        return;
    };
    let line = format!("redis-server --port 6380 --bind 127.0.0.1 --dir {folder}");
    let _redis = serve(&scene, 6380, &line);
    run(&scene, &format!("redis-cli -p 6380 -x set page < {file}"));
    let kept = scene
        .theatre
        .crew("redis-cli", &["-p", "6380", "--raw", "get", "page"]);
    assert_eq!(kept, format!("{}\n", text()));
    let _memcached = serve(
        &scene,
        11212,
        "memcached -u nobody -l 127.0.0.1 -p 11212 -U 0",
    );
    let bytes = text().len();
    let set =
        format!("(printf 'set page 0 900 {bytes}\\r\\n'; cat {file}; printf '\\r\\nquit\\r\\n')");
    run(&scene, &format!("{set} | nc 127.0.0.1 11212"));
    let get = "printf 'get page\\r\\nquit\\r\\n' | nc 127.0.0.1 11212";
    let kept = scene.theatre.crew("sh", &["-c", get]);
    assert_eq!(
        kept,
        format!("VALUE page 0 {bytes}\r\n{}\r\nEND\r\n", text())
    );
    accuses_nobody(&scene);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn lines_are_logged_over_tcp() {
    let programs = ["/usr/sbin/rsyslogd", "/usr/bin/logger"];
    let Some((scene, file, folder)) = open(&programs) else {
        return;
    };
    let lines = format!(
        "module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"1514\")\n\
         template(name=\"bare\" type=\"string\" string=\"%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{folder}/log\" template=\"bare\")\n"
    );
    let settings = scene
        .theatre
        .write("rsyslog.conf", &lines)
        .display()
        .to_string();
    let line = format!("/usr/sbin/rsyslogd -n -f {settings} -i {folder}/pid");
    let _server = serve(&scene, 1514, &line);
    run(
        &scene,
        &format!("logger -T --octet-count -n 127.0.0.1 -P 1514 -t app -f {file}"),
    );
    // An empty line is no entry, and the syslog server keeps the blank before each.
    let lines_of = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.trim_start().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    let log = || fs::read_to_string(Path::new(&folder).join("log")).unwrap_or_default();
    let arrived = || (lines_of(&log()) == lines_of(&text())).then_some(());
    wait_until(LIMIT, arrived).unwrap_or_else(|| panic!("not what was sent: {:.500}", log()));
    accuses_nobody(&scene);
}
