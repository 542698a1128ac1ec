//! Ways to say the first line so that what is on the wire is not what the server reads, or
//! does not lie where it usually does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::net::{SendFlags, send};

use super::lineage::system_failure;
use super::mailer::Report;
use super::sockets::{self, FIRST_LINE};

/// Four options of IPv4 that do nothing.
const NO_OPERATIONS: [u8; 4] = [1; 4];

/// As long as the first line, and nothing that anybody says to a mail server.
const OTHER_LINE: &[u8; FIRST_LINE.len()] = b"................\r\n\r\n\r\n";
/// How often a page is changed on its way before that is given up.
const CHANGES: u32 = 50;

/// Tries a technique of this file by its name.
pub(super) fn attempt(name: &str, server: SocketAddr, limit: Duration) -> Report {
    if name == "changing-page" {
        return match change_on_the_way(server, limit) {
            Ok(answer) => Report::new(name, "sent", FIRST_LINE.len() as u64).with_detail(answer),
            Err(error) => system_failure(name, "change a page on its way", error),
        };
    }
    let connected = match name {
        "ip-options" => sockets::connect_with_options(server, limit, &NO_OPERATIONS),
        "full-socket" => sockets::connect_filled_up(server, limit),
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

/// Sends a page of a file whose content is another at every moment, until the server has taken it
/// for the first line: what is read on the way need not be what arrives.
fn change_on_the_way(server: SocketAddr, limit: Duration) -> io::Result<String> {
    let page = File::from(memfd_create(c"page", MemfdFlags::empty())?);
    page.write_all_at(OTHER_LINE, 0)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = page.write_all_at(FIRST_LINE, 0);
                let _ = page.write_all_at(OTHER_LINE, 0);
            }
        });
        let answer = (0..CHANGES).find_map(|_| send_page(&page, server, limit).transpose());
        done.store(true, Ordering::Relaxed);
        answer.unwrap_or_else(|| Err(io::Error::other("never taken for a greeting")))
    })
}

/// The server's answer, when it took the page for a greeting.
fn send_page(page: &File, server: SocketAddr, limit: Duration) -> io::Result<Option<String>> {
    let mut stream = sockets::connect_plainly(server, limit).map_err(io::Error::other)?;
    let mut answer = [0; 512];
    stream.set_read_timeout(Some(limit))?;
    let _ = stream.read(&mut answer)?;
    let mut offset = 0;
    sendfile(&stream, page, Some(&mut offset), FIRST_LINE.len())?;
    let length = stream.read(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    Ok(answer.starts_with("250").then_some(answer))
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
