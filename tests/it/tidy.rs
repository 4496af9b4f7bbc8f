//! The house rules that neither rustc nor clippy checks: who may use whom, what stays small, what is written down.
//!
//! A rule that is in the way is changed here, in the open, with its reason beside it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The corridor (ARCHITECTURE.md, invariant 1): a room uses what stands above it. Rooms in one row are one floor:
/// they may use each other, for the reason given.
const FLOORS: &[(&[&str], &str)] = &[
    (&["limits"], ""),
    (&["lock"], ""),
    (&["moment"], ""),
    (&["memory"], ""),
    (&["budget"], ""),
    (&["metrics"], "reads the budget for its text"),
    (&["foreign"], ""),
    (&["sweep"], ""),
    (&["queue"], ""),
    (&["reactor"], ""),
    (&["runtime"], ""),
    (&["systemd"], ""),
    (&["version"], ""),
    (&["small_file"], ""),
    (&["http"], ""),
    (&["message"], ""),
    (&["backend", "handler"], "a backend runs handlers; what their contexts say are its outputs"),
    (&["demo"], ""),
    (&["principal"], ""),
    (&["config"], "holds checked commands (backend) and tokens (principal)"),
    (&["logging"], ""),
    (&["registry", "session"], "a record is about a session id; a session's end is told to the registry"),
    (&["mcp"], ""),
    (&["admin", "drain", "server"], "the server starts the other two; admin fails with its RunError"),
    (&["embed"], ""),
    (&["cli"], ""),
    (&["main"], ""),
];

/// Files that take bytes and `now`: no async, no clock, no I/O (ARCHITECTURE.md, invariant 2).
const SANS_IO: &[&str] = &[
    "http/head.rs",
    "http/body.rs",
    "http/sse.rs",
    "message/envelope.rs",
    "message/id.rs",
    "message/initialize.rs",
    "message/parse.rs",
    "message/text.rs",
    "message/write.rs",
    "session/id.rs",
    "session/stream.rs",
    "session/streams.rs",
    "version.rs",
];

/// What a sans-io file must not contain.
const IO: &[&str] = &[
    "async fn",
    "async {",
    "async move",
    ".await",
    "Instant::now",
    "Moment::now",
    "SystemTime",
    "Timer::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "io::Read",
    "io::stdin",
    "io::stdout",
    "std::fs",
    "std::thread",
    "smol::",
    "async_io",
];

/// Most functions are shorter than this; one screen.
const FUNCTION_LINES_MAX: usize = 40;

/// Functions that are longer, and how long they may be: (file, function, lines). A ratchet: lower it, do not raise it.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[
    // One match over the decoder's states, a row each.
    ("http/body.rs", "step", 41),
];

/// Rows L of the requirements list (ARCHITECTURE.md, References) that no test of tests/it cites, because a raw client cannot see them here.
const UNSEEN_ROWS: &[(u32, &str)] = &[
    (4, "about the bind: bad_input.rs sees a public address without tokens refused"),
    (14, "a permission not used: burdock does not drop a healthy connection"),
    (24, "a permission: either side may close; burdock's closes are seen under L19 and L28"),
    (49, "an error code and a notification like others: they pass through (L52-L55)"),
];

/// The last of the rows L.
const LAST_ROW: u32 = 55;

struct Source {
    /// Relative to `src`.
    path: String,
    /// As it is.
    text: String,
    /// Without tests; comments, strings and characters blanked, line breaks kept.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        self.path.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// `path:line` of a place in `code`.
    fn place(&self, at: usize) -> String {
        format!("src/{}:{}", self.path, self.code[..at].matches('\n').count() + 1)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root().join("src"), &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "where are the sources?");
    sources
}

fn collect(folder: &Path, into: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = without_tests(blank(&text));
            let path = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
            into.push(Source { path, code, text });
        }
    }
}

