//! What is in flight, both ways.

use std::collections::VecDeque;

use super::effect::{ReplyTo, Spot};
use crate::limits::{CANCELLED_REMEMBERED_MAX, TASK_TOKENS_MAX};
use crate::message::Id;
use crate::metrics::{Entered, METRICS};
use crate::moment::Moment;

/// A request of a client that the backend has not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) number: u64,
    pub(super) caller: ReplyTo,
    /// As the client wrote it.
    pub(super) id: Id,
    /// Its progress token, as the client wrote it.
    pub(super) token: Option<Id>,
    pub(super) since: Moment,
    /// Its place among all messages to the backend, counted from 1.
    pub(super) written: u64,
    /// Counts in the metrics while the call is in flight; `None` for `initialize`, which does not count.
    _counted: Option<Entered>,
}

/// The requests of clients in flight. Numbers only grow, so they are in their order.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<InFlight>,
    /// Numbers of calls that were cancelled and have not been answered since. Newest last.
    cancelled: VecDeque<u64>,
    /// Tokens of calls that went on as tasks, which their progress still names (T5). Newest last.
    tasks: VecDeque<(u64, Id)>,
}

/// What a new call is made of.
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) caller: ReplyTo,
    pub(super) id: Id,
    pub(super) token: Option<Id>,
    pub(super) now: Moment,
    pub(super) written: u64,
    pub(super) is_initialize: bool,
}

impl Calls {
    pub(super) fn begin(&mut self, begun: Begun) {
        let Begun { number, caller, id, token, now, written, is_initialize } = begun;
        let counted = (!is_initialize).then(|| METRICS.calls.enter());
        if self.calls.is_empty() {
            // Mostly there is no other call in flight.
            self.calls.reserve_exact(1);
        }
        self.calls.push(InFlight { number, caller, id, token, since: now, written, _counted: counted });
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &InFlight> {
        self.calls.iter()
    }

    /// The only one, when there is only one.
    pub(super) fn only(&self) -> Option<&InFlight> {
        match &self.calls[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.calls.binary_search_by_key(&number, |call| call.number).ok()
    }

    pub(super) fn get(&self, number: u64) -> Option<&InFlight> {
        self.calls.get(self.place(number)?)
    }

    /// The call is over.
    pub(super) fn take(&mut self, number: u64) -> Option<InFlight> {
        let call = self.calls.remove(self.place(number)?);
        if self.calls.is_empty() {
            // An idle session holds no room for calls.
            self.calls = Vec::new();
        }
        Some(call)
    }

    /// All calls are over.
    pub(super) fn take_all(&mut self) -> Vec<InFlight> {
        std::mem::take(&mut self.calls)
    }

    /// What a client names by `id`.
    pub(super) fn of_client(&self, client: u32, id: &Id) -> Fits<u64> {
        let own = || self.calls.iter().filter(|call| call.caller.client == client);
        look_up(own().map(|call| (&call.id, call.number)), id)
    }

    /// The call is over; its answer may still come.
    pub(super) fn cancel(&mut self, number: u64) -> Option<InFlight> {
        let call = self.take(number)?;
        if self.cancelled.len() >= CANCELLED_REMEMBERED_MAX {
            self.cancelled.pop_front();
        }
        self.cancelled.push_back(number);
        Some(call)
    }

    /// Whether this call was cancelled, and is answered now for the first time.
    pub(super) fn was_cancelled(&mut self, number: u64) -> bool {
        let place = self.cancelled.iter().position(|cancelled| *cancelled == number);
        place.and_then(|place| self.cancelled.remove(place)).is_some()
    }

    /// A call goes on as a task.
    pub(super) fn keep_token(&mut self, number: u64, token: Id) {
        if self.tasks.len() >= TASK_TOKENS_MAX {
            self.tasks.pop_front();
        }
        self.tasks.push_back((number, token));
    }

    pub(super) fn token_of_task(&self, number: u64) -> Option<&Id> {
        self.tasks.iter().find(|(task, _)| *task == number).map(|(_, token)| token)
    }
}

/// A request of the backend that no client has answered.
#[derive(Debug)]
pub(super) struct Ask {
    /// Ours, for the user of the conversation.
    pub(super) number: u64,
    /// In the backend's words.
    pub(super) id: Id,
    /// The same.
    pub(super) token: Option<Id>,
    pub(super) since: Moment,
    /// Which client it was given to, and where it was put.
    pub(super) put: Option<(u32, Spot)>,
}

/// The requests of the backend in flight, oldest first.
#[derive(Debug, Default)]
pub(super) struct Asks(Vec<Ask>);

impl Asks {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn begin(&mut self, ask: Ask) {
        self.0.push(ask);
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Ask> {
        self.0.iter_mut().find(|ask| ask.number == number)
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Ask> {
        let place = self.0.iter().position(|ask| ask.number == number)?;
        Some(self.0.remove(place))
    }

    /// Those that began so long ago that they are given up.
    pub(super) fn take_older(&mut self, older: impl Fn(Moment) -> bool) -> Vec<Ask> {
        self.0.extract_if(.., |ask| older(ask.since)).collect()
    }

    /// What the backend itself names by `id`.
    pub(super) fn of_backend(&self, id: &Id) -> Fits<u64> {
        look_up(self.0.iter().map(|ask| (&ask.id, ask.number)), id)
    }

    fn of_client(&self, client: u32) -> impl Iterator<Item = &Ask> + Clone {
        self.0.iter().filter(move |ask| ask.put.is_some_and(|(given_to, _)| given_to == client))
    }

    /// What a client names by `id`.
    pub(super) fn asked_of(&self, client: u32, id: &Id) -> Fits<u64> {
        look_up(self.of_client(client).map(|ask| (&ask.id, ask.number)), id)
    }

    pub(super) fn asked_of_count(&self, client: u32) -> usize {
        self.of_client(client).count()
    }

    /// The token that a client names by `token`.
    pub(super) fn token_of(&self, client: u32, token: &Id) -> Fits<Id> {
        let tokens = self.of_client(client).filter_map(|ask| ask.token.as_ref());
        match look_up(tokens.map(|token| (token, token)), token) {
            Fits::One(token) => Fits::One(token.clone()),
            Fits::Several => Fits::Several,
            Fits::None => Fits::None,
        }
    }
}

/// What a look-up led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits<T> {
    None,
    One(T),
    Several,
}

/// Looks by type and bytes first, and by value only when nothing has exactly these.
fn look_up<'a, T>(known: impl Iterator<Item = (&'a Id, T)> + Clone, wanted: &Id) -> Fits<T> {
    match the_only(known.clone().filter(|(id, _)| *id == wanted)) {
        Fits::None => the_only(known.filter(|(id, _)| id.fits(wanted))),
        found => found,
    }
}

fn the_only<'a, T>(mut found: impl Iterator<Item = (&'a Id, T)>) -> Fits<T> {
    match (found.next(), found.next()) {
        (None, _) => Fits::None,
        (Some((_, one)), None) => Fits::One(one),
        (Some(_), Some(_)) => Fits::Several,
    }
}
