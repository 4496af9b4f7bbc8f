//! Reads a config or token file whole: a regular file of bounded size, in UTF-8, with or without a byte order
//! mark.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use crate::limits::FILE_BYTES_MAX;

/// What editors on Windows put before UTF-8 text.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The text of the file at `path`, without a byte order mark, and what the system says about the very file
/// that was read.
///
/// # Errors
/// What is wrong, in words for the user, without the path.
pub fn read(path: &Path) -> Result<(String, Metadata), String> {
    // Looked at before it is opened, because opening a FIFO waits for whoever writes to it.
    check_kind(&fs::metadata(path).map_err(|error| why(&error))?)?;
    let file = File::open(path).map_err(|error| why(&error))?;
    let metadata = file.metadata().map_err(|error| why(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| why(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is too large: at most {} KiB are read", FILE_BYTES_MAX / 1024));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok((without_mark(text), metadata)),
        Err(error) => Err(format!("is not UTF-8 text (byte {})", error.utf8_error().valid_up_to())),
    }
}

fn without_mark(mut text: String) -> String {
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    text
}

/// An I/O error in the words of a user.
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "cannot be opened: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn check_kind(metadata: &Metadata) -> Result<(), String> {
    if metadata.is_dir() {
        Err("is a directory, not a file".to_owned())
    } else if !metadata.is_file() {
        Err("is not a regular file".to_owned())
    } else {
        Ok(())
    }
}
