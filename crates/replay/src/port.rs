//! Which port is the server's, when nothing else tells.

/// Ports above 1023 on which servers commonly listen.
const SERVERS: [u16; 34] = [
    1080, 1194, 1433, 1521, 1723, 1883, 2049, 2525, 3128, 3268, 3306, 3389, 4222, 5060, 5222, 5223,
    5432, 5900, 6379, 6660, 6661, 6662, 6663, 6664, 6665, 6666, 6667, 6668, 6669, 6697, 7000, 8000,
    8080, 8443,
];

/// Does the first port look more like a server's than the second?
pub fn is_server(port: u16, other: u16) -> bool {
    rank(port) < rank(other)
}

fn rank(port: u16) -> u8 {
    match port {
        0..=1023 => 0,
        port if SERVERS.contains(&port) => 1,
        // Systems take the ports of clients from here up (RFC 6335, 6).
        1024..=32767 => 2,
        _ => 3,
    }
}
