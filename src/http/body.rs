//! Request bodies, sans-io: by length and in chunks (RFC 9112, sections 6 and 7.1), with their limits.

use crate::budget::Share;
use crate::http::Refusal;
use crate::http::head::Framing;
use crate::limits::{CHUNK_EXTENSIONS_BYTES_MAX, CHUNK_LINE_BYTES_MAX};

/// A request's body, with its part of the process's byte budget.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// The content, chunks joined.
    pub bytes: Vec<u8>,
    /// What the content takes of the budget.
    pub share: Share,
}

/// Reads one body, fed in pieces of any size.
#[derive(Debug)]
pub struct BodyDecoder(Framed);

#[derive(Debug)]
enum Framed {
    /// Bytes still to come.
    Length(u64),
    Chunked(ChunkedDecoder),
}

impl BodyDecoder {
    /// A decoder at the beginning of a body.
    pub fn new(framing: Framing) -> BodyDecoder {
        BodyDecoder(match framing {
            Framing::None => Framed::Length(0),
            Framing::Length(length) => Framed::Length(length),
            Framing::Chunked => Framed::Chunked(ChunkedDecoder::new()),
        })
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Framed::Length(left) => *left == 0,
            Framed::Chunked(chunks) => chunks.is_done(),
        }
    }

    /// The bytes still to come, when they are known.
    pub fn left(&self) -> Option<u64> {
        match &self.0 {
            Framed::Length(left) => Some(*left),
            Framed::Chunked(chunks) => chunks.is_done().then_some(0),
        }
    }

    /// Takes from `input` what belongs to the body, gives its content to `take` piece by piece and returns
    /// how many bytes of `input` it used: all, unless the body ended.
    ///
    /// # Errors
    /// 400 when chunks are malformed, 413 when the content exceeds `bytes_max`.
    pub fn decode(
        &mut self,
        input: &[u8],
        bytes_max: usize,
        take: impl FnMut(&[u8]),
    ) -> Result<usize, Refusal> {
        match &mut self.0 {
            Framed::Length(left) => decode_length(left, input, bytes_max, take),
            Framed::Chunked(chunks) => chunks.decode(input, bytes_max, take),
        }
    }
}

/// A body too large for us.
pub const BODY_TOO_LARGE: Refusal = Refusal::new(413, "the request body is too large");

fn decode_length(
    left: &mut u64,
    input: &[u8],
    bytes_max: usize,
    mut take: impl FnMut(&[u8]),
) -> Result<usize, Refusal> {
    // What was announced is refused before its first byte is taken.
    if *left > bytes_max as u64 {
        return Err(BODY_TOO_LARGE);
    }
    let used = input.len().min(*left as usize);
    take(&input[..used]);
    *left -= used as u64;
    Ok(used)
}

/// The part of a chunked body that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Before the first digit of a chunk's size.
    SizeBegin,
    /// In the size.
    Size(u64),
    /// In white space after the size, which only an extension may follow.
    Padding(u64),
    /// In the extensions, which nobody reads.
    Extension(u64),
    /// After the CR of the size line.
    SizeLf(u64),
    /// In a chunk's data, with so many bytes to come.
    Data(u64),
    /// After a chunk's data.
    DataCr,
    /// After the CR that ends a chunk's data.
    DataLf,
    /// At the beginning of a trailer line or of the last, empty line.
    TrailerBegin,
    /// In a trailer field, which nobody reads.
    Trailer,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last line.
    EndLf,
    /// Behind the body.
    Done,
}

/// Takes chunks apart. Extensions and trailers are read and forgotten.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: Part,
    /// Bytes of this size line, or of all trailers.
    line_bytes: usize,
    /// Bytes of all extensions.
    extension_bytes: usize,
    /// Content so far.
    content_bytes: u64,
}

