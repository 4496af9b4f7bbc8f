//! Traefik's files, with this test's addresses in them.

use std::fmt::Write as _;
use std::path::Path;

use super::Form;
use super::graphql::GraphQl;
use super::nodes::Nodes;
use super::traefik::Ports;

/// The static file: what `deploy/traefik/traefik.yml` says of its entry points, on loopback ports; the plain one serves
/// here instead of redirecting, and the API is open to the test.
pub(crate) fn fixed(folder: &Path, ports: Ports) -> String {
    let Ports { plain, tls, api } = ports;
    let folder = folder.display();
    format!(
        r#"
global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
entryPoints:
  web:
    address: "{plain}"
    asDefault: true
    http: {{ aliasHeadersStrategy: delete }}
  websecure:
    address: "{tls}"
    asDefault: true
    http: {{ tls: {{}}, aliasHeadersStrategy: delete }}
  traefik: {{ address: "{api}" }}
providers:
  file: {{ filename: "{folder}/dynamic.yml", watch: true }}
api: {{ insecure: true }}
ping: {{}}
accessLog: {{ filePath: "{folder}/access.log" }}
log: {{ level: INFO }}
"#
    )
}

/// What the dynamic file says of certificates.
pub(crate) fn tls(folder: &Path) -> String {
    let folder = folder.display();
    let certificate = format!("{{ certFile: \"{folder}/server.pem\", keyFile: \"{folder}/server.key\" }}");
    format!("tls: {{ stores: {{ default: {{ defaultCertificate: {certificate} }} }} }}\n")
}

/// The dynamic file without certificates.
pub(crate) fn dynamic(form: Form, nodes: &Nodes, others: &[GraphQl]) -> String {
    match form {
        Form::Improved => improved(nodes, others),
        Form::CookieOnly => cookie_only(nodes, others),
    }
}

fn urls(addresses: impl Iterator<Item = std::net::SocketAddr>) -> String {
    addresses.map(|address| format!("{{ url: \"http://{address}\" }}")).collect::<Vec<_>>().join(", ")
}

fn improved(nodes: &Nodes, others: &[GraphQl]) -> String {
    let (mut routers, mut services) = (String::new(), String::new());
    for node in &nodes.0 {
        let (name, address) = (node.name, node.address);
        let rule = format!("PathPrefix(`/mcp`) && HeaderRegexp(`Mcp-Session-Id`, `^{name}-`)");
        let _ = writeln!(
            routers,
            "    node-{name}: {{ rule: \"{rule}\", priority: 300, service: node-{name}, middlewares: [gone] }}"
        );
        let check = "{ path: /health/live, interval: 5s, unhealthyInterval: 1s, timeout: 10s }";
        let servers = urls(std::iter::once(address));
        let _ = writeln!(
            services,
            "    node-{name}: {{ loadBalancer: {{ serversTransport: mcp, servers: [{servers}], healthCheck: {check} }} }}"
        );
    }
    let all = urls(nodes.0.iter().map(|node| node.address));
    let others = urls(others.iter().map(|other| other.address));
    format!(
        "
http:
  routers:
{routers}
    mcp: {{ rule: \"PathPrefix(`/mcp`)\", priority: 100, service: mcp, middlewares: [dialretry] }}
    default: {{ rule: \"PathPrefix(`/`)\", priority: 1, service: default, middlewares: [dialretry] }}
  middlewares:
    gone: {{ errors: {{ status: [\"502-504\"], statusRewrites: {{ \"502-504\": 404 }}, service: noop@internal }} }}
    dialretry: {{ retry: {{ attempts: 12, initialInterval: 100ms }} }}
  services:
{services}
    mcp:
      loadBalancer:
        serversTransport: mcp
        servers: [{all}]
        sticky: {{ cookie: {{ name: _mcp_backend, httpOnly: true, secure: true, sameSite: strict, path: /mcp }} }}
        healthCheck: &ready {{ path: /health/ready, interval: 1s, timeout: 2s }}
    default: {{ loadBalancer: {{ serversTransport: mcp, servers: [{others}], healthCheck: *ready }} }}
{TRANSPORT}"
    )
}

/// Connections to the servers; those that idle are closed before the server does so.
const TRANSPORT: &str = "
  serversTransports:
    mcp:
      maxIdleConnsPerHost: 200
      forwardingTimeouts: { dialTimeout: 2s, responseHeaderTimeout: 0s, idleConnTimeout: 20s }
";

fn cookie_only(nodes: &Nodes, others: &[GraphQl]) -> String {
    let all = urls(nodes.0.iter().map(|node| node.address));
    let others = urls(others.iter().map(|other| other.address));
    format!(
        "
http:
  routers:
    mcp: {{ rule: \"PathPrefix(`/mcp`)\", priority: 100, service: mcp }}
    default: {{ rule: \"PathPrefix(`/`)\", priority: 1, service: default }}
  services:
    mcp:
      loadBalancer:
        serversTransport: mcp
        servers: [{all}]
        sticky: {{ cookie: {{ name: _mcp_backend, httpOnly: true, secure: true, sameSite: strict, path: /mcp }} }}
        healthCheck: {{ path: /health/live, interval: 2s, timeout: 5s }}
    default: {{ loadBalancer: {{ serversTransport: mcp, servers: [{others}] }} }}
{TRANSPORT}"
    )
}
