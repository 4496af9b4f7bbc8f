//! Names of servers: which are allowed, and which one a typed command gets. `npx -y @scope/server-git` is
//! named after the package that is run (`server-git`), not after what runs it (`npx`).

use std::path::Path;

use crate::limits::SERVER_NAME_BYTES_MAX;

/// What a server's name may be, for messages.
pub(super) const ALLOWED: &str = "cannot be a part of a URL's path; allowed: letters, digits, '.', '_', '-', 1 to 64 of them, but not . or ..";

/// Whether a server may have this name: `[A-Za-z0-9._-]{1,64}`, not `.` or `..`.
pub fn is_server_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=SERVER_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(letters)
        && name != "."
        && name != ".."
}

/// A server's name when its command gives none.
pub(super) const UNNAMED: &str = "server";

/// A program that runs packages, scripts or images. Lists have blanks between their words.
struct Runner {
    programs: &'static str,
    /// Words that may stand before what is run, as `tool run` in `uv tool run`.
    verbs: &'static str,
    /// Whether it runs nothing without such a word.
    needs_verb: bool,
    /// Flags whose value is the next word. Other flags are taken for switches.
    valued: &'static str,
    /// Flags whose value is what is run.
    naming: &'static str,
}

const PYTHON_PACKAGES: &str = "--from --spec --with --with-editable --with-requirements -p --python --directory \
    --project --package --extra --group --env-file --index --index-url --extra-index-url --default-index --cache-dir \
    --config-file";

const RUNNERS: [Runner; 9] = [
    Runner {
        programs: "npx bunx pnpx",
        verbs: "",
        needs_verb: false,
        valued: "-p --package -w --workspace --registry --cache --prefix",
        naming: "",
    },
    Runner {
        programs: "npm pnpm yarn",
        verbs: "dlx exec x",
        needs_verb: true,
        valued: "-p --package -w --workspace -C --dir --cwd --registry --cache --prefix",
        naming: "",
    },
    Runner { programs: "uvx", verbs: "", needs_verb: false, valued: PYTHON_PACKAGES, naming: "" },
    Runner {
        programs: "uv pipx",
        verbs: "tool run",
        needs_verb: true,
        valued: PYTHON_PACKAGES,
        naming: "-m --module",
    },
    Runner { programs: "python", verbs: "", needs_verb: false, valued: "-W -X", naming: "-m" },
    Runner {
        programs: "node nodejs tsx ts-node",
        verbs: "",
        needs_verb: false,
        valued: "-r --require --import --loader -C --conditions --tsconfig",
        naming: "",
    },
    Runner {
        programs: "deno",
        verbs: "run",
        needs_verb: false,
        valued: "-c --config --import-map --lock --cert --location",
        naming: "",
    },
    Runner {
        programs: "bun",
        verbs: "x run",
        needs_verb: false,
        valued: "-r --preload --cwd --env-file",
        naming: "",
    },
    Runner {
        programs: "docker podman nerdctl",
        verbs: "container run",
        needs_verb: true,
        valued: "-e --env --env-file -v --volume --mount --tmpfs -p --publish --name --network --net --add-host --dns -u \
            --user -w --workdir -h --hostname --entrypoint -l --label --cap-add --cap-drop --security-opt --cpus -m \
            --memory --pids-limit --shm-size --ulimit --gpus --device --platform --pull --userns --log-driver \
            --stop-timeout",
        naming: "",
    },
];

/// Endings of scripts, which are no part of a name.
const SCRIPT_ENDINGS: [&str; 10] =
    [".py", ".pyz", ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"];

/// Where the name of a package or image ends: a version, a tag, extras, a fragment.
const NAME_ENDS: [char; 11] = ['@', ':', '=', '<', '>', '~', '!', '[', ';', '#', '?'];

/// Names the server that `words` start: after the package, script or image when the program is a known
/// runner, else after the program.
pub(super) fn of_command(words: &[String]) -> String {
    let program = words.first().map_or(UNNAMED, |word| file_name(word));
    let name = what_is_run(words).or_else(|| is_server_name(program).then(|| program.to_owned()));
    name.unwrap_or_else(|| UNNAMED.to_owned())
}

/// The name of what a runner runs. Runners may run runners: `uv run python server.py`.
fn what_is_run(words: &[String]) -> Option<String> {
    let mut found = None;
    let mut rest = words;
    while let Some((runner, arguments)) =
        rest.split_first().and_then(|(program, arguments)| Some((Runner::of(file_name(program))?, arguments)))
    {
        let Some(at) = runner.operand(arguments) else { break };
        rest = &arguments[at..];
        found = name_in(&rest[0]);
    }
    found
}

impl Runner {
    fn of(program: &str) -> Option<&'static Runner> {
        // python3, python3.12
        let versioned = program.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        let program = if versioned == "python" { versioned } else { program };
        RUNNERS.iter().find(|runner| has(runner.programs, program))
    }

    /// The place of the argument that says what is run.
    fn operand(&self, arguments: &[String]) -> Option<usize> {
        let mut verb_seen = false;
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            if has(self.naming, argument) {
                return (at + 1 < arguments.len()).then_some(at + 1);
            } else if has(self.valued, argument) {
                at += 1;
            } else if !argument.starts_with('-') {
                if !has(self.verbs, argument) {
                    return (verb_seen || !self.needs_verb).then_some(at);
                }
                verb_seen = true;
            }
            at += 1;
        }
        None
    }
}

