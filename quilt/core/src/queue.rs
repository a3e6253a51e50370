//! Who waits, and in which order.
//!
//! Everybody in line has a rank that never changes, so who comes first is decided once. Owners take turns: the requests of
//! one owner are one round apart, and whoever comes while others wait begins in the round of the first of them. A step of
//! priority is worth [`ROUNDS_PER_PRIORITY`] rounds.
//!
//! Nobody starves: let a waiter be in round `t`, the first waiter in round `r`, when it joins. Whoever joins later and comes
//! first has a round below `t + ROUNDS_PER_PRIORITY · (9 − priority)`, and every request of an owner takes a round of its own,
//! not below `r`; so of each owner at most `t − r + ROUNDS_PER_PRIORITY · (9 − priority)` requests ever pass it. Waiting raises
//! a request by exactly the rounds that go by meanwhile: ageing is counted in grants, not in seconds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::capacity::Needs;
use crate::index::{By, Spot};
use crate::lease::Asker;

/// What one step of priority is worth.
pub const ROUNDS_PER_PRIORITY: u64 = 4;
/// Owners whose turns are remembered one by one while somebody waits. What comes beyond shares one turn.
const OWNERS_MAX: usize = 1024;

/// Name of a place in the queue; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub(crate) u64);

/// A place in line; the smaller comes first. No two are equal.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Rank {
    key: i128,
    ticket: Ticket,
}

impl Rank {
    pub(crate) fn new(key: i128, ticket: u64) -> Self {
        Self { key, ticket: Ticket(ticket) }
    }

    pub(crate) fn ticket(self) -> Ticket {
        self.ticket
    }
}

/// Where a waiter is kept.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// It lacks a counted resource, or has not been looked at.
    Ready,
    /// A token is in its way.
    Parked(Spot),
    /// Somebody's child: there are few, so they are looked at each time.
    Child,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    pub(crate) who: Arc<Asker>,
    pub(crate) since: Duration,
    pub(crate) until: Duration,
    /// What it needs beside its tokens.
    pub(crate) needs: Needs,
    /// What is taken for it already, its slot apart: children do not wait for what is counted.
    pub(crate) taken: Needs,
    pub(crate) kept: Kept,
    pub(crate) round: u64,
    /// What stood in its way when it was last looked at.
    pub(crate) obstacle: Option<By>,
}

/// Whose turn it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    /// The round after the last of each owner.
    next: HashMap<Arc<str>, u64>,
    /// The rounds somebody waits in, and how many do.
    waiting: BTreeMap<u64, usize>,
}

/// A round an owner would take.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    owner: Arc<str>,
    pub(crate) round: u64,
}

impl Turns {
    /// The round of the first in line.
    fn current(&self) -> u64 {
        self.waiting.first_key_value().map_or(0, |(round, _)| *round)
    }

    /// The next round of an owner; nothing is taken yet.
    pub(crate) fn ask(&mut self, owner: &Arc<str>) -> Turn {
        if self.waiting.is_empty() {
            self.next.clear();
        }
        let current = self.current();
        let known = self.next.contains_key(owner);
        if !known && self.next.len() >= OWNERS_MAX {
            self.next.retain(|_, next| *next > current);
        }
        let owner = if known || self.next.len() < OWNERS_MAX { Arc::clone(owner) } else { Arc::default() };
        let round = self.next.get(&owner).copied().unwrap_or(0).max(current);
        Turn { owner, round }
    }

    /// Takes it.
    pub(crate) fn take(&mut self, turn: Turn) {
        self.next.insert(turn.owner, turn.round + 1);
    }

    /// Gives a round back that was taken last, for a request that is refused after all: asking in vain costs nobody a turn.
    pub(crate) fn give_back(&mut self, owner: &Arc<str>, round: u64) {
        if let Some(next) = self.next.get_mut(owner).filter(|next| **next == round + 1) {
            *next = round;
        }
    }

    fn join(&mut self, round: u64) {
        *self.waiting.entry(round).or_insert(0) += 1;
    }

    fn leave(&mut self, round: u64) {
        match self.waiting.get_mut(&round) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.waiting.remove(&round)),
        }
    }
}

/// Everybody who waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    pub(crate) turns: Turns,
    waiters: BTreeMap<Rank, Waiter>,
    tickets: HashMap<Ticket, Rank>,
    owners: HashMap<Arc<str>, usize>,
    until: BTreeSet<(Duration, Rank)>,
    /// By the set of counted resources they need.
    ready: BTreeMap<u64, BTreeSet<Rank>>,
    children: BTreeSet<Rank>,
    tickets_given: u64,
}

