//! Protocol revisions of the handshake era, and what differs between them for us.

use std::borrow::Cow;

/// The revisions a client may name in `MCP-Protocol-Version`, newest first.
pub const SUPPORTED: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// The newest one. A client that asks for a revision we do not know is offered this one (L39).
pub const LATEST: &str = SUPPORTED[0];

/// The revision before Streamable HTTP. A child with an old SDK may still answer it; it is served like
/// 2025-03-26.
const BEFORE_HTTP: &str = "2024-11-05";

/// The revision that a session has negotiated, as its backend named it. A known one takes no memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(Cow<'static, str>);

impl Default for Version {
    /// The revision that a client speaks which names none (L36).
    fn default() -> Version {
        Version("2025-03-26".into())
    }
}

impl Version {
    /// The revision of this name. Any name that a backend answers is accepted.
    pub fn new(name: &str) -> Version {
        let known = SUPPORTED.into_iter().chain([BEFORE_HTTP]).find(|known| *known == name);
        Version(known.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a POST may hold an array of messages: only 2025-03-26 knows batches (L6, L7).
    pub fn batches(&self) -> bool {
        matches!(&*self.0, "2025-03-26" | BEFORE_HTTP)
    }

    /// Whether streams begin with a priming event (L13): older clients try to read its empty data as JSON.
    pub fn primes(&self) -> bool {
        &*self.0 >= LATEST
    }

    /// Whether a request of this session may name `header` in `MCP-Protocol-Version`: the session's own
    /// version, or another supported one. In the latter case the session's version counts (L37: only an
    /// unsupported value must be refused).
    pub fn accepts_header(&self, header: &str) -> bool {
        header == &*self.0 || SUPPORTED.contains(&header)
    }
}

/// Whether this looks like the name of a revision, known or not: a date.
pub fn is_revision(version: &str) -> bool {
    let is_part =
        |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    version.len() == LATEST.len() && version.bytes().enumerate().all(is_part)
}

/// Whether this is a revision of the stateless era, which an answer to `initialize` must never name (L39).
pub fn is_stateless(version: &str) -> bool {
    version > LATEST
}

/// Whether an `initialize` for `version` can be given to a backend as it is. In any other one [`LATEST`] is
/// put in: a backend might echo 2026-07-28, which must never be answered to `initialize` (L39), and clients
/// that ask for it connect when they are offered [`LATEST`].
pub fn may_be_asked(version: &str) -> bool {
    version == BEFORE_HTTP || SUPPORTED.contains(&version)
}
