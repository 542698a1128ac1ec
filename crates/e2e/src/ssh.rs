//! SSH on the stage: a server's keys and configurations, and the words of a client that logs in
//! as the person.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind};
use stage::{Process, Start};

use crate::theatre::Theatre;
use crate::{LIMIT, PERSON, wait_until};

/// The client.
pub const SSH: &str = "/usr/bin/ssh";
/// The server.
pub const SSHD: &str = "/usr/sbin/sshd";
/// Makes keys.
pub const SSH_KEYGEN: &str = "/usr/bin/ssh-keygen";

/// Keys that were made for one theatre.
#[derive(Debug)]
pub struct Ssh {
    folder: PathBuf,
    host_key: PathBuf,
    key: PathBuf,
}

impl Ssh {
    /// Makes keys, and gives the person a shell to log in to.
    ///
    /// # Panics
    /// When one of its steps fails.
    pub fn prepare(theatre: &Theatre) -> Self {
        let folder = theatre.sandbox().folder().to_owned();
        let home = theatre.home();
        let users = passwd_with_shell(&home);
        let users = theatre.write("passwd", &users);
        // A server that may not look here takes every account for a locked one.
        let passwords = theatre.write("shadow", "nobody:*:20000:0:99999:7:::\n");
        // Only the sandbox is to have what the server wants in /run, and what it writes down of
        // logins.
        theatre
            .sandbox()
            .run_inside(|| {
                for place in ["/run", "/var/log"] {
                    mount("none", place, "tmpfs", MountFlags::empty(), c"mode=0755").unwrap();
                }
                fs::create_dir("/run/sshd").unwrap();
                // Terminals of the group that they have where systemd runs: a server without
                // privilege cannot give them to it.
                let options = c"gid=5,mode=620,ptmxmode=666";
                mount("none", "/dev/pts", "devpts", MountFlags::empty(), options).unwrap();
                mount_bind(&users, "/etc/passwd").unwrap();
                mount_bind(&passwords, "/etc/shadow").unwrap();
            })
            .unwrap();
        let (host_key, key) = (folder.join("host_key"), home.join("key"));
        for key in [&host_key, &key] {
            let key = key.to_str().unwrap();
            theatre.crew(SSH_KEYGEN, &["-q", "-t", "ed25519", "-N", "", "-f", key]);
        }
        chown(&key, Some(PERSON.0), Some(PERSON.1)).unwrap();
        let public = fs::read_to_string(home.join("key.pub")).unwrap();
        theatre.write("authorized", &public);
        Self {
            folder,
            host_key,
            key,
        }
    }

    /// The configuration of a server that listens there.
    pub fn config(&self, at: SocketAddr) -> PathBuf {
        self.config_with(at, &self.host_key)
    }

    /// The same with a key that the person may read: a server of one's own.
    pub fn own_config(&self, at: SocketAddr) -> PathBuf {
        self.config_with(at, &self.key)
    }

    fn config_with(&self, at: SocketAddr, host_key: &Path) -> PathBuf {
        let text = format!(
            "ListenAddress {at}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
             UsePAM no\nPidFile none\nAllowTcpForwarding yes\n",
            host_key.display(),
            self.folder.join("authorized").display()
        );
        let path = self.folder.join(format!("sshd-{}", at.port()));
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Starts a server of the machine's, and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn serve(&self, theatre: &Theatre, at: SocketAddr) -> Process {
        let server = theatre.sandbox().start(&server_start(&self.config(at)));
        listens(theatre, at);
        server.unwrap()
    }

    /// The same, started as the person.
    ///
    /// # Panics
    /// When it does not.
    pub fn serve_as_person(&self, theatre: &Theatre, at: SocketAddr) -> Process {
        let server = theatre.start(server_start(&self.own_config(at)));
        listens(theatre, at);
        server
    }

    /// The words that make the client log in at a port; the host is to follow.
    pub fn words(&self, port: u16) -> String {
        format!(
            "{SSH} -F none -i {} -p {port} -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ExitOnForwardFailure=yes -l nobody",
            self.key.display()
        )
    }
}

/// How a server with this configuration is started.
fn server_start(config: &Path) -> Start {
    Start::new(SSHD).args(["-D", "-e", "-f"]).arg(config)
}

/// Waits until somebody takes connections there.
///
/// # Panics
/// When nobody does.
pub fn listens(theatre: &Theatre, mut at: SocketAddr) {
    if at.ip().is_unspecified() {
        at.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let taken = || theatre.connect(at).ok().map(drop);
    wait_until(LIMIT, taken).unwrap_or_else(|| panic!("nobody listens at {at}"));
}

/// The machine's users, the person with a home on the stage and a shell.
fn passwd_with_shell(home: &Path) -> String {
    let (user, group) = PERSON;
    let mut text = format!(
        "nobody:x:{user}:{group}:nobody:{}:/bin/bash\n",
        home.display()
    );
    for line in fs::read_to_string("/etc/passwd").unwrap().lines() {
        if !line.starts_with("nobody:") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}
