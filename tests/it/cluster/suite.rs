//! MCP's official suite through Traefik and three nodes: the same checks as on one node, and the same outcome.

use super::{Cluster, Form};
use crate::conformance::run_all;
use crate::support::example;

#[test]
fn the_official_suite_passes_behind_traefik() {
    let server = ["--", &example("conformance"), "--stdio"];
    let Some(cluster) = Cluster::start("suite", Form::Improved, &server) else { return };
    run_all(cluster.traefik.plain(), "behind-traefik");
}
