//! Chunked bodies: the cut does not matter, nothing exceeds its bound, and another reader sees the same chunks.
#![no_main]

use burdock::http::Refusal;
use burdock::http::body::BodyDecoder;
use burdock::http::head::Framing;

const BYTES_MAX: usize = 4096;

/// Content, bytes used, whether it ended or why not; fed in pieces of `step`.
fn decode(bytes: &[u8], step: usize) -> (Vec<u8>, usize, Result<bool, Refusal>) {
    let (mut decoder, mut content, mut used) = (BodyDecoder::new(Framing::Chunked), Vec::new(), 0);
    for piece in bytes.chunks(step) {
        match decoder.decode(piece, BYTES_MAX, |part| content.extend_from_slice(part)) {
            Ok(taken) => used += taken,
            Err(refusal) => return (content, 0, Err(refusal)),
        }
        if decoder.is_done() {
            break;
        }
        assert!(used % step == 0 || used == bytes.len(), "left bytes although the body goes on");
    }
    (content, used, Ok(decoder.is_done()))
}

/// The same content by httparse's reading of the size lines; `None` where it refuses what burdock takes.
fn peer(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    while let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(bytes) {
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            return Some(content);
        }
        content.extend_from_slice(bytes.get(line..line + size)?);
        bytes = bytes.get(line + size..)?.strip_prefix(b"\r\n")?;
    }
    None
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = decode(bytes, bytes.len().max(1));
    assert!(whole == decode(bytes, 1) && whole == decode(bytes, 1 + bytes.len() % 7), "the cut matters");
    assert!(whole.0.len() <= BYTES_MAX);
    if let (content, used, Ok(true)) = &whole {
        assert!(bytes[..*used].ends_with(b"\r\n"));
        assert!(peer(&bytes[..*used]).is_none_or(|peer| peer == *content), "a peer sees another content");
    }
    let mut chunks = Vec::new();
    for piece in bytes.chunks(1 + bytes.len() % 40) {
        chunks.extend_from_slice(format!("{:x};e=1\r\n", piece.len()).as_bytes());
        chunks.extend_from_slice(&[piece, b"\r\n"].concat());
    }
    chunks.extend_from_slice(b"0\r\nTrailer: t\r\n\r\nGET / HTTP/1.1");
    if bytes.len() <= BYTES_MAX {
        assert_eq!(decode(&chunks, 1 + bytes.len() % 11), (bytes.to_vec(), chunks.len() - 14, Ok(true)));
    }
});
