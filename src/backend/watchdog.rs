//! The watchdog process: kills what burdock started when burdock itself is killed.

use std::fmt::Write as _;
use std::io;
use std::sync::OnceLock;

use rustix::process::Pid;

/// The variable that marks every process burdock started, `<nonce>.<number of the child>`.
pub(super) const MARK_NAME: &str = "BURDOCK_RUN";
/// Random bytes of the nonce: nobody can guess it, and no two runs share it.
const NONCE_BYTES: usize = 16;

/// The nonce of this run of burdock, in hex.
fn nonce() -> io::Result<&'static str> {
    static NONCE: OnceLock<String> = OnceLock::new();
    if let Some(nonce) = NONCE.get() {
        return Ok(nonce);
    }
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(NONCE.get_or_init(|| hex))
}

/// The mark of child `number`.
///
/// # Errors
/// When the system has no random bits.
pub(super) fn mark(number: u64) -> io::Result<String> {
    Ok(format!("{}.{number}", nonce()?))
}

/// Tells the watchdog that child `number` runs with `pid`, which is its group as well.
pub(super) async fn started(_pid: Pid, _number: u64) {}

/// Tells the watchdog that child `number` was reaped and its group killed.
pub(super) async fn ended(_pid: Pid, _number: u64) {}
