//! What was learned of a connection beside the name of its protocol.

use crate::dns::Message;
use crate::http::HttpFacts;
use crate::irc::IrcFacts;
use crate::smtp::SmtpFacts;
use crate::tls::Hello;

/// Who sent some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that is taken for the client: the one that connected.
    Client,
    /// The other one.
    Server,
}

impl Side {
    /// The side across.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// What a connection goes through on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// A proxy was asked with HTTP `CONNECT` (RFC 9110, 9.3.6).
    HttpConnect,
    /// A SOCKS 4 or 4a proxy.
    Socks4,
    /// A SOCKS 5 proxy (RFC 1928).
    Socks5,
    /// Frames of WebSocket (RFC 6455).
    WebSocket,
}

/// Facts about a connection. Every text and list in them is bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Facts {
    /// None.
    #[default]
    None,
    /// Of an IRC connection.
    Irc(Box<IrcFacts>),
    /// Of a mail connection.
    Smtp(Box<SmtpFacts>),
    /// Of the first DNS message.
    Dns(Box<Message>),
    /// Of a TLS handshake's first message.
    Tls(Box<Hello>),
    /// Of the first HTTP request.
    Http(Box<HttpFacts>),
}
