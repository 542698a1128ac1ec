//! Where the person at a new login shell is: on this machine or elsewhere.
//!
//! A program that may not send could log in to its own machine over the network, with a key that
//! it has put into the user's files itself, and would hold an interactive shell on a terminal.
//! The SSH server and its like hold the connection themselves and close it in the shell, so it is
//! their descriptors that are looked at.
//!
//! A login without a connection is one at this machine's own consoles. On a pseudo-terminal, somebody
//! else holds the other end and types there: any user may have a getty put on one (`machinectl login
//! .host`), and a program that knows the password would be a person. So such a login counts as one from
//! here, unless a login program holds the other end itself, as kmscon does.

use policy::is_pseudo_terminal;

use super::start::{MINOR_BITS, S_IFCHR, S_IFMT, stdin_device};
use crate::kernel_memory::Address;
use crate::maps::{PROCESSES, offset};
use crate::repeat::each;

/// A shell's parents that log people in: the server's process for this session, the one with
/// privilege behind it, and the one that listens.
const PARENTS: usize = 3;
/// The connection was there before the session opened anything else. A table of descriptors is
/// never shorter than this.
const DESCRIPTORS: u32 = 32;

const S_IFSOCK: u16 = 0o140_000;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_VSOCK: u16 = 40;
const SOCK_STREAM: u16 = 1;
const TCP_ESTABLISHED: u8 = 1;
/// The loopback interface is the first of every network namespace. What has an address of this
/// machine as its destination comes in by it, whichever address that is.
const LOOPBACK: u32 = 1;
/// `/dev/ptmx`, major 5 and minor 2: the end of a pseudo-terminal that types.
const TERMINAL_MASTER: u32 = 5 << MINOR_BITS | 2;

/// Whether the shell that the current task runs was started for a connection that comes from
/// this machine, or for a pseudo-terminal that another program holds.
#[inline(always)]
pub fn logs_in_from_here() -> bool {
    comes_from_here() != 0
}

/// External linkage: the verifier checks it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn comes_from_here() -> u32 {
    let shell = Address::current_task();
    let mut task = shell;
    for _ in 0..PARENTS {
        task = task.follow(offset!(task_real_parent));
        let process: u32 = task.read(offset!(task_tgid));
        // SAFETY: the value is copied out at once.
        let logs_in = unsafe { PROCESSES.get(process) }
            .is_some_and(|record| record.standing().logs_people_in());
        if !logs_in {
            break;
        }
        let table = task
            .follow(offset!(task_files))
            .follow(offset!(files_fdt))
            .follow(offset!(fdt_fd));
        let mut search = Search {
            table,
            end: End::None as u64,
        };
        each(DESCRIPTORS, look_at, &mut search);
        if search.end != End::None as u64 {
            return (search.end == End::Here as u64) as u32;
        }
    }
    is_pseudo_terminal(stdin_device(shell) >> MINOR_BITS) as u32
}

/// The search among the descriptors of a process.
struct Search {
    /// Its table of open files.
    table: Address,
    /// What was found so far, an [`End`]. A word, because the verifier keeps track of words.
    end: u64,
}

/// One descriptor. The first connection decides: what the person forwards comes later.
unsafe extern "C" fn look_at(descriptor: u32, search: *mut Search) -> u64 {
    // SAFETY: see `each`.
    let search = unsafe { &mut *search };
    let file = search.table.follow(descriptor as usize * 8);
    match origin_of(file) {
        End::None => 0,
        // A server that holds both is known by its connection, which may come behind.
        End::Console => {
            search.end = End::Console as u64;
            0
        }
        end => {
            search.end = end as u64;
            1
        }
    }
}

/// Where the other end of what a descriptor stands for is.
#[repr(u64)]
enum End {
    /// It is no connection that somebody logs in by.
    None,
    Here,
    Elsewhere,
    /// It is the terminal's other end: the login program shows it on a screen, or sends it elsewhere.
    Console,
}

/// TCP by the interface that the connection was heard of by last, whether or not the other side still
/// speaks. What comes by a named socket of the machine itself, or by one of virtual machines, is not
/// from elsewhere either.
#[inline(always)]
fn origin_of(file: Address) -> End {
    let inode = file.follow(offset!(file_inode));
    match inode.read::<u16>(offset!(inode_mode)) & S_IFMT {
        S_IFSOCK => {}
        S_IFCHR if inode.read::<u32>(offset!(inode_rdev)) == TERMINAL_MASTER => {
            return End::Console;
        }
        _ => return End::None,
    }
    let socket = file
        .follow(offset!(file_private))
        .follow(offset!(socket_sk));
    if socket.read::<u16>(offset!(sock_type)) != SOCK_STREAM {
        return End::None;
    }
    match socket.read::<u16>(offset!(sock_family)) {
        // A socket that listens, or has not been connected, has heard nothing.
        AF_INET | AF_INET6 => match socket.read::<u32>(offset!(sock_interface)) {
            0 => End::None,
            LOOPBACK => End::Here,
            _ => End::Elsewhere,
        },
        // The end that was accepted has the name of the socket that it came by. Pairs, and the ends
        // that connect, have none.
        AF_UNIX if is_established(socket) && !socket.follow(offset!(unix_address)).is_null() => {
            End::Here
        }
        AF_VSOCK if is_established(socket) => End::Here,
        _ => End::None,
    }
}

/// The state has the same number in each family of sockets.
#[inline(always)]
fn is_established(socket: Address) -> bool {
    socket.read::<u8>(offset!(sock_state)) == TCP_ESTABLISHED
}
