//! The house rules that neither rustc nor clippy checks: who may use whom, what stays small, what is written down.
//!
//! A rule that is in the way is changed here, in the open, with its reason beside it.

mod code; // What each file must and must not contain.
mod modules; // Which file uses which.
mod papers; // What README, ARCHITECTURE and CHANGELOG say is so.
mod source; // How the sources are read.

use std::fmt::Write as _;

use modules::Modules;
use source::sources;

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
    (&["authority"], ""),
    (&["session_id"], ""),
    (&["http"], ""),
    (&["message"], ""),
    (&["conversation"], ""),
    (&["backend", "handler"], "a backend runs handlers; what their contexts say are its outputs"),
    (&["demo"], ""),
    (&["principal"], ""),
    (&["config"], "holds checked commands (backend) and tokens (principal)"),
    (&["logging"], ""),
    (&["registry"], ""),
    (&["session"], ""),
    (&["mcp"], ""),
    (&["connections"], ""),
    (&["listener"], ""),
    (&["admin"], ""),
    (&["drain"], ""),
    (&["server"], ""),
    (&["embed"], ""),
    (&["cli"], ""),
    (&["main"], ""),
];

/// Files that take bytes and `now`: no async, no clock, no I/O (ARCHITECTURE.md, invariant 2).
const SANS_IO: &[&str] = &[
    "authority.rs",
    "http/accept.rs",
    "http/head/fields.rs",
    "http/head/grammar.rs",
    "http/head/parse.rs",
    "http/head/reply.rs",
    "http/head/request.rs",
    "http/head/target.rs",
    "http/body.rs",
    "http/sse.rs",
    "http/stage.rs",
    "conversation/mod.rs",
    "conversation/effect.rs",
    "conversation/remark.rs",
    "conversation/tables.rs",
    "message/envelope.rs",
    "message/fragments.rs",
    "message/glance.rs",
    "message/id.rs",
    "message/initialize.rs",
    "message/line.rs",
    "message/members.rs",
    "message/number.rs",
    "message/params.rs",
    "message/parse.rs",
    "message/places.rs",
    "message/read.rs",
    "message/text.rs",
    "message/write.rs",
    "backend/ladder.rs",
    "backend/lines.rs",
    "backend/noise.rs",
    "session_id.rs",
    "session/stream.rs",
    "session/streams.rs",
    "version.rs",
];

/// What a sans-io file must not contain.
const IO: &[&str] = &[
    "async",
    "await",
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

/// Files that use each other in circles: a circle is let through while one of these is in it. A ratchet: take off
/// what is dissolved, add nothing.
const CIRCLES: &[&str] = &[];

/// Type names that stand in more than one file. A ratchet: take off what is unique now, add nothing.
const SHARED_NAMES: &[&str] = &[];

/// Most files have fewer lines of code than this (comments, blank lines and tests not counted).
const FILE_LINES_MAX: usize = 400;

/// Files that are longer, and how long they may be. A ratchet: lower it, do not raise it.
const LONG_FILES: &[(&str, usize)] = &[];

/// Whether what is listed above and is not so any more fails, too.
const STRICT: bool = true;

/// Most functions are shorter than this; one screen.
const FUNCTION_LINES_MAX: usize = 40;

/// Functions that are longer, and how long they may be: (file, function, lines). A ratchet: lower it, do not raise it.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[
    // One match over the decoder's states, a row each.
    ("http/body.rs", "step", 41),
];

/// Rows L of the requirements list (ARCHITECTURE.md, References) that no test of tests/it cites, because a raw
/// client cannot see them here.
const UNSEEN_ROWS: &[(u32, &str)] = &[
    (4, "about the bind: bad_input.rs sees a public address without tokens refused"),
    (14, "a permission not used: burdock does not drop a healthy connection"),
    (24, "a permission: either side may close; burdock's closes are seen under L19 and L28"),
    (49, "an error code and a notification like others: they pass through (L52-L55)"),
];

/// The last of the rows L.
const LAST_ROW: u32 = 55;

/// Fails with all findings at once.
fn none(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        writeln!(text, "  {finding}").unwrap();
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

/// What a list names and is not so any more: a hint until [`STRICT`].
fn gone(rule: &str, findings: impl Iterator<Item = String>) {
    let findings: Vec<String> = findings.collect();
    if STRICT {
        none(rule, &findings);
    } else if !findings.is_empty() {
        println!("{rule}: {}", findings.join(", "));
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|(rooms, _)| rooms.contains(&room))
}

#[test]
fn rooms_use_only_what_stands_above_them_in_the_corridor() {
    let sources = sources();
    let mut findings = Vec::new();
    for (source, used) in sources.iter().zip(Modules::new(sources).used()) {
        let Some(own) = floor(source.room()) else {
            if source.path != "lib.rs" {
                findings.push(format!("src/{}: give it a place in FLOORS", source.path));
            }
            continue;
        };
        let below = used.iter().map(|other| &sources[*other]);
        let below = below.filter(|other| floor(other.room()).is_some_and(|floor| floor > own));
        findings.extend(below.map(|other| format!("src/{} must not use src/{}", source.path, other.path)));
    }
    none("`use` goes one way (tests/it/tidy/mod.rs, FLOORS)", &findings);
}

#[test]
fn files_do_not_use_each_other_in_circles() {
    let sources = sources();
    let circles = Modules::new(sources).circles();
    let is_listed = |circle: &[&str]| circle.iter().any(|path| CIRCLES.contains(path));
    let new = circles.iter().filter(|circle| !is_listed(circle)).map(|circle| circle.join(", "));
    none("each of these uses each other, be it by way of further ones", &new.collect::<Vec<_>>());
    let straight =
        CIRCLES.iter().filter(|path| !circles.concat().contains(*path)).map(|path| path.to_string());
    gone("in no circle any more: take them off CIRCLES", straight);
}

#[test]
fn sans_io_files_have_no_async_no_clock_and_no_io() {
    let sources = sources();
    let mut findings = Vec::new();
    for path in SANS_IO {
        let source =
            sources.iter().find(|source| source.path == *path).unwrap_or_else(|| panic!("no src/{path}"));
        for word in IO {
            findings
                .extend(source.places(word).into_iter().map(|at| format!("{}: {word}", source.place(at))));
        }
    }
    none("these files take bytes and `now`, nothing else", &findings);
}
