//! The mark that every process burdock starts carries in its environment, and hands on to what it starts
//! itself. The watchdog finds by it what has left its group.

use std::fmt::Write as _;
use std::io;
use std::sync::OnceLock;

/// The variable with the mark: `<nonce of the run>.<number of the child>`.
pub(crate) const MARK_NAME: &str = "BURDOCK_RUN";

/// Random bytes of the nonce: nobody can guess it, and no two runs share it.
const NONCE_BYTES: usize = 16;

/// The nonce of this run of burdock, in hex.
///
/// # Errors
/// When the system has no random bits.
pub(super) fn nonce() -> io::Result<&'static str> {
    static NONCE: OnceLock<String> = OnceLock::new();
    if let Some(nonce) = NONCE.get() {
        return Ok(nonce);
    }
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
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
