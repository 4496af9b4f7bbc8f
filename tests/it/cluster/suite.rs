//! MCP's official suite through Traefik and three nodes: the same checks as on one node, and the same outcome.

use super::{Cluster, Form, can_start};
use crate::conformance::run_all;
use crate::support::example;

#[test]
fn the_official_suite_passes_behind_traefik() {
    if can_start("conformance suite behind Traefik") {
        let cluster = Cluster::start("suite", Form::Improved, &["--", &example("conformance"), "--stdio"]);
        run_all(cluster.traefik.plain(), "behind-traefik");
    }
}
