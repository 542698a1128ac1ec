//! Ways to say the first line so that what is on the wire is not what the server reads, or
//! does not lie where it usually does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::net::{SendFlags, send};

use super::lineage::system_failure;
use super::mailer::Report;
use super::sockets::{self, FIRST_LINE};

/// Four options of IPv4 that do nothing.
const NO_OPERATIONS: [u8; 4] = [1; 4];

/// Tries a technique of this file by its name.
pub(super) fn attempt(name: &str, server: SocketAddr, limit: Duration) -> Report {
    let connected = match name {
        "ip-options" => sockets::connect_with_options(server, limit, &NO_OPERATIONS),
        _ => sockets::connect_plainly(server, limit),
    };
    let stream = match connected {
        Ok(stream) => stream,
        Err(failure) => return Report::failed(name, &failure, 0),
    };
    match say(name, &stream, limit) {
        Ok(answer) => {
            Report::new(name, "sent", FIRST_LINE.len() as u64).with_detail(answer.trim_end())
        }
        Err(error) => system_failure(name, "say the first line", error),
    }
}

/// Hears the server out, says the line and returns the answer.
fn say(name: &str, mut stream: &TcpStream, limit: Duration) -> io::Result<String> {
    let mut answer = [0; 512];
    stream.set_read_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    let _ = stream.read(&mut answer)?;
    match name {
        // A byte that is on the wire and not in what the server reads.
        "urgent" => {
            let (first, rest) = FIRST_LINE.split_at(1);
            stream.write_all(first)?;
            send(stream, b"X", SendFlags::OOB)?;
            stream.write_all(rest)?;
        }
        "sendfile" => {
            let mut file = File::from(memfd_create(c"line", MemfdFlags::empty())?);
            file.write_all(FIRST_LINE)?;
            let mut offset = 0;
            sendfile(stream, &file, Some(&mut offset), FIRST_LINE.len())?;
        }
        _ => stream.write_all(FIRST_LINE)?,
    }
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
