//! Drives burdock and its peers on one core from another, in turns, and prints the table of goals.

mod book;
mod engine;
mod fleet;
mod machine;
mod modes;
mod redis;
mod reply;
mod requests;
mod server;
mod single;
mod table;
mod usage;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use book::{Book, Metric};
use fleet::Fleet;
use machine::{Cores, Watch};
use redis::Redis;
use server::{Server, Spec, Who};

/// Why a measurement failed, in words.
pub type Failure = Box<dyn std::error::Error>;

const USAGE: &str =
    "usage: load --burdock FILE --peers FOLDER [--supergateway FILE] [--rounds COUNT] [--quick] [MODE...]
modes: churn redis calls idle fan-out storm stdio size; all when none is named";

/// Rounds of each mode, unless told otherwise.
const ROUNDS: usize = 5;
/// A larger share of a core that others had is told.
const OTHERS_TOLD: f64 = 0.05;
/// Enough for 10,000 streams on either side.
const DESCRIPTORS: u64 = 20_000;

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As much as a number needs to be worth something.
    Full,
    /// As little as shows that everything works.
    Quick,
}

impl Scale {
    /// One of two counts.
    pub fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Scale::Full => full,
            Scale::Quick => quick,
        }
    }
}

/// What is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Churn,
    Redis,
    Calls,
    Idle,
    FanOut,
    Storm,
    Stdio,
    Size,
}

const MODES: [(&str, Mode); 8] = [
    ("churn", Mode::Churn),
    ("redis", Mode::Redis),
    ("calls", Mode::Calls),
    ("idle", Mode::Idle),
    ("fan-out", Mode::FanOut),
    ("storm", Mode::Storm),
    ("stdio", Mode::Stdio),
    ("size", Mode::Size),
];

/// What was typed.
struct Typed {
    burdock: PathBuf,
    peers: PathBuf,
    supergateway: Option<PathBuf>,
    rounds: Option<usize>,
    scale: Scale,
    modes: Vec<Mode>,
}

/// What all modes need.
struct Bench {
    fleet: Fleet,
    cores: Cores,
    scale: Scale,
    descriptors: u64,
    book: Book,
}

