//! A real IRC server, and somebody in its channel who gives orders.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use stage::{IrcClient, Place};

use crate::LIMIT;
use crate::scene::Scene;
use crate::theatre::Theatre;
use crate::tools::{is_missing, wait_until};

/// What the sandbox sees of ngircd. No name is looked up, nobody is asked who they are, and
/// nobody is slowed down.
const SETTINGS: &str = "\
[Global]
Name = irc.example.test
AdminInfo1 = stage
Info = stage
MotdPhrase = Hello.
ServerUID = nobody
ServerGID = nogroup
[Limits]
MaxConnectionsIP = 0
MaxNickLength = 30
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
";

/// A running ngircd among the crew, and a master in a channel with a key. It ends when this
/// is dropped.
#[derive(Debug)]
pub struct Herd {
    server: Child,
    master: Mutex<IrcClient>,
    log: PathBuf,
}

impl Herd {
    /// The server.
    pub const NGIRCD: &str = "/usr/sbin/ngircd";
    /// The channel of the master.
    pub const CHANNEL: &str = "#x";
    /// The key of the channel.
    pub const KEY: &str = "sesame";

    /// What the bot calls itself.
    pub const NICK: &str = "[DEU|XP]-84721";
    /// What the master says when there is something to do.
    pub const ORDER: &str = ".spam http://192.0.2.7/list.txt 100";

    /// A scene with the server on these ports. `None`, with the reason printed, where it
    /// cannot be.
    pub fn open(config: &str, ports: &[u16]) -> Option<(Scene, Self)> {
        if is_missing(&[Self::NGIRCD]) {
            return None;
        }
        let scene = Scene::open(config)?;
        let herd = Self::start(&scene.theatre, ports);
        Some((scene, herd))
    }

    /// The words of a bot that joins, and does what `then` says after each order.
    pub fn bot(server: &str, then: &str) -> String {
        format!(
            "bot --irc {server} --nick {} --channel {} --key {} --await .spam --hold-ms 60000 {then}",
            Self::NICK,
            Self::CHANNEL,
            Self::KEY
        )
    }

    /// One bot from its join to its end. Returns the refusal and the finding.
    ///
    /// # Panics
    /// When it does not obey, or is not refused, or nobody notices.
    pub fn is_obeyed(&self, scene: &Scene, server: &str, then: &str) -> (Value, Value) {
        let before = scene.theatre.newest();
        let bot = scene.start_bot(&Self::bot(server, then));
        self.wait_for_join(Self::NICK);
        scene.wait_for_irc(server);
        self.order(Self::ORDER);
        let refusal = scene.refusal_after(before);
        let finding = scene.finding_after(before);
        // It stayed connected: an order still reaches it.
        self.order("!die");
        scene.fails(bot);
        (refusal, finding)
    }

    /// Starts the server on these ports of 127.0.0.1; the master joins on the first.
    ///
    /// # Panics
    /// When the server does not start or does not let the master in.
    pub fn start(theatre: &Theatre, ports: &[u16]) -> Self {
        let listed: Vec<String> = ports.iter().map(u16::to_string).collect();
        let listen = format!(
            "[Global]\nListen = 127.0.0.1\nPorts = {}\n",
            listed.join(", ")
        );
        let settings = theatre.write("ngircd.conf", &SETTINGS.replacen("[Global]\n", &listen, 1));
        let log = theatre.sandbox().folder().join("ngircd.log");
        let output = fs::File::create(&log).expect("a log for ngircd");
        let errors = output.try_clone().expect("a log for ngircd");
        // It gives up its privileges before it listens.
        let low_ports = || fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
        theatre
            .sandbox()
            .run_inside(low_ports)
            .expect("the sandbox's namespaces")
            .expect("ports below 1024 for everybody in the sandbox");
        let mut command = theatre
            .sandbox()
            .command(Self::NGIRCD, Place::Crew, None)
            .expect("the crew's group");
        let mut server = command
            .args(["--nodaemon", "--config"])
            .arg(settings)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("ngircd");
        let first = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        let stream = wait_until(LIMIT, || theatre.connect(first).ok());
        let master = stream
            .ok_or_else(|| std::io::ErrorKind::TimedOut.into())
            .and_then(|stream| enter(stream, "master"));
        match master {
            Ok(master) => Self {
                server,
                master: Mutex::new(master),
                log,
            },
            Err(error) => {
                let _ = server.kill();
                let _ = server.wait();
                let said = fs::read_to_string(log).unwrap_or_default();
                panic!("ngircd on {listed:?}: {error}\n{said}")
            }
        }
    }

    /// Waits until a bot is in the channel.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for_join(&self, nick: &str) {
        self.master(|master| master.wait_for_member(Self::CHANNEL, nick, LIMIT));
    }

    /// Says something in the channel.
    ///
    /// # Panics
    /// When the server is gone.
    pub fn order(&self, text: &str) {
        self.master(|master| master.tell(Self::CHANNEL, text));
    }

    fn master(&self, act: impl FnOnce(&mut IrcClient) -> std::io::Result<()>) {
        let mut master = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut master).unwrap_or_else(|error| {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            panic!("the master at ngircd: {error}\n{said}")
        });
    }
}

fn enter(stream: TcpStream, nick: &str) -> std::io::Result<IrcClient> {
    let mut master = IrcClient::new(stream).register(nick, LIMIT)?;
    master.join(Herd::CHANNEL, None, LIMIT)?;
    master.lock(Herd::CHANNEL, Herd::KEY, LIMIT)?;
    Ok(master)
}

impl Drop for Herd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
