//! Ends sessions whose clients were not heard of for long.

use std::sync::Arc;
use std::time::Duration;

use super::{Input, Sessions};
use crate::budget;
use crate::limits::{REAP_STEP_MAX, SWEEP_STEP, TABLE_SHARDS};
use crate::lock::lock;
use crate::sweep;

impl Sessions {
    /// Pokes sessions whose clients were not heard of, for ever. Each session's worker decides whether it is
    /// over.
    pub async fn reap(self: Arc<Self>) {
        let shortest = self
            .servers
            .iter()
            .filter_map(|server| server.idle_timeout)
            .chain([self.limits.idle_timeout_no_stream])
            .min();
        let step = (shortest.unwrap_or(REAP_STEP_MAX) / 4).clamp(SWEEP_STEP, REAP_STEP_MAX);
        let mut pause = Duration::ZERO;
        loop {
            // One shard at a time, so that a client does not have to wait for the workers of a hundred
            // thousand sessions.
            for (number, shard) in self.table.shards().iter().enumerate() {
                pause += step / TABLE_SHARDS as u32;
                // An empty shard is skipped without a pause, so that a node without sessions sleeps for a
                // whole step.
                if lock(shard).is_empty() && number + 1 < TABLE_SHARDS {
                    continue;
                }
                async_io::Timer::after(std::mem::take(&mut pause)).await;
                let (now, pressure) = (sweep::now_secs(), budget::pressure());
                for handle in lock(shard).values().map(|there| &there.handle) {
                    if pressure || Duration::from_secs(handle.activity.idle_secs(now).into()) >= step {
                        // A worker that is behind is not idle.
                        let _ = handle.inbox.try_send(Input::Tick);
                    }
                }
            }
        }
    }
}
