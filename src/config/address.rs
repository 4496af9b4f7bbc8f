//! Addresses in flags: where to listen, and the networks of proxies.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::authority::{Authority, AuthorityError};

/// What `--listen` may be, for messages.
const SOCKET_ALLOWED: &str =
    "must be an address and a port like 127.0.0.1:8080, localhost:8080, 0.0.0.0:8080 or [::1]:8080";

/// Reads an address and a port; `localhost` stands for 127.0.0.1, other names are not looked up.
///
/// # Errors
/// What is wrong with `text` and what is allowed, in words for the user.
pub fn socket(text: &str) -> Result<SocketAddr, String> {
    let wrong = |problem: String| format!("{text:?} {problem}; {SOCKET_ALLOWED}");
    let authority = match Authority::parse(text) {
        Err(AuthorityError::NoHost) if text.is_empty() => return Err(wrong("has no port".to_owned())),
        Err(error) => return Err(wrong(error.to_string())),
        Ok(authority) => authority,
    };
    match (host_address(&authority), authority.port) {
        (Some(address), Some(port)) => Ok(SocketAddr::new(address, port)),
        (_, None) => Err(wrong(without_port(text))),
        (None, Some(_)) => Err(wrong(AuthorityError::NoName(authority.host.to_owned()).to_string())),
    }
}

fn host_address(authority: &Authority<'_>) -> Option<IpAddr> {
    let is_localhost = authority.host.eq_ignore_ascii_case("localhost");
    authority.address().or(is_localhost.then_some(Ipv4Addr::LOCALHOST.into()))
}

fn without_port(text: &str) -> String {
    match text.parse::<u64>() {
        Ok(_) => format!("has no address: with one it is 127.0.0.1:{text}"),
        Err(_) if text.ends_with(':') => AuthorityError::NoPort(String::new()).to_string(),
        Err(_) => "has no port".to_owned(),
    }
}

/// Whether only this machine reaches `address`.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// A TCP address; loopback unless forced with `--insecure-public`.
    Tcp(SocketAddr),
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl FromStr for AdminListen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<AdminListen, Self::Err> {
        const ALLOWED: &str =
            "an address and port like 127.0.0.1:4000, or a unix socket like unix:/run/burdock.sock";
        match text.strip_prefix("unix:") {
            Some("") => Err(ALLOWED),
            Some(path) => Ok(AdminListen::Unix(PathBuf::from(path))),
            None => text.parse().map(AdminListen::Tcp).map_err(|_| ALLOWED),
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminListen::Tcp(address) => write!(f, "http://{address}"),
            AdminListen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// Whether `address` lies in the network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let differing = u32::from(net) ^ u32::from(address);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let differing = u128::from(net) ^ u128::from(address);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for IpNet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<IpNet, Self::Err> {
        const ALLOWED: &str = "an address like 10.0.0.5 or a network like 10.0.0.0/8 or fd00::/8";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ALLOWED)?;
        let bits = if address.is_ipv4() { u32::BITS } else { u128::BITS } as u8;
        let prefix = match prefix {
            None => bits,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or(ALLOWED)?,
        };
        Ok(IpNet { address, prefix })
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen() {
        for text in ["127.0.0.1:8080", "0.0.0.0:0", "[::1]:80", "[::]:65535", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(socket(text), Ok(text.parse().unwrap()), "{text}");
        }
        assert_eq!(socket("localhost:80"), Ok(([127, 0, 0, 1], 80).into()));
        assert_eq!(socket("LocalHost:0"), Ok(([127, 0, 0, 1], 0).into()));
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told() {
        for (text, problem) in [
            ("8080", "\"8080\" has no address: with one it is 127.0.0.1:8080; must be"),
            ("1.2.3.4", "\"1.2.3.4\" has no port; must be"),
            ("localhost", "has no port;"),
            ("[::1]", "has no port;"),
            ("::1", "has no port, and an IPv6 address with one stands in brackets"),
            ("", "\"\" has no port;"),
            (":80", "has no address before its port"),
            ("1.2.3.4:", "has \"\" where its port should be"),
            ("1.2.3.4:http", "has \"http\" where its port should be"),
            ("1.2.3.4:+80", "has \"+80\" where its port should be"),
            ("1.2.3.4:65536", "has the port 65536, and the largest is 65535"),
            ("localhost:99999999999999999999", "has the port 99999999999999999999,"),
            ("mcp.example.com:80", "begins with \"mcp.example.com\", which is no address"),
            ("1.2.3:80", "begins with \"1.2.3\""),
            ("[1.2.3.4]:80", "has no IPv6 address in its brackets: 1.2.3.4"),
        ] {
            let error = socket(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_holds_its_addresses_only() {
        for (net, address, inside) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.4", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fe80::1", false),
            ("::/0", "2001:db8::1", true),
            ("192.168.1.128/25", "192.168.1.127", false),
            ("192.168.1.128/25", "192.168.1.200", true),
        ] {
            let net: IpNet = net.parse().unwrap();
            assert_eq!(net.contains(address.parse().unwrap()), inside, "{net} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "proxy.example",
            "10.0.0/8",
            "1.2.3.4:80",
        ] {
            assert!(text.parse::<IpNet>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_admin_listener_is_tcp_or_unix() {
        assert_eq!("127.0.0.1:4000".parse(), Ok(AdminListen::Tcp(([127, 0, 0, 1], 4000).into())));
        assert_eq!("unix:/run/b.sock".parse(), Ok(AdminListen::Unix(PathBuf::from("/run/b.sock"))));
        assert!("unix:".parse::<AdminListen>().is_err());
        assert!("4000".parse::<AdminListen>().is_err());
        assert!("localhost:4000".parse::<AdminListen>().is_err());
    }
}
