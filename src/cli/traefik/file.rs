//! Traefik's dynamic file, as text. Names and URLs were checked before, so nothing needs escaping.
//!
//! What each part does was measured with the real Traefik. After a change run the tests in
//! `tests/it/cluster/`, which start one.

use std::fmt::Write as _;

/// What the file is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    /// Names and URLs of the nodes, in the order in which they were typed.
    pub(super) nodes: Vec<(String, String)>,
    /// URLs of the servers for all other traffic.
    pub(super) others: Vec<String>,
    /// The path of their health check.
    pub(super) other_health: Option<String>,
}

impl File {
    /// The whole file.
    pub(super) fn text(&self) -> String {
        let mut text = self.head();
        text.push_str("http:\n  routers:\n");
        text.push_str(ABOUT_PINS);
        for (name, _) in &self.nodes {
            text.push_str(&pin(name));
        }
        text.push_str(ROUTERS);
        text.push_str(if self.others.is_empty() { NO_DEFAULT } else { DEFAULT });
        text.push_str(MIDDLEWARES);
        text.push_str("\n  services:\n");
        text.push_str(ABOUT_NODES);
        for (name, url) in &self.nodes {
            text.push_str(&node(name, url));
        }
        text.push_str(&self.pools());
        text.push_str(&self.other());
        text.push_str(TRANSPORT);
        if !self.others.is_empty() {
            text.push_str(OTHER_TRANSPORT);
        }
        text.push_str(TLS);
        text
    }

    /// The comment at the beginning, with the command that makes this very file.
    fn head(&self) -> String {
        let mut text = HEAD.to_owned();
        // Writing to a String cannot fail.
        let _ = write!(text, "#   burdock traefik");
        for (name, url) in &self.nodes {
            let _ = write!(text, " \\\n#     --node {name}={url}");
        }
        for url in &self.others {
            let _ = write!(text, " \\\n#     --other {url}");
        }
        if let Some(path) = &self.other_health {
            let _ = write!(text, " \\\n#     --other-health '{path}'");
        }
        text.push_str(HEAD_END);
        text
    }

    /// The pools of all nodes.
    fn pools(&self) -> String {
        let servers: String = self.nodes.iter().map(|(_, url)| server(url)).collect();
        format!("{MCP_POOL}{servers}{STICKY}{READY}{STATELESS_POOL}{servers}{READY}")
    }

    /// The pool of the other servers, if there are some.
    fn other(&self) -> String {
        if self.others.is_empty() {
            return String::new();
        }
        let servers: String = self.others.iter().map(|url| server(url)).collect();
        let check = match &self.other_health {
            Some(path) => format!("{OTHER_CHECK}          path: '{path}'\n{OTHER_CHECK_TIMES}"),
            None => NO_OTHER_CHECK.to_owned(),
        };
        format!("{OTHER_POOL}{servers}{check}")
    }
}

/// A node's router.
fn pin(name: &str) -> String {
    format!(
        "    node-{name}:
      rule: 'PathPrefix(`/mcp`) && HeaderRegexp(`Mcp-Session-Id`, `^{name}-`)'
      priority: 300
      service: node-{name}
      middlewares: [gone]
"
    )
}

/// A node's service.
fn node(name: &str, url: &str) -> String {
    format!(
        "    node-{name}:
      loadBalancer:
        serversTransport: mcp
        servers:
{}        healthCheck:
          path: /health/live
          interval: 5s
          unhealthyInterval: 1s
          timeout: 10s
",
        server(url)
    )
}

fn server(url: &str) -> String {
    format!("          - url: '{url}'\n")
}

const HEAD: &str = "\
# Traefik's dynamic file for nodes of burdock: each client stays on the node that holds its session.
# For Traefik 3.7.8 or later; 3.7.6 and 3.7.7 crash on a retry. Made by the command below. To add, remove or
# move a node run it again, with the text of the other URLs unchanged: the cookie is made from that text.
#
";

