//! Growth: what a session's life costs, and what a living session weighs, by how many there are. Two plots.
//!
//! Each size is a process of its own (this program again), so that none inherits the memory of another. For the cost
//! they are all there at once and take turns, batch by batch: whatever else the machine does hits them alike.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::node::{Client, Node, config, is_test, run};
use crate::plot::{Plot, Series, grouped};

const ASKED: &str = "growth";
const COST: &str = "growth-cost";
const WEIGHT: &str = "growth-weight";
/// Sessions present while the cost is measured.
const PRESENT: [usize; 5] = [0, 1_000, 10_000, 30_000, 100_000];
/// Sessions present when the memory is read.
const READ_AT: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
/// The issue: the cost with most sessions, against that with none.
const COST_RATIO_MAX: f64 = 1.15;
/// Sessions in one batch; it takes some 100 ms.
const BATCH: u32 = 2_000;
const ROUNDS: usize = 25;
/// Before anything is measured: more than the node remembers of closed sessions.
const WARM_UP: u32 = 5_000;
/// How long a node is watched that has nothing to do.
const WATCHED: Duration = Duration::from_secs(15);

/// What the sessions that are there look like.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// Begun, then silent.
    Silent,
    /// With an open stream on a connection of its own.
    Streaming,
}

impl Form {
    const BOTH: [Form; 2] = [Form::Silent, Form::Streaming];

    fn word(self) -> &'static str {
        match self {
            Form::Silent => "silent",
            Form::Streaming => "streaming",
        }
    }

    fn describe(self) -> String {
        match self {
            Form::Silent => "sessions without a stream",
            Form::Streaming => "sessions with an open GET stream",
        }
        .to_owned()
    }
}

/// Whether this run was for growth and is over. Never in test mode.
pub fn run_if_asked() -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let form = |word: &str| Form::BOTH.into_iter().find(|form| form.word() == word);
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [COST, word, present] => be_cost(form(word).unwrap(), present.parse().unwrap()),
        [WEIGHT, word] => be_weight(form(word).unwrap()),
        _ if arguments.iter().any(|argument| argument == ASKED) && !is_test() => {
            draw_weight();
            draw_cost();
        }
        _ => return false,
    }
    true
}

// --- The measured processes -----------------------------------------------------------------------------------------

/// Sessions that are there, and the connections that keep their streams.
struct Present {
    node: Node,
    form: Form,
    streams: Vec<Client>,
}

impl Present {
    fn none(form: Form) -> Present {
        let node = Node::start(config(&[]));
        churn(&node, WARM_UP);
        Present { node, form, streams: Vec::new() }
    }

    fn grow_to(&mut self, count: usize) {
        let (node, form, more) = (self.node.clone(), self.form, count - self.node.sessions.count());
        self.streams.extend(run(async move {
            let mut streams = Vec::new();
            let mut one = node.connect();
            for _ in 0..more {
                match form {
                    Form::Silent => drop(one.begin().await),
                    Form::Streaming => {
                        let mut client = node.connect();
                        let session = client.begin().await;
                        client.listen(&session).await;
                        streams.push(client);
                    }
                }
            }
            streams
        }));
        assert_eq!(self.node.sessions.count(), count);
    }
}

/// Nanoseconds per session.
fn churn(node: &Node, sessions: u32) -> f64 {
    let mut client = node.connect();
    let taken = run(async move {
        client.churn().await;
        let begun = Instant::now();
        for _ in 0..sessions {
            client.churn().await;
        }
        begun.elapsed()
    });
    taken.as_nanos() as f64 / f64::from(sessions)
}

/// For each line of stdin a batch; its cost is the answer. An empty line asks for the processor time so far.
fn be_cost(form: Form, count: usize) {
    let mut present = Present::none(form);
    let begun = Instant::now();
    present.grow_to(count);
    println!("{}", begun.elapsed().as_nanos());
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "churn" => println!("{}", churn(&present.node, BATCH)),
            _ => println!("{}", processor_time().as_nanos()),
        }
    }
}

/// Tells the anonymous memory with no session, then at each size.
fn be_weight(form: Form) {
    let mut present = Present::none(form);
    println!("{}", anonymous_bytes());
    for count in READ_AT {
        present.grow_to(count);
        println!("{}", anonymous_bytes());
    }
}

fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Of all threads, user and system.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let field = |index: usize| after_name.split(' ').nth(index).unwrap().parse::<u64>().unwrap();
    // In hundredths of a second: utime and stime are fields 14 and 15 of proc_pid_stat(5).
    Duration::from_millis((field(11) + field(12)) * 10)
}

