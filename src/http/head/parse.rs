//! Finds a request's head at the beginning of bytes, and reads it.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::fields::Fields;
use super::grammar::{Span, is_token_byte};
use super::request::{Method, RequestHead};
use super::target::{Target, target_too_long};
use crate::http::Refusal;
use crate::limits::{BLANK_LINES_MAX, HEAD_BYTES_MAX, HEADERS_MAX};

/// What [`parse`] found.
#[derive(Debug)]
pub enum ParsedHead {
    /// The head is not all there. `scanned` is to be given to the next call, with the same bytes and more.
    Partial {
        /// Bytes that need not be looked at again.
        scanned: usize,
    },
    /// A head, and how many bytes it took, blank lines before it included.
    Complete(RequestHead, usize),
}

/// Looks for a head at the beginning of `bytes`. `scanned` is 0 at first, then what the last call returned
/// for the same bytes: only what is new is searched for the end, and the head is parsed once, or twice when
/// the first piece of it is not the whole.
///
/// # Errors
/// A refusal with 400, 414, 417, 431, 501 or 505; the connection cannot be used after it.
pub fn parse(bytes: &[u8], scanned: usize) -> Result<ParsedHead, Refusal> {
    let start = after_blank_lines(bytes)?;
    let head = &bytes[start..bytes.len().min(start + HEAD_BYTES_MAX)];
    if head.first().is_some_and(|first| !is_token_byte(*first)) {
        return Err(Refusal::new(400, "this is not HTTP: a request begins with a method"));
    }
    if scanned == 0
        && let Some((head, length)) = parse_at_once(head)?
    {
        return Ok(ParsedHead::Complete(head, start + length));
    }
    match find_end(head, scanned.saturating_sub(start))? {
        HeadEnd::At(length) => Ok(ParsedHead::Complete(parse_complete(&head[..length])?, start + length)),
        HeadEnd::NotIn(_) if head.len() == HEAD_BYTES_MAX => Err(too_long(head)),
        HeadEnd::NotIn(searched) => Ok(ParsedHead::Partial { scanned: start + searched }),
    }
}

/// Where the request line begins: a few blank lines before it are forgiven (RFC 9112, section 2.2).
fn after_blank_lines(bytes: &[u8]) -> Result<usize, Refusal> {
    let lines = bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count();
    if lines > BLANK_LINES_MAX {
        return Err(Refusal::new(400, "too many blank lines before the request line"));
    }
    match &bytes[lines * 2..] {
        [b'\n', ..] => Err(BARE_LF),
        // The CR may be the first half of another blank line.
        [b'\r'] => Ok(bytes.len()),
        [b'\r', ..] => Err(BARE_CR),
        _ => Ok(lines * 2),
    }
}

const BARE_LF: Refusal = Refusal::new(400, "a line of the head ends with LF alone: lines end with CRLF");
const BARE_CR: Refusal = Refusal::new(400, "there is a CR in the head that is not part of a line end");

enum HeadEnd {
    /// The length of the head, its blank line included.
    At(usize),
    /// There is no end in so many bytes.
    NotIn(usize),
}

/// Finds the blank line, and refuses line ends that are not CRLF on the way: httparse would take a bare LF.
fn find_end(head: &[u8], scanned: usize) -> Result<HeadEnd, Refusal> {
    for at in memchr::memchr2_iter(b'\r', b'\n', &head[scanned..]).map(|at| at + scanned) {
        if head[at] == b'\n' {
            if at == 0 || head[at - 1] != b'\r' {
                return Err(BARE_LF);
            }
            if head[..at].ends_with(b"\r\n\r") {
                return Ok(HeadEnd::At(at + 1));
            }
        } else {
            match head.get(at + 1) {
                Some(b'\n') => {}
                Some(_) => return Err(BARE_CR),
                None => return Ok(HeadEnd::NotIn(at)),
            }
        }
    }
    Ok(HeadEnd::NotIn(head.len()))
}

