//! The guard on forwarded traffic: firewall rules for packets to mail ports that come in by an
//! interface instead of from a socket of this machine.
//!
//! Such packets pass no hook of the gate, because they belong to no process: whoever holds a TUN
//! or TAP device writes whole packets. nftables sees them in the kernel of every supported
//! machine. Two tables of our own name are made, one for what is routed (`inet`) and one for what
//! is bridged (`bridge`); no other rule is touched.

pub mod hands;
pub mod links;
mod spaces;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;

use crate::Error;
use crate::fallback::{Firewall, output, run};

/// How many pairs of interface and destination are counted at the same time, and for how long
/// one is kept that does not come again.
const COUNTED_MAX: usize = 1024;
const COUNTED_FOR: &str = "1h";

/// What the rules do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The mail ports, TCP.
    pub mail_ports: Vec<u16>,
    /// Refuse what comes in by root's interfaces too, when it is forwarded.
    pub all: bool,
    /// Count, and refuse nothing.
    pub observe: bool,
}

/// Which interface is whose, as the rules need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What comes in by these passes.
    pub roots: BTreeSet<String>,
    /// What comes in by these is refused and counted. All others wait: it is dropped, so that
    /// the sender tries again.
    pub users: BTreeSet<String>,
}

impl Names {
    /// Leaves out names that mean something else to `nft`. Their packets are dropped.
    #[must_use]
    pub fn plain(self) -> Self {
        let plain = |names: BTreeSet<String>| {
            names
                .into_iter()
                .filter(|name| {
                    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
                    !name.is_empty() && name.chars().all(is_plain)
                })
                .collect()
        };
        Self {
            roots: plain(self.roots),
            users: plain(self.users),
        }
    }
}

/// Packets that were refused, by the interface that they came in by and their destination.
pub type Refused = BTreeMap<(String, IpAddr), u64>;

/// The guard.
#[derive(Debug)]
pub struct Guard {
    nft: PathBuf,
    table: String,
}

impl Guard {
    /// The guard with tables of this name. `None` where there is no nftables.
    pub fn find(table: String) -> Option<Self> {
        match Firewall::find()? {
            Firewall::Nftables(nft) => Some(Self { nft, table }),
            Firewall::Iptables(_) => None,
        }
    }

    /// Sets the rules anew, in the network namespace of the calling process. There is no moment
    /// without rules. Says why bridges are not guarded, when they are not.
    ///
    /// # Errors
    ///
    /// What nftables answered.
    pub fn set(&self, rules: &Rules, names: &Names) -> Result<Option<Error>, Error> {
        let set = |family| run(&self.nft, &["-f", "-"], &self.text(family, rules, names));
        set(Family::Inet)?;
        // Kernels may come without this family. What is routed is guarded all the same.
        Ok(set(Family::Bridge).err())
    }

    /// Says which interface is whose now. Not when the first of a user's has come, or the last
    /// one has gone: then the rules are others, and are to be set anew.
    ///
    /// # Errors
    ///
    /// What nftables answered; also when the tables are gone.
    pub fn rename(&self, names: &Names, bridges: bool) -> Result<(), Error> {
        let mut text = String::new();
        for family in Family::ALL {
            if family == Family::Bridge && !bridges {
                continue;
            }
            for (set, names) in [("roots", &names.roots), ("users", &names.users)] {
                let (family, table) = (family.word(), &self.table);
                let _ = writeln!(text, "flush set {family} {table} {set}");
                if !names.is_empty() {
                    let list = quoted(names);
                    let _ = writeln!(text, "add element {family} {table} {set} {{ {list} }}");
                }
            }
        }
        run(&self.nft, &["-f", "-"], &text)
    }

    /// Whether the rules are in force, also those for bridges: another program may have removed
    /// all tables.
    pub fn is_set(&self, bridges: bool) -> bool {
        self.has(Family::Inet) && (!bridges || self.has(Family::Bridge))
    }

    fn has(&self, family: Family) -> bool {
        let words = ["list", "table", family.word(), self.table.as_str()];
        run(&self.nft, &words, "").is_ok()
    }

