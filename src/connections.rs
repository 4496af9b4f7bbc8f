//! The client sockets of one server: each is a task, and all of them are listed here, so that whoever stops
//! the server finds them. What is counted here decides; the gauges of `metrics` repeat it for the whole
//! process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use slab::Slab;
use smol::Task;

use crate::lock::lock;
use crate::metrics::{Entered, METRICS};
use crate::runtime;

/// The table. When its owner drops it, the connections that are still open are closed.
#[derive(Debug, Default)]
pub struct Connections(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    tasks: Mutex<Slab<Task<()>>>,
    requests: Arc<AtomicUsize>,
}

impl Connections {
    /// Serves a client in a task of its own. The task is listed until it ends.
    pub fn serve<F>(&self, serve: impl FnOnce(Requests) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serving = serve(Requests(Arc::clone(&self.0.requests)));
        // The task is started under the lock, so that even one that ends at once finds itself in the table.
        let mut tasks = lock(&self.0.tasks);
        let place = tasks.vacant_entry();
        let listed = TableEntry { table: Arc::clone(&self.0), key: place.key() };
        place.insert(runtime::spawn(async move {
            let _listed = listed;
            serving.await;
        }));
    }

    /// How many sockets are open.
    pub fn count(&self) -> usize {
        lock(&self.0.tasks).len()
    }

    /// How many requests are being served, event streams included.
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Dropped after the lock is released, for each task locks the table to take itself off the list.
        let tasks = std::mem::take(&mut *lock(&self.0.tasks));
        drop(tasks);
    }
}

/// A task's line in the table, which it takes off the list when it ends.
#[derive(Debug)]
struct TableEntry {
    table: Arc<Table>,
    key: usize,
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        let task = lock(&self.table.tasks).try_remove(self.key);
        // A dropped task would be cancelled, and this one is about to end by itself.
        task.into_iter().for_each(Task::detach);
    }
}

/// Counts the requests of one connection among those of its server.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<AtomicUsize>);

impl Requests {
    /// One more request is being served, until the guard is dropped.
    pub fn enter(&self) -> RequestGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        RequestGuard { requests: &self.0, _shown: METRICS.requests.enter() }
    }
}

/// One request that is being served.
#[derive(Debug)]
pub struct RequestGuard<'a> {
    requests: &'a AtomicUsize,
    _shown: Entered,
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::queue;

    fn wait_until(condition: impl Fn() -> bool) {
        let begun = Instant::now();
        while !condition() {
            assert!(begun.elapsed() < Duration::from_secs(5), "this does not come true");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_connection_is_listed_until_it_ends_and_dropped_with_the_table() {
        runtime::start(1).unwrap();
        let connections = Connections::default();
        let begin = |connections: &Connections| {
            let (end, ended) = queue::bounded::<()>(1);
            connections.serve(|requests| async move {
                let _served = requests.enter();
                ended.recv().await;
            });
            end
        };
        let clients: Vec<_> = (0..3).map(|_| begin(&connections)).collect();
        wait_until(|| connections.requests() == 3);
        assert_eq!(connections.count(), 3);
        clients[1].try_send(()).unwrap();
        wait_until(|| connections.count() == 2);
        assert_eq!(connections.requests(), 2);
        connections.serve(|_| async {});
        wait_until(|| connections.count() == 2);
        let requests = Arc::clone(&connections.0.requests);
        drop(connections);
        wait_until(|| requests.load(Ordering::Relaxed) == 0);
    }
}