const HEAD_END: &str = "
#
# Install it with mv, from a file in the same folder. A file that is still being written is read half, and then
# everybody gets 404.
";

const ABOUT_PINS: &str = "    \
    # A session id begins with the name of its node, and every client sends it back; many keep no cookies.
    # The name only picks the node: the node still compares the whole id and its owner. 300: before all others.
";

const ROUTERS: &str = "
    # Requests of revision 2026-07-28 have no session. They go to any node, and neither heed nor set the cookie.
    stateless:
      rule: 'PathPrefix(`/mcp`) && Header(`MCP-Protocol-Version`, `2026-07-28`)'
      priority: 200
      service: stateless
      middlewares: [dialretry]

    # Where clients look for an authorization server, before they begin. Any node says quickly what there is; other
    # servers like to answer with a page. Take out what is served elsewhere, if something is.
    well-known:
      rule: 'PathRegexp(`^(/mcp)?/[.]well-known/(oauth-protected-resource|oauth-authorization-server|openid-configuration)(/mcp(/.*)?)?$`)'
      priority: 150
      service: stateless
      middlewares: [dialretry]

    # All else of MCP: initialize, and ids of nodes that are not in this file, to which any node says 404.
    mcp:
      rule: 'PathPrefix(`/mcp`)'
      priority: 100
      service: mcp
      middlewares: [dialretry]
";

const DEFAULT: &str = "
    # The rest is none of burdock's: GraphQL, pages, even /health. 1: after all others, those of other files too.
    default:
      rule: 'PathPrefix(`/`)'
      priority: 1
      service: other
      middlewares: [dialretry]
";

const NO_DEFAULT: &str = "
    # There is no router for the rest: without --other it gets Traefik's own 404, or what other files say. On the
    # nodes there is nothing for it but /health, which is nobody's business out there.
";

const MIDDLEWARES: &str = "
  middlewares:
    # A node that refuses (502), is out of reach (504) or hangs (503, by its check) has lost its sessions, as far as
    # clients can know: they are told 404, as the protocol has it, and begin anew. noop@internal is an empty body
    # and needs no node. A node itself answers 502 to 504 to an initialize at most, so no living session is meant.
    # For web pages of other origins put a headers middleware before it: this 404 has no CORS headers.
    gone:
      errors:
        status: ['502-504']
        statusRewrites:
          '502-504': 404
        service: noop@internal
    # Again only if not one byte was sent, because nobody took the connection: safe for a POST. 12 tries are about
    # 1.6 s, longer than the 1 s until the check sees that a node is down: the cookie leads to it until then.
    dialretry:
      retry:
        attempts: 12
        initialInterval: 100ms
";

const ABOUT_NODES: &str = "    \
    # One node each. The check is lax, for a node that is only slow must keep its sessions: it finds one that hangs,
    # within 15 s. It asks for life, not readiness: a node that stops serves its sessions until they are over.
";

const MCP_POOL: &str = "
    # New sessions. The cookie holds clients that have a jar; by its id a session is held anyway. A node that is
    # starting or stopping is not ready and gets none, from the next second on.
    mcp:
      loadBalancer:
        serversTransport: mcp
        servers:
";

const STICKY: &str = "        \
        sticky:
          cookie:
            name: _mcp_backend
            httpOnly: true       # no script needs it
            secure: true         # TLS only
            sameSite: strict     # not with requests that other sites cause
            path: /mcp           # not with GraphQL's
";

const READY: &str = "        \
        healthCheck:
          path: /health/ready
          interval: 1s
          timeout: 2s
";

const STATELESS_POOL: &str = "
    # The same nodes in turn, without the cookie.
    stateless:
      loadBalancer:
        serversTransport: mcp
        servers:
";

const OTHER_POOL: &str = "
    # The servers of --other, in turn.
    other:
      loadBalancer:
        serversTransport: other
        servers:
";

