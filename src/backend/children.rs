//! The living children of one server of this process, so that the server can count and list them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rustix::process::Pid;

use crate::lock::lock;
use crate::metrics::{Entered, METRICS};

/// The processes that run or are being stopped. Whoever starts children owns one and gives it to each.
#[derive(Debug, Default)]
pub struct Children(Mutex<BTreeMap<u64, LivingChild>>);

/// A process that runs or is being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivingChild {
    /// Its process id, which is also that of its group.
    pub pid: Pid,
    /// The short id of its session.
    pub label: String,
}

impl Children {
    /// How many there are.
    pub fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// All of them, the oldest first.
    pub fn list(&self) -> Vec<LivingChild> {
        lock(&self.0).values().cloned().collect()
    }

    /// Lists child `number` of this run, until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, number: u64, child: LivingChild) -> Enrolled {
        lock(&self.0).insert(number, child);
        Enrolled { children: Arc::clone(self), number, _gauge: METRICS.children.enter() }
    }
}

/// A child's place among the living.
#[derive(Debug)]
pub(super) struct Enrolled {
    children: Arc<Children>,
    number: u64,
    _gauge: Entered,
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        lock(&self.children.0).remove(&self.number);
    }
}
