//! The end of an honest connection, when the side that closed first has forgotten it: the kernel
//! gives the last answer itself, from a socket of its own. That one belongs to whoever made the
//! network namespace, so both ends are put into a new one.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::thread::UnshareFlags;

use super::calls;
use super::lineage::{system_failure, unless_root};
use super::mailer::Report;
use crate::network::set_up_loopback;

const PORT: u16 = 25;
/// Until the packets of the last step have been answered.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Connects to a server of its own and closes first. What the server says after that is answered
/// with a reset, and its own end with an acknowledgement.
pub(super) fn say_farewell(name: &str) -> Report {
    match both() {
        Ok(()) => Report::new(name, "done", 0),
        Err(error) => system_failure(name, "end a connection", error),
    }
}

fn both() -> io::Result<()> {
    calls::unshare(UnshareFlags::NEWNET | unless_root())?;
    set_up_loopback(&[])?;
    let server = TcpListener::bind((Ipv6Addr::LOCALHOST, PORT))?;
    for is_late in [false, true] {
        let client = TcpStream::connect(server.local_addr()?)?;
        let (mut far, _) = server.accept()?;
        far.write_all(b"220 here\r\n")?;
        (&client).read_exact(&mut [0; 10])?;
        drop(client);
        std::thread::sleep(A_MOMENT);
        if is_late {
            far.write_all(b"421 too late\r\n")?;
        }
        drop(far);
        std::thread::sleep(A_MOMENT);
    }
    Ok(())
}
