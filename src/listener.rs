//! What every listener needs: a socket that listens, the next client, and how many clients there may be.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS_MAX, DESCRIPTORS_SPARE, LISTEN_BACKLOG};
use crate::lock::lock;
use crate::mcp::access::Peer;
use crate::reactor::Source;

/// A listener that could not be opened.
#[derive(Debug)]
pub struct CannotListen {
    /// The flag that names its address.
    pub flag: &'static str,
    /// The address, as it was typed.
    pub address: String,
    /// What the system says.
    pub error: io::Error,
}

impl fmt::Display for CannotListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CannotListen { flag, address, error } = self;
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "the port is in use; stop what listens there (`ss -ltnp` shows it), or choose another address"
            }
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address",
            io::ErrorKind::PermissionDenied => {
                "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, or choose another address"
            }
            _ => return write!(f, "cannot listen on {address} ({flag}): {error}"),
        };
        write!(f, "cannot listen on {address} ({flag}): {advice}")
    }
}

impl std::error::Error for CannotListen {}

/// Listens on `address`, which `flag` names.
///
/// # Errors
/// [`CannotListen`].
pub fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, CannotListen> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        // The standard library asked for a shorter queue. A second `listen` replaces its bound.
        rustix::net::listen(&listener, LISTEN_BACKLOG)?;
        Ok(listener)
    });
    bound.map_err(|error| CannotListen { flag, address: address.to_string(), error })
}

/// Waits for the next client of a listener; returns what `accept` made of it.
///
/// # Errors
/// Those of `accept`, which usually pass (too many descriptors, a client that is gone already).
pub async fn next_socket<L: AsFd, T>(
    listener: &Source<L>,
    accept: impl Fn(&L) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match accept(listener.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.readable().await,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            accepted => return accepted,
        }
    }
}

/// How many connections a process with so many descriptors takes: [`CONNECTIONS_MAX`], unless descriptors are
/// few. Where sessions have `children`, these take descriptors as well, and half is left to them.
pub fn connections_max(descriptors: u64, children: bool) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let spare = DESCRIPTORS_SPARE.min(descriptors / 2);
    let left = descriptors - spare;
    CONNECTIONS_MAX.min(if children { left / 2 } else { left }).max(1)
}

/// How many sockets each address has open.
#[derive(Debug, Default)]
pub struct Crowds(Mutex<HashMap<IpAddr, usize>>);

/// One socket of an address, until dropped.
#[derive(Debug)]
pub struct Member(Option<(Arc<Crowds>, IpAddr)>);

impl Crowds {
    /// `None` when the address has too many. Loopback and trusted proxies stand for many clients and have no
    /// cap.
    pub fn join(self: &Arc<Self>, peer: Peer) -> Option<Member> {
        let address = crowd_of(peer.address);
        if peer.address.is_loopback() || peer.trusted {
            return Some(Member(None));
        }
        let mut crowds = lock(&self.0);
        let crowd = crowds.entry(address).or_default();
        if *crowd >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *crowd += 1;
        Some(Member(Some((Arc::clone(self), address))))
    }
}

/// Whose sockets are counted together: an IPv6 host has a whole /64 to itself.
fn crowd_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some((crowds, address)) = &self.0 else { return };
        let mut crowds = lock(&crowds.0);
        if let Some(crowd) = crowds.get_mut(address) {
            *crowd -= 1;
            if *crowd == 0 {
                crowds.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_cap_and_gives_places_back() {
        let crowds = Arc::new(Crowds::default());
        let peer = |last, trusted| Peer { address: [192, 0, 2, last].into(), trusted };
        let held: Vec<_> =
            (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| crowds.join(peer(1, false)).unwrap()).collect();
        assert!(crowds.join(peer(1, false)).is_none());
        assert!(crowds.join(peer(2, false)).is_some(), "another address");
        assert!(crowds.join(peer(1, true)).is_some(), "a trusted proxy");
        assert!(crowds.join(Peer { address: [127, 0, 0, 1].into(), trusted: false }).is_some());
        let six = |text: &str| crowd_of(text.parse().unwrap());
        assert_eq!(six("2001:db8:1:2::1"), six("2001:db8:1:2:ffff::"));
        assert_ne!(six("2001:db8:1:2::1"), six("2001:db8:1:3::1"));
        drop(held);
        assert!(crowds.join(peer(1, false)).is_some());
        assert!(crowds.0.lock().unwrap().is_empty(), "an address that left is remembered");
    }

    #[test]
    fn descriptors_bound_the_connections() {
        assert_eq!(connections_max(1_000_000, true), CONNECTIONS_MAX);
        assert_eq!(connections_max(64, true), 16);
        assert_eq!(connections_max(0, true), 1);
        assert_eq!(connections_max(64, false), 32);
    }
}
