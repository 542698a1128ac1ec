//! Firewall rules that close the mail ports when the gate cannot be loaded.
//!
//! They need no BPF of ours: nftables, or iptables where nftables is missing. They are coarser
//! than the gate, because a firewall knows the user of a connection and not the program: root
//! and the users of registered mail services may connect, all others may not. The rules live in
//! a table (or chain) of their own name, so setting and clearing them touches no other rule.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// The name of the table of nftables, family `inet`.
pub const TABLE: &str = "sekimori_fallback";
/// The name of the chain of iptables.
pub const CHAIN: &str = "SEKIMORI_FALLBACK";

/// Where firewall programs are installed.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Which connections the rules permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The mail ports, TCP.
    pub mail_ports: Vec<u16>,
    /// Numbers of the users that may connect to them. Root (0) always may.
    pub users: Vec<u32>,
}

/// A firewall of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// nftables, by this `nft`.
    Nftables(PathBuf),
    /// iptables, by the programs for IPv4 and IPv6.
    Iptables(Vec<PathBuf>),
}

impl Firewall {
    /// The firewall that this machine has, nftables first.
    pub fn find() -> Option<Self> {
        Self::find_in(&FOLDERS.map(Path::new))
    }

    fn find_in(folders: &[&Path]) -> Option<Self> {
        let program = |name: &str| {
            folders
                .iter()
                .map(|folder| folder.join(name))
                .find(|path| path.is_file())
        };
        if let Some(nft) = program("nft") {
            return Some(Self::Nftables(nft));
        }
        let programs: Vec<_> = ["iptables", "ip6tables"]
            .into_iter()
            .filter_map(program)
            .collect();
        // IPv4 alone would leave the mail ports open by IPv6.
        (programs.len() == 2).then_some(Self::Iptables(programs))
    }

    /// Its name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nftables(_) => "nftables",
            Self::Iptables(_) => "iptables",
        }
    }

    /// Sets the rules, in the network namespace of the calling process. Rules that were set
    /// before are replaced; with nftables there is no moment without rules.
    ///
    /// # Errors
    ///
    /// What the firewall's program answered.
    pub fn set(&self, rules: &Rules) -> Result<(), Error> {
        match self {
            Self::Nftables(nft) => run(nft, &["-f", "-"], &nftables(rules)),
            Self::Iptables(programs) => {
                for program in programs {
                    clear_chain(program);
                    for words in iptables(rules) {
                        let words: Vec<&str> = words.iter().map(String::as_str).collect();
                        run(program, &words, "")?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Removes the rules, if there are any.
    ///
    /// # Errors
    ///
    /// What the firewall's program answered.
    pub fn clear(&self) -> Result<(), Error> {
        match self {
            // The first line makes the second one work where there is no table.
            Self::Nftables(nft) => {
                let text = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
                run(nft, &["-f", "-"], &text)
            }
            Self::Iptables(programs) => {
                programs.iter().for_each(|program| clear_chain(program));
                Ok(())
            }
        }
    }
}

/// The rules as `nft -f` reads them, in one transaction.
fn nftables(rules: &Rules) -> String {
    let list = |numbers: &mut dyn Iterator<Item = u64>| {
        numbers
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let ports = list(&mut rules.mail_ports.iter().map(|&port| port.into()));
    let users = list(&mut allowed(rules).map(u64::from));
    let mut text = format!("table inet {TABLE}\ndelete table inet {TABLE}\n");
    // A connection of the kernel's own, or one whose socket is gone, has no user: it matches
    // neither rule of the first kind and is rejected.
    let _ = write!(
        text,
        "table inet {TABLE} {{\n\
         \x20 chain output {{\n\
         \x20   type filter hook output priority filter; policy accept;\n\
         \x20   tcp dport {{ {ports} }} meta skuid {{ {users} }} accept\n\
         \x20   tcp dport {{ {ports} }} counter reject with icmpx type admin-prohibited\n\
         \x20 }}\n\
         }}\n"
    );
    text
}

/// The calls of iptables that set the rules.
fn iptables(rules: &Rules) -> Vec<Vec<String>> {
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let ports: Vec<String> = rules.mail_ports.iter().map(u16::to_string).collect();
    let mut calls = vec![words(&format!("-w -N {CHAIN}"))];
    for user in allowed(rules) {
        let call = format!("-w -A {CHAIN} -m owner --uid-owner {user} -j RETURN");
        calls.push(words(&call));
    }
    calls.push(words(&format!("-w -A {CHAIN} -j REJECT")));
    // Before all rules that may accept. multiport takes 15 ports, and there may be 16.
    for ports in ports.chunks(15) {
        let ports = ports.join(",");
        calls.push(words(&format!(
            "-w -I OUTPUT -p tcp -m multiport --dports {ports} -j {CHAIN}"
        )));
    }
    calls
}

fn allowed(rules: &Rules) -> impl Iterator<Item = u32> + '_ {
    let others = rules.users.iter().copied().filter(|user| *user != 0);
    std::iter::once(0).chain(others)
}

/// Removes the chain, and each rule that leads to it. What is not there is passed over.
fn clear_chain(program: &Path) {
    let Ok(listing) = output(program, &["-w", "-S", "OUTPUT"]) else {
        return;
    };
    for rule in listing.lines().filter(|line| line.ends_with(CHAIN)) {
        let mut words: Vec<&str> = rule.split(' ').collect();
        if words.first() == Some(&"-A") {
            words[0] = "-D";
            words.insert(0, "-w");
            let _ = run(program, &words, "");
        }
    }
    let _ = run(program, &["-w", "-F", CHAIN], "");
    let _ = run(program, &["-w", "-X", CHAIN], "");
}

pub(crate) fn run(program: &Path, words: &[&str], input: &str) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::failed(program.display(), &error);
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // When the program has ended already, its own words say more than a broken pipe.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("no message").trim();
    Err(Error::Failed(format!("{}: {said}", program.display())))
}

pub(crate) fn output(program: &Path, words: &[&str]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| Error::failed(program.display(), &error))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            mail_ports: vec![25, 465, 587],
            users: vec![104, 0],
        }
    }

    #[test]
    fn root_and_the_services_users_are_let_through_and_nobody_else() {
        let text = nftables(&rules());
        assert!(text.contains("tcp dport { 25, 465, 587 } meta skuid { 0, 104 } accept"));
        assert!(text.contains("tcp dport { 25, 465, 587 } counter reject"));
        // The old table goes in the same transaction as the new one comes.
        assert!(text.starts_with("table inet sekimori_fallback\ndelete table"));
    }

    #[test]
    fn sixteen_ports_fit_into_rules_of_fifteen() {
        let rules = Rules {
            mail_ports: (1..=16).collect(),
            users: Vec::new(),
        };
        let calls = iptables(&rules);
        let jumps: Vec<_> = calls
            .iter()
            .filter(|call| call.contains(&"OUTPUT".to_owned()))
            .collect();
        assert_eq!(jumps.len(), 2, "{calls:?}");
        let only_root: Vec<_> = calls
            .iter()
            .filter(|call| call.contains(&"--uid-owner".to_owned()))
            .collect();
        assert_eq!(only_root.len(), 1, "{calls:?}");
    }

    #[test]
    fn iptables_counts_only_with_its_twin_for_ipv6() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        let find = || Firewall::find_in(&[folder.path()]);
        assert_eq!(find(), None);
        place("iptables");
        assert_eq!(find(), None);
        place("ip6tables");
        assert_eq!(find().unwrap().name(), "iptables");
        place("nft");
        assert_eq!(find().unwrap().name(), "nftables");
    }
}
