//! Traefik's files: those of `deploy/` and what `burdock traefik` prints, with this test's addresses in them.

use std::path::Path;
use std::process::Command;

use super::Form;
use super::graphql::GraphQl;
use super::nodes::Nodes;
use super::traefik::Ports;

/// `deploy/traefik/traefik.yml` on loopback ports. The plain entry point serves here instead of redirecting, and an API
/// tells the test what is up.
pub(crate) fn fixed(folder: &Path, ports: Ports) -> String {
    let Ports { plain, tls, api } = ports;
    let folder = folder.display();
    let text = deployed("traefik.yml");
    let redirects = between(&text, "    http:\n      redirections:", "  websecure:").to_owned();
    let text = replaced(&text, &redirects, "    asDefault: true\n");
    let text = replaced(&text, ":80'", &format!("{plain}'"));
    let text = replaced(&text, ":443'", &format!("{tls}'"));
    let text = replaced(&text, "/etc/traefik/mcp.yml", &format!("{folder}/dynamic.yml"));
    let text = replaced(&text, "accessLog: {}", &format!("accessLog: {{ filePath: '{folder}/access.log' }}"));
    let text = replaced(&text, "providers:\n", &format!("  traefik: {{ address: '{api}' }}\nproviders:\n"));
    format!("{text}api: {{ insecure: true }}\n")
}

/// What the dynamic file says of certificates.
pub(crate) fn tls(folder: &Path) -> String {
    let folder = folder.display();
    let certificate = format!("{{ certFile: '{folder}/server.pem', keyFile: '{folder}/server.key' }}");
    format!("tls: {{ stores: {{ default: {{ defaultCertificate: {certificate} }} }} }}\n")
}

/// The dynamic file without certificates.
pub(crate) fn dynamic(form: Form, nodes: &Nodes, others: &[GraphQl]) -> String {
    match form {
        Form::Improved => printed(nodes, others),
        Form::CookieOnly => cookie_only(nodes, others),
    }
}

/// What `burdock traefik` prints for them.
fn printed(nodes: &Nodes, others: &[GraphQl]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burdock"));
    command.args(["traefik", "--other-health", "/health/ready"]);
    for node in &nodes.0 {
        command.args(["--node", &format!("{}=http://{}", node.name, node.address)]);
    }
    for other in others {
        command.args(["--other", &format!("http://{}", other.address)]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `deploy/traefik/mcp-cookie-only.yml` with their addresses in the place of its own.
fn cookie_only(nodes: &Nodes, others: &[GraphQl]) -> String {
    let mut text = deployed("mcp-cookie-only.yml");
    let nodes = nodes.0.iter().map(|node| (8080, node.address));
    let others = others.iter().map(|other| (4000, other.address));
    for (number, (port, address)) in (1..=3).zip(nodes).chain((1..=3).zip(others)) {
        text = replaced(&text, &format!("10.0.0.{number}:{port}'"), &format!("{address}'"));
    }
    text
}

fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/traefik").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file in which there is nothing to replace has become another one than this was written for.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} in\n{text}");
    text.replace(from, to)
}

/// From the beginning of `from` to the beginning of `to`.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let begin = text.find(from).unwrap_or_else(|| panic!("no {from:?} in\n{text}"));
    let end = text[begin..].find(to).unwrap_or_else(|| panic!("no {to:?} after {from:?} in\n{text}"));
    &text[begin..begin + end]
}