/// Parses a head that came in one piece, as most do: httparse finds its end. Of any other head, also of a
/// wrong one, the slower way above decides: so a refusal does not depend on how the head was split.
fn parse_at_once(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if lines_end_with_crlf(&bytes[..length]) => {
            Ok(Some((read_request(&request, &bytes[..length])?, length)))
        }
        _ => Ok(None),
    }
}

/// Whether each CR has an LF behind it, and each LF a CR before it. No early exit, so that the compiler
/// checks many bytes at once.
fn lines_end_with_crlf(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    pairs.fold(true, |right, (before, byte)| right & ((*before == b'\r') == (*byte == b'\n')))
}

/// Which part of an endless head is too long.
fn too_long(head: &[u8]) -> Refusal {
    if memchr::memchr(b'\n', head).is_none() { target_too_long() } else { head_too_long() }
}

fn head_too_long() -> Refusal {
    Refusal::with(431, format!("the request head is longer than {HEAD_BYTES_MAX} bytes"))
}

fn too_many_headers() -> Refusal {
    Refusal::with(431, format!("the request has more than {HEADERS_MAX} header fields"))
}

/// Parses a head that is all there.
fn parse_complete(bytes: &[u8]) -> Result<RequestHead, Refusal> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        // The head ends at its first blank line, so httparse cannot have found another end.
        Ok(_) => return Err(Refusal::new(400, "the request head could not be read")),
        Err(error) => return Err(grammar_refusal(error, bytes)),
    }
    read_request(&request, bytes)
}

/// The head that `request` was read from, `bytes`.
fn read_request(request: &httparse::Request<'_, '_>, bytes: &[u8]) -> Result<RequestHead, Refusal> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::new(400, "the request line could not be read"));
    };
    let http_1_0 = version == 0;
    let target = Target::parse(method, target)?;
    let fields = Fields::read(request.headers, bytes, http_1_0)?;
    Ok(RequestHead {
        text: text_of(bytes),
        places: fields.places,
        method: Method::of(method),
        http_1_0,
        path: target.path_span(bytes),
        query: target.query.map(|query| Span::of(query.as_bytes(), bytes)),
        host: target.authority.map(str::as_bytes).or(fields.host).map(|host| Span::of(host, bytes)),
        framing: fields.framing(),
        wants_close: http_1_0 || fields.close,
        expects_continue: fields.expects_continue,
    })
}

/// A head's bytes as text of the same length: where they are not UTF-8, a byte that is not ASCII becomes DEL.
fn text_of(bytes: &[u8]) -> Arc<str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes
            .iter()
            .map(|byte| if byte.is_ascii() { *byte as char } else { '\x7f' })
            .collect::<String>()
            .into(),
    }
}

/// One status and sentence for each part of the grammar.
fn grammar_refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => too_many_headers(),
        httparse::Error::Version if names_other_version(bytes) => {
            Refusal::new(505, "burdock speaks HTTP/1.1, and HTTP/1.0 to those who have nothing newer")
        }
        httparse::Error::HeaderName => Refusal::new(
            400,
            "a header name is not a token followed by a colon (no space before the colon, no folded lines)",
        ),
        httparse::Error::HeaderValue => Refusal::new(400, "a header value holds a control character"),
        httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => {
            Refusal::new(400, "the request line is not: method, space, target, space, HTTP/1.1")
        }
    }
}

/// Whether the request line ends with a version that is well formed (`HTTP/d.d`, RFC 9112, section 2.3).
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ').skip(2);
    let (Some(version), None) = (parts.next(), parts.next()) else { return false };
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