fn has(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|one| one == word)
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

/// The bare name in a package with its scope and version, in a path, a URL or an image.
fn name_in(word: &str) -> Option<String> {
    let last = word.trim_end_matches('/').rsplit('/').next().unwrap_or(word);
    let last = last.strip_prefix("npm:").or(last.strip_prefix("jsr:")).unwrap_or(last);
    let name = last.split(NAME_ENDS).next().unwrap_or(last);
    let name = SCRIPT_ENDINGS.iter().chain([&".git"]).find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    is_server_name(name).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(command: &str) -> String {
        of_command(&command.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_server_is_named_after_what_is_run() {
        for (command, expected) in [
            ("npx -y @modelcontextprotocol/server-everything@1.2", "server-everything"),
            ("npx -y @modelcontextprotocol/server-everything", "server-everything"),
            ("npx -p @scope/package some-command stdio", "some-command"),
            ("npx --package=@scope/package -- some-command", "some-command"),
            ("/usr/bin/npx mcp-remote http://127.0.0.1/mcp", "mcp-remote"),
            ("bunx server@latest", "server"),
            ("pnpm dlx @a/b@^1", "b"),
            ("pnpm --dir /srv dlx b", "b"),
            ("yarn dlx b", "b"),
            ("npm exec -- @a/b", "b"),
            ("uvx mcp-server-git", "mcp-server-git"),
            ("uvx --from git+https://github.com/a/b.git@main command", "command"),
            ("uvx git+https://github.com/a/b.git@main", "b"),
            ("uvx mcp-server-git[extra]>=1.0", "mcp-server-git"),
            ("uv run --directory /srv mcp-simple", "mcp-simple"),
            ("uv --directory /srv run weather.py", "weather"),
            ("uv run python -m my_server", "my_server"),
            ("uv tool run ruff==1", "ruff"),
            ("python3 srv/my_server.py", "my_server"),
            ("python3.12 -u -X dev srv/my_server.py --flag", "my_server"),
            ("python -m my.server serve", "my.server"),
            ("node --import tsx dist/index.mjs", "index"),
            ("npx tsx src/main.ts", "main"),
            ("deno run -A npm:@a/b@1", "b"),
            ("deno run --allow-net https://example.com/x/mod.ts?a=b", "mod"),
            ("deno npm:b@1", "b"),
            ("bun run server.ts", "server"),
            (
                "docker run -i --rm -e TOKEN -v /a:/b ghcr.io/github/github-mcp-server:v1 stdio",
                "github-mcp-server",
            ),
            ("podman container run mcp/time@sha256:00ff", "time"),
        ] {
            assert_eq!(name(command), expected, "{command}");
        }
    }

    #[test]
    fn what_names_nothing_is_named_after_its_program() {
        for (command, expected) in [
            ("/bin/sh", "sh"),
            ("./server.py --flag", "server.py"),
            ("npx", "npx"),
            ("npx -y", "npx"),
            ("npx -p", "npx"),
            ("npx -y @latest", "npx"),
            ("uv sync", "uv"),
            ("docker compose up", "docker"),
            ("python -", "python"),
            ("python -m", "python"),
            ("python3 -c print(1)", "python3"),
            ("node .", "node"),
            ("node ..", "node"),
            ("./my:server", "server"),
            ("/opt/m\u{f6}we", "server"),
        ] {
            assert_eq!(name(command), expected, "{command}");
        }
        assert_eq!(of_command(&[]), "server");
        assert_eq!(of_command(&["python3".to_owned(), "-c".to_owned(), "import a; b".to_owned()]), "python3");
    }
}