fn main() -> ExitCode {
    match parse().and_then(|typed| run(&typed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Typed, Failure> {
    let (mut burdock, mut peers) = (None, None);
    let mut typed = Typed {
        burdock: PathBuf::new(),
        peers: PathBuf::new(),
        supergateway: None,
        rounds: None,
        scale: Scale::Full,
        modes: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--burdock" => burdock = arguments.next().map(PathBuf::from),
            "--peers" => peers = arguments.next().map(PathBuf::from),
            "--supergateway" => typed.supergateway = arguments.next().map(PathBuf::from),
            "--rounds" => typed.rounds = Some(arguments.next().ok_or(USAGE)?.parse()?),
            "--quick" => typed.scale = Scale::Quick,
            name => typed.modes.push(mode(name)?),
        }
    }
    if typed.modes.is_empty() {
        typed.modes.extend(MODES.map(|(_, mode)| mode));
    }
    (typed.burdock, typed.peers) = (burdock.ok_or(USAGE)?, peers.ok_or(USAGE)?);
    Ok(typed)
}

fn mode(name: &str) -> Result<Mode, Failure> {
    let found = MODES.iter().find(|(known, _)| *known == name);
    Ok(found.ok_or_else(|| format!("there is no mode {name}\n{USAGE}"))?.1)
}

fn run(typed: &Typed) -> Result<(), Failure> {
    let cores = Cores::choose()?;
    let descriptors = machine::raise_descriptors(DESCRIPTORS);
    // Before the pinning, so that programs that are asked for their version do not matter.
    let machine = machine::describe();
    cores.pin_load()?;
    usage::adopt_orphans()?;
    let fleet = Fleet::new(typed.burdock.clone(), typed.peers.clone(), typed.supergateway.clone())?;
    let mut bench = Bench { fleet, cores, scale: typed.scale, descriptors, book: Book::default() };
    let rounds = typed.rounds.unwrap_or(typed.scale.pick(ROUNDS, 1)).max(1);
    let load_before = machine::load_average();
    for mode in &typed.modes {
        bench.measure(*mode, rounds)?;
    }
    print(&bench, &machine, rounds, &load_before);
    Ok(())
}

impl Bench {
    fn measure(&mut self, mode: Mode, rounds: usize) -> Result<(), Failure> {
        match mode {
            Mode::Churn => self.rounds(mode, rounds, self.fleet.all()),
            Mode::Redis => self.with_redis(rounds),
            Mode::Calls => self.rounds(mode, rounds, self.fleet.all()),
            Mode::Idle => {
                let count = modes::idle::sessions(self.scale, self.descriptors);
                if count < modes::idle::wanted(self.scale) {
                    let limit = self.descriptors;
                    self.book.remarks.push(format!("idle: {count} sessions, limited by {limit} descriptors"));
                }
                self.rounds(mode, rounds, self.without_floor(self.fleet.burdock(Who::Burdock, &[])))
            }
            Mode::FanOut => self.rounds(mode, rounds, self.without_floor(self.fleet.burdock_echo())),
            Mode::Storm => {
                self.rounds(mode, rounds, self.without_floor(self.fleet.burdock(Who::Burdock, &[])))
            }
            Mode::Stdio => {
                let peer = self.fleet.supergateway();
                if peer.is_none() {
                    self.skip("supergateway is not installed: no peer for stdio");
                }
                let specs = [self.fleet.burdock_stdio()]
                    .into_iter()
                    .chain(peer)
                    .chain([self.fleet.floor()])
                    .collect();
                self.rounds(mode, rounds, specs)
            }
            Mode::Size => self.rounds(mode, rounds, self.fleet.all()),
        }
    }

    /// burdock as it is given, and rmcp with both allocators.
    fn without_floor(&self, burdock: Spec) -> Vec<Spec> {
        vec![burdock, self.fleet.rmcp(Who::Rmcp), self.fleet.rmcp(Who::RmcpJemalloc)]
    }

    fn skip(&mut self, what: &str) {
        eprintln!("peers: SKIP: {what}");
        self.book.remarks.push(format!("SKIP: {what}"));
    }

    /// All servers in turns, so many times.
    fn rounds(&mut self, mode: Mode, rounds: usize, specs: Vec<Spec>) -> Result<(), Failure> {
        let watch = Watch::begin();
        for round in 1..=rounds {
            eprintln!("{mode:?}, round {round} of {rounds}");
            for spec in &specs {
                self.one(mode, spec).map_err(|error| format!("{mode:?}, {}: {error}", spec.who.name()))?;
            }
            if mode == Mode::Redis {
                self.compare_redis();
            }
        }
        let others = watch.others();
        if others > OTHERS_TOLD {
            self.book
                .remarks
                .push(format!("DISTURBED: {mode:?}: others had {:.0} % of a core", others * 100.0));
        }
        Ok(())
    }

    fn one(&mut self, mode: Mode, spec: &Spec) -> Result<(), Failure> {
        let mut server = Server::start(spec, self.cores)?;
        let (scale, book, who) = (self.scale, &mut self.book, spec.who);
        match mode {
            Mode::Churn | Mode::Redis => modes::churn::measure(&server, scale, book, who),
            Mode::Calls => modes::calls::measure(&server, scale, book, who),
            Mode::Idle => {
                let count = modes::idle::sessions(scale, self.descriptors);
                modes::idle::measure(&server, scale, count, book, who)
            }
            Mode::FanOut => modes::fan_out::measure(&server, scale, book, who),
            Mode::Storm => modes::storm::measure(&mut server, scale, book, who),
            Mode::Stdio if who == Who::Floor => {
                let children = self.fleet.bare_children(modes::stdio::sessions(scale));
                modes::stdio::measure_floor(&server, children, self.cores, scale, book)
            }
            Mode::Stdio => modes::stdio::measure(&server, scale, book, who),
            Mode::Size => modes::size::measure(&server, &spec.program, book, who),
        }
    }

    /// burdock with Redis and without, in turns.
    fn with_redis(&mut self, rounds: usize) -> Result<(), Failure> {
        let Some(redis) = Redis::start(&self.fleet.scratch, self.cores)? else {
            self.skip(
                "redis-server is missing (Debian: apt-get install redis-server): no numbers with Redis",
            );
            return Ok(());
        };
        let without = self.fleet.burdock(Who::BurdockMemory, &[]);
        let with = self.fleet.burdock(Who::BurdockRedis, &redis.flags());
        self.rounds(Mode::Redis, rounds, vec![without, with])
    }

    fn compare_redis(&mut self) {
        let last = |metric| {
            Some((self.book.last(metric, Who::BurdockRedis)?, self.book.last(metric, Who::BurdockMemory)?))
        };
        let (churn, initialize) = (last(Metric::Churn), last(Metric::Initialize));
        if let (Some((with, without)), Some((slow, fast))) = (churn, initialize) {
            self.book.note(Metric::RedisExtra, Who::Burdock, with - without);
            self.book.note(Metric::RedisInitialize, Who::Burdock, slow / fast);
        }
    }
}

fn print(bench: &Bench, machine: &[String], rounds: usize, load_before: &str) {
    println!("{}", table::render(&bench.book, bench.scale));
    println!(
        "Medians of {rounds} rounds, in turns; server on core {}, load on core {}.",
        bench.cores.server, bench.cores.load
    );
    for line in machine {
        println!("- {line}");
    }
    println!(
        "- {}, rmcp {}",
        machine::said(Command::new(&bench.fleet.burdock).arg("--version")),
        env!("RMCP_VERSION")
    );
    println!("- load average before {load_before}, after {}", machine::load_average());
    for remark in &bench.book.remarks {
        println!("- {remark}");
    }
    if bench.scale == Scale::Quick {
        println!("- --quick: too few of everything; only shows that it works");
    }
    if bench.cores.server == bench.cores.load {
        println!("- DISTURBED: one core for server and load");
    }
    let unsteady = table::unsteady(&bench.book);
    if !unsteady.is_empty() {
        println!("- UNSTEADY: rounds differ by more than a tenth: {}", unsteady.join(", "));
    }
}
