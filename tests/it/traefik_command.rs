//! `burdock traefik`: the file in deploy/ is what it prints, and what is typed wrongly is told.

use std::process::{Command, Output};

fn repository(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn traefik(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_burdock")).arg("traefik").args(arguments).output().unwrap()
}

/// The command line in the file's own head.
fn documented(file: &str) -> Vec<&str> {
    let lines = file.lines().skip_while(|line| *line != "#   burdock traefik \\").skip(1);
    let lines = lines.take_while(|line| line.starts_with("#     "));
    lines.flat_map(|line| line[1..].trim_end_matches('\\').split_whitespace()).collect()
}

#[test]
fn the_file_in_deploy_is_what_its_head_says() {
    let file = std::fs::read_to_string(repository("deploy/traefik/mcp.yml")).unwrap();
    let arguments = documented(&file);
    assert_eq!(arguments.iter().filter(|word| **word == "--node").count(), 3, "{arguments:?}");
    assert_eq!(arguments.iter().filter(|word| **word == "--other").count(), 3, "{arguments:?}");
    let output = traefik(&arguments);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), file, "make it again: see its head");
    assert!(output.stderr.is_empty());
}

/// The file in deploy/ that is compared with it differs in what its head says, and in nothing by accident.
#[test]
fn the_cookie_is_the_same_in_both_files() {
    let part = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(repository(name)).unwrap();
        let after = text.split(from).nth(1).unwrap_or_else(|| panic!("{name}: no {from}")).to_owned();
        let part = after.split(to).next().unwrap().lines();
        let bare = part.map(|line| line.split('#').next().unwrap().trim_end().to_owned());
        bare.filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let (ours, theirs) = ("deploy/traefik/mcp.yml", "deploy/traefik/mcp-cookie-only.yml");
    for (from, to) in [("\n        sticky:", "healthCheck"), ("\n  serversTransports:", "# The certificate")]
    {
        let expected = part(ours, from, to);
        assert!(expected.len() > 4, "{expected:?}");
        assert_eq!(part(theirs, from, to), expected);
    }
}

#[test]
fn mistakes_are_usage_failures() {
    for (arguments, part) in [
        (&[][..], "there is no node: --node n1=http://10.0.0.1:8080"),
        (&["--node", "n1=http://h/mcp"], "\"n1=http://h/mcp\": goes without what follows the port"),
        (&["--node", "n1=http://h", "n1=http://i"], "there is a node n1 already"),
        (&["--node", "N1=http://h"], "lower case letters and digits"),
        (&["--noed", "n1=http://h"], "did you mean --node?"),
        (&["--node", "n1=http://h\u{1b}[2J"], "\\u{1b}"),
    ] {
        let output = traefik(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(part) && text.contains("burdock help traefik"), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty(), "half a file for {arguments:?}");
    }
}

#[test]
fn help_is_there_and_fits_a_terminal() {
    let output = traefik(&["--help"]);
    assert!(output.status.success());
    let by_help = Command::new(env!("CARGO_BIN_EXE_burdock")).args(["help", "traefik"]).output().unwrap();
    assert_eq!(output.stdout, by_help.stdout);
    let all = Command::new(env!("CARGO_BIN_EXE_burdock")).arg("--help").output().unwrap();
    assert!(String::from_utf8(all.stdout).unwrap().contains("\n  traefik "));
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        assert!(line.len() <= 110, "{line}");
    }
}
