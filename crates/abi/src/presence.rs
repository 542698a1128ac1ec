//! What the gate remembers of each terminal and of the seat. It keeps counts and times: whether
//! somebody typed, and when somebody was there. It never keeps what was typed.

#[cfg(feature = "user")]
use bytemuck::{Pod, Zeroable};

/// Where fields lie that tell what was typed into a terminal. Beside
/// [`crate::Offsets`], because a kernel may lack them: then the check is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct PresenceOffsets {
    /// 1 when all fields of terminals are known.
    pub has_terminals: u32,
    /// `tty_struct.disc_data`
    pub tty_disc_data: u32,
    /// `tty_struct.ldisc`
    pub tty_ldisc: u32,
    /// `tty_ldisc.ops`
    pub ldisc_ops: u32,
    /// `tty_ldisc_ops.num`
    pub ldisc_number: u32,
    /// `tty_file_private.tty`
    pub tty_file_tty: u32,
    /// `n_tty_data.read_head`
    pub n_tty_head: u32,
    /// `n_tty_data.read_tail`
    pub n_tty_tail: u32,
    /// `n_tty_data.read_buf`
    pub n_tty_buffer: u32,
    /// `tty_struct.port`
    pub tty_port: u32,
    /// `tty_port.buf.head`
    pub port_buffer: u32,
    /// `tty_buffer.commit`
    pub buffer_commit: u32,
    /// `tty_buffer.read`
    pub buffer_read: u32,
    /// `tty_buffer.size`
    pub buffer_size: u32,
}

/// A process that depends on what is typed into a terminal: value of the map `typing`, key the
/// process id. No entry means that it does not depend on it, or that something was typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Typing {
    /// The shell's terminal, as the kernel's address. 0 when nothing that is typed later counts: the
    /// process was started before.
    pub terminal: u64,
    /// How many bytes had been typed when the shell began.
    pub head: u64,
    /// How many of them had been read.
    pub tail: u64,
    /// The piece of memory through which bytes come to the terminal, as the kernel's address.
    pub piece: u64,
    /// How many bytes of it had been handed to the terminal.
    pub handed: u32,
    /// How many bytes it had still room for, or were on their way.
    pub room: u32,
}

/// Where a user sits: value of the map `seated`, key the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Seated {
    /// 1 when what happens at the seat's keyboard and mouse is this user's doing.
    pub at_seat: u32,
    /// 1 when the user is also there from elsewhere, where no input can be seen.
    pub elsewhere: u32,
    /// When the user was seen to be there otherwise, in nanoseconds since boot: at the login.
    pub seen_ns: u64,
}

/// The last use of keyboard or mouse, and whether it is known: the one value of the map `seat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct Seat {
    /// When a real device was last seen in use, in nanoseconds since boot. The daemon writes it.
    pub used_ns: u64,
    /// 1 when the daemon knows who sits where and sees devices. Else nothing is asked.
    pub is_followed: u32,
    /// 1 when this kernel tells what was typed into a terminal.
    pub reads_terminals: u32,
    /// 1 when there is a device whose use the daemon sees.
    pub sees_input: u32,
    /// Zero.
    pub reserved: u32,
}

/// An interactive mailer connected to a mail port, and nobody had used its user's seat for a while. The
/// verdict's own event came before.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(Pod, Zeroable))]
#[repr(C)]
pub struct AbsentEvent {
    /// Tag [`crate::EventTag::Absent`]. The process is the mailer.
    pub header: crate::EventHeader,
    /// How long nobody had used it, in nanoseconds.
    pub idle_ns: u64,
    /// Destination in network order; IPv4 in the first four bytes.
    pub address: [u8; 16],
    /// Index of the mailer.
    pub program: u32,
    /// Destination port in host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// 1 when the connection was refused for it.
    pub refused: u8,
}
