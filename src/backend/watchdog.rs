//! The watchdog process: kills what burdock started when burdock itself is killed.