    /// What was refused since the rules were set.
    pub fn refused(&self) -> Refused {
        let mut all = Refused::new();
        for family in Family::ALL {
            let words = ["-j", "list", "table", family.word(), self.table.as_str()];
            if let Ok(text) = output(&self.nft, &words) {
                counted(&text, &mut all);
            }
        }
        all
    }

    /// Removes the rules, if there are any. Says whether there were.
    ///
    /// # Errors
    ///
    /// What nftables answered.
    pub fn clear(&self) -> Result<bool, Error> {
        let there = self.has(Family::Inet) || self.has(Family::Bridge);
        for family in Family::ALL {
            let (family, table) = (family.word(), &self.table);
            let text = format!("table {family} {table}\ndelete table {family} {table}\n");
            let cleared = run(&self.nft, &["-f", "-"], &text);
            // What the kernel has no family for, it has no rules for.
            if there && family == Family::Inet.word() {
                cleared?;
            }
        }
        Ok(there)
    }

    fn text(&self, family: Family, rules: &Rules, names: &Names) -> String {
        let (word, table) = (family.word(), &self.table);
        let ports: Vec<String> = rules.mail_ports.iter().map(u16::to_string).collect();
        let mail = format!("tcp dport {{ {} }}", ports.join(", "));
        let [refuse, wait] = match (rules.observe, family) {
            (true, _) => ["accept"; 2],
            (false, Family::Inet) => ["reject with icmpx type admin-prohibited", "drop"],
            // Rejecting takes a part of the kernel that many do not have for bridges.
            (false, Family::Bridge) => ["drop"; 2],
        };
        let mut text =
            format!("table {word} {table}\ndelete table {word} {table}\ntable {word} {table} {{\n");
        for (set, names) in [("roots", &names.roots), ("users", &names.users)] {
            let _ = writeln!(text, "set {set} {{\ntype ifname");
            if !names.is_empty() {
                let _ = writeln!(text, "elements = {{ {} }}", quoted(names));
            }
            text.push_str("}\n");
        }
        for (set, address) in [("refused4", "ipv4_addr"), ("refused6", "ipv6_addr")] {
            let _ = writeln!(
                text,
                "set {set} {{\ntype ifname . {address}\nflags dynamic,timeout\n\
                 timeout {COUNTED_FOR}\nsize {COUNTED_MAX}\n}}"
            );
        }
        // A full set counts nothing more, and the packet is refused all the same.
        let _ = writeln!(
            text,
            "chain counted {{\n\
             meta protocol ip update @refused4 {{ iifname . ip daddr counter }}\n\
             meta protocol ip6 update @refused6 {{ iifname . ip6 daddr counter }}\n\
             }}\n\
             chain refuse {{\njump counted\n{refuse}\n}}\n\
             chain judge {{\n\
             iifname @roots accept\n\
             iifname @users goto refuse\n\
             {wait}\n\
             }}"
        );
        let judge = format!(
            "{mail} goto judge\n\
             iifname @users frag nexthdr {{ tcp, 0, 43, 60 }} goto refuse"
        );
        let all = if rules.all {
            format!("{mail} goto refuse\n")
        } else {
            String::new()
        };
        let chain = |hook: &str, body: &str| {
            format!(
                "chain {hook} {{\ntype filter hook {hook} priority -310; policy accept;\n{body}\n}}\n"
            )
        };
        match family {
            // The first piece of an IPv6 packet may end before the port: such pieces are refused.
            Family::Inet => {
                text.push_str(&chain("forward", &format!("{all}{judge}")));
                // To this machine's own mail server. What comes by root's interfaces is mail for it.
                // All packets pass this hook, those of the loopback interface too, so it is made
                // only where there is something to refuse.
                if !names.users.is_empty() {
                    text.push_str(&chain("input", &judge));
                }
            }
            Family::Bridge => {
                text.push_str(&chain("prerouting", &judge));
                if rules.all {
                    text.push_str(&chain("forward", &all));
                }
            }
        }
        text.push_str("}\n");
        text
    }
}

