//! A running machine: QEMU, root's hands in it, a terminal, and its keyboard and mouse.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::machines::{Disk, Machine};
use super::screen::Screen;
use super::terminal::Terminal;
use super::{base64, patient};
use crate::guest::{self, joined};
use crate::process;

/// Until an emulated machine has come up, on processors that others use too.
pub const BOOT_LIMIT: Duration = Duration::from_secs(900);
/// Until it has gone down.
const DOWN_LIMIT: Duration = Duration::from_secs(240);

/// What a boot is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// To install the program, without a desktop.
    Install,
    /// To play rows.
    Play,
}

/// A machine that runs. It ends with this value.
pub struct Guest {
    qemu: Child,
    hands: Hands,
    /// Where a person logs in.
    pub terminal: Terminal,
    /// What a person sees, types and clicks.
    pub screen: Screen,
    /// The port of this machine that is its port for ssh.
    pub ssh: u16,
    /// The port of this machine that is its port 25, and the one that is its port 587.
    pub mail: [u16; 2],
}

impl Guest {
    /// Boots a machine from an overlay of its disk.
    ///
    /// # Errors
    ///
    /// When QEMU cannot be started, or the machine does not come up.
    pub fn boot(
        machine: &Machine,
        disk: &Disk,
        overlay: &Path,
        tools: &Path,
        boot: Boot,
        folder: &Path,
    ) -> Result<Self> {
        let socket = |name: &str| folder.join(format!("{name}.sock"));
        let [ssh, smtp, submission] = free_ports()?;
        let mut qemu = guest::qemu("max,la57=off", if machine.desktop { 4096 } else { 1536 });
        qemu.arg("-kernel")
            .arg(&disk.kernel)
            .arg("-initrd")
            .arg(&disk.initrd);
        let target = if boot == Boot::Install {
            " systemd.unit=multi-user.target"
        } else {
            ""
        };
        qemu.arg("-append").arg(format!(
            "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off nokaslr audit=0{target}"
        ));
        qemu.arg("-drive").arg(joined(
            "file=",
            overlay,
            ",format=qcow2,if=virtio,cache=unsafe",
        ));
        qemu.arg("-drive")
            .arg(joined("file=", tools, ",format=raw,if=virtio,readonly=on"));
        qemu.arg("-netdev").arg(format!(
            "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{ssh}-:22,hostfwd=tcp:127.0.0.1:{smtp}-:25,\
             hostfwd=tcp:127.0.0.1:{submission}-:587"
        ));
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        qemu.args(["-object", "rng-random,filename=/dev/urandom,id=rng"]);
        qemu.args([
            "-device",
            "virtio-rng-pci,rng=rng",
            "-device",
            "virtio-serial-pci",
        ]);
        let console = folder.join(format!("{}.console", machine.name));
        qemu.arg("-serial").arg(joined("file:", &console, ""));
        for name in ["hands", "tty"] {
            qemu.arg("-chardev").arg(joined(
                &format!("socket,id={name},server=on,wait=off,path="),
                &socket(name),
                "",
            ));
        }
        qemu.args(["-serial", "chardev:tty"]);
        qemu.args([
            "-device",
            "virtserialport,chardev=hands,name=org.sekimori.honest",
        ]);
        qemu.arg("-qmp")
            .arg(joined("unix:", &socket("qmp"), ",server=on,wait=off"));
        if machine.desktop {
            qemu.args([
                "-device",
                "virtio-vga,xres=1024,yres=768",
                "-device",
                "qemu-xhci",
            ]);
            qemu.args(["-device", "usb-tablet"]);
        }
        for name in ["hands", "tty", "qmp"] {
            let _ = fs::remove_file(socket(name));
        }
        let log = fs::File::create(folder.join("qemu.log"))?;
        let mut qemu = ends_with_us(&qemu)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("QEMU cannot be started")?;
        let connected = (|| {
            Ok::<_, anyhow::Error>((
                Hands::new(connect(&socket("hands"))?)?,
                Terminal::new(connect(&socket("tty"))?)?,
                Screen::new(connect(&socket("qmp"))?)?,
            ))
        })();
        let (hands, terminal, screen) = match connected {
            Ok(all) => all,
            Err(error) => {
                let _ = qemu.kill();
                let _ = qemu.wait();
                return Err(error.context(format!("see {}", folder.join("qemu.log").display())));
            }
        };
        let mut guest = Self {
            qemu,
            hands,
            terminal,
            screen,
            ssh,
            mail: [smtp, submission],
        };
        guest
            .hands
            .wait_for_guest(patient(BOOT_LIMIT))
            .with_context(|| {
                format!(
                    "{} did not come up; see {}",
                    machine.name,
                    console.display()
                )
            })?;
        Ok(guest)
    }