impl Queue {
    /// The rank of a newcomer. Nobody without a parent is put in front of a waiting child: its parent holds tokens while it
    /// waits, and that is the only way a newcomer at the front could close a cycle.
    pub(crate) fn rank(&mut self, turn: &Turn, who: &Asker) -> Rank {
        let bonus = i128::from(u64::from(who.priority) * ROUNDS_PER_PRIORITY);
        let own = i128::from(turn.round) - bonus;
        let last_child = self.children.last().map(|rank| rank.key).filter(|_| who.parent.is_none());
        self.tickets_given += 1;
        Rank::new(last_child.map_or(own, |child| child.max(own)), self.tickets_given)
    }

    pub(crate) fn join(&mut self, rank: Rank, waiter: Waiter) {
        self.turns.join(waiter.round);
        self.tickets.insert(rank.ticket, rank);
        self.until.insert((waiter.until, rank));
        *self.owners.entry(Arc::clone(&waiter.who.owner)).or_insert(0) += 1;
        self.keep(rank, &waiter.kept, waiter.needs.mask());
        self.waiters.insert(rank, waiter);
    }

    pub(crate) fn leave(&mut self, rank: Rank) -> Option<Waiter> {
        let waiter = self.waiters.remove(&rank)?;
        self.turns.leave(waiter.round);
        self.tickets.remove(&rank.ticket);
        self.until.remove(&(waiter.until, rank));
        match self.owners.get_mut(&waiter.who.owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.owners.remove(&waiter.who.owner)),
        }
        self.unkeep(rank, &waiter.kept, waiter.needs.mask());
        Some(waiter)
    }

    fn keep(&mut self, rank: Rank, kept: &Kept, mask: u64) {
        match kept {
            Kept::Ready => drop(self.ready.entry(mask).or_default().insert(rank)),
            Kept::Child => drop(self.children.insert(rank)),
            Kept::Parked(_) => {}
        }
    }

    fn unkeep(&mut self, rank: Rank, kept: &Kept, mask: u64) {
        match kept {
            Kept::Ready => {
                if let Some(ready) = self.ready.get_mut(&mask) {
                    ready.remove(&rank);
                    if ready.is_empty() {
                        self.ready.remove(&mask);
                    }
                }
            }
            Kept::Child => drop(self.children.remove(&rank)),
            Kept::Parked(_) => {}
        }
    }

    /// Keeps a waiter elsewhere.
    pub(crate) fn rekeep(&mut self, rank: Rank, kept: Kept) {
        let Some(waiter) = self.waiters.get_mut(&rank) else { return };
        let mask = waiter.needs.mask();
        let before = std::mem::replace(&mut waiter.kept, kept.clone());
        self.unkeep(rank, &before, mask);
        self.keep(rank, &kept, mask);
    }

    /// Remembers what is in a waiter's way; whether that is new.
    pub(crate) fn remember(&mut self, rank: Rank, obstacle: Option<By>) -> bool {
        let Some(waiter) = self.waiters.get_mut(&rank) else { return false };
        std::mem::replace(&mut waiter.obstacle, obstacle) != obstacle
    }

    pub(crate) fn get(&self, rank: Rank) -> Option<&Waiter> {
        self.waiters.get(&rank)
    }

    pub(crate) fn find(&self, ticket: Ticket) -> Option<Rank> {
        self.tickets.get(&ticket).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn len_of(&self, owner: &str) -> usize {
        self.owners.get(owner).copied().unwrap_or(0)
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Rank, &Waiter)> {
        self.waiters.iter().map(|(rank, waiter)| (*rank, waiter))
    }

    pub(crate) fn children(&self) -> impl DoubleEndedIterator<Item = (Rank, &Waiter)> {
        self.children.iter().filter_map(|rank| Some((*rank, self.waiters.get(rank)?)))
    }

    /// The first that is ready and needs nothing that is closed.
    pub(crate) fn first_ready(&self, is_closed: impl Fn(u64) -> bool) -> Option<Rank> {
        let open = self.ready.iter().filter(|(mask, _)| !is_closed(**mask));
        open.filter_map(|(_, ranks)| ranks.first()).min().copied()
    }

    /// The first whose wait is over at `now`.
    pub(crate) fn overdue(&self, now: Duration) -> Option<Rank> {
        self.until.first().filter(|(until, _)| *until <= now).map(|(_, rank)| *rank)
    }

    /// When the next wait is over.
    pub(crate) fn next_end(&self) -> Option<Duration> {
        self.until.first().map(|(until, _)| *until)
    }
}
