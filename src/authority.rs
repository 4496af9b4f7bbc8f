//! `host[:port]`, and the beginning of a URL: what stands in `Host` and `Origin`, in flags and in URLs (RFC
//! 3986, section 3.2). Sans-io.
//!
//! A host is a name, an IPv4 address, or an IPv6 address in brackets. Characters of RFC 3986 that occur in no
//! name are left out: a host that looks like a path, a list or a user must reach nobody who trusts it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host, and a port if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as it was written, an IPv6 address with its brackets.
    pub host: &'a str,
    /// `None` when there is none, or none behind its colon (`localhost:` means `localhost`).
    pub port: Option<u16>,
}

/// The beginning of a URL, which is what browsers send as `Origin`: `scheme://host[:port]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// What stands before `://`, as it was written.
    pub scheme: &'a str,
    /// What stands behind it.
    pub authority: Authority<'a>,
}

/// What is wrong with a text that should be `host[:port]` or begin with an origin. `Display` goes on after
/// that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// There is no `scheme://` in front.
    NoScheme,
    /// There is nothing, or nothing before the port.
    NoHost,
    /// There is a user in front: `user@host`.
    User,
    /// An IPv6 address without brackets.
    NoBrackets,
    /// What stands in brackets is no IPv6 address.
    NotIpv6(String),
    /// A host with a character that occurs in no name.
    NoName(String),
    /// A port that is no number.
    NoPort(String),
    /// A port above 65535.
    LargePort(String),
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthorityError::NoScheme => f.write_str("has no scheme like http:// in front"),
            AuthorityError::NoHost => f.write_str("has no address before its port"),
            AuthorityError::User => f.write_str("has a user in front (user@host)"),
            AuthorityError::NoBrackets => {
                f.write_str("has no port, and an IPv6 address with one stands in brackets")
            }
            AuthorityError::NotIpv6(inside) => {
                write!(f, "has no IPv6 address in its brackets: {inside}")
            }
            AuthorityError::NoName(host) => write!(f, "begins with {host:?}, which is no address"),
            AuthorityError::NoPort(port) => write!(f, "has {port:?} where its port should be"),
            AuthorityError::LargePort(port) => write!(f, "has the port {port}, and the largest is 65535"),
        }
    }
}

impl std::error::Error for AuthorityError {}

impl<'a> Authority<'a> {
    /// Reads `host[:port]` and nothing else.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &'a str) -> Result<Authority<'a>, AuthorityError> {
        if text.contains('@') {
            return Err(AuthorityError::User);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(inside) => split_bracketed(text, inside)?,
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        if port.is_some_and(|port| port.contains(':')) && text.parse::<Ipv6Addr>().is_ok() {
            return Err(AuthorityError::NoBrackets);
        }
        if host.is_empty() {
            return Err(AuthorityError::NoHost);
        }
        if !host.starts_with('[') && !host.bytes().all(is_name_byte) {
            return Err(AuthorityError::NoName(host.to_owned()));
        }
        Ok(Authority { host, port: port.map_or(Ok(None), number)? })
    }

    /// The host as an address; `None` when it is a name.
    pub fn address(&self) -> Option<IpAddr> {
        address(self.host)
    }
}

impl fmt::Display for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl<'a> Origin<'a> {
    /// Splits a URL into its origin and what follows: a path, a query, a fragment, or nothing.
    ///
    /// # Errors
    /// The first thing that is wrong with the origin.
    pub fn split(url: &'a str) -> Result<(Origin<'a>, &'a str), AuthorityError> {
        let (scheme, rest) = url.split_once("://").ok_or(AuthorityError::NoScheme)?;
        if !is_scheme(scheme) {
            return Err(AuthorityError::NoScheme);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        Ok((Origin { scheme, authority: Authority::parse(authority)? }, rest))
    }

    /// The port, where there is none that of the scheme; `None` for schemes that are not HTTP's.
    pub fn port(&self) -> Option<u16> {
        let of_scheme = match self.scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        self.authority.port.or(of_scheme)
    }
}

/// The address that a host is; `None` when it is a name.
pub fn address(host: &str) -> Option<IpAddr> {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inside {
        Some(inside) => inside.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}

/// An address as a host.
pub fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Whether a host always means the machine itself: a loopback address, `localhost`, or a name below it (RFC
/// 6761, section 6.3).
pub fn is_own_host(host: &str) -> bool {
    address(host).map_or_else(|| is_localhost(host), |address| address.to_canonical().is_loopback())
}

fn is_localhost(name: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    let split = name.len().checked_sub(LOCALHOST.len()).and_then(|at| name.split_at_checked(at));
    split.is_some_and(|(above, last)| {
        last.eq_ignore_ascii_case(LOCALHOST) && (above.is_empty() || above.ends_with('.'))
    })
}

/// What is in brackets with the brackets, and the port behind them; `inside` is `text` without the first
/// bracket.
fn split_bracketed<'a>(text: &'a str, inside: &'a str) -> Result<(&'a str, Option<&'a str>), AuthorityError> {
    let wrong = |inside: &str| AuthorityError::NotIpv6(inside.to_owned());
    let (address, behind) = inside.split_once(']').ok_or_else(|| wrong(inside))?;
    if address.parse::<Ipv6Addr>().is_err() {
        return Err(wrong(address));
    }
    let host = &text[..text.len() - behind.len()];
    match behind.strip_prefix(':') {
        None if behind.is_empty() => Ok((host, None)),
        None => Err(AuthorityError::NoPort(behind.to_owned())),
        port => Ok((host, port)),
    }
}

/// A port in digits; none when there are no digits.
fn number(text: &str) -> Result<Option<u16>, AuthorityError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityError::NoPort(text.to_owned()));
    }
    match text.parse() {
        Ok(port) => Ok(Some(port)),
        Err(_) if text.is_empty() => Ok(None),
        Err(_) => Err(AuthorityError::LargePort(text.to_owned())),
    }
}

