//! URI templates of level 1 (RFC 6570, section 1.2): `{name}` stands for a part of the URI without slashes.

use super::resource::Variables;

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// A brace without its partner is text.
    pub(super) fn new(text: &str) -> Template {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, name, after)) = next_variable(rest) {
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Variable(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Template(pieces)
    }

    /// The variables in `uri`, percent-decoded; `None` when the template does not match. A variable has at
    /// least one character and no slash. It ends at the first place where the template's next text stands.
    pub(super) fn read(&self, uri: &str) -> Option<Variables> {
        let mut variables = Variables::new();
        let mut rest = uri;
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Piece::Variable(name) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(text)) => rest.find(text.as_str())?,
                        Some(Piece::Variable(_)) | None => rest.len(),
                    };
                    let (value, after) = rest.split_at(end);
                    if value.is_empty() || value.contains('/') {
                        return None;
                    }
                    variables.insert(name.clone(), decoded(value)?);
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(variables)
    }
}

fn next_variable(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// Percent-decoded; `None` when that is not UTF-8, or a `%` is followed by something else than two digits.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(template: &str, uri: &str) -> Option<Vec<String>> {
        Template::new(template).read(uri).map(|variables| variables.into_values().collect())
    }

    #[test]
    fn variables_are_read_and_decoded() {
        assert_eq!(read("test://template/{id}/data", "test://template/123/data"), Some(vec!["123".into()]));
        assert_eq!(read("n://{a}-{b}", "n://x-y-z"), Some(vec!["x".into(), "y-z".into()]));
        assert_eq!(read("n://{a}", "n://a%20b%C3%BC"), Some(vec!["a bü".into()]));
        assert_eq!(read("n://plain", "n://plain"), Some(vec![]));
        assert_eq!(read("n://{open", "n://{open"), Some(vec![]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (template, uri) in [
            ("n://{a}/data", "n:///data"),
            ("n://{a}/data", "n://x/y/data"),
            ("n://{a}/data", "n://x/data/"),
            ("n://{a}", "n://x/y"),
            ("n://{a}", "m://x"),
            ("n://{a}", "n://%"),
            ("n://{a}", "n://%zz"),
            ("n://{a}", "n://%ff"),
        ] {
            assert_eq!(read(template, uri), None, "{template} {uri}");
        }
    }
}
