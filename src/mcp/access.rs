//! Who may call: `Host`, `Origin` and the bearer token, and what a browser is told about it (CORS).

use std::net::IpAddr;

use crate::config::{Access, Names};
use crate::foreign::Foreign;
use crate::http::{Field, Refusal, Reply, RequestHead};
use crate::metrics::METRICS;
use crate::principal::{Presented, Principal};

/// Headers a browser may send beyond the simple ones.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, Mcp-Method, Mcp-Name";
/// Headers a browser's script may read.
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate, Retry-After";

/// Refuses a `Host` that is not ours: a page whose name was rebound to our address (S12).
pub fn check_host(names: &Names, head: &RequestHead) -> Result<(), Refusal> {
    let Some(host) = head.host() else { return Ok(()) };
    let name = name_of(host);
    if names.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) || own_name(names, name) {
        return Ok(());
    }
    METRICS.forbidden_total.add_one();
    let name = name.to_ascii_lowercase();
    let shown = Foreign(name.as_bytes());
    Err(Refusal::with(
        403,
        format!(
            "Host `{shown}` is not allowed here; if it is a name of this server, start burdock with --allow-host {shown}"
        ),
    ))
}

/// A loopback bind answers to loopback names, another to any address (only names can be rebound).
fn own_name(names: &Names, name: &str) -> bool {
    // What nearly every local client says: known without being read as an address.
    if names.loopback && matches!(name, "127.0.0.1" | "localhost") {
        return true;
    }
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let address: Option<IpAddr> = bracketed.unwrap_or(name).parse().ok();
    match address {
        Some(address) => address.is_loopback() || !names.loopback,
        None => names.loopback && is_localhost(name),
    }
}

/// `localhost`, and what is below it (RFC 6761, section 6.3).
fn is_localhost(name: &str) -> bool {
    const LOCALHOST: &str = "localhost";
    let split = name.len().checked_sub(LOCALHOST.len()).and_then(|at| name.split_at_checked(at));
    split.is_some_and(|(above, last)| {
        last.eq_ignore_ascii_case(LOCALHOST) && (above.is_empty() || above.ends_with('.'))
    })
}

/// `host` without its port.
fn name_of(host: &str) -> &str {
    match memchr::memrchr(b':', host.as_bytes()) {
        Some(colon) if !host.as_bytes()[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

/// The `Origin` of a request, when it has one and it is allowed (L2, L3). None is no error: only browsers send it.
pub fn check_origin<'a>(access: &Access, head: &'a RequestHead) -> Result<Option<&'a str>, Refusal> {
    let Some(origin) = head.only(Field::Origin)? else { return Ok(None) };
    if origin_allowed(access, &origin.to_ascii_lowercase()) {
        return Ok(Some(origin));
    }
    METRICS.forbidden_total.add_one();
    let shown = Foreign(origin.as_bytes());
    Err(Refusal::with(
        403,
        format!(
            "Origin `{shown}` is not allowed here; to let its pages in, start burdock with --allow-origin {shown}"
        ),
    ))
}

fn origin_allowed(access: &Access, origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let name = name_of(authority);
    let by_flag = |allowed: &String| match allowed.split_once("://") {
        // Without a port in the flag any port will do (design 6).
        Some((allowed_scheme, allowed)) => {
            allowed_scheme == scheme && (allowed == authority || allowed == name)
        }
        None => false,
    };
    let of_public_url = |url: &String| {
        url.to_ascii_lowercase().split_once("://").is_some_and(|(public_scheme, rest)| {
            public_scheme == scheme && name_of(rest.split('/').next().unwrap_or_default()) == name
        })
    };
    access.allow_origins.iter().any(by_flag)
        || access.public_url.as_ref().is_some_and(of_public_url)
        || matches!(scheme, "http" | "https") && access.names.loopback && own_name(&access.names, name)
}

/// The other end of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is a `--trusted-proxy`: only then what it says of others counts.
    pub trusted: bool,
}

impl Peer {
    /// The peer at `address`.
    pub fn new(address: IpAddr, access: &Access) -> Peer {
        let address = address.to_canonical();
        Peer { address, trusted: is_trusted(access, address) }
    }

    /// Where the client is: from a trusted proxy the last address of `X-Forwarded-For` that is no such proxy.
    pub fn client(self, access: &Access, head: &RequestHead) -> IpAddr {
        if !self.trusted {
            return self.address;
        }
        let entries = head.values(Field::ForwardedFor).flat_map(|list| list.split(',')).map(str::trim);
        // From the right: what stands left of an entry that is no address may be anybody's invention.
        let entries: Vec<&str> = entries.collect();
        let mut addresses = entries.into_iter().rev().map_while(|entry| entry.parse::<IpAddr>().ok());
        addresses.find(|address| !is_trusted(access, *address)).unwrap_or(self.address)
    }
}

