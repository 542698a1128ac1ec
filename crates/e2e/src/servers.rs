//! Servers in a theatre, for mail, IRC, the web and names. The test's own process serves;
//! the gate sees the clients only.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use stage::{DnsServer, HttpServer, IrcServer, SmtpOptions, SmtpServer};

use crate::theatre::Theatre;
use crate::tools::address;

impl Theatre {
    /// A mail server at these addresses.
    ///
    /// # Panics
    /// When one of them cannot be listened on.
    pub fn smtp_at(&self, addresses: &[&str]) -> SmtpServer {
        self.smtp_with(addresses, SmtpOptions::default())
    }

    /// One that behaves so.
    ///
    /// # Panics
    /// When one of the addresses cannot be listened on.
    pub fn smtp_with(&self, addresses: &[&str], options: SmtpOptions) -> SmtpServer {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|text| address(text)).collect();
        let listeners = self.sandbox().listen(&addresses).expect("listen");
        SmtpServer::start(listeners, options).expect("a mail server")
    }

    /// A mail server where most scenes look for it: port 25 of both loopback addresses.
    pub fn smtp(&self) -> SmtpServer {
        self.smtp_at(&["127.0.0.1:25", "[::1]:25"])
    }

    /// An IRC server.
    ///
    /// # Panics
    /// When the address cannot be listened on.
    pub fn irc(&self, at: &str) -> IrcServer {
        IrcServer::start(self.sandbox().listen(&[address(at)]).expect("listen"))
            .expect("an IRC server")
    }

    /// Connects as one of the crew: the gate does not see it.
    ///
    /// # Errors
    /// When nobody listens there.
    ///
    /// # Panics
    /// When the sandbox is gone.
    pub fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.sandbox()
            .run_inside(|| TcpStream::connect(to))
            .expect("the sandbox's namespaces")
    }

    /// A web server that bots poll.
    ///
    /// # Panics
    /// When the address cannot be listened on.
    pub fn web(&self, at: &str) -> HttpServer {
        HttpServer::start(self.sandbox().listen(&[address(at)]).expect("listen"))
            .expect("a web server")
    }

    /// A name server, by which every host has the address `host`.
    ///
    /// # Panics
    /// When the address is in use.
    pub fn names(&self, at: &str, host: Ipv4Addr) -> DnsServer {
        let at = address(at);
        let socket = self
            .sandbox()
            .run_inside(|| UdpSocket::bind(at))
            .expect("the sandbox's namespaces")
            .expect("a socket for names");
        DnsServer::start(socket, host).expect("a name server")
    }
}
