//! The application protocols that are told apart.

macro_rules! apps {
    ($($(#[$about:meta])* $name:ident = $word:literal,)*) => {
        /// An application protocol.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum App {
            $($(#[$about])* $name,)*
            /// None of them, or too little was seen.
            #[default]
            Unknown,
        }

        impl App {
            /// All of them, `Unknown` last.
            pub const ALL: &'static [Self] = &[$(Self::$name,)* Self::Unknown];

            /// The word for it in `replay --json`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

apps! {
    /// Internet Relay Chat (RFC 1459, RFC 2812, IRCv3).
    Irc = "irc",
    /// Mail: SMTP, ESMTP (RFC 5321) and LMTP (RFC 2033).
    Smtp = "smtp",
    /// DNS over UDP or TCP (RFC 1035), multicast DNS and LLMNR included.
    Dns = "dns",
    /// TLS (RFC 8446 and before).
    Tls = "tls",
    /// HTTP/1 (RFC 9112) and the first bytes of HTTP/2 (RFC 9113).
    Http = "http",
    /// File transfer, the control connection (RFC 959).
    Ftp = "ftp",
    /// POP3 (RFC 1939).
    Pop3 = "pop3",
    /// IMAP (RFC 9051).
    Imap = "imap",
    /// Network news (RFC 3977).
    Nntp = "nntp",
    /// SIP (RFC 3261).
    Sip = "sip",
    /// RTSP (RFC 2326).
    Rtsp = "rtsp",
    /// XMPP (RFC 6120).
    Xmpp = "xmpp",
    /// Redis (RESP).
    Redis = "redis",
    /// memcached, text protocol.
    Memcached = "memcached",
    /// NATS, text protocol.
    Nats = "nats",
    /// SSH (RFC 4253).
    Ssh = "ssh",
    /// BitTorrent, between peers.
    BitTorrent = "bittorrent",
    /// Telnet (RFC 854).
    Telnet = "telnet",
    /// SOCKS 4 and 5 (RFC 1928).
    Socks = "socks",
    /// MySQL and MariaDB.
    Mysql = "mysql",
    /// PostgreSQL.
    Postgres = "postgres",
    /// SMB 1 to 3.
    Smb = "smb",
    /// Remote desktop.
    Rdp = "rdp",
    /// Remote frame buffer (RFC 6143).
    Vnc = "vnc",
    /// MQTT.
    Mqtt = "mqtt",
    /// BGP (RFC 4271).
    Bgp = "bgp",
    /// LDAP (RFC 4511).
    Ldap = "ldap",
    /// rsync daemon.
    Rsync = "rsync",
    /// Gnutella.
    Gnutella = "gnutella",
    /// QUIC (RFC 9000).
    Quic = "quic",
    /// DHCP (RFC 2131).
    Dhcp = "dhcp",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_different() {
        let mut words: Vec<_> = App::ALL.iter().map(|app| app.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), App::ALL.len());
    }
}
