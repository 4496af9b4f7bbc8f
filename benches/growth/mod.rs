//! Growth: what a session's life costs, and what a living session weighs, by how many there are. Two plots.
//!
//! Each size is a process of its own (this program again), so that none inherits the memory of another. For the cost
//! they are all there at once and take turns, batch by batch: whatever else the machine does hits them alike. It is
//! processor time, for the same reason; nothing waits but for work, so that on a quiet machine it is the time as well.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
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
/// How long a node is watched that has nothing to do, or nothing but one client: two rounds of the reaper.
const WATCHED: Duration = Duration::from_secs(11);

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

/// Nanoseconds per session: of the processor, and by the clock.
fn churn(node: &Node, sessions: u32) -> (f64, f64) {
    let mut client = node.connect();
    let (worked, begun) = (processor_nanos(), Instant::now());
    run(async move {
        for _ in 0..sessions {
            client.churn().await;
        }
    });
    let per_session = |nanos: f64| nanos / f64::from(sessions);
    (per_session(processor_nanos() - worked), per_session(begun.elapsed().as_nanos() as f64))
}

/// The longest life of a session, in nanoseconds, among those of one client that never rests.
fn longest_churn(node: &Node) -> f64 {
    let mut client = node.connect();
    let longest = run(async move {
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < WATCHED {
            let one = Instant::now();
            client.churn().await;
            longest = longest.max(one.elapsed());
        }
        longest
    });
    longest.as_nanos() as f64
}

/// Answers each line of stdin with a line of numbers: a batch, the longest life, or the processor time so far.
fn be_cost(form: Form, count: usize) {
    let mut present = Present::none(form);
    let begun = Instant::now();
    present.grow_to(count);
    println!("{}", begun.elapsed().as_nanos());
    for line in std::io::stdin().lines() {
        match line.unwrap().as_str() {
            "churn" => {
                let (worked, taken) = churn(&present.node, BATCH);
                println!("{worked} {taken}");
            }
            "longest" => println!("{}", longest_churn(&present.node)),
            _ => println!("{}", processor_nanos()),
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

/// The processor time of all threads, to the nanosecond for those that rest at the moment.
fn processor_nanos() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let of_one = |path: PathBuf| {
        let schedstat = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        schedstat.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or(0.0)
    };
    threads.map(|thread| of_one(thread.unwrap().path())).sum()
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

    fn ask(&mut self, what: &str) -> Vec<f64> {
        writeln!(self.asks, "{what}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<f64> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("a process said {line:?}"));
        let numbers: Vec<f64> = line.split_whitespace().map(number).collect();
        assert!(!numbers.is_empty(), "a measured process has ended");
        numbers
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
        let empty = measured.answer()[0];
        let points =
            READ_AT.map(|count| (count as f64, (measured.answer()[0] - empty) / count as f64 / 1024.0));
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
    for form in Form::BOTH {
        println!("cost of a session's life, with {} present", form.describe());
        let costs = costs(form);
        let (first, last) = (costs[0].1, costs[costs.len() - 1].1);
        let (ratio, most) = (last / first, grouped(PRESENT[PRESENT.len() - 1] as f64));
        let verdict = if ratio <= COST_RATIO_MAX { "within" } else { "ABOVE" };
        println!("  {most} present against none: {ratio:.3}, {verdict} {COST_RATIO_MAX}");
        series.push(Series {
            name: format!("{}: {first:.1} to {last:.1} µs", form.describe()),
            points: costs.into_iter().map(|(present, cost)| (present, cost / first)).collect(),
        });
    }
    let plot = Plot {
        title: "Cost of a session's life while others are there".to_owned(),
        subtitle: format!("initialize, initialized, tools/call, DELETE; {}", subtitle()),
        x: "sessions present",
        y: "processor time, none present = 1",
        series,
        bound: Some((COST_RATIO_MAX, format!("{COST_RATIO_MAX}: at most"))),
    };
    write("growth-churn.svg", &plot);
}

/// A measured process and what it said.
struct Size {
    present: usize,
    node: Measured,
    /// Microseconds per session of each batch, of the processor and by the clock.
    worked: Vec<f64>,
    taken: Vec<f64>,
}

impl Size {
    fn churn(&mut self) {
        let batch = self.node.ask("churn");
        self.worked.push(batch[0] / 1000.0);
        self.taken.push(batch[1] / 1000.0);
    }
}

/// Microseconds of processor time per session by the number of those present: the median over batches.
fn costs(form: Form) -> Vec<(f64, f64)> {
    let mut sizes: Vec<Size> = Vec::new();
    for present in PRESENT {
        let mut node = Measured::start(&[COST, form.word(), &present.to_string()]);
        node.answer();
        sizes.push(Size { present, node, worked: Vec::new(), taken: Vec::new() });
    }
    for round in 0..ROUNDS {
        for turn in 0..PRESENT.len() {
            sizes[(round + turn) % PRESENT.len()].churn();
        }
    }
    let idle = idle_load(&mut sizes);
    let mut costs = Vec::new();
    for (size, idle) in sizes.iter_mut().zip(idle) {
        let longest = size.node.ask("longest")[0] / 1e6;
        let worked = median(&mut size.worked);
        println!(
            "  {:>8} {worked:>7.2} µs of processor, {:>7.2} by the clock; longest {longest:>7.2} ms; a node with \
             nothing to do {idle:>7.2} ms/s",
            grouped(size.present as f64),
            median(&mut size.taken),
        );
        costs.push((size.present as f64, worked));
    }
    costs
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Milliseconds of processor time per second of each node that has nothing to do: sweep and reaper.
fn idle_load(sizes: &mut [Size]) -> Vec<f64> {
    let mut worked = || sizes.iter_mut().map(|size| size.node.ask("worked")[0]).collect::<Vec<_>>();
    let before = worked();
    std::thread::park_timeout(WATCHED);
    let nanos = worked().into_iter().zip(before).map(|(after, before)| after - before);
    nanos.map(|nanos| nanos / 1e6 / WATCHED.as_secs_f64()).collect()
}

fn subtitle() -> String {
    format!("burdock {}, demo server, one thread", env!("CARGO_PKG_VERSION"))
}

fn write(name: &str, plot: &Plot) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name);
    std::fs::write(&path, plot.svg()).unwrap();
    println!("wrote {}", path.display());
}
