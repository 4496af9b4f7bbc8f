//! Finds where a reply ends: by its length, or by the last chunk of an event stream. Nothing is copied.

use std::ops::Range;

use memchr::memmem::find;

/// Longer heads are not expected of a server that is measured.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A complete reply, or the head of a stream.
#[derive(Debug)]
pub struct Reply<'a> {
    /// The status code.
    pub status: u16,
    /// `Mcp-Session-Id`, when there is one.
    pub session: Option<&'a [u8]>,
    /// The body as it was sent, the sizes of chunks included; what there is of it when it is a stream.
    pub body: &'a [u8],
}

/// How far a reply has been looked through.
#[derive(Debug, Default)]
pub struct Scan {
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    status: u16,
    session: Option<Range<usize>>,
    end: usize,
    body: Body,
}

/// How the body ends.
#[derive(Debug)]
enum Body {
    /// After so many bytes.
    Length(usize),
    /// With the chunk of size 0; the next chunk begins here.
    Chunks(usize),
}

impl Scan {
    /// Looks at all that was read of a reply. `None` when more is needed; otherwise how many bytes it takes.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn whole(&mut self, input: &[u8]) -> Result<Option<usize>, String> {
        let Some(head) = self.read_head(input)? else { return Ok(None) };
        match &mut head.body {
            Body::Length(length) => Ok((input.len() >= head.end + *length).then_some(head.end + *length)),
            Body::Chunks(at) => last_chunk(input, at),
        }
    }

    /// The same for a reply whose body does not end: its head is enough.
    ///
    /// # Errors
    /// What cannot be understood.
    pub fn head(&mut self, input: &[u8]) -> Result<Option<usize>, String> {
        Ok(self.read_head(input)?.map(|head| head.end))
    }

    /// What was found, once it was complete.
    pub fn reply<'a>(&self, input: &'a [u8], end: usize) -> Option<Reply<'a>> {
        let head = self.head.as_ref()?;
        Some(Reply {
            status: head.status,
            session: head.session.clone().map(|session| &input[session]),
            body: &input[head.end..end.max(head.end)],
        })
    }

    fn read_head(&mut self, input: &[u8]) -> Result<Option<&mut Head>, String> {
        if self.head.is_none() {
            match find(input, b"\r\n\r\n") {
                Some(end) => self.head = Some(parse(&input[..end + 4])?),
                None if input.len() > HEAD_BYTES_MAX => return Err("a head without end".to_owned()),
                None => return Ok(None),
            }
        }
        Ok(self.head.as_mut())
    }
}

fn parse(head: &[u8]) -> Result<Head, String> {
    let status = head.get(9..12).and_then(number).ok_or("no status line")?;
    let mut parsed = Head { status: status as u16, session: None, end: head.len(), body: Body::Length(0) };
    let mut at = find(head, b"\r\n").map_or(head.len(), |end| end + 2);
    while let Some(length) = find(&head[at..], b"\r\n").filter(|length| *length > 0) {
        let line = &head[at..at + length];
        if let Some(value) = value(line, b"content-length") {
            let length = number(&line[value]).ok_or("a length that is no number")?;
            parsed.body = Body::Length(length);
        } else if value(line, b"transfer-encoding").is_some() {
            parsed.body = Body::Chunks(head.len());
        } else if let Some(value) = value(line, b"mcp-session-id") {
            parsed.session = Some(at + value.start..at + value.end);
        }
        at += length + 2;
    }
    Ok(parsed)
}

/// Where the value stands, when the line has this name (in lower case).
fn value(line: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let named = line.len() > name.len() && line[name.len()] == b':';
    (named && line[..name.len()].eq_ignore_ascii_case(name)).then(|| {
        let spaces = line[name.len() + 1..].iter().take_while(|byte| **byte == b' ').count();
        name.len() + 1 + spaces..line.len()
    })
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}

/// Goes from chunk to chunk, and remembers in `at` where the next one begins.
fn last_chunk(input: &[u8], at: &mut usize) -> Result<Option<usize>, String> {
    while let Some(line) = input.get(*at..).and_then(|rest| find(rest, b"\r\n")) {
        let digits = std::str::from_utf8(&input[*at..*at + line]).unwrap_or_default();
        let size =
            usize::from_str_radix(digits, 16).map_err(|_| format!("a chunk of the size {digits:?}"))?;
        let end = *at + line + 2 + size + 2;
        if size == 0 {
            return Ok((input.len() >= end).then_some(end));
        }
        *at = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_and_a_session() {
        let input = b"HTTP/1.1 200 OK\r\nmcp-session-id:  a1\r\nContent-Length: 2\r\n\r\n{}HTTP";
        let mut scan = Scan::default();
        assert_eq!(scan.whole(&input[..20]), Ok(None));
        let end = scan.whole(input).unwrap().unwrap();
        let reply = scan.reply(input, end).unwrap();
        assert_eq!((reply.status, reply.session, reply.body), (200, Some(&b"a1"[..]), &b"{}"[..]));
    }

    #[test]
    fn chunks_in_pieces() {
        let input = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        let mut scan = Scan::default();
        for end in 0..input.len() {
            assert_eq!(scan.whole(&input[..end]), Ok(None), "{end}");
        }
        assert_eq!(scan.whole(input), Ok(Some(input.len())));
    }

    #[test]
    fn a_reply_without_a_body() {
        let input = b"HTTP/1.1 202 Accepted\r\ndate: x\r\n\r\n";
        assert_eq!(Scan::default().whole(input), Ok(Some(input.len())));
    }
}