/// Whether a byte occurs in names: those of DNS, and the `_` and `~` of machines that have no DNS.
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether it can stand before `://` (RFC 3986, section 3.1). Extensions of editors have schemes of their
/// own.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in [
            ("n1", "n1", None),
            ("n1.example.org:80", "n1.example.org", Some(80)),
            ("127.0.0.1:8080", "127.0.0.1", Some(8080)),
            ("[::1]", "[::1]", None),
            ("[::ffff:1.2.3.4]:65535", "[::ffff:1.2.3.4]", Some(65535)),
            ("a_b~c:0", "a_b~c", Some(0)),
            // RFC 3986, section 3.2.3: a port may be empty.
            ("localhost:", "localhost", None),
            ("[::1]:", "[::1]", None),
            ("h:00080", "h", Some(80)),
        ] {
            assert_eq!(Authority::parse(text), Ok(Authority { host, port }), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        use AuthorityError::{LargePort, NoBrackets, NoHost, NoName, NoPort, NotIpv6, User};
        let text = str::to_owned;
        for (wrong, error) in [
            ("", NoHost),
            (":80", NoHost),
            ("u@h", User),
            ("localhost:80@evil.example", User),
            ("::1", NoBrackets),
            ("fd00::1:80", NoBrackets),
            ("[]", NotIpv6(text(""))),
            ("[::1", NotIpv6(text("::1"))),
            ("[1.2.3.4]:80", NotIpv6(text("1.2.3.4"))),
            ("[::1%eth0]", NotIpv6(text("::1%eth0"))),
            ("[::1]x", NoPort(text("x"))),
            ("[::1]:x", NoPort(text("x"))),
            ("h:x", NoPort(text("x"))),
            ("h:+1", NoPort(text("+1"))),
            ("h:-1", NoPort(text("-1"))),
            ("h:1:2", NoPort(text("1:2"))),
            ("h:65536", LargePort(text("65536"))),
            ("h:99999999999999999999", LargePort(text("99999999999999999999"))),
            ("a/b", NoName(text("a/b"))),
            ("a?b:1", NoName(text("a?b"))),
            ("a b", NoName(text("a b"))),
            ("a,b", NoName(text("a,b"))),
            ("a]", NoName(text("a]"))),
            ("caf\u{e9}", NoName(text("caf\u{e9}"))),
        ] {
            assert_eq!(Authority::parse(wrong), Err(error), "{wrong}");
        }
    }

    #[test]
    fn the_beginning_of_a_url() {
        for (url, scheme, host, port, rest) in [
            ("http://h", "http", "h", Some(80), ""),
            ("https://h/mcp?x", "https", "h", Some(443), "/mcp?x"),
            ("https://[::1]:8443?x", "https", "[::1]", Some(8443), "?x"),
            ("http://h:#x", "http", "h", Some(80), "#x"),
            ("vscode-webview://abc", "vscode-webview", "abc", None, ""),
        ] {
            let (origin, behind) = Origin::split(url).unwrap();
            assert_eq!((origin.scheme, origin.authority.host, behind), (scheme, host, rest), "{url}");
            assert_eq!(origin.port(), port, "{url}");
        }
        for url in ["", "h", "null", "://h", "1x://h", "a b://h", "http:/h"] {
            assert_eq!(Origin::split(url), Err(AuthorityError::NoScheme), "{url}");
        }
        assert_eq!(Origin::split("http:///x"), Err(AuthorityError::NoHost));
        assert_eq!(Origin::split("http://u:p@h:1"), Err(AuthorityError::User));
    }

    #[test]
    fn hosts_of_this_machine() {
        for (host, own) in [
            ("localhost", true),
            ("LocalHost", true),
            ("a.LOCALHOST", true),
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("10.0.0.7", false),
            ("[fd00::1]", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("\u{e4}ocalhost", false),
            ("", false),
        ] {
            assert_eq!(is_own_host(host), own, "{host}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            host in "[A-Za-z0-9_~.-]{1,20}|\\[fd00::[0-9a-f]{1,4}\\]",
            port in prop::option::of(any::<u16>()),
        ) {
            let written = Authority { host: &host, port }.to_string();
            prop_assert_eq!(Authority::parse(&written), Ok(Authority { host: &host, port }));
        }

        #[test]
        fn addresses_are_hosts(address in any::<IpAddr>(), port in any::<u16>()) {
            let text = std::net::SocketAddr::new(address, port).to_string();
            let host = host_of(address);
            let authority = Authority::parse(&text).unwrap();
            prop_assert_eq!((authority.host, authority.port), (host.as_str(), Some(port)));
            prop_assert_eq!(authority.address(), Some(address));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-z0-9:/@?#.\\[\\]\u{e4} -]{0,24}|\\PC*") {
            if let Ok(authority) = Authority::parse(&text) {
                prop_assert!(text.starts_with(authority.host) && !authority.host.contains('@'));
            }
            if let Ok((_, rest)) = Origin::split(&text) {
                prop_assert!(text.ends_with(rest));
            }
        }
    }
}
