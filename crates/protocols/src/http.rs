//! HTTP/1 (RFC 9112): enough to tell it apart, and to see `CONNECT`.

use crate::lines::word;
use crate::text;

/// Facts of the first request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpFacts {
    /// The method; empty when no request was seen.
    pub method: String,
    /// The target, at most 200 bytes: a path, or what `CONNECT` asks for.
    pub target: String,
    /// The `Host`, where it came with the first bytes.
    pub host: Option<String>,
    /// It says what it accepts (`Accept`), as browsers always do and small programs often do not.
    pub accept: bool,
}

/// What the first line of one side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLine<'a> {
    /// Nothing like HTTP.
    Other,
    /// A request.
    Request {
        /// The method.
        method: &'a [u8],
        /// What is asked for.
        target: &'a [u8],
    },
    /// A response with its status.
    Response(u16),
}

/// Methods of HTTP and WebDAV (RFC 9110, RFC 4918, RFC 3253) and of UPnP.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"CONNECT",
    b"OPTIONS",
    b"TRACE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"NOTIFY",
    b"M-SEARCH",
    b"PURGE",
    b"BPROPFIND",
    b"BITS_POST",
    b"CCM_POST",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
];

/// Looks at the first line that one side sent; its end need not have come yet.
pub fn first_line(bytes: &[u8]) -> FirstLine<'_> {
    let line = &bytes[..bytes.len().min(8192)];
    let (line, ended) = match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => (line[..end].trim_ascii_end(), true),
        None => (line, false),
    };
    if let Some(rest) = line
        .strip_prefix(b"HTTP/1.")
        .or_else(|| line.strip_prefix(b"ICY"))
    {
        let status = word(
            rest.strip_prefix(b"0")
                .or(rest.strip_prefix(b"1"))
                .unwrap_or(rest),
        )
        .0;
        return match status {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => FirstLine::Response(
                u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'),
            ),
            _ => FirstLine::Response(0),
        };
    }
    let (method, rest) = word(line);
    if line.first() == Some(&b' ')
        || method.is_empty()
        || method.len() > 20
        || !method
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-'))
    {
        return FirstLine::Other;
    }
    let (target, rest) = word(rest);
    let request = FirstLine::Request { method, target };
    let known = METHODS.contains(&method);
    // Spaces in a target are an error that many servers pardon.
    let says_http = rest.windows(6).any(|part| part == b" HTTP/");
    let like_target = match target {
        [b'/' | b'*', ..] => true,
        target if method == b"CONNECT" => target.contains(&b':'),
        target => target.windows(3).any(|part| part == b"://"),
    };
    if says_http && (known || like_target) {
        return request;
    }
    // HTTP/0.9 and a line that is cut off have no version yet.
    let simple = ended && method == b"GET" && target.first() == Some(&b'/') && rest.is_empty();
    let cut = !ended && known && like_target && method != b"CONNECT";
    if simple || cut {
        request
    } else {
        FirstLine::Other
    }
}

/// Facts of a request from its first bytes.
pub fn facts(bytes: &[u8]) -> HttpFacts {
    let FirstLine::Request { method, target } = first_line(bytes) else {
        return HttpFacts::default();
    };
    let head = &bytes[..bytes.len().min(4096)];
    let lines = || {
        head.split(|byte| *byte == b'\n')
            .skip(1)
            .take_while(|line| !line.trim_ascii().is_empty())
    };
    let host = lines().find_map(|line| {
        let (name, value) = line.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"host:").then_some(value)
    });
    let accept = lines().any(|line| {
        line.get(..7)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"accept:"))
    });
    HttpFacts {
        method: text(method, 20),
        target: text(target, 200),
        host: host.map(|host| text(host.trim_ascii(), 255)),
        accept,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_and_responses() {
        let request = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n";
        assert_eq!(
            facts(request),
            HttpFacts {
                method: "GET".into(),
                target: "/x".into(),
                host: Some("a.example".into()),
                accept: false,
            }
        );
        assert!(facts(b"GET / HTTP/1.1\r\nHost: a\r\naccept: */*\r\n\r\n").accept);
        assert_eq!(
            first_line(b"HTTP/1.1 404 Not\r\n"),
            FirstLine::Response(404)
        );
        assert!(matches!(
            first_line(b"CONNECT mx.example:25 HTTP/1.0\r\n\r\n"),
            FirstLine::Request {
                method: b"CONNECT",
                target: b"mx.example:25"
            }
        ));
    }

    #[test]
    fn what_is_not_http() {
        for other in [
            &b"NICK a\r\n"[..],
            b"NOTIFY sip:a@b SIP/2.0\r\n",
            b"CONNECT {\"verbose\":false}\r\n",
            b"PRIVMSG #a :GET / HTTP/1.1\r\n",
            b"EHLO a\r\n",
            b"",
            b" ",
        ] {
            assert_eq!(first_line(other), FirstLine::Other, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = facts(&bytes);
        }

        #[test]
        fn never_panics_on_text(text in "(GET|HTTP/1.|CONNECT)?[ /:*a-zA-Z0-9.\r\n]{0,60}") {
            let _ = facts(text.as_bytes());
        }
    }
}
