//! Looking names up, as mass mailers do: mail exchangers, or hosts that are called like them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::args::Args;
use crate::dns::{A, MX, query};

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(2);

/// Asks `--resolver` for the mail exchanger of each `--mx NAME` and the address of each
/// `--host NAME`. Returns how many answers came.
pub(super) fn look_up(args: &Args) -> Result<usize, String> {
    let Some(server) = args.address("--resolver")? else {
        return Ok(0);
    };
    let of = |option: &str, kind: u16| args.texts(option).into_iter().map(move |name| (name, kind));
    let questions = of("--mx", MX).chain(of("--host", A));
    let mut answers = 0;
    for (id, (name, kind)) in (1u16..).zip(questions) {
        answers += usize::from(ask(server, id, &name, kind).is_ok());
    }
    Ok(answers)
}

/// One question. Resolvers come in two kinds, with and without connect(); the number decides.
fn ask(server: SocketAddr, id: u16, name: &str, kind: u16) -> io::Result<()> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let question = query(id, name, kind);
    if id.is_multiple_of(2) {
        socket.send_to(&question, server)?;
    } else {
        socket.connect(server)?;
        socket.send(&question)?;
    }
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    match answer[..length].starts_with(&id.to_be_bytes()) {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}