/// Blanks the test modules of a file whose comments and strings are blank already.
fn without_tests(mut code: String) -> String {
    while let Some(at) = code.find("#[cfg(test)]\nmod ") {
        let end = match code[at..].find(['{', ';']) {
            Some(brace) => at + brace + block(&code[at + brace..]).max(1),
            None => code.len(),
        };
        let blank: String = code[at..end].chars().filter(|c| *c == '\n').collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// Replaces comments, strings and characters by blanks of the same length.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + token_to_blank(&bytes[at..], at > 0 && is_name_byte(bytes[at - 1]));
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap()
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the comment, string or character that `rest` begins with; 0 when it begins with something else.
fn token_to_blank(rest: &[u8], inside_name: bool) -> usize {
    let up_to = |end: &str, from: usize| {
        let found = rest[from..].windows(end.len()).position(|part| part == end.as_bytes());
        found.map_or(rest.len(), |found| from + found + end.len())
    };
    match rest {
        [b'/', b'/', ..] => up_to("\n", 0),
        [b'/', b'*', ..] => up_to("*/", 2),
        [b'r', b'"' | b'#', ..] if !inside_name => raw_string(rest, 1),
        [b'b', b'r', b'"' | b'#', ..] if !inside_name => raw_string(rest, 2),
        [b'"', ..] => quoted(rest, b'"'),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        // A character; otherwise a lifetime.
        [b'\'', first, ..] if *first >= 0x80 => up_to("'", 1),
        [b'\'', _, b'\'', ..] => 3,
        _ => 0,
    }
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0;
    }
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let from = prefix + hashes + 1;
    rest[from..]
        .windows(end.len())
        .position(|part| part == end)
        .map_or(rest.len(), |at| from + at + end.len())
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    rest.len().min(at + 1)
}

/// Fails with all findings at once.
fn none(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        writeln!(text, "  {finding}").unwrap();
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

/// The places of `needle` in `code`, not as the end of a longer name.
fn places<'a>(code: &'a str, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
    let whole = needle.as_bytes().first().is_some_and(|byte| is_name_byte(*byte));
    code.match_indices(needle)
        .map(|(at, _)| at)
        .filter(move |at| !whole || *at == 0 || !is_name_byte(code.as_bytes()[at - 1]))
}

fn name_at(code: &str) -> &str {
    let end = code.bytes().position(|byte| !is_name_byte(byte)).unwrap_or(code.len());
    &code[..end]
}

/// The rooms that `crate::...` at the beginning of `code` names: one, or those of a brace list.
fn rooms_at(code: &str) -> Vec<&str> {
    let Some(list) = code.strip_prefix('{') else { return vec![name_at(code)] };
    let mut depth = 1;
    let mut rooms = vec![name_at(list.trim_start())];
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 1 => rooms.push(name_at(list[at + 1..].trim_start())),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    rooms
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|(rooms, _)| rooms.contains(&room))
}