impl ChunkedDecoder {
    #[allow(clippy::new_without_default, reason = "a position in a body, not a plain value")]
    /// A decoder before the first chunk.
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder { state: Part::SizeBegin, line_bytes: 0, extension_bytes: 0, content_bytes: 0 }
    }

    /// Whether the last chunk and the trailers have ended.
    pub fn is_done(&self) -> bool {
        self.state == Part::Done
    }

    /// See [`BodyDecoder::decode`].
    ///
    /// # Errors
    /// 400 when chunks are malformed, 413 when the content exceeds `bytes_max`.
    pub fn decode(
        &mut self,
        input: &[u8],
        bytes_max: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<usize, Refusal> {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            if let Part::Data(left) = self.state {
                let data = &input[used..];
                let data = &data[..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
                take(data);
                used += data.len();
                let left = left - data.len() as u64;
                self.state = if left == 0 { Part::DataCr } else { Part::Data(left) };
            } else {
                self.step(input[used], bytes_max)?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// One byte of what is not data.
    fn step(&mut self, byte: u8, bytes_max: usize) -> Result<(), Refusal> {
        self.count_line_byte()?;
        self.state = match (self.state, byte) {
            (Part::SizeBegin, _) => Part::Size(digit(byte).ok_or(BAD_SIZE)?),
            (Part::Size(size) | Part::Padding(size) | Part::Extension(size), b'\r') => {
                if matches!(self.state, Part::Padding(_)) {
                    return Err(BAD_SIZE);
                }
                Part::SizeLf(size)
            }
            (Part::Size(size) | Part::Padding(size), b';') => Part::Extension(size),
            (Part::Size(size) | Part::Padding(size), b' ' | b'\t') => Part::Padding(size),
            (Part::Size(size), _) => Part::Size(longer_size(size, byte)?),
            (Part::Padding(_), _) => return Err(BAD_SIZE),
            (Part::Extension(size), _) if is_text(byte) => Part::Extension(self.count_extension(size)?),
            (Part::SizeLf(size), b'\n') => self.begin_chunk(size, bytes_max)?,
            (Part::DataCr, b'\r') => Part::DataLf,
            (Part::DataLf, b'\n') => self.begin_line(Part::SizeBegin),
            (Part::TrailerBegin, b'\r') => Part::EndLf,
            // A folded line, or one that is no field.
            (Part::TrailerBegin, b' ' | b'\t' | b':') => return Err(BAD_LINE),
            (Part::TrailerBegin | Part::Trailer, _) if is_text(byte) => Part::Trailer,
            (Part::Trailer, b'\r') => Part::TrailerLf,
            (Part::TrailerLf, b'\n') => Part::TrailerBegin,
            (Part::EndLf, b'\n') => Part::Done,
            // Data is taken in one piece in `decode`, and nothing is read when done.
            (Part::Data(_) | Part::Done, _) => return Ok(()),
            (
                Part::Extension(_)
                | Part::SizeLf(_)
                | Part::DataCr
                | Part::DataLf
                | Part::TrailerBegin
                | Part::Trailer
                | Part::TrailerLf
                | Part::EndLf,
                _,
            ) => return Err(BAD_LINE),
        };
        Ok(())
    }

    fn count_line_byte(&mut self) -> Result<(), Refusal> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(Refusal::new(400, "a chunk's size line or the trailers are too long"));
        }
        Ok(())
    }

    fn count_extension(&mut self, size: u64) -> Result<u64, Refusal> {
        self.extension_bytes += 1;
        if self.extension_bytes > CHUNK_EXTENSIONS_BYTES_MAX {
            return Err(Refusal::new(400, "there are too many chunk extensions"));
        }
        Ok(size)
    }

    /// After a size line: data, or the trailers after the last chunk.
    fn begin_chunk(&mut self, size: u64, bytes_max: usize) -> Result<Part, Refusal> {
        self.content_bytes = self
            .content_bytes
            .checked_add(size)
            .filter(|sum| *sum <= bytes_max as u64)
            .ok_or(BODY_TOO_LARGE)?;
        Ok(match size {
            0 => self.begin_line(Part::TrailerBegin),
            _ => self.begin_line(Part::Data(size)),
        })
    }

    fn begin_line(&mut self, state: Part) -> Part {
        self.line_bytes = 0;
        state
    }
}

const BAD_SIZE: Refusal = Refusal::new(400, "a chunk's size is not a hexadecimal number");
const BAD_LINE: Refusal = Refusal::new(400, "a chunk or trailer line is malformed: lines end with CRLF");

fn digit(byte: u8) -> Option<u64> {
    (byte as char).to_digit(16).map(u64::from)
}

fn longer_size(size: u64, byte: u8) -> Result<u64, Refusal> {
    let digit = digit(byte).ok_or(BAD_SIZE)?;
    size.checked_mul(16).and_then(|size| size.checked_add(digit)).ok_or(BODY_TOO_LARGE)
}

/// What may stand in an extension or a trailer: no control character but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `input` cut at `ends`; the content, the bytes used and whether it ended.
    fn decode(input: &[u8], ends: &[usize], bytes_max: usize) -> Result<(Vec<u8>, usize, bool), u16> {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let (mut content, mut used) = (Vec::new(), 0);
        for end in ends.iter().copied().chain([input.len()]) {
            let piece = &input[used.min(end)..end];
            used += decoder
                .decode(piece, bytes_max, |data| content.extend_from_slice(data))
                .map_err(|refusal| refusal.status.0)?;
        }
        Ok((content, used, decoder.is_done()))
    }

    fn whole(input: &str) -> Result<(String, bool), u16> {
        decode(input.as_bytes(), &[], 100)
            .map(|(content, _, done)| (String::from_utf8(content).unwrap(), done))
    }

    #[test]
    fn reads_chunks_extensions_and_trailers() {
        for input in [
            "5\r\nhello\r\n0\r\n\r\n",
            "2\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n",
            "5;a=\"b;c\";d\r\nhello\r\n0;x\r\n\r\n",
            "5 \t;a\r\nhello\r\n0\r\nTrailer: caf\u{e9}\r\nB: c\r\n\r\n",
        ] {
            assert_eq!(whole(input), Ok(("hello".to_owned(), true)), "{input:?}");
        }
        assert_eq!(whole("A\r\n0123456789\r\n0\r\n"), Ok(("0123456789".to_owned(), false)));
    }

    #[test]
    fn refuses_malformed_chunks() {
        for input in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "+5\r\n",
            " 5\r\n",
            "0x5\r\n",
            "5 \r\nhello",
            "5\nhello",
            "5\r\rhello",
            "5\r\nhello\n",
            "5\r\nhellox",
            "5\r\nhello\r\r",
            "5;a\nhello",
            "5;\0\r\n",
            "5 x\r\n",
            "0\r\n\n",
            "0\r\nA: b\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nA: \0\r\n\r\n",
            "0\r\n\r\r",
        ] {
            assert_eq!(whole(input), Err(400), "{input:?}");
        }
    }

    #[test]
    fn bounds_content_lines_and_extensions() {
        assert_eq!(whole("65\r\n"), Err(413));
        assert_eq!(
            whole("32\r\n0123456789012345678901234567890123456789012345678901234567890123456789"),
            Err(400)
        );
        assert_eq!(whole("ffffffffffffffffff\r\n"), Err(413));
        assert_eq!(whole("ffffffffffffffff\r\n"), Err(413));
        assert_eq!(whole(&format!("5;{}", "a".repeat(CHUNK_LINE_BYTES_MAX))), Err(400));
        assert_eq!(whole(&format!("0\r\n{}", "A: b\r\n".repeat(CHUNK_LINE_BYTES_MAX / 6 + 1))), Err(400));
        let chunk = format!("1;{}\r\na\r\n", "e".repeat(1000));
        assert_eq!(whole(&chunk.repeat(CHUNK_EXTENSIONS_BYTES_MAX / 1000 + 1)), Err(400));
        let zeros = format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(100));
        assert_eq!(whole(&zeros), Ok(("hello".to_owned(), true)));
    }

    #[test]
    fn reads_a_body_by_length_and_leaves_the_rest() {
        let mut decoder = BodyDecoder::new(Framing::Length(5));
        let mut content = Vec::new();
        assert_eq!(decoder.decode(b"hel", 5, |data| content.extend_from_slice(data)), Ok(3));
        assert_eq!(decoder.left(), Some(2));
        assert_eq!(decoder.decode(b"loGET", 5, |data| content.extend_from_slice(data)), Ok(2));
        assert!(decoder.is_done());
        assert_eq!(content, b"hello");
        assert_eq!(BodyDecoder::new(Framing::Length(u64::MAX)).decode(b"a", 5, |_| {}), Err(BODY_TOO_LARGE));
    }

    fn chunked(pieces: &[Vec<u8>], extension: &str, trailers: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            out.extend_from_slice(format!("{:X}{extension}\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("0{extension}\r\n{trailers}\r\n").as_bytes());
        out
    }

    proptest! {
        #[test]
        fn prop_chunks_come_out_under_any_split(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            extension in prop::sample::select(vec!["", ";a", " ; a=\"b\""]),
            trailers in prop::sample::select(vec!["", "A: b\r\n", "A: b\r\nC:\r\n"]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut input = chunked(&pieces, extension, trailers);
            let body_length = input.len();
            input.extend_from_slice(b"GET / HTTP/1.1\r\n");
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len())).collect();
            ends.sort_unstable();
            prop_assert_eq!(decode(&input, &ends, 1000), Ok((pieces.concat(), body_length, true)));
        }

        #[test]
        fn prop_any_split_of_garbage_gives_the_same(
            pieces in prop::collection::vec(
                prop::sample::select(vec!["0", "5", "f", "\r", "\n", "\r\n", ";", " ", "hello", "A: b", "\0", "x"]), 0..16),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let input = pieces.concat().into_bytes();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            ends.sort_unstable();
            prop_assert_eq!(decode(&input, &ends, 20), decode(&input, &[], 20));
        }
    }
}
