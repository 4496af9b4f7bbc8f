//! The sessions of this process that ended lately, and the principals they belonged to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use crate::limits::CLOSED_REMEMBERED_MAX;
use crate::lock::lock;
use crate::principal::Principal;
use crate::session_id::SessionId;

/// See the module.
#[derive(Debug, Default)]
pub struct Closed(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    owners: HashMap<SessionId, Option<Principal>>,
    /// Oldest first.
    order: VecDeque<SessionId>,
}

impl Closed {
    fn lock(&self) -> MutexGuard<'_, Ids> {
        lock(&self.0)
    }

    /// The session of this id, of `principal`, has ended.
    pub(super) fn add(&self, id: &SessionId, principal: Option<&Principal>) {
        let mut ids = self.lock();
        if ids.order.len() >= CLOSED_REMEMBERED_MAX
            && let Some(oldest) = ids.order.pop_front()
        {
            ids.owners.remove(&oldest);
        }
        if ids.owners.insert(id.clone(), principal.cloned()).is_none() {
            ids.order.push_back(id.clone());
        }
    }

    /// Whether a session of this id has ended and belonged to `principal`; `None` when nothing is known of
    /// the id.
    pub(super) fn knows(&self, id: &SessionId, principal: Option<&Principal>) -> Option<bool> {
        self.lock().owners.get(id).map(|owner| owner.as_ref() == principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_owner_hears_that_a_session_was_closed() {
        let closed = Closed::default();
        let (ann, bob) = (Principal::new("ann").unwrap(), Principal::new("bob").unwrap());
        let id = SessionId::new(&"n1".into()).unwrap();
        assert_eq!(closed.knows(&id, Some(&ann)), None);
        closed.add(&id, Some(&ann));
        assert_eq!(closed.knows(&id, Some(&ann)), Some(true));
        assert_eq!(closed.knows(&id, Some(&bob)), Some(false));
        assert_eq!(closed.knows(&id, None), Some(false));
    }

    #[test]
    fn it_forgets_the_oldest() {
        let closed = Closed::default();
        let ids: Vec<SessionId> =
            (0..=CLOSED_REMEMBERED_MAX).map(|_| SessionId::new(&"n1".into()).unwrap()).collect();
        ids.iter().for_each(|id| closed.add(id, None));
        assert_eq!(closed.knows(&ids[0], None), None);
        assert_eq!(closed.knows(&ids[1], None), Some(true));
        assert_eq!(closed.lock().owners.len(), CLOSED_REMEMBERED_MAX);
    }
}
