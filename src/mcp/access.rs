//! Who may call: `Host`, `Origin` and the bearer token, and what a browser is told about it (CORS).

use std::net::IpAddr;

use crate::authority::{self, Authority, Origin};
use crate::config::{Access, Names};
use crate::foreign::Foreign;
use crate::http::{Field, Refusal, Reply, RequestHead};
use crate::metrics::METRICS;
use crate::principal::{Presented, Principal};

/// Headers a browser may send beyond the simple ones.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, MCP-Protocol-Version, Last-Event-ID, Mcp-Method, Mcp-Name";
/// Headers a browser's script may read.
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate, Retry-After";

/// Refuses a `Host` that is not ours: it comes from a web page whose name was rebound to our address (S12).
pub fn check_host(names: &Names, head: &RequestHead) -> Result<(), Refusal> {
    let Some(host) = head.host() else { return Ok(()) };
    // A host that is not well formed was refused with its head.
    let host = Authority::parse(host).map_or(host, |authority| authority.host);
    if names.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) || is_own(names, host) {
        return Ok(());
    }
    METRICS.forbidden_total.add_one();
    let host = host.to_ascii_lowercase();
    let shown = Foreign(host.as_bytes());
    Err(Refusal::with(
        403,
        format!(
            "Host `{shown}` is not allowed here; if it is a name of this server, start burdock with --allow-host {shown}"
        ),
    ))
}

/// A loopback bind answers to the machine's own names and addresses, any other bind to every address: only
/// names can be rebound.
fn is_own(names: &Names, host: &str) -> bool {
    if names.loopback {
        // The hosts that nearly every local client sends need no reading.
        return matches!(host, "127.0.0.1" | "localhost") || authority::is_own_host(host);
    }
    authority::address(host).is_some()
}

/// The `Origin` of a request, if it has one that is allowed (L2, L3). To have none is no error: only browsers
/// send it.
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
    let Some(origin) = alone(origin) else { return false };
    // A flag without a port allows any port.
    let by_flag = |allowed: &String| {
        alone(allowed).is_some_and(|allowed| {
            same_host(&allowed, &origin)
                && (allowed.authority.port.is_none() || allowed.port() == origin.port())
        })
    };
    let of_public_url = |url: &String| {
        let url = url.to_ascii_lowercase();
        Origin::split(&url)
            .is_ok_and(|(public, _)| same_host(&public, &origin) && public.port() == origin.port())
    };
    access.allow_origins.iter().any(by_flag)
        || access.public_url.as_ref().is_some_and(of_public_url)
        || matches!(origin.scheme, "http" | "https")
            && access.names.loopback
            && is_own(&access.names, origin.authority.host)
}

/// Reads an origin with nothing behind it. A text with a user, as `http://localhost:80@evil.example`, is no
/// origin.
fn alone(text: &str) -> Option<Origin<'_>> {
    Origin::split(text).ok().filter(|(_, rest)| rest.is_empty()).map(|(origin, _)| origin)
}

fn same_host(one: &Origin<'_>, other: &Origin<'_>) -> bool {
    one.scheme == other.scheme && one.authority.host == other.authority.host
}

/// The other end of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether it is a `--trusted-proxy`: only its forwarded headers count.
    pub trusted: bool,
}

impl Peer {
    /// The peer at `address`.
    pub fn new(address: IpAddr, access: &Access) -> Peer {
        let address = address.to_canonical();
        Peer { address, trusted: is_trusted(access, address) }
    }

    /// The client's address. Behind a trusted proxy it is the last one in `X-Forwarded-For` that is no
    /// trusted proxy.
    pub fn client(self, access: &Access, head: &RequestHead) -> IpAddr {
        if !self.trusted {
            return self.address;
        }
        let entries = head.values(Field::ForwardedFor).flat_map(|list| list.split(',')).map(str::trim);
        // Read from the right, up to an entry that is no address: what stands left of it may be invented.
        let entries: Vec<&str> = entries.collect();
        let mut addresses = entries.into_iter().rev().map_while(|entry| entry.parse::<IpAddr>().ok());
        addresses.find(|address| !is_trusted(access, *address)).unwrap_or(self.address)
    }
}

fn is_trusted(access: &Access, address: IpAddr) -> bool {
    access.trusted_proxies.iter().any(|proxies| proxies.contains(address))
}

/// Who calls: with a token file the owner of the token, without one the user that a trusted proxy names in
/// `X-Forwarded-User`, or nobody. A missing or wrong token is refused with 401 and a challenge (S1, S7: every
/// request is verified). `known` belongs to the connection.
pub fn check_principal(
    access: &Access,
    peer: Peer,
    known: &mut Presented,
    head: &RequestHead,
) -> Result<Option<Principal>, Reply> {
    let Some(tokens) = &access.tokens else {
        let forwarded = if peer.trusted { head.only(Field::ForwardedUser)? } else { None };
        // A name that is not well formed is refused: it must not count as no name.
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

/// The answer to OPTIONS: the allowed methods, and for browsers what CORS wants to know.
pub fn preflight(allow: &'static str) -> Reply {
    Reply::empty(204)
        .header("Allow", allow)
        .header("Access-Control-Allow-Methods", allow)
        .header("Access-Control-Allow-Headers", ALLOWED_HEADERS)
        .header("Access-Control-Max-Age", "86400")
}

/// Adds the headers by which pages of an allowed origin may read the reply.
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
            allow_origins: vec![
                "https://app.example.com".into(),
                "https://one.example.com:8443".into(),
                "https://two.example.com:443".into(),
            ],
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
            assert_eq!(is_own(&access(true).names, name), on_loopback, "{name} on loopback");
            assert_eq!(is_own(&access(false).names, name), on_public, "{name} on a public bind");
        }
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
            ("https://mcp.example.com:443", true),
            ("https://mcp.example.com:9000", false),
            ("https://evil.example.com", false),
            ("http://localhost.evil.com", false),
            // The flag has the port that browsers leave out, or the other way round.
            ("https://two.example.com", true),
            ("https://two.example.com:443", true),
            ("https://two.example.com:444", false),
            ("http://localhost:80@evil.example.com", false),
            ("https://app.example.com@evil.example.com", false),
            ("https://app.example.com/", false),
            ("null", false),
            ("chrome-extension://localhost", false),
            ("", false),
        ] {
            assert_eq!(origin_allowed(&access(true), origin), allowed, "{origin}");
        }
        assert!(!origin_allowed(&access(false), "http://localhost:3000"));
    }
}