/// A family of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Inet,
    Bridge,
}

impl Family {
    const ALL: [Self; 2] = [Self::Inet, Self::Bridge];

    const fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }
}

fn quoted(names: &BTreeSet<String>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

/// Adds up the counters in what `nft -j` prints.
fn counted(text: &str, all: &mut Refused) {
    let found: Value = serde_json::from_str(text).unwrap_or_default();
    let objects = found["nftables"].as_array().into_iter().flatten();
    for element in objects.flat_map(|object| object["set"]["elem"].as_array().into_iter().flatten())
    {
        let pair = &element["elem"]["val"]["concat"];
        let address = pair[1].as_str().and_then(|address| address.parse().ok());
        if let (Some(name), Some(address), Some(packets)) = (
            pair[0].as_str(),
            address,
            element["elem"]["counter"]["packets"].as_u64(),
        ) {
            *all.entry((name.to_owned(), address)).or_default() += packets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        Guard {
            nft: PathBuf::new(),
            table: "t".to_owned(),
        }
    }

    fn names() -> Names {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Names {
            roots: set(&["lo", "docker0", "bad*", "q\"", ""]),
            users: set(&["tap0"]),
        }
        .plain()
    }

    fn rules() -> Rules {
        Rules {
            mail_ports: vec![25, 587],
            ..Rules::default()
        }
    }

    #[test]
    fn roots_pass_and_users_are_refused_and_all_others_wait() {
        let text = guard().text(Family::Inet, &rules(), &names());
        assert!(
            text.contains("elements = { \"docker0\", \"lo\" }"),
            "{text}"
        );
        assert!(
            text.contains("iifname @roots accept\niifname @users goto refuse\ndrop\n"),
            "{text}"
        );
        assert!(text.contains("tcp dport { 25, 587 } goto judge"), "{text}");
        // The old table goes in the same transaction as the new one comes.
        assert!(text.starts_with("table inet t\ndelete table inet t\n"));
        assert!(text.contains("hook input"), "{text}");
        let roots = Names {
            users: BTreeSet::new(),
            ..names()
        };
        // All packets of the machine pass that hook.
        let idle = guard().text(Family::Inet, &rules(), &roots);
        assert!(idle.contains("hook forward") && !idle.contains("hook input"));
        let bridge = guard().text(Family::Bridge, &rules(), &names());
        assert!(!bridge.contains("reject"), "{bridge}");
    }

    #[test]
    fn for_all_nothing_that_is_forwarded_passes_and_mail_for_this_machine_does() {
        let rules = Rules {
            all: true,
            ..rules()
        };
        let text = guard().text(Family::Inet, &rules, &names());
        let (_, forward) = text.split_once("hook forward").unwrap();
        let (forward, input) = forward.split_once("hook input").unwrap();
        assert!(forward.contains("goto refuse\ntcp dport { 25, 587 } goto judge"));
        assert!(!input.contains("tcp dport { 25, 587 } goto refuse"));
    }

    #[test]
    fn an_observer_refuses_nothing() {
        let rules = Rules {
            observe: true,
            all: true,
            ..rules()
        };
        for family in Family::ALL {
            let text = guard().text(family, &rules, &names());
            assert!(!text.contains("drop") && !text.contains("reject"), "{text}");
        }
    }

    #[test]
    fn counters_are_read_by_interface_and_destination() {
        let text = r#"{"nftables": [{"metainfo": {}}, {"set": {"name": "users", "elem": ["tap0"]}},
            {"set": {"name": "refused4", "elem": [{"elem": {"val": {"concat": ["tap0", "203.0.113.9"]},
            "timeout": 3600, "counter": {"packets": 3, "bytes": 180}}}]}}]}"#;
        let mut all = Refused::new();
        counted(text, &mut all);
        counted(text, &mut all);
        counted("no JSON", &mut all);
        let key = ("tap0".to_owned(), "203.0.113.9".parse().unwrap());
        assert_eq!(all, Refused::from([(key, 6)]));
    }
}
