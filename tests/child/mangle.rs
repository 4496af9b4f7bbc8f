//! A good answer, mangled in a way that a number chooses: the same for the server that says it and for the test that
//! knows what must come of it.

/// A mangled answer to one call.
pub(crate) struct Mangled {
    /// What is written, line ends included.
    pub(crate) bytes: Vec<u8>,
    /// What the caller must hear.
    #[allow(dead_code, reason = "the server does not ask")]
    pub(crate) must: Must,
    /// In which way it is mangled, for the message of a failed test.
    #[allow(dead_code, reason = "the server does not ask")]
    pub(crate) way: &'static str,
}

/// What must come of a mangled answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// The result: nothing of it was touched.
    Answer,
    /// The result or an error: the line names its call.
    End,
    /// An error when no other call is in flight, else nothing: the line is a response, and its id is lost.
    EndIfAlone,
    /// Whatever: the line does not say enough. Other calls go on in any case.
    Anything,
}

/// The text in the result, which a caller finds in a good answer.
pub(crate) const TEXT: &str = "\u{e4} \\\" {[ done";

/// The number of ways; a seed's remainder chooses one.
pub(crate) const WAYS: u64 = 19;

/// The answer to the call `id` as `seed` mangles it.
pub(crate) fn mangled(seed: u64, id: &str) -> Mangled {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
    let line = Answer::new(&mut dice, id);
    match seed % WAYS {
        0 => wrapped(&mut dice, &line),
        1 => made(Must::Answer, "an array around it", format!("[{}]", line.text)),
        2 => made(
            Must::End,
            "a word before it",
            format!("{}{}", dice.one(&["INFO: ", "out> ", "2026-11-27 [x] "]), line.text),
        ),
        3 => null_member(&mut dice, &line),
        4 => id_of_another_type(&mut dice, &line),
        5 | 6 => bad_value(&mut dice, &line),
        7 | 8 => one_byte(&mut dice, &line, "a byte dropped", |bytes, at, _| {
            bytes.remove(at);
        }),
        9 | 10 => one_byte(&mut dice, &line, "a byte doubled", |bytes, at, _| bytes.insert(at, bytes[at])),
        11 | 12 => one_byte(&mut dice, &line, "a byte replaced", |bytes, at, dice| {
            // A comma in the middle of a number makes a smaller one of it, and nobody could tell.
            bytes[at] = if bytes[at].is_ascii_digit() { b'#' } else { dice.byte() };
        }),
        13 => cut(&mut dice, &line),
        14 => id_lost(&mut dice, &line),
        15 => made(Must::Answer, "said twice", format!("{0}\n{0}", line.text)),
        16 => several_lines(&mut dice, &line),
        17 => two_on_a_line(&mut dice, &line),
        _ => made(Must::Answer, "nothing", line.text.clone()),
    }
}

fn made(must: Must, way: &'static str, line: impl Into<Vec<u8>>) -> Mangled {
    let mut bytes = line.into();
    bytes.push(b'\n');
    Mangled { bytes, must, way }
}

/// A good answer and where its id stands.
struct Answer {
    text: String,
    /// Of the whole member, from the quote before its name to the blanks behind the last digit.
    id: std::ops::Range<usize>,
    number: String,
    /// Whether what follows a broken byte could be taken for the id.
    decoy_first: bool,
}

