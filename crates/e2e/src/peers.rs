//! Other guards of mail ports, on the stage instead of Sekimori: what an administrator would
//! set up for one person who sends mail from an account of their own. Their rules exist only
//! in the sandbox's network.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::mount::mount_bind;
use rustix::process::{Pid, Signal, kill_process};
use stage::Place;

use crate::theatre::Theatre;
use crate::tools::{is_missing, wait_until};
use crate::{LIMIT, PERSON};

const NFT: &str = "/usr/sbin/nft";
const OPENSNITCH: &str = "/usr/bin/opensnitchd";
const IPTABLES: &str = "/usr/sbin/iptables";
/// Where it looks for its configuration; nothing can tell it otherwise.
const OPENSNITCH_FOLDER: &str = "/etc/opensnitchd";

const OPENSNITCH_CONFIG: &str = r#"{
    "Server": { "Address": "unix:///nonexistent/osui.sock", "LogFile": "" },
    "DefaultAction": "deny",
    "DefaultDuration": "once",
    "InterceptUnknown": true,
    "ProcMonitorMethod": "proc",
    "LogLevel": 1,
    "Firewall": "iptables",
    "Stats": { "MaxEvents": 10, "MaxStats": 10 }
}
"#;

/// Mail ports for the person's account and for no other. `false`, with the reason printed,
/// where there is no nftables.
///
/// # Panics
/// When the rules are not taken.
#[must_use]
pub fn raise_nftables(theatre: &Theatre) -> bool {
    if is_missing(&[NFT]) {
        return false;
    }
    let rules = format!(
        "table inet mail {{\n chain output {{\n  type filter hook output priority filter; policy accept;\n  \
         tcp dport {{ 25, 465, 587 }} meta skuid != {} reject\n }}\n}}\n",
        PERSON.0
    );
    let mut command = theatre
        .sandbox()
        .command(NFT, Place::Crew, None)
        .expect("the crew's group");
    let mut child = command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect(NFT);
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(rules.as_bytes()).expect(NFT);
    drop(input);
    assert!(child.wait().expect(NFT).success(), "{rules}");
    true
}

/// A running OpenSnitch. It ends when this is dropped.
#[derive(Debug)]
pub struct OpenSnitch {
    daemon: Child,
}

impl OpenSnitch {
    /// Lets the programs at these paths connect, and no others. `None`, with the reason
    /// printed, where it is not installed or the kernel has no queue for it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn raise(theatre: &Theatre, allowed: &[&Path]) -> Option<Self> {
        if is_missing(&[OPENSNITCH, IPTABLES]) {
            return None;
        }
        let folder = theatre.sandbox().folder().join("opensnitch");
        let rules = folder.join("rules");
        std::fs::create_dir_all(&rules).expect("a folder for rules");
        theatre.write("opensnitch/default-config.json", OPENSNITCH_CONFIG);
        theatre.write("opensnitch/system-fw.json", "{ \"SystemRules\": [] }\n");
        for (number, path) in allowed.iter().enumerate() {
            theatre.write(
                &format!("opensnitch/rules/mailer-{number}.json"),
                &rule(number, path),
            );
        }
        theatre
            .sandbox()
            .run_inside(|| mount_bind(&folder, OPENSNITCH_FOLDER))
            .expect("the sandbox's namespaces")
            .expect("a folder in the place of its own");
        // It drops what it denies, and a program without a limit of its own would wait for two
        // minutes. A setting of the sandbox's network alone.
        theatre
            .sandbox()
            .run_inside(|| std::fs::write("/proc/sys/net/ipv4/tcp_syn_retries", "1"))
            .expect("the sandbox's namespaces")
            .expect("a limit for connecting");
        let log = theatre.write("opensnitch/log", "");
        let daemon = theatre
            .sandbox()
            .command(OPENSNITCH, Place::Crew, None)
            .expect("the crew's group")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .args(["-process-monitor-method", "proc", "-rules-path"])
            .arg(&rules)
            .arg("-log-file")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(OPENSNITCH);
        let peer = Self { daemon };
        let ready = wait_until(LIMIT, || {
            std::fs::read_to_string(&log)
                .is_ok_and(|said| said.contains("Running on netfilter queue"))
                .then_some(())
        });
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if ready.is_none() {
            let last = said.lines().last().unwrap_or_default();
            println!("skipped: OpenSnitch does not run here: {last}");
            return None;
        }
        Some(peer)
    }
}

impl Drop for OpenSnitch {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.daemon.id().cast_signed());
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let ended = wait_until(LIMIT, || self.daemon.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }
}

fn rule(number: usize, path: &Path) -> String {
    serde_json::json!({
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        "name": format!("mailer-{number}"),
        "enabled": true,
        "precedence": true,
        "action": "allow",
        "duration": "always",
        "operator": {
            "type": "simple",
            "operand": "process.path",
            "sensitive": true,
            "data": path,
            "list": [],
        },
    })
    .to_string()
}
