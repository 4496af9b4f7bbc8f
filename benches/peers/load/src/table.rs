//! The table of goals, and what became of them.

use std::fmt::Write as _;

use crate::Scale;
use crate::book::{Book, Metric};
use crate::server::Who;

/// A row: what is to be reached, in numbers and by what the peer needs.
struct Row {
    what: &'static str,
    metric: Metric,
    unit: &'static str,
    /// At most this.
    most: Option<f64>,
    /// At most this part of the peer's.
    of_peer: Option<f64>,
}

const fn row(
    what: &'static str,
    metric: Metric,
    unit: &'static str,
    most: Option<f64>,
    of_peer: Option<f64>,
) -> Row {
    Row { what, metric, unit, most, of_peer }
}

const ROWS: [Row; 19] = [
    row("churn: initialize, initialized, call, DELETE; CPU", Metric::Churn, "µs", Some(36.0), Some(0.40)),
    row("initialize alone, one connection, p50", Metric::Initialize, "µs", None, None),
    row("what the Redis registry adds to a churn; CPU", Metric::RedisExtra, "µs", Some(4.0), None),
    row("initialize p50: with Redis / without", Metric::RedisInitialize, "x", Some(1.10), None),
    row("call, 100 sessions, 32 connections; CPU", Metric::Call, "µs", Some(9.0), Some(0.25)),
    row("call, one connection, p50", Metric::CallLatency, "µs", Some(40.0), None),
    row("memory per idle session with open stream", Metric::IdleSession, "kB", Some(5.0), None),
    row("memory 2 s after all are deleted, beyond a warm-up's", Metric::IdleLeft2, "MB", None, None),
    row("the same 6 s after", Metric::IdleLeft6, "MB", Some(2.0), None),
    row("the least of the first 15 s after", Metric::IdleLeft, "MB", Some(2.0), None),
    row("call p99: beside idle sessions / alone", Metric::IdleCalls, "x", Some(1.2), None),
    row("notification to 200 streams, p99", Metric::FanOut, "ms", None, Some(0.5)),
    row("1,000 clients back after kill -9 and restart", Metric::Storm, "ms", None, Some(0.5)),
    row("the same, all connecting in one moment", Metric::StormAtOnce, "ms", None, None),
    row("stdio call, the gateway's share; CPU", Metric::StdioCall, "µs", Some(30.0), None),
    row("stdio session, gateway and child; CPU", Metric::StdioSession, "µs", Some(900.0), None),
    row("static binary, stripped", Metric::Binary, "MB", Some(4.0), None),
    row("RSS when empty", Metric::Empty, "MB", Some(5.0), None),
    row("start to first answer", Metric::Start, "ms", Some(20.0), None),
];

/// Rounds further apart than this are told.
const SPREAD_TOLD: f64 = 0.10;

/// The table as Markdown: the rows that were measured. Numbers of a quick run are not judged.
pub fn render(book: &Book, scale: Scale) -> String {
    let mut text = "| what | to reach | burdock | rmcp | rmcp jemalloc | supergateway | floor | ratio | |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for row in &ROWS {
        if let Some(burdock) = book.median(row.metric, Who::Burdock) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", line(row, burdock, book, scale));
        }
    }
    text
}

fn line(row: &Row, burdock: f64, book: &Book, scale: Scale) -> String {
    let cell = |who| book.median(row.metric, who).map_or(String::new(), |value| shown(value, row.unit));
    let ratio = peer(row, book).map(|peer| burdock / peer);
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        row.what,
        to_reach(row),
        shown(burdock, row.unit),
        cell(Who::Rmcp),
        cell(Who::RmcpJemalloc),
        cell(Who::Supergateway),
        cell(Who::Floor),
        ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
        scale.pick(verdict(row, burdock, ratio), ""),
    )
}

/// Whom burdock is compared with.
fn peer(row: &Row, book: &Book) -> Option<f64> {
    let comparable = row.unit != "x";
    let peer = book.median(row.metric, Who::Rmcp).or_else(|| book.median(row.metric, Who::Supergateway));
    peer.filter(|peer| comparable && *peer > 0.0)
}

fn to_reach(row: &Row) -> String {
    let most = row.most.map(|most| format!("<= {most} {}", row.unit));
    let of_peer = row.of_peer.map(|part| format!("<= {part:.2} of rmcp"));
    most.into_iter().chain(of_peer).collect::<Vec<_>>().join(" and ")
}

fn verdict(row: &Row, burdock: f64, ratio: Option<f64>) -> &'static str {
    if burdock < 0.0 {
        return "noise";
    }
    let within = row.most.is_none_or(|most| burdock <= most);
    let below = match (row.of_peer, ratio) {
        (Some(part), Some(ratio)) => Some(ratio <= part),
        (Some(_), None) => None,
        (None, _) => Some(true),
    };
    match (row.most.is_none() && row.of_peer.is_none(), within, below) {
        (true, _, _) => "",
        (_, false, _) | (_, _, Some(false)) => "**missed**",
        (_, true, None) => "no peer",
        (_, true, Some(true)) => "met",
    }
}

fn shown(value: f64, unit: &str) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0} {unit}"),
        middle if middle >= 10.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

/// The quantities whose rounds are far apart, and how far.
pub fn unsteady(book: &Book) -> Vec<String> {
    book.keys()
        .filter_map(|(metric, who)| Some((metric, who, book.spread(metric, who)?)))
        .filter(|(.., spread)| *spread > SPREAD_TOLD)
        .map(|(metric, who, spread)| format!("{metric:?} of {} {:.0} %", who.name(), spread * 100.0))
        .collect()
}