fn is_trusted(access: &Access, address: IpAddr) -> bool {
    access.trusted_proxies.iter().any(|proxies| proxies.contains(address))
}

/// Who calls. With a token file only a token says it; without one a trusted proxy may, by `X-Forwarded-User`;
/// `None` when nobody does. The refusal is 401 with a challenge (S1, S7). `known` is the connection's.
pub fn check_principal(
    access: &Access,
    peer: Peer,
    known: &mut Presented,
    head: &RequestHead,
) -> Result<Option<Principal>, Reply> {
    let Some(tokens) = &access.tokens else {
        let forwarded = if peer.trusted { head.only(Field::ForwardedUser)? } else { None };
        // A name that cannot be one must not pass for nobody.
        return forwarded
            .map(Principal::new)
            .transpose()
            .map_err(|error| Reply::text(400, format!("X-Forwarded-User: {error}")));
    };
    let presented = match head.only(Field::Authorization) {
        Ok(header) => header.and_then(bearer),
        Err(refusal) => return Err(refusal.into()),
    };
    if let Some(principal) = presented.and_then(|token| tokens.principal_of(token, known)) {
        return Ok(Some(principal));
    }
    METRICS.unauthorized_total.add_one();
    Err(challenge(presented.is_some()))
}

fn challenge(presented: bool) -> Reply {
    let (challenge, text) = match presented {
        true => (
            r#"Bearer realm="burdock", error="invalid_token""#,
            "this token is not known here: ask the operator for one (burdock token NAME)",
        ),
        false => (
            r#"Bearer realm="burdock""#,
            "a token is needed: send `Authorization: Bearer TOKEN`; the operator makes one with `burdock token NAME`",
        ),
    };
    Reply::text(401, text).header("WWW-Authenticate", challenge)
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case("Bearer ").then(|| token.trim_ascii())
}

/// The answer to OPTIONS: what is allowed, in CORS' words when a browser asks.
pub fn preflight(allow: &'static str) -> Reply {
    Reply::empty(204)
        .header("Allow", allow)
        .header("Access-Control-Allow-Methods", allow)
        .header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
        .header("Access-Control-Max-Age", "86400")
}

/// Lets the pages of an allowed origin read the reply.
pub fn expose_to(reply: Reply, origin: Option<&str>) -> Reply {
    let Some(origin) = origin else { return reply };
    reply
        .header("Access-Control-Allow-Origin", origin.to_owned())
        .header("Access-Control-Expose-Headers", EXPOSED_HEADERS)
        .header("Vary", "Origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(loopback: bool) -> Access {
        Access {
            names: Names { loopback, allowed: vec!["mcp.example.com".into()] },
            allow_origins: vec!["https://app.example.com".into(), "https://one.example.com:8443".into()],
            trusted_proxies: Vec::new(),
            tokens: None,
            public_url: Some("https://mcp.example.com/mcp".into()),
        }
    }

    #[test]
    fn hosts() {
        for (name, on_loopback, on_public) in [
            ("localhost", true, false),
            ("127.0.0.1", true, true),
            ("[::1]", true, true),
            ("10.0.0.7", false, true),
            ("evil.example.com", false, false),
            ("localhost.evil.com", false, false),
            ("LocalHost", true, false),
            ("a.LOCALHOST", true, false),
            ("evillocalhost", false, false),
            ("\u{e4}ocalhost", false, false),
        ] {
            assert_eq!(own_name(&access(true).names, name), on_loopback, "{name} on loopback");
            assert_eq!(own_name(&access(false).names, name), on_public, "{name} on a public bind");
        }
        assert_eq!(name_of("[::1]:80"), "[::1]");
        assert_eq!(name_of("[::1]"), "[::1]");
        assert_eq!(name_of("a:1"), "a");
    }

    #[test]
    fn origins() {
        for (origin, allowed) in [
            ("http://localhost:3000", true),
            ("http://127.0.0.1", true),
            ("https://app.example.com", true),
            ("https://app.example.com:9000", true),
            ("http://app.example.com", false),
            ("https://one.example.com:8443", true),
            ("https://one.example.com", false),
            ("https://mcp.example.com", true),
            ("https://evil.example.com", false),
            ("http://localhost.evil.com", false),
            ("null", false),
            ("chrome-extension://localhost", false),
            ("", false),
        ] {
            assert_eq!(origin_allowed(&access(true), origin), allowed, "{origin}");
        }
        assert!(!origin_allowed(&access(false), "http://localhost:3000"));
    }
}