#[test]
fn rooms_use_only_what_stands_above_them_in_the_corridor() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let Some(own) = floor(source.room()) else {
            findings.push(format!("src/{}: give it a place in FLOORS", source.path));
            continue;
        };
        for at in places(&source.code, "crate::") {
            for room in
                rooms_at(&source.code[at + "crate::".len()..]).into_iter().filter(|room| !room.is_empty())
            {
                match floor(room) {
                    // A macro or a function of lib.rs would be found by name: there are none.
                    None => findings.push(format!("{}: {room} is not in FLOORS", source.place(at))),
                    Some(used) if used > own => {
                        findings.push(format!("{}: {} must not use {room}", source.place(at), source.room()));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    none("`use` goes one way (tests/it/tidy.rs, FLOORS)", &findings);
}

#[test]
fn sans_io_files_have_no_async_no_clock_and_no_io() {
    let sources = sources();
    let mut findings = Vec::new();
    for path in SANS_IO {
        let source =
            sources.iter().find(|source| source.path == *path).unwrap_or_else(|| panic!("no src/{path}"));
        for word in IO {
            findings.extend(places(&source.code, word).map(|at| format!("{}: {word}", source.place(at))));
        }
    }
    none("these files take bytes and `now`, nothing else", &findings);
}

/// (name, lines, place) of each function.
fn functions(source: &Source) -> Vec<(String, usize, usize)> {
    let code = &source.code;
    let mut functions = Vec::new();
    for at in places(code, "fn ") {
        let name = name_at(&code[at + "fn ".len()..]);
        let (mut parens, mut end) = (0, None);
        for (offset, byte) in code.bytes().enumerate().skip(at) {
            match byte {
                b'(' | b'[' => parens += 1,
                b')' | b']' => parens -= 1,
                b';' if parens == 0 => break,
                b'{' => {
                    end = Some(offset + block(&code[offset..]));
                    break;
                }
                _ => {}
            }
        }
        if let Some(end) = end.filter(|_| !name.is_empty()) {
            functions.push((name.to_owned(), code[at..end].matches('\n').count() + 1, at));
        }
    }
    functions
}

/// The length of the braced block that `code` begins with.
fn block(code: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

#[test]
fn functions_fit_a_screen() {
    let mut findings = Vec::new();
    let mut lengths = Vec::new();
    for source in sources() {
        let mut longest_of_exception = LONG_FUNCTIONS
            .iter()
            .filter(|(path, ..)| *path == source.path)
            .map(|(_, name, lines)| (*name, *lines, 0))
            .collect::<Vec<_>>();
        for (name, lines, at) in functions(&source) {
            lengths.push(lines);
            let exception = longest_of_exception.iter_mut().find(|(known, ..)| *known == name);
            let allowed = exception.as_ref().map_or(FUNCTION_LINES_MAX, |(_, allowed, _)| *allowed);
            if lines > allowed {
                findings
                    .push(format!("{}: {name} has {lines} lines, allowed are {allowed}", source.place(at)));
            }
            if let Some((_, _, longest)) = exception {
                *longest = lines.max(*longest);
            }
        }
        for (name, allowed, longest) in
            longest_of_exception.into_iter().filter(|(_, allowed, longest)| longest < allowed)
        {
            findings.push(format!(
                "src/{}: {name} has {longest} lines now: lower {allowed} in LONG_FUNCTIONS",
                source.path
            ));
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!((3..=12).contains(&median), "{} functions, median {median} lines", lengths.len());
    none("functions fit a screen", &findings);
}

#[test]
fn bounds_are_in_limits() {
    const UNITS: [&str; 6] =
        ["from_secs", "from_millis", "from_micros", "from_nanos", "from_mins", "from_secs_f64"];
    const ENDINGS: [&str; 9] =
        ["_MAX", "_MIN", "_DEADLINE", "_TIMEOUT", "_WAIT", "_GRACE", "_STEP", "_PATIENCE", "_SECS"];
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path != "limits.rs") {
        let code = &source.code;
        for call in UNITS
            .iter()
            .map(|unit| format!("Duration::{unit}("))
            .chain(["bounded(".to_owned(), "bounded_blocking(".to_owned()])
        {
            for at in places(code, &call) {
                let number: String =
                    code[at + call.len()..].chars().take_while(|c| c.is_ascii_digit() || *c == '_').collect();
                // A channel of one is a hand-over, and one second is a unit: not bounds that somebody chose.
                if !matches!(number.as_str(), "" | "0" | "1") {
                    findings.push(format!("{}: {call}{number})", source.place(at)));
                }
            }
        }
        for at in places(code, "const ") {
            let declaration = &code[at + "const ".len()..];
            let name = name_at(declaration);
            let value = declaration.split([';', '\n']).next().unwrap().split('=').nth(1).unwrap_or_default();
            if ENDINGS.iter().any(|ending| name.ends_with(ending))
                && value.trim().starts_with(|c: char| c.is_ascii_digit())
            {
                findings.push(format!("{}: const {name} ={value}", source.place(at)));
            }
        }
    }
    none("every bound is named, with its unit and reason, in src/limits.rs", &findings);
}

/// Whether the line that `before` ends in follows a `#[cfg(test)]`.
fn only_for_tests(before: &str) -> bool {
    before.lines().rev().nth(1).is_some_and(|line| line.trim() == "#[cfg(test)]")
}

/// A message in quotes is blank in `code`, hence the blank after `.expect(`; other methods may have that name.
#[test]
fn nothing_from_outside_can_panic_by_unwrap() {
    let mut findings = Vec::new();
    for source in sources() {
        for word in [
            ".unwrap()",
            ".expect( ",
            ".unwrap_err()",
            ".expect_err( ",
            "panic!(",
            "unreachable!(",
            "todo!(",
            "unimplemented!(",
        ] {
            let found = places(&source.code, word).filter(|at| !only_for_tests(&source.code[..*at]));
            findings.extend(found.map(|at| format!("{}: {word}", source.place(at))));
        }
    }
    none("no unwrap, no expect, no panic outside tests", &findings);
}

#[test]
fn every_file_says_what_it_is() {
    let mute = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect::<Vec<_>>();
    none("the first line of a file is a `//!` sentence", &mute);
}

#[test]
fn the_map_names_every_room() {
    let sources = sources();
    let map = &sources.iter().find(|source| source.path == "lib.rs").unwrap().text;
    let architecture = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rooms: BTreeSet<&str> = sources.iter().map(Source::room).filter(|room| *room != "lib").collect();
    let missing = rooms
        .into_iter()
        .flat_map(|room| {
            let in_map =
                map.lines().any(|line| line.starts_with("//!") && line.contains(&format!("`{room}`")));
            let in_text = architecture.contains(room);
            [
                (!in_map).then(|| format!("src/lib.rs: {room}")),
                (!in_text).then(|| format!("ARCHITECTURE.md: {room}")),
            ]
        })
        .flatten()
        .collect::<Vec<_>>();
    none("a room that is not on the map", &missing);
    let order: Vec<usize> =
        map.lines().filter_map(|line| line.strip_prefix("//! | `")).map(name_at).filter_map(floor).collect();
    assert!(
        order.is_sorted_by(|upper, lower| upper >= lower),
        "src/lib.rs: a room uses what is below it: {order:?}"
    );
    let lines = architecture.lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines: it is to be read in one sitting");
}

/// The numbers after an `L` in `text`: `L7`, and all of `L52-L55`.
fn rows(text: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rows = BTreeSet::new();
    for at in places(text, "L") {
        let digits = number(&text[at + 1..]);
        let Ok(first) = text[at + 1..at + 1 + digits].parse::<u32>() else { continue };
        let last =
            text[at + 1 + digits..].strip_prefix("-L").and_then(|rest| rest[..number(rest)].parse().ok());
        rows.extend(first..=last.unwrap_or(first).min(LAST_ROW));
    }
    rows
}

#[test]
fn every_row_of_the_handshake_era_is_cited_by_a_test() {
    assert_eq!(rows("L1, L3-L5 (HTML2), NULL7"), BTreeSet::from([1, 3, 4, 5]));
    let mut cited = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/it")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.file_name().is_some_and(|name| name != "tidy.rs") {
            cited.extend(rows(&std::fs::read_to_string(path).unwrap()));
        }
    }
    let unseen: BTreeSet<u32> = UNSEEN_ROWS.iter().map(|(row, _)| *row).collect();
    let missing = (1..=LAST_ROW)
        .filter(|row| !cited.contains(row) && !unseen.contains(row))
        .map(|row| format!("L{row}"));
    none("no test cites these rows of the requirements list", &missing.collect::<Vec<_>>());
    let seen =
        UNSEEN_ROWS.iter().filter(|(row, _)| cited.contains(row)).map(|(row, why)| format!("L{row} ({why})"));
    none("a test does cite them: take them off UNSEEN_ROWS", &seen.collect::<Vec<_>>());
}

#[test]
fn the_changelog_has_this_version() {
    let changelog = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(
        changelog.lines().any(|line| line.starts_with(&heading)),
        "CHANGELOG.md has no heading {heading}"
    );
}

#[test]
fn the_readme_names_every_flag() {
    let help = Command::new(env!("CARGO_BIN_EXE_burdock")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags: BTreeSet<&str> =
        help.lines().filter_map(|line| line.trim_start().strip_prefix("--")).map(flag_name).collect();
    assert!(flags.contains("listen"), "burdock serve --help lists no flags: {help}");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let rows: BTreeSet<&str> =
        readme.lines().filter_map(|line| line.strip_prefix("| `--")).map(flag_name).collect();
    let unknown = rows.difference(&flags).map(|flag| format!("--{flag} is in README and not in the help"));
    let missing = flags.difference(&rows).map(|flag| format!("--{flag} is in the help and not in README"));
    none("README's table of flags", &unknown.chain(missing).collect::<Vec<_>>());
}

/// `listen` of `listen ADDR:PORT  where ...`.
fn flag_name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(text.len());
    &text[..end]
}

#[test]
fn links_in_the_papers_lead_somewhere() {
    let mut broken = Vec::new();
    for paper in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root().join(paper)).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', '#', ' ']).next().unwrap();
            if !target.is_empty() && !target.contains("://") && !root().join(target).exists() {
                broken.push(format!("{paper}: {target}"));
            }
        }
    }
    none("links to files that are not there", &broken);
}

