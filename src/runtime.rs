//! The executor: one for the process, polled by `--threads` named threads (`burdock-0`, ...).
//!
//! smol's global executor has one thread and never drops its tasks, so burdock has its own. The reactor is
//! async-io's; blocking work (spawning a process, Redis) goes to smol's blocking pool with [`smol::unblock`].

use std::future::Future;
use std::io;
use std::sync::OnceLock;

use smol::{Executor, Task};

static EXECUTOR: OnceLock<Executor<'static>> = OnceLock::new();

fn executor() -> &'static Executor<'static> {
    EXECUTOR.get_or_init(Executor::new)
}

/// Starts a task. Dropping the returned [`Task`] cancels it: keep it or call `detach`.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    executor().spawn(future)
}

/// Starts `threads` threads that run the executor until the process ends. To be called once.
///
/// # Errors
/// When the system refuses a thread.
pub fn start(threads: usize) -> io::Result<()> {
    for index in 0..threads {
        std::thread::Builder::new()
            .name(format!("burdock-{index}"))
            .spawn(|| async_io::block_on(executor().run(std::future::pending::<()>())))?;
    }
    Ok(())
}