// --- The process that asks ------------------------------------------------------------------------------------------

/// A measured process; killed on drop.
struct Measured {
    process: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Measured {
    fn start(arguments: &[&str]) -> Measured {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Measured { process, asks, answers: BufReader::new(answers) }
    }

    fn ask(&mut self, what: &str) -> f64 {
        writeln!(self.asks, "{what}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> f64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().parse().unwrap_or_else(|_| panic!("a measured process said {line:?}"))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn draw_weight() {
    println!("memory per session: (RssAnon - RssAnon without sessions) / sessions");
    let mut series = Vec::new();
    for form in Form::BOTH {
        let mut measured = Measured::start(&[WEIGHT, form.word()]);
        let empty = measured.answer();
        let points = READ_AT.map(|count| (count as f64, (measured.answer() - empty) / count as f64 / 1024.0));
        println!("  {} (a node without any: {:.1} MiB)", form.describe(), empty / 1024.0 / 1024.0);
        for (count, weight) in points {
            println!("    {:>8} {weight:>8.2} KiB", grouped(count));
        }
        series.push(Series { name: form.describe(), points: points.to_vec() });
    }
    let plot = Plot {
        title: "Memory per living session".to_owned(),
        subtitle: subtitle(),
        x: "sessions present",
        y: "KiB per session (RssAnon)",
        series,
        bound: None,
    };
    write("growth-memory.svg", &plot);
}

fn draw_cost() {
    let mut series = Vec::new();
    let mut none = 0.0;
    for form in Form::BOTH {
        println!("cost of a session's life, with {} present", form.describe());
        let costs = costs(form);
        let (first, last) = (costs[0].1, costs[costs.len() - 1].1);
        let (ratio, sizes) = (last / first, grouped(PRESENT[PRESENT.len() - 1] as f64));
        let verdict = if ratio <= COST_RATIO_MAX { "within" } else { "ABOVE" };
        println!("  {sizes} present against none: {ratio:.3}, {verdict} {COST_RATIO_MAX}");
        none = f64::max(none, first);
        series.push(Series { name: format!("{}: ×{ratio:.2}", form.describe()), points: costs });
    }
    let plot = Plot {
        title: "A session's life while others are there".to_owned(),
        subtitle: subtitle(),
        x: "sessions present",
        y: "µs: initialize, initialized, call, DELETE",
        series,
        bound: Some((none * COST_RATIO_MAX, format!("{COST_RATIO_MAX} × none present"))),
    };
    write("growth-churn.svg", &plot);
}

/// Microseconds per session by the number of those present: the median over batches.
fn costs(form: Form) -> Vec<(f64, f64)> {
    let mut nodes = Vec::new();
    for count in PRESENT {
        let mut node = Measured::start(&[COST, form.word(), &count.to_string()]);
        let filled = node.answer();
        nodes.push((count as f64, filled / count.max(1) as f64 / 1000.0, node));
    }
    let mut batches: Vec<Vec<f64>> = vec![Vec::new(); nodes.len()];
    for round in 0..ROUNDS {
        for turn in 0..nodes.len() {
            let index = (round + turn) % nodes.len();
            batches[index].push(nodes[index].2.ask("churn") / 1000.0);
        }
    }
    let idle = idle_load(nodes.iter_mut().map(|(_, _, node)| node).collect());
    let mut costs = Vec::new();
    for (((count, filled, _), mut batches), idle) in nodes.iter().zip(batches).zip(idle) {
        batches.sort_by(f64::total_cmp);
        let median = batches[batches.len() / 2];
        println!(
            "  {:>8} {median:>7.2} µs (best {:.2}); to begin one of them {filled:.2} µs; idle node {idle:.2} ms/s",
            grouped(*count),
            batches[0],
        );
        costs.push((*count, median));
    }
    costs
}

/// Milliseconds of processor time per second of each node that has nothing to do: sweep and reaper.
fn idle_load(mut nodes: Vec<&mut Measured>) -> Vec<f64> {
    let before: Vec<f64> = nodes.iter_mut().map(|node| node.ask("")).collect();
    std::thread::park_timeout(WATCHED);
    let after = nodes.iter_mut().map(|node| node.ask(""));
    after.zip(before).map(|(after, before)| (after - before) / 1e6 / WATCHED.as_secs_f64()).collect()
}

fn subtitle() -> String {
    format!(
        "burdock {}, demo server, sockets in memory, node and client on one thread",
        env!("CARGO_PKG_VERSION")
    )
}

fn write(name: &str, plot: &Plot) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name);
    std::fs::write(&path, plot.svg()).unwrap();
    println!("wrote {}", path.display());
}