    /// What root's script prints, and its status.
    ///
    /// # Errors
    ///
    /// When the machine does not answer.
    pub fn root(&mut self, script: &str, limit: Duration) -> Result<(i32, String)> {
        self.hands.run(script, patient(limit))
    }

    /// Waits until root's script has success.
    ///
    /// # Errors
    ///
    /// When it has none within the limit, or the machine does not answer.
    pub fn until(&mut self, script: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let (status, said) = self.root(script, Duration::from_secs(60))?;
            if status == 0 {
                return Ok(());
            }
            ensure!(
                began.elapsed() < patient(limit),
                "waited in vain for: {script} {}",
                said.trim()
            );
            thread::sleep(Duration::from_secs(2));
        }
    }

    /// Turns the machine off, as a person would.
    ///
    /// # Errors
    ///
    /// When it cannot be told to.
    pub fn down(mut self) -> Result<()> {
        // It may be gone before it has answered.
        let _ = self.root("systemctl poweroff --no-block", Duration::from_secs(60));
        let began = Instant::now();
        while self.qemu.try_wait()?.is_none() {
            if began.elapsed() > patient(DOWN_LIMIT) {
                // Its disk is whole: what was written is in the overlay.
                self.root("sync", Duration::from_secs(5)).ok();
                break;
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The command, so that it ends when this process ends, however that ends.
fn ends_with_us(qemu: &Command) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "nice"])
        .arg(qemu.get_program())
        .args(qemu.get_args());
    command
}

fn free_ports() -> Result<[u16; 3]> {
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").context("a free port");
    let all = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&all) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn connect(path: &PathBuf) -> Result<UnixStream> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if began.elapsed() > Duration::from_secs(30) => {
                return Err(error).with_context(|| path.display().to_string());
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// The script agent.sh in the guest, over a virtio port.
struct Hands {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    count: u64,
}

impl Hands {
    fn new(stream: UnixStream) -> Result<Self> {
        Ok(Self {
            writer: stream.try_clone()?,
            reader: BufReader::new(stream),
            count: 0,
        })
    }

    /// The port takes nothing until the guest has opened it, so the question is asked again.
    fn wait_for_guest(&mut self, limit: Duration) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < limit {
            if self.ask("true", 10, Duration::from_secs(15)).is_ok() {
                return Ok(());
            }
        }
        bail!("no answer within {} s", limit.as_secs())
    }

    fn run(&mut self, script: &str, limit: Duration) -> Result<(i32, String)> {
        self.ask(
            script,
            limit.as_secs().max(1),
            limit + Duration::from_secs(120),
        )
    }

    fn ask(&mut self, script: &str, seconds: u64, limit: Duration) -> Result<(i32, String)> {
        self.count += 1;
        let id = self.count;
        writeln!(
            self.writer,
            "{id} {seconds} {}",
            base64::encode(script.as_bytes())
        )?;
        self.reader.get_ref().set_read_timeout(Some(limit))?;
        loop {
            let mut line = String::new();
            let read = self
                .reader
                .read_line(&mut line)
                .context("the machine does not answer")?;
            ensure!(read > 0, "the machine ended");
            let mut words = line.split_whitespace();
            // An answer to a question that was given up.
            if words.next().and_then(|word| word.parse().ok()) != Some(id) {
                continue;
            }
            let status = words
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(-1);
            let output = base64::decode(words.next().unwrap_or_default());
            return Ok((status, String::from_utf8_lossy(&output).into_owned()));
        }
    }
}

/// A fresh overlay on a disk that stays as it is.
///
/// # Errors
///
/// When qemu-img cannot make it.
pub fn overlay(disk: &Disk, path: &Path) -> Result<()> {
    let _ = fs::remove_file(path);
    let backing = fs::canonicalize(&disk.disk).context("the machine's disk")?;
    process::run(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(backing)
            .arg(path),
    )
}
