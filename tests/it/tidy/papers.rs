//! What README, ARCHITECTURE and CHANGELOG say is so.

use std::collections::BTreeSet;
use std::process::Command;

use super::source::{Source, root, sources};
use super::{LAST_ROW, UNSEEN_ROWS, floor, none};

/// The word that `text` begins with.
fn name_at(text: &str) -> &str {
    let end = text.find(|c| !is_in_a_word(c)).unwrap_or(text.len());
    &text[..end]
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

fn is_in_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The numbers after an `L` in `text`: `L7`, and all of `L52-L55`.
fn rows(text: &str) -> BTreeSet<u32> {
    let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rows = BTreeSet::new();
    for (at, _) in text.match_indices('L').filter(|(at, _)| !text[..*at].ends_with(is_in_a_word)) {
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
        if path.is_file() {
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
            last.strip_prefix('`').and_then(|name| name.strip_suffix('`')?.rsplit_once("::"))
        else {
            continue;
        };
        let path = root().join("tests/it").join(format!("{}.rs", room.replace("::", "/")));
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

/// ARCHITECTURE tells the way through the files: `` `mcp/mod.rs`, `Endpoint::admit` ``.
#[test]
fn the_files_and_items_that_architecture_names_are_there() {
    let sources = sources();
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    // Without the commands for newcomers, whose fences are no names.
    let text: String = text.split("```").step_by(2).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let quoted: Vec<&str> = text.split('`').collect();
    let mut gone = Vec::new();
    for at in (1..quoted.len()).step_by(2).filter(|at| quoted[*at].ends_with(".rs")) {
        let (path, tail) = (quoted[at], format!("/{}", quoted[at]));
        if root().join(path).exists() {
            continue;
        }
        let files: Vec<&Source> =
            sources.iter().filter(|source| source.path == path || source.path.ends_with(&tail)).collect();
        if files.is_empty() {
            gone.push(path.to_owned());
        }
        let item =
            quoted.get(at + 2).filter(|item| quoted[at + 1] == ", " && !item.contains(['.', '/', ' ']));
        if let Some(item) = item.filter(|item| !files.iter().any(|source| defines(source, item))) {
            gone.push(format!("{path}, {item}"));
        }
    }
    none("ARCHITECTURE.md names what is not there", &gone);
}

/// `post`, or `Endpoint::admit`.
fn defines(source: &Source, item: &str) -> bool {
    let name = item.rsplit("::").next().unwrap_or(item);
    let of = item.rsplit("::").nth(1).is_none_or(|of| !source.places(of).is_empty());
    let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
    of && kinds.iter().any(|kind| !source.places(&format!("{kind} {name}")).is_empty())
}
