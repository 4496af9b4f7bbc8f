//! burdock's side of the watchdog: writes the notes, and replaces the process when it dies.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::sync::Mutex;

use async_io::Timer;
use rustix::process::Pid;
use smol::Task;
use smol::future::or;

use super::dog::{Dog, deadline};
use super::notes::DogNote;
use crate::backend::spawn;
use crate::limits::{WATCHDOG_BATCH_BYTES, WATCHDOG_ENDED_WAIT, WATCHDOG_QUEUE_MAX, WATCHDOG_RESTART_WAIT};
use crate::lock::lock;
use crate::moment::Moment;
use crate::queue::{self, Receiver, Sender};
use crate::runtime;
use crate::sweep::Deadline;

/// The hold on the watchdog: the queue of its notes and the task that writes them.
static KEEPER: Mutex<Option<(Sender<DogNote>, Task<()>)>> = Mutex::new(None);

/// Starts the watchdog process. To be called once, before the first child. The binary must run
/// [`main`](super::main) when its first argument is `watchdog`.
///
/// # Errors
/// When the process cannot be started or does not come up in time.
pub async fn start() -> io::Result<()> {
    let dog = Dog::start().await?;
    let (sender, notes) = queue::bounded(WATCHDOG_QUEUE_MAX);
    let task = runtime::spawn(keep(notes, dog));
    *lock(&KEEPER) = Some((sender, task));
    Ok(())
}

/// Ends the watchdog process at the end of burdock, after the children were stopped, and waits for it. From
/// here on no child can be started. What children left behind is killed.
pub async fn stop() {
    let keeper = lock(&KEEPER).take();
    let Some((notes, task)) = keeper else { return };
    or(
        async {
            spawn::stop_spawning().await;
            let _ = notes.send(DogNote::Goodbye).await;
            task.await;
        },
        deadline(),
    )
    .await;
}

/// Tells the watchdog that a child runs with `pid`, which is its group as well.
pub(in crate::backend) async fn started(pid: Pid) {
    tell(DogNote::Started(pid)).await;
}

/// Tells the watchdog that child `number` was reaped and its group killed.
pub(in crate::backend) async fn ended(pid: Pid, number: u64) {
    tell(DogNote::Ended(pid, number)).await;
}

/// Queues a note; waits for room, which the keeper makes even while there is no watchdog.
async fn tell(note: DogNote) {
    let sender = lock(&KEEPER).as_ref().map(|keeper| keeper.0.clone());
    if let Some(sender) = sender {
        let _ = sender.send(note).await;
    }
}

/// What a new watchdog has to be told: everything the old one knew that still matters.
#[derive(Default)]
struct Briefing {
    living: HashSet<Pid>,
    /// Ended children of which the watchdog has not said that all their processes are gone.
    ending: HashMap<u64, Pid>,
}

impl Briefing {
    fn learn(&mut self, note: &DogNote) {
        match note {
            DogNote::Started(pid) => {
                self.living.insert(*pid);
            }
            DogNote::Ended(pid, number) => {
                self.living.remove(pid);
                self.ending.insert(*number, *pid);
            }
            DogNote::Goodbye => {}
        }
    }

    fn notes(&self) -> impl Iterator<Item = DogNote> {
        let ending = self.ending.iter().map(|(number, pid)| DogNote::Ended(*pid, *number));
        // The ended children first: a living group may have the id of an ended one.
        ending.chain(self.living.iter().map(|pid| DogNote::Started(*pid)))
    }
}

/// How the service of one watchdog process ended.
enum Served {
    Goodbye,
    Died,
}

/// Writes the notes to the watchdog and replaces it when it dies.
async fn keep(notes: Receiver<DogNote>, mut dog: Dog) {
    let mut briefing = Briefing::default();
    while let Served::Died = serve(&notes, &mut briefing, &mut dog).await {
        log::error!("the watchdog process ended: starting another one");
        let begun = dog.begun;
        dog.bury(true).await;
        match restart(&notes, &mut briefing, begun).await {
            Some(next) => dog = next,
            None => return,
        }
    }
    dog.bury(false).await;
}

/// Notes on their way to the watchdog.
///
/// The start of a child is told at once: until then the watchdog can find its processes by their mark only.
/// The end of a child waits for other notes, so that a session wakes the watchdog once. That is safe: the
/// watchdog knows since when a group has its id, and takes no later group for it.
struct NoteBatch {
    text: String,
    /// There only while notes wait: without deadlines the sweep can sleep.
    late: Option<Deadline>,
}

impl NoteBatch {
    fn new() -> NoteBatch {
        NoteBatch { text: String::new(), late: None }
    }

    /// Adds a note; true when the notes must be sent now.
    fn add(&mut self, note: &DogNote) -> bool {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{note}");
        let is_due = !matches!(note, DogNote::Ended(..)) || self.text.len() >= WATCHDOG_BATCH_BYTES;
        if !is_due {
            self.late.get_or_insert_with(|| Deadline::after(WATCHDOG_ENDED_WAIT));
        }
        is_due
    }

    /// Takes the notes that wait.
    fn take(&mut self) -> String {
        self.late = None;
        std::mem::take(&mut self.text)
    }
}

/// What the keeper was woken by.
enum KeeperEvent {
    Said(Option<String>),
    Noted(DogNote),
    Late,
}

async fn serve(notes: &Receiver<DogNote>, briefing: &mut Briefing, dog: &mut Dog) -> Served {
    let mut batch = NoteBatch::new();
    for note in briefing.notes() {
        if batch.add(&note) && dog.tell(batch.take()).await.is_err() {
            return Served::Died;
        }
    }
    loop {
        let said = async { KeeperEvent::Said(dog.lines.next().await) };
        let noted = async { KeeperEvent::Noted(notes.recv().await.unwrap_or(DogNote::Goodbye)) };
        let late = async {
            match &batch.late {
                Some(late) => late.wait().await,
                None => std::future::pending().await,
            }
            KeeperEvent::Late
        };
        let (is_due, is_last) = match or(said, or(noted, late)).await {
            KeeperEvent::Said(None) => return Served::Died,
            KeeperEvent::Said(Some(line)) => {
                line.parse().ok().and_then(|number: u64| briefing.ending.remove(&number));
                (false, false)
            }
            KeeperEvent::Noted(note) => {
                briefing.learn(&note);
                (batch.add(&note), note == DogNote::Goodbye)
            }
            KeeperEvent::Late => (true, false),
        };
        let told = if is_due { dog.tell(batch.take()).await } else { Ok(()) };
        if is_last {
            return Served::Goodbye;
        }
        if told.is_err() {
            return Served::Died;
        }
    }
}

/// Starts another watchdog after one that was started at `begun`, and tries until one starts; `None` when
/// burdock ends meanwhile. Notes are taken from the queue all the time, so that no child waits for this.
async fn restart(notes: &Receiver<DogNote>, briefing: &mut Briefing, mut begun: Moment) -> Option<Dog> {
    let started = async {
        loop {
            // A watchdog that ran for a while is replaced at once, for without one nobody cleans up if
            // burdock is killed.
            Timer::after(WATCHDOG_RESTART_WAIT.saturating_sub(begun.elapsed())).await;
            begun = Moment::now();
            match Dog::start().await {
                Ok(dog) => return Some(dog),
                Err(error) => log::error!("the watchdog process cannot be started: {error}"),
            }
        }
    };
    let ended = async {
        while let Some(note) = notes.recv().await {
            if note == DogNote::Goodbye {
                break;
            }
            briefing.learn(&note);
        }
        None
    };
    or(started, ended).await
}