/// README's table says which test shows what: `room::beginning_of_a_name`.
#[test]
fn the_tests_that_readme_names_are_there() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut gone = Vec::new();
    for line in readme.lines().filter(|line| line.starts_with("| ")) {
        let last = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let Some((room, test)) =
            last.strip_prefix('`').and_then(|name| name.strip_suffix('`')?.split_once("::"))
        else {
            continue;
        };
        let path = root().join("tests/it").join(format!("{room}.rs"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if !text.contains(&format!("fn {test}")) {
            gone.push(format!("{room}::{test}"));
        }
    }
    none("README names tests that are not there", &gone);
}

/// The runtime is smol and the only one; what tests and benches use stays out of the binary.
#[test]
fn one_runtime_in_the_binary() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "-e", "normal", "--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<&str> = names.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("smol"), "{}", String::from_utf8_lossy(&tree.stderr));
    for name in ["tokio", "async-std", "async-global-executor", "async-h1", "http-types", "hyper"] {
        assert!(!names.contains(name), "{name} is linked into burdock");
    }
}

#[test]
fn the_rules_find_what_they_are_for() {
    let code = blank(
        "let a = \"crate::x\"; // crate::y\nlet b = '\"'; let c: &'a str = r#\"crate::\"z\"#; crate::real()",
    );
    assert_eq!(places(&code, "crate::").count(), 1, "{code}");
    assert_eq!(rooms_at("{a::{b, c}, d,\n e::f};"), ["a", "d", "e"]);
    let source = Source {
        path: "x.rs".to_owned(),
        text: String::new(),
        code: "fn a(x: [u8; 2]) -> u8 {\n  if x { y }\n}\nfn b();\nfn c() {}".to_owned(),
    };
    let found = functions(&source).into_iter().map(|(name, lines, _)| (name, lines)).collect::<Vec<_>>();
    assert_eq!(found, [("a".to_owned(), 3), ("c".to_owned(), 1)]);
}