impl Answer {
    fn new(dice: &mut Dice, number: &str) -> Answer {
        // Ids of calls that are in flight as well, where none is looked for: in the result.
        let decoy = dice.one(&["", r#""id":1,"#, r#""id":2,"k":"x","#, r#""a":{"id":3},"jsonrpc":"2.0","#]);
        let text = TEXT.replace('\\', "\\\\").replace('"', "\\\"");
        let result = match dice.below(4) {
            0 => format!(r#""error":{{"code":-32000,"message":"{text}","data":{{{decoy}"n":1}}}}"#),
            _ => format!(
                r#""result":{{{decoy}"content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#
            ),
        };
        // As wide as any: a seed chooses the same place whatever the number is.
        let id = format!(r#""id":{number:<7}"#);
        let last = dice.below(3) == 0;
        let text = match last {
            true => format!(r#"{{"jsonrpc":"2.0",{result},{id}}}"#),
            false => format!(r#"{{"jsonrpc":"2.0",{id},{result}}}"#),
        };
        let at = if last { text.len() - 1 - id.len() } else { r#"{"jsonrpc":"2.0","#.len() };
        Answer { id: at..at + id.len(), text, number: number.into(), decoy_first: last && !decoy.is_empty() }
    }

    /// The same with another id member, or none.
    fn with_id(&self, member: &str) -> String {
        format!("{}{member}{}", &self.text[..self.id.start], &self.text[self.id.end..])
    }

    /// What a line must end whose structure is broken somewhere: nothing for sure when another id comes first.
    fn broken(&self) -> Must {
        if self.decoy_first { Must::Anything } else { Must::End }
    }
}

fn wrapped(dice: &mut Dice, line: &Answer) -> Mangled {
    let before = [
        "\u{feff}",
        "\0",
        "\0\0",
        "\u{1e}",
        "\u{1b}[32m",
        "\u{1b}[0;1;31m\u{1b}[K",
        " \t",
        "\u{feff}\u{feff}",
    ];
    let after = ["\r", "\0", "\u{1b}[0m", " \t ", "\u{1e}", "\u{1b}[0m\r"];
    let (before, after) = match dice.below(3) {
        0 => (dice.one(&before), ""),
        1 => ("", dice.one(&after)),
        _ => (dice.one(&before), dice.one(&after)),
    };
    made(Must::Answer, "bytes around it", format!("{before}{}{after}", line.text))
}

fn null_member(dice: &mut Dice, line: &Answer) -> Mangled {
    let taken = if line.text.contains(r#""result":"#) { r#""error":null"# } else { r#""result":null"# };
    let member =
        dice.one(&[taken, r#""method":null"#, r#""params":null"#, r#""_meta":null"#, r#""extra":{"id":1}"#]);
    let text = match dice.below(2) {
        0 => format!("{{{member},{}", &line.text[1..]),
        _ => format!("{},{member}}}", &line.text[..line.text.len() - 1]),
    };
    made(Must::Answer, "a member that is null or unknown", text)
}

fn id_of_another_type(dice: &mut Dice, line: &Answer) -> Mangled {
    let number = &line.number;
    let forms =
        [format!("{number}.0"), format!("\"{number}\""), format!("{number}e0"), format!("{number}.000")];
    let form = &forms[dice.below(forms.len())];
    made(Must::Answer, "an id of another type", line.with_id(&format!(r#""id": {form} "#)))
}

fn bad_value(dice: &mut Dice, line: &Answer) -> Mangled {
    let (from, to) = [
        ("false", "NaN"),
        ("false", "undefined"),
        ("false", "-Infinity"),
        ("false", "False"),
        ("false", "'no'"),
        ("false}", "false,}"),
        ("done", "\u{1}"),
        ("done", "\t"),
        ("done", "\\x"),
        ("done", "\\u12"),
        ("1}", "1,}"),
        ("-32000", "0x10"),
        ("-32000", "+1"),
    ][dice.below(13)];
    // What comes later than the id, lest the id itself be broken.
    let text = line.text.replacen(from, to, 1);
    // A good answer where the value does not occur; the bytes of the id are never among them.
    made(if text == line.text { Must::Answer } else { Must::End }, "a value that is not JSON", text)
}

fn one_byte(
    dice: &mut Dice,
    line: &Answer,
    way: &'static str,
    change: impl Fn(&mut Vec<u8>, usize, &mut Dice),
) -> Mangled {
    let mut bytes = line.text.clone().into_bytes();
    let at = dice.below(bytes.len());
    change(&mut bytes, at, dice);
    // The byte after the id's digits ends them: without it they may be others.
    let intact = !(line.id.start..=line.id.end).contains(&at);
    let must = if intact { line.broken() } else { Must::Anything };
    made(must, way, bytes)
}

fn cut(dice: &mut Dice, line: &Answer) -> Mangled {
    let at = 1 + dice.below(line.text.len() - 1);
    let mut bytes = line.text.as_bytes()[..at].to_vec();
    let must = if at > line.id.end { line.broken() } else { Must::Anything };
    if dice.below(2) == 0 {
        // Two writers: the next message begins in the middle of this one.
        bytes.extend(br#"{"jsonrpc":"2.0","method":"notifications/x"}"#);
    }
    made(must, "cut", bytes)
}

fn id_lost(dice: &mut Dice, line: &Answer) -> Mangled {
    let number = &line.number;
    let members = [
        r#""id":null"#.to_owned(),
        r#""id":[]"#.to_owned(),
        format!(r#""id":[{number}]"#),
        format!(r#""id":{{"id":{number}}}"#),
        r#""id":true"#.to_owned(),
        format!(r#""ID":{number}"#),
        format!(r#""_id":{number}"#),
    ];
    let text = line.with_id(&members[dice.below(members.len())]);
    // An error without an id says that a message could not be read; with another code it says nothing of a call.
    let must = if text.contains(r#""error":"#) { Must::Anything } else { Must::EndIfAlone };
    made(must, "an id that is lost", text)
}

fn several_lines(dice: &mut Dice, line: &Answer) -> Mangled {
    let at = 1 + dice.below(line.text.len() - 1);
    let mut bytes = line.text.clone().into_bytes();
    bytes.insert(at, b'\n');
    made(Must::Anything, "several lines", bytes)
}

fn two_on_a_line(dice: &mut Dice, line: &Answer) -> Mangled {
    let note = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    let text = match dice.below(3) {
        0 => format!("{}{note}", line.text),
        1 => format!("{note}{}", line.text),
        _ => format!("{} {note} {note}", line.text),
    };
    made(Must::End, "two objects on one line", text)
}

/// Splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Any but a line's end.
    fn byte(&mut self) -> u8 {
        match self.next() as u8 {
            b'\n' => b'#',
            byte => byte,
        }
    }
}
