//! Who may call and by which names: the flags and files that say it, checked together.

use std::net::SocketAddr;
use std::path::Path;

use super::address::{IpNet, is_loopback};
use super::args::{Given, Typed};
use super::error::Error;
use super::flags::Flag;
use super::settings::{Access, Names};
use crate::authority::{self, Authority, Origin};
use crate::principal::Tokens;

/// What the flags say about access, for a main listener at `listen`.
///
/// # Errors
/// A value that is wrong, or an address that others can reach while nothing says who may call.
pub(super) fn of(
    typed: &Typed,
    listen: SocketAddr,
    insecure_public: bool,
    warnings: &mut Vec<String>,
) -> Result<Access, Error> {
    let loopback = is_loopback(listen);
    let tokens = tokens(typed)?;
    if !loopback && tokens.is_none() && !insecure_public {
        return Err(public_without_tokens(typed, listen));
    }
    let public_url = typed.one(Flag::PublicUrl).map(public_url).transpose()?;
    let mut allowed = each(typed, Flag::AllowHost, host)?;
    allowed.extend(public_url.as_deref().map(|url| host_in(url).to_ascii_lowercase()));
    if !loopback && !listen.ip().is_unspecified() {
        allowed.push(authority::host_of(listen.ip()));
    }
    if allowed.is_empty() && !loopback {
        warnings.push(format!(
            "nobody said by which name clients reach {listen}: those that come by its address are served, \
             those that come by a name are refused until --public-url or --allow-host says it"
        ));
    }
    let access = Access {
        names: Names { loopback, allowed },
        allow_origins: each(typed, Flag::AllowOrigin, origin)?,
        trusted_proxies: each(typed, Flag::TrustedProxy, |text| text.parse::<IpNet>().ok())?,
        tokens,
        public_url,
    };
    if access.is_behind_local_proxy() && !insecure_public {
        proxied(typed, &access, warnings)?;
    }
    Ok(access)
}

/// Refuses a loopback address that a proxy on this machine opens to others while nothing says who may call. A
/// name alone is no proof of such a proxy (it may stand in `/etc/hosts`), so that is a warning only.
fn proxied(typed: &Typed, access: &Access, warnings: &mut Vec<String>) -> Result<(), Error> {
    if access.tokens.is_some() || !access.trusted_proxies.is_empty() {
        return Ok(());
    }
    let url = access.public_url.as_deref().filter(|url| !authority::is_own_host(host_in(url)));
    if let (Some(url), Some(given)) = (url, typed.one(Flag::PublicUrl)) {
        return Err(given.error(format_args!(
            "{url} brings in others through a proxy, and whoever comes may run the servers; \
             say who may call with --token-file FILE (burdock token NAME --append FILE makes one), name the proxy \
             that decides it with --trusted-proxy 127.0.0.1, or allow everyone with --insecure-public"
        )));
    }
    warnings.push(
        "--allow-host names more than this machine: if a proxy brings in others, all of them may run the servers; \
         say who may call with --token-file FILE"
            .to_owned(),
    );
    Ok(())
}

fn tokens(typed: &Typed) -> Result<Option<Tokens>, Error> {
    let Some(given) = typed.one(Flag::TokenFile) else { return Ok(None) };
    Tokens::load(Path::new(&given.text)).map(Some).map_err(|error| Error::Usage(error.to_string()))
}

fn public_without_tokens(typed: &Typed, listen: SocketAddr) -> Error {
    let problem = "others can reach this address, and whoever does may run the servers; \
                   say who may call with --token-file FILE (burdock token NAME --append FILE makes one), \
                   listen on 127.0.0.1, or allow everyone with --insecure-public";
    match (typed.passed, typed.one(Flag::Listen)) {
        (Some(_), _) => Error::Usage(format!("the socket that was passed, on {listen}: {problem}")),
        (None, Some(given)) => given.error(format_args!("{listen}: {problem}")),
        (None, None) => Error::Usage(format!("{listen}: {problem}")),
    }
}

fn public_url(given: &Given) -> Result<String, Error> {
    let url = given.text.trim_end_matches('/');
    // Nothing that a shell or a JSON file would read as more than text: the URL is printed for copying.
    let plain = url.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-_~[]%".contains(&byte));
    match web_url(url) {
        Some(_) if url.ends_with("/mcp") => {
            Err(given.error("goes without the /mcp at its end, which burdock adds"))
        }
        Some(_) if plain => Ok(url.to_owned()),
        Some(_) | None => Err(given.error("must be a URL like https://mcp.example.com")),
    }
}

/// A URL of this node for other nodes and for operators.
pub(super) fn advertised(given: &Given) -> Result<String, Error> {
    let url = given.text.trim_end_matches('/');
    match web_url(url) {
        Some((_, "")) => Ok(url.to_owned()),
        Some(_) | None => Err(given.error("must be a URL without a path, like http://10.0.0.1:8080")),
    }
}

/// Splits a URL of HTTP into its origin and what follows.
fn web_url(url: &str) -> Option<(Origin<'_>, &str)> {
    Origin::split(url).ok().filter(|(origin, _)| matches!(origin.scheme, "http" | "https"))
}

/// The host in a URL that [`public_url`] has checked.
fn host_in(url: &str) -> &str {
    web_url(url).map_or("", |(origin, _)| origin.authority.host)
}

/// A name or address without a port, as [`Names::allowed`] has it.
fn host(text: &str) -> Option<String> {
    Authority::parse(text).is_ok_and(|authority| authority.host == text).then(|| text.to_ascii_lowercase())
}

/// An origin as [`Access::allow_origins`] has it.
fn origin(text: &str) -> Option<String> {
    Origin::split(text).is_ok_and(|(_, rest)| rest.is_empty()).then(|| text.to_ascii_lowercase())
}

/// Each value of a list, as `convert` reads it.
fn each<T>(typed: &Typed, flag: Flag, convert: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Error> {
    let must = match flag {
        Flag::AllowHost => "must be a name or address without a port: mcp.example.com, 10.0.0.5, [fd00::5]",
        Flag::AllowOrigin => {
            "must be a scheme and a name, with a port if there is one: https://app.example.com:8443"
        }
        _ => "must be an address or a network: 10.0.0.5, 10.0.0.0/8, fd00::/8",
    };
    let one = |given: &Given| {
        convert(&given.text).ok_or_else(|| given.error(format_args!("{:?} {must}", given.text)))
    };
    typed.all(flag).iter().map(one).collect()
}