impl RequestHead {
    /// The head that has this [`RequestHead::text`]; `None` when no head has it.
    pub fn of_text(text: &str) -> Option<RequestHead> {
        // DEL stands for a byte that was not UTF-8. 0xff is one, so the head is read as it was.
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == 0x7f { 0xff } else { byte }).collect();
        match parse(&bytes, 0) {
            Ok(ParsedHead::Complete(head, used)) if used == bytes.len() => Some(head),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;
    use crate::http::Status;
    use crate::http::head::{Field, Framing, Method};
    use crate::limits::TARGET_BYTES_MAX;

    /// What a head comes to: comparable, and without what may differ between two ways of feeding it.
    fn outcome(result: Result<ParsedHead, Refusal>) -> Result<Option<(RequestHead, usize)>, Status> {
        match result {
            Ok(ParsedHead::Partial { .. }) => Ok(None),
            Ok(ParsedHead::Complete(head, used)) => Ok(Some((head, used))),
            Err(refusal) => Err(refusal.status),
        }
    }

    fn head(bytes: &[u8]) -> RequestHead {
        match parse(bytes, 0) {
            Ok(ParsedHead::Complete(head, used)) if used == bytes.len() => head,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn with_host(line_and_fields: &str) -> RequestHead {
        head(format!("{line_and_fields}Host: n1\r\n\r\n").as_bytes())
    }

    fn status(bytes: &[u8]) -> u16 {
        match parse(bytes, 0) {
            Err(refusal) => refusal.status.0,
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn reads_a_plain_head() {
        let head = head(
            b"POST /mcp/a?x=1?y HTTP/1.1\r\nHost: n1:8080\r\nA: 1\r\na:  2 \r\nContent-Length: 7\r\n\r\n",
        );
        assert_eq!(head.method(), Method::Post);
        assert_eq!((head.path(), head.query(), head.host()), ("/mcp/a", Some("x=1?y"), Some("n1:8080")));
        let fields = [("Host", "n1:8080"), ("A", "1"), ("a", "2"), ("Content-Length", "7")];
        assert_eq!(head.fields().collect::<Vec<_>>(), fields);
        assert_eq!(head.framing(), Framing::Length(7));
        assert!(!head.asked().close && !head.expects_continue() && !head.asked().http_1_0);
    }

    #[test]
    fn finds_its_fields() {
        let all = [
            Field::Accept,
            Field::Authorization,
            Field::ContentType,
            Field::LastEventId,
            Field::ProtocolVersion,
            Field::SessionId,
            Field::Origin,
            Field::ForwardedFor,
            Field::ForwardedUser,
        ];
        assert_eq!(all.len(), Field::COUNT);
        for field in all {
            let name = field.name();
            let sent = format!("GET / HTTP/1.1\r\n{}:  a b\t\r\nX-{name}: c\r\n", name.to_uppercase());
            let one = with_host(&sent);
            assert_eq!(one.only(field), Ok(Some("a b")), "{name}");
            assert_eq!(one.values(field).collect::<Vec<_>>(), ["a b"]);
            let found: Vec<Field> = all.into_iter().filter(|field| one.only(*field) != Ok(None)).collect();
            assert_eq!(found, [field]);
            let empty = with_host(&format!("GET / HTTP/1.1\r\n{name}:\r\n"));
            assert_eq!(empty.only(field), Ok(Some("")), "{name}");
            let two = with_host(&format!("{sent}{name}:\r\n{name}: d\r\n"));
            assert_eq!(two.only(field).unwrap_err().status, Status(400), "{name}");
            assert_eq!(two.values(field).collect::<Vec<_>>(), ["a b", "", "d"]);
        }
    }

    #[test]
    fn only_takes_visible_text() {
        let only = |value: &[u8]| {
            let sent = [b"GET / HTTP/1.1\r\nHost: n1\r\nOrigin: ", value, b"\r\nA: b\r\n\r\n"].concat();
            head(&sent).only(Field::Origin).map(|value| value.map(str::to_owned)).map_err(|no| no.status.0)
        };
        for wrong in
            [&b"caf\xc3\xa9"[..], b"caf\xe9", b"\xff", b"a\tb", b"a long one, of more than 16 bytes\xe9"]
        {
            assert_eq!(only(wrong), Err(400), "{wrong:?}");
        }
        assert_eq!(only(b"a b~"), Ok(Some("a b~".to_owned())));
        let head = head(b"GET / HTTP/1.1\r\nA: caf\xe9\r\nOrigin: b\r\nHost: n1\r\n\r\n");
        assert_eq!((head.only(Field::Origin), head.host()), (Ok(Some("b")), Some("n1")));
    }

    #[test]
    fn takes_the_target_apart() {
        let absolute = with_host("GET HTTP://other:1/a/../b%2f?q HTTP/1.1\r\n");
        assert_eq!(
            (absolute.path(), absolute.query(), absolute.host()),
            ("/a/../b%2f", Some("q"), Some("other:1"))
        );
        let bare = with_host("GET http://other HTTP/1.1\r\n");
        assert_eq!((bare.path(), bare.query(), bare.host()), ("/", None, Some("other")));
        let query = with_host("GET http://other?q HTTP/1.1\r\n");
        assert_eq!((query.path(), query.query()), ("/", Some("q")));
        assert_eq!(with_host("OPTIONS * HTTP/1.1\r\n").path(), "*");
        assert_eq!(with_host("GET //a HTTP/1.1\r\n").path(), "//a");
    }

    #[test]
    fn knows_methods_by_case() {
        assert_eq!(with_host("get / HTTP/1.1\r\n").method(), Method::Other);
        assert_eq!(with_host("PATCH / HTTP/1.1\r\n").method(), Method::Other);
        assert_eq!(with_host("DELETE / HTTP/1.1\r\n").method(), Method::Delete);
    }

    #[test]
    fn reads_connection_and_expect() {
        assert!(with_host("GET / HTTP/1.1\r\nConnection: foo , CLOSE\r\n").asked().close);
        assert!(with_host("GET / HTTP/1.1\r\nConnection: foo\r\nConnection: close\r\n").asked().close);
        assert!(!with_host("GET / HTTP/1.1\r\nConnection: closed, x-close\r\n").asked().close);
        assert!(with_host("POST / HTTP/1.1\r\nExpect: 100-Continue\r\n").expects_continue());
        assert!(head(b"GET / HTTP/1.0\r\n\r\n").asked().close);
    }

    #[test]
    fn counts_sizes_as_they_arrive() {
        let fits = format!("GET / HTTP/1.1\r\nHost: n1\r\nA: {}\r\n\r\n", "a".repeat(HEAD_BYTES_MAX - 33));
        assert_eq!(fits.len(), HEAD_BYTES_MAX);
        head(fits.as_bytes());
        let blank = format!("\r\n\r\n{fits}");
        head(blank.as_bytes());
        assert_eq!(status(fits.replace("A: ", "A: a").as_bytes()), 431);
        assert_eq!(status(&[b'a'; HEAD_BYTES_MAX]), 414);
        assert_eq!(
            status(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(TARGET_BYTES_MAX)).as_bytes()),
            414
        );
        let many = |count| format!("GET / HTTP/1.1\r\nHost: n1\r\n{}\r\n", "A: b\r\n".repeat(count));
        head(many(HEADERS_MAX - 1).as_bytes());
        assert_eq!(status(many(HEADERS_MAX).as_bytes()), 431);
    }

    #[test]
    fn refuses_at_the_first_wrong_byte() {
        assert_eq!(status(b"\x16\x03\x01"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\n"), 400);
        assert_eq!(status(b"GET / HTTP/1.1\rX"), 400);
        assert_eq!(status(b"\n"), 400);
        assert_eq!(status(&b"\r\n".repeat(BLANK_LINES_MAX + 1)), 400);
        assert!(matches!(parse(&b"\r\n".repeat(BLANK_LINES_MAX), 0), Ok(ParsedHead::Partial { .. })));
    }

    /// Pieces that heads, good and bad, are made of.
    const PIECES: &[&str] = &[
        "GET",
        "POST",
        "OPTIONS",
        "CONNECT",
        " ",
        "/",
        "*",
        "http://a",
        "?",
        "#",
        "HTTP/1.1",
        "HTTP/1.0",
        "HTTP/2.0",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "Host: n1",
        "Host: a/b",
        "Content-Length: 5",
        "Content-Length: +5",
        ":",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: gzip",
        "Connection: close",
        "Expect: 100-continue",
        "\0",
        "Expect: x",
        "\t",
        "A: caf\u{e9}",
        "A : b",
        "\u{1}",
        "\r\nA: b",
    ];

    fn some_head() -> impl Strategy<Value = Vec<u8>> {
        let good = Just("GET / HTTP/1.1\r\nHost: n1\r\nAccept: */*\r\n\r\n".to_owned());
        let mixed = prop::collection::vec(select(PIECES), 0..24).prop_map(|pieces| pieces.concat());
        let fields = prop::collection::vec(select(PIECES), 0..4)
            .prop_map(|pieces| format!("POST /a HTTP/1.1\r\nHost: n1\r\n{}\r\n\r\n", pieces.join("\r\n")));
        let long = (8150usize..8250)
            .prop_map(|n| format!("GET / HTTP/1.1\r\nHost: n1\r\nA: {}\r\n\r\n", "a".repeat(n)));
        let base = prop_oneof![4 => good, 4 => mixed, 4 => fields, 1 => long];
        (base, prop::option::of((any_index(), any::<u8>()))).prop_map(|(text, mutation)| {
            let mut bytes = text.into_bytes();
            if let Some((index, byte)) = mutation.filter(|_| !bytes.is_empty()) {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    fn any_index() -> impl Strategy<Value = Index> {
        any::<Index>()
    }

    proptest! {
        #[test]
        fn prop_any_split_gives_the_same(bytes in some_head(), cuts in prop::collection::vec(any_index(), 0..6)) {
            let whole = outcome(parse(&bytes, 0));
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let mut scanned = 0;
            let mut in_pieces = Ok(None);
            for end in ends {
                let result = parse(&bytes[..end], scanned);
                if let Ok(ParsedHead::Partial { scanned: so_far }) = &result {
                    prop_assert!(scanned <= *so_far && *so_far <= end);
                    scanned = *so_far;
                    continue;
                }
                in_pieces = outcome(result);
                break;
            }
            prop_assert_eq!(in_pieces, whole);
        }

        #[test]
        fn prop_a_head_is_read_again_from_its_text(bytes in some_head()) {
            if let Ok(ParsedHead::Complete(head, _)) = parse(&bytes, 0) {
                prop_assert_eq!(RequestHead::of_text(head.text()), Some(head));
            }
        }

        #[test]
        fn prop_accepts_only_what_httparse_accepts(bytes in some_head()) {
            if let Ok(ParsedHead::Complete(head, used)) = parse(&bytes, 0) {
                let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
                let mut request = httparse::Request::new(&mut fields);
                prop_assert_eq!(request.parse(&bytes), Ok(httparse::Status::Complete(used)));
                let text = |value: &[u8]| match std::str::from_utf8(&bytes[..used]) {
                    Ok(_) => String::from_utf8(value.to_vec()).unwrap(),
                    Err(_) => value.iter().map(|byte| if *byte < 128 { *byte as char } else { '\x7f' }).collect(),
                };
                let fields = request.headers.iter().map(|field| (field.name.to_owned(), text(field.value)));
                let found = head.fields().map(|(name, value)| (name.to_owned(), value.to_owned()));
                prop_assert_eq!(fields.collect::<Vec<_>>(), found.collect::<Vec<_>>());
            }
        }
    }
}
