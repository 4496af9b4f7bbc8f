//! Reply heads to bytes.

use crate::http::{Header, Status};

/// How a reply's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyFraming {
    /// There is none, and no length is told (204, RFC 9110, section 8.6).
    None,
    /// After so many bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
    /// With the connection (HTTP/1.0).
    UntilClose,
}

/// A reply's head, before it is bytes.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    /// The status.
    pub status: Status,
    /// The value of Date.
    pub date: &'a str,
    /// The media type of the body, when there is one.
    pub content_type: Option<&'a str>,
    /// How the body ends.
    pub framing: ReplyFraming,
    /// Whether the connection ends after this reply.
    pub close: bool,
}

impl ReplyHead<'_> {
    /// Appends the status line, the headers and the blank line. An extra header whose value has a control
    /// character (CR, LF, NUL, ...) is left out: it would end the head, or be read differently by the next
    /// hop.
    pub fn encode_into(&self, out: &mut Vec<u8>, extra: &[Header]) {
        let mut number = itoa::Buffer::new();
        append(out, &["HTTP/1.1 ", number.format(self.status.0), " ", self.status.reason()]);
        append(out, &["\r\nDate: ", self.date]);
        if let Some(content_type) = self.content_type {
            append(out, &["\r\nContent-Type: ", content_type]);
        }
        match self.framing {
            ReplyFraming::None | ReplyFraming::UntilClose => {}
            ReplyFraming::Length(length) => append(out, &["\r\nContent-Length: ", number.format(length)]),
            ReplyFraming::Chunked => append(out, &["\r\nTransfer-Encoding: chunked"]),
        }
        if self.close {
            append(out, &["\r\nConnection: close"]);
        }
        for (name, value) in extra {
            if !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                append(out, &["\r\n", name, ": ", value]);
            }
        }
        append(out, &["\r\n\r\n"]);
    }
}

fn append(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn leaves_headers_out_that_would_end_the_head() {
        let mut out = Vec::new();
        let reply = ReplyHead {
            status: Status(200),
            date: "now",
            content_type: None,
            framing: ReplyFraming::Length(0),
            close: true,
        };
        let headers = [("A", "a\r\nSet-Cookie: b".into()), ("B", "b\0".into()), ("C", "c".into())];
        reply.encode_into(&mut out, &headers);
        let expected =
            "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0\r\nConnection: close\r\nC: c\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn prop_encoded_heads_read_back(
            code in 200u16..600,
            values in prop::collection::vec(any::<String>(), 0..5),
            length in any::<u16>(),
        ) {
            let headers: Vec<Header> = values.iter().map(|value| ("X-Value", value.clone().into())).collect();
            let framing = ReplyFraming::Length(length as usize);
            let reply = ReplyHead { status: Status(code), date: "d", content_type: Some("a/b"), framing, close: false };
            let (mut out, mut again) = (Vec::new(), Vec::new());
            reply.encode_into(&mut out, &headers);
            reply.encode_into(&mut again, &headers);
            prop_assert_eq!(&out, &again);
            let mut fields = [httparse::EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut fields);
            prop_assert_eq!(response.parse(&out), Ok(httparse::Status::Complete(out.len())));
            prop_assert_eq!(response.code, Some(code));
            let kept: Vec<&[u8]> = response.headers.iter().filter(|field| field.name == "X-Value").map(|field| field.value).collect();
            let sent: Vec<&[u8]> = values.iter()
                .filter(|value| !value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f))
                .map(|value| value.trim_matches([' ', '\t']).as_bytes()).collect();
            prop_assert_eq!(kept, sent);
        }
    }
}
