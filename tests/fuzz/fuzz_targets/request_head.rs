//! Request heads: the cut does not matter, and what is accepted has every property the rest of burdock relies on.
#![no_main]

use burdock::http::head::{Framing, ParsedHead, parse};
use burdock::limits::{BLANK_LINES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes, 0);
    // The same bytes in pieces, as a socket brings them.
    let (step, mut scanned) = (1 + bytes.len() % 5, 0);
    let in_pieces = (0..bytes.len()).step_by(step).chain([bytes.len()]).find_map(|end| {
        match parse(&bytes[..end], scanned) {
            Ok(ParsedHead::Partial { scanned: so_far }) => {
                assert!(so_far <= end);
                scanned = so_far;
                None
            }
            decided => Some(decided),
        }
    });
    let (head, used) = match (whole, in_pieces) {
        (Ok(ParsedHead::Partial { .. }), None) => {
            return assert!(bytes.len() < HEAD_BYTES_MAX + BLANK_LINES_MAX * 2);
        }
        (Err(whole), Some(Err(in_pieces))) => return assert_eq!(whole, in_pieces),
        (Ok(ParsedHead::Complete(head, used)), Some(Ok(ParsedHead::Complete(same, same_used)))) => {
            assert!(head == same && used == same_used, "the cut matters");
            (head, used)
        }
        (whole, in_pieces) => panic!("{whole:?} in one piece, {in_pieces:?} in several"),
    };
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut peer = httparse::Request::new(&mut fields);
    assert_eq!(peer.parse(bytes), Ok(httparse::Status::Complete(used)), "a peer sees another end");
    let target = peer.path.unwrap_or_default();
    let sent = [head.path(), &head.query().map(|query| format!("?{query}")).unwrap_or_default()].concat();
    assert!(target.ends_with(&sent) || head.path() == "/", "{target} became {sent}");
    assert!(head.path().starts_with('/') || head.path() == "*");
    assert!(
        head.asked().http_1_0
            || head.host().is_some_and(|host| !host.is_empty() && !host.contains(['/', '@', ',']))
    );
    let named = |wanted: &str| {
        let fields = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        fields.map(|(_, value)| value).collect::<Vec<_>>()
    };
    let (lengths, codings) = (named("content-length").len(), named("transfer-encoding").len());
    match head.framing() {
        Framing::None => assert_eq!((lengths, codings), (0, 0)),
        Framing::Length(length) => {
            assert_eq!((lengths, codings), (1, 0));
            let digits = named("content-length")[0];
            assert!(digits.bytes().all(|digit| digit.is_ascii_digit()));
            assert_eq!(digits.parse(), Ok(length));
        }
        Framing::Chunked => assert_eq!((lengths, codings), (0, 1)),
    }
    let lines = bytes[..used].split(|byte| *byte == b'\n');
    assert!(
        lines
            .take(bytes[..used].iter().filter(|byte| **byte == b'\n').count())
            .all(|line| line.ends_with(b"\r"))
    );
});
