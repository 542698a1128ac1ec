//! What left the guest: the recording that QEMU makes of its network card.

use anyhow::{Context, Result, ensure};

use super::rogue::{MAIL_PORTS, MARK_CLOSED, MARK_OPEN, OTHER_PORT};

/// What the recording holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// TCP packets to mail ports while the gate had to be closed.
    pub mail: u64,
    /// The same while it was open, which shows that they would have been seen.
    pub mail_when_open: u64,
    /// To the port that is not guarded, while the gate had to be closed.
    pub other: u64,
    /// Marks.
    pub marks: u64,
}

/// Counts the packets of a pcap file (libpcap's format, <https://www.tcpdump.org/manpages/pcap-savefile.5.html>)
/// of Ethernet frames in this machine's byte order, as QEMU writes it.
pub fn count(pcap: &[u8]) -> Result<Seen> {
    let header = pcap.get(..24).context("the recording has no header")?;
    ensure!(
        header[..4] == 0xa1b2_c3d4_u32.to_ne_bytes() && header[20..24] == 1_u32.to_ne_bytes(),
        "the recording is no pcap file of Ethernet frames"
    );
    let (mut seen, mut open) = (Seen::default(), false);
    let mut rest = &pcap[24..];
    while let Some((head, more)) = rest.split_first_chunk::<16>() {
        let bytes = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]) as usize;
        let Some((frame, more)) = more.split_at_checked(bytes) else {
            break;
        };
        rest = more;
        match destination(frame) {
            Some((UDP, MARK_OPEN)) => (open, seen.marks) = (true, seen.marks + 1),
            Some((UDP, MARK_CLOSED)) => (open, seen.marks) = (false, seen.marks + 1),
            Some((TCP, port)) if MAIL_PORTS.contains(&port) && open => seen.mail_when_open += 1,
            Some((TCP, port)) if MAIL_PORTS.contains(&port) => seen.mail += 1,
            Some((TCP, OTHER_PORT)) if !open => seen.other += 1,
            _ => {}
        }
    }
    Ok(seen)
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Protocol and destination port of an IPv4 or IPv6 packet without extension headers.
fn destination(frame: &[u8]) -> Option<(u8, u16)> {
    let packet = frame.get(14..)?;
    let (protocol, header) = match [frame[12], frame[13]] {
        [0x08, 0x00] => (*packet.get(9)?, usize::from(packet[0] & 0x0f) * 4),
        [0x86, 0xdd] => (*packet.get(6)?, 40),
        _ => return None,
    };
    let port = packet.get(header + 2..header + 4)?;
    Some((protocol, u16::from_be_bytes([port[0], port[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(packets: &[(u8, u16)]) -> Vec<u8> {
        let mut pcap = vec![0; 24];
        pcap[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_ne_bytes());
        pcap[20] = 1_u32.to_ne_bytes()[0];
        pcap[23] = 1_u32.to_ne_bytes()[3];
        for (protocol, port) in packets {
            let mut frame = vec![0; 54];
            frame[12] = 8;
            frame[14] = 0x45;
            frame[23] = *protocol;
            frame[36..38].copy_from_slice(&port.to_be_bytes());
            let mut head = [0; 16];
            head[8..12].copy_from_slice(&54_u32.to_ne_bytes());
            pcap.extend(head);
            pcap.extend(frame);
        }
        pcap
    }

    #[test]
    fn mail_counts_by_what_was_said_before() {
        let pcap = recording(&[
            (TCP, 8025),
            (TCP, 25),
            (UDP, MARK_OPEN),
            (TCP, 587),
            (TCP, 8025),
            (UDP, MARK_CLOSED),
            (TCP, 465),
            (UDP, 25),
        ]);
        let expected = Seen {
            mail: 2,
            mail_when_open: 1,
            other: 1,
            marks: 2,
        };
        assert_eq!(count(&pcap).unwrap(), expected);
        // Cut in the middle of the last packet.
        assert_eq!(count(&pcap[..pcap.len() - 1]).unwrap(), expected);
        assert!(count(&pcap[..23]).is_err());
        assert!(count(&[0; 24]).is_err());
    }
}