const OTHER_CHECK: &str = "        \
        # One that does not answer 200 to 399 here gets no requests; when none does, all get 503.
        healthCheck:
";

const OTHER_CHECK_TIMES: &str = "          \
          interval: 1s
          timeout: 2s
";

const NO_OTHER_CHECK: &str = "        \
        # No check: --other-health PATH makes one. One that refuses connections is skipped by dialretry.
";

const TRANSPORT: &str = "
  serversTransports:
    mcp:
      maxIdleConnsPerHost: 200     # a transport with a name has 2 otherwise, and dials all the time
      forwardingTimeouts:
        dialTimeout: 2s            # the 30 s of the default are a long wait for a machine that is off
        responseHeaderTimeout: 0s  # none: a tool may think for minutes before it answers
        idleConnTimeout: 20s       # less than the nodes' 90 s: else a POST meets a connection that is being closed
";

const OTHER_TRANSPORT: &str = "    \
    other:
      maxIdleConnsPerHost: 200
      forwardingTimeouts:
        dialTimeout: 2s
        idleConnTimeout: 4s        # less than the 5 s after which node.js and uvicorn close
";

const TLS: &str = "
# The certificate, if no certResolver of the static file gets one:
# tls:
#   certificates:
#     - certFile: /etc/traefik/cert.pem
#       keyFile: /etc/traefik/key.pem
";

#[cfg(test)]
mod tests {
    use super::*;

    fn file(others: &[&str], health: Option<&str>) -> String {
        let nodes = ["n1", "mcp", "default"].map(|name| (name.to_owned(), format!("http://{name}:8080")));
        let others = others.iter().map(|url| (*url).to_owned()).collect();
        File { nodes: nodes.into(), others, other_health: health.map(str::to_owned) }.text()
    }

    /// The keys two levels below `section`.
    fn keys<'a>(text: &'a str, section: &str) -> Vec<&'a str> {
        let after = text.split(&format!("\n  {section}:\n")).nth(1).unwrap();
        let lines = after.lines().take_while(|line| line.is_empty() || line.starts_with("   "));
        let key = |line: &'a str| line.strip_prefix("    ").filter(|line| !line.starts_with([' ', '#']));
        lines.filter_map(key).map(|line| line.trim_end_matches(':')).collect()
    }

    #[test]
    fn no_name_of_a_node_is_in_the_way_of_another_key() {
        let text = file(&["http://o"], None);
        let routers = keys(&text, "routers");
        assert_eq!(
            routers,
            ["node-n1", "node-mcp", "node-default", "stateless", "well-known", "mcp", "default"]
        );
        assert_eq!(
            keys(&text, "services"),
            ["node-n1", "node-mcp", "node-default", "mcp", "stateless", "other"]
        );
        assert_eq!(keys(&text, "middlewares"), ["gone", "dialretry"]);
        assert_eq!(keys(&text, "serversTransports"), ["mcp", "other"]);
    }

    #[test]
    fn other_servers_are_there_when_they_are_asked_for() {
        let without = file(&[], None);
        assert!(
            !keys(&without, "routers").contains(&"default") && !keys(&without, "services").contains(&"other")
        );
        assert_eq!(keys(&without, "serversTransports"), ["mcp"]);
        let unchecked = file(&["http://o"], None);
        let checked = file(&["http://o"], Some("/up?x=1"));
        assert_eq!(unchecked.matches("healthCheck:").count() + 1, checked.matches("healthCheck:").count());
        assert!(checked.contains("          path: '/up?x=1'\n"), "{checked}");
    }

    #[test]
    fn lines_fit_and_are_no_template() {
        let text = file(&["http://o"], Some("/up"));
        assert!(!text.contains("{{") && !text.contains('\t'), "{text}");
        for line in text.lines().filter(|line| !line.contains("PathRegexp")) {
            assert!(line.chars().count() <= 120 && line.trim_end() == line, "{line}");
        }
    }
}
