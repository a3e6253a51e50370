//! Whether a child that has to wait would wait for ever.
//!
//! A holder waits for nothing but its own children, so every cycle leads through a waiting child, and only the request of a
//! child can close one. The test plays the queue to its end on paper: every holder without a waiting child will leave, who
//! then gets its tokens will leave too, and so on. Who is left when nothing moves any more is stuck; before the newcomer
//! nobody was, so if the newcomer is, it closes a cycle, be it through holders, through who comes first in the queue, or
//! through counted resources.

use std::collections::{BTreeMap, BTreeSet};

use crate::capacity::{Capacities, Needs, Room};
use crate::index::{By, Index};
use crate::lease::{Lease, LeaseId};
use crate::queue::{Queue, Rank, Waiter};

/// Links of a cycle that are written out.
const LINKS_MAX: usize = 16;

/// What the test looks at.
#[derive(Clone, Copy)]
pub(crate) struct State<'a> {
    pub(crate) leases: &'a BTreeMap<LeaseId, Lease>,
    pub(crate) index: &'a Index,
    pub(crate) queue: &'a Queue,
    pub(crate) capacities: &'a Capacities,
}

/// The cycle the waiting child `newcomer` closes, for people.
pub(crate) fn cycle(state: State<'_>, newcomer: Rank) -> Option<String> {
    let mut children: BTreeMap<Rank, &Waiter> = state.queue.children().collect();
    if state.is_plain_wait(newcomer, &waited_for(&children)) {
        return None;
    }
    let (last, _) = children.last_key_value().map(|(rank, child)| (*rank, child))?;
    // Each round frees at least one child, or it is the last one.
    loop {
        let mut round = Round::new(state, &children);
        state.queue.iter().take_while(|(rank, _)| *rank <= last).for_each(|(rank, waiter)| round.play(rank, waiter));
        let left = round.stuck.get(&newcomer)?;
        let is_child = |(_, waiter): &(&Rank, &&Waiter)| waiter.who.parent.is_some();
        let still: BTreeMap<Rank, &Waiter> =
            round.stuck.iter().filter(is_child).map(|(rank, child)| (*rank, *child)).collect();
        if still.len() == children.len() {
            return Some(round.path(newcomer, left));
        }
        children = still;
    }
}

/// The leases that end only after one of these children.
fn waited_for(children: &BTreeMap<Rank, &Waiter>) -> BTreeSet<LeaseId> {
    children.values().flat_map(|child| &child.who.ancestors).copied().collect()
}

impl State<'_> {
    /// Only holders that wait for nothing are in its way.
    fn is_plain_wait(&self, newcomer: Rank, stuck: &BTreeSet<LeaseId>) -> bool {
        let Some(waiter) = self.queue.get(newcomer) else { return true };
        let free = |by: By| matches!(by, By::Lease(lease) if !stuck.contains(&lease));
        !waiter.who.lent && waiter.who.tokens.iter().all(|token| self.index.obstacles(token, newcomer).all(free))
    }
}

/// One walk through the queue in which only the leases above stuck children are held, and what those children have taken.
struct Round<'a> {
    index: Index,
    room: Room,
    held: BTreeMap<LeaseId, &'a Lease>,
    stuck: BTreeMap<Rank, &'a Waiter>,
}

impl<'a> Round<'a> {
    fn new(state: State<'a>, children: &BTreeMap<Rank, &Waiter>) -> Self {
        let held = waited_for(children).into_iter().filter_map(|id| Some((id, state.leases.get(&id)?)));
        let held: BTreeMap<LeaseId, &Lease> = held.collect();
        let (mut index, mut room) = (Index::default(), state.capacities.empty_room());
        for (id, lease) in &held {
            lease.who.tokens.iter().for_each(|token| index.hold(*id, token));
            let slot = if lease.who.parent.is_some() { Needs::child_slot() } else { Needs::slot() };
            room.take(&lease.needs.and(&slot));
        }
        children.values().for_each(|child| room.take(&child.taken));
        Self { index, room, held, stuck: BTreeMap::new() }
    }

    /// Lets one waiter run to its end if it can.
    fn play(&mut self, rank: Rank, waiter: &'a Waiter) {
        let runs = self.obstacle(rank, waiter).is_none() && self.room.admit(&waiter.needs);
        if runs {
            self.room.add(&waiter.needs);
            return;
        }
        if !waiter.who.lent {
            waiter.who.tokens.iter().for_each(|token| self.index.wait(rank, token));
        }
        self.stuck.insert(rank, waiter);
    }

    fn obstacle(&self, rank: Rank, waiter: &Waiter) -> Option<By> {
        let tokens = &waiter.who.tokens;
        if !waiter.who.lent {
            return tokens.iter().find_map(|token| self.index.obstacle(token, rank, &[])).map(|(by, _)| by);
        }
        let holder = tokens.iter().find_map(|token| self.index.holder(token, waiter.who.lenders()));
        holder.map(By::Lease).or_else(|| {
            let before = self.stuck.range(..rank).filter(|(_, other)| other.who.lent);
            let conflicts = |other: &Waiter| other.who.tokens.iter().any(|a| tokens.iter().any(|b| a.conflicts(b)));
            before.filter(|(_, other)| conflicts(other)).map(|(rank, _)| By::Waiter(*rank)).next()
        })
    }

    /// From the newcomer along what is in the way, until somebody comes up again.
    fn path(&self, newcomer: Rank, waiter: &'a Waiter) -> String {
        let (mut links, mut seen) = (Vec::new(), BTreeSet::new());
        let (mut rank, mut waiter) = (newcomer, waiter);
        while seen.insert(rank) && links.len() < LINKS_MAX {
            let name = &waiter.who.execution_id;
            let next = match self.obstacle(rank, waiter) {
                Some(By::Waiter(before)) => {
                    let Some(other) = self.stuck.get(&before) else { break };
                    links.push(format!("{name} comes after {}", other.who.execution_id));
                    Some((before, *other))
                }
                Some(By::Lease(lease)) => self.child_of(lease, name, "tokens", &mut links),
                // Short of something counted: whoever is stuck with a part of it.
                None => {
                    let other = self.held.iter().find(|(_, lease)| lease.who.parent.is_none());
                    other.and_then(|(lease, _)| self.child_of(*lease, name, "room", &mut links))
                }
            };
            let Some(next) = next else { break };
            (rank, waiter) = next;
        }
        links.join("; ")
    }

    fn child_of(&self, lease: LeaseId, name: &str, what: &str, links: &mut Vec<String>) -> Option<(Rank, &'a Waiter)> {
        let holder = &self.held.get(&lease)?.who.execution_id;
        let (rank, child) = self.stuck.iter().find(|(_, child)| child.who.ancestors.contains(&lease))?;
        links.push(format!("{name} waits for {what} of {holder}"));
        links.push(format!("{holder} waits for its child {}", child.who.execution_id));
        Some((*rank, child))
    }
}
