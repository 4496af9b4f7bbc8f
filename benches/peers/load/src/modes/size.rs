//! The program itself: its file, its memory without a session, and how soon it answers.

use super::micros;
use crate::book::{Book, Metric};
use crate::fleet::file_megabytes;
use crate::server::{Server, Who};
use crate::{Failure, usage};

/// Measures a server that has just been started and that nobody has called.
///
/// # Errors
/// When it does not answer.
pub fn measure(server: &Server, program: &std::path::Path, book: &mut Book, who: Who) -> Result<(), Failure> {
    let session = server.single()?.initialize()?;
    book.note(Metric::Start, who, micros(server.begun.elapsed()) / 1e3);
    server.single()?.delete(&session)?;
    book.note(Metric::Empty, who, usage::memory(server.pid())?.resident as f64 / 1e6);
    book.note(Metric::Binary, who, file_megabytes(program)?);
    Ok(())
}
