//! Who calls: principals and the bearer tokens that name them.
//!
//! A token file holds hashes only, one `NAME sha256:HEX` per line; a name may have several tokens, so that one can
//! be replaced while the other still works.

use std::fmt;
use std::sync::Arc;

/// A name from the token file. Sessions belong to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SHA-256 of a token.
type Hash = [u8; 32];

/// Every token that is accepted, as its hash.
#[derive(Clone)]
pub struct Tokens(Vec<(Hash, Principal)>);

impl Tokens {
    /// Whose token this is. Takes the same time whichever of the tokens it is, if any.
    pub fn principal(&self, token: &str) -> Option<&Principal> {
        let hash = hmac_sha256::Hash::hash(token.as_bytes());
        let mut found = None;
        for (known, principal) in &self.0 {
            if same(known, &hash) {
                found = Some(principal);
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    /// The names only: hashes have no place in a log either.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, principal)| principal.as_str())).finish()
    }
}

/// Compares without leaving early.
fn same(left: &Hash, right: &Hash) -> bool {
    left.iter().zip(right).fold(0, |differing, (left, right)| differing | (left ^ right)) == 0
}
