//! Granting whatever can be granted, first in line first.

use std::collections::BTreeSet;
use std::sync::Arc;

use aria_types::ResourceToken;

use crate::event::EventKind;
use crate::index::{By, Spot};
use crate::lease::{Asker, Grant, Lease, LeaseId};
use crate::ledger::{Effect, Ledger, Live};
use crate::queue::{Kept, Rank, Waiter};
use crate::refusal::Refusal;

impl Ledger {
    /// A claim on this token is gone: who was parked because of it is looked at again.
    pub(crate) fn stir(&mut self, token: &ResourceToken) {
        for spot in self.index.freed(token) {
            if let Some(first) = self.index.parked(&spot, None) {
                self.stirred.insert((first, spot));
            }
        }
    }

    /// Grants whatever can be granted, first in line first.
    pub(crate) fn settle(&mut self) {
        let children: Vec<Rank> = self.queue.children().map(|(rank, _)| rank).collect();
        for rank in children {
            if self.look(rank).is_none() {
                self.grant(rank);
            }
        }
        let mut room = self.capacities.room();
        while !room.is_over() {
            let ready = self.queue.first_ready(|mask| room.is_closed_for(mask));
            let stirred = self.stirred.first().map(|(rank, _)| *rank);
            let Some(rank) = [ready, stirred].into_iter().flatten().min() else { return };
            if stirred == Some(rank) && !self.unpark_next() {
                continue;
            }
            match self.look(rank) {
                Some((_, spot)) => {
                    self.index.park(&spot, rank);
                    self.queue.rekeep(rank, Kept::Parked(spot));
                }
                None if self.queue.get(rank).is_some_and(|waiter| room.admit(&waiter.needs)) => self.grant(rank),
                None => {}
            }
        }
    }

    /// Takes the first waiter of the first stirred list out of it. `false` when that list needs no more attention or its first
    /// is gone.
    fn unpark_next(&mut self) -> bool {
        let Some((rank, spot)) = self.stirred.pop_first() else { return false };
        let is_here =
            self.queue.get(rank).is_some_and(|waiter| matches!(&waiter.kept, Kept::Parked(at) if *at == spot));
        if is_here && let Some(by) = self.index.still_blocks(&spot, rank) {
            // And so are all behind it.
            self.notice(rank, by);
            return false;
        }
        if let Some(next) = self.index.parked(&spot, Some(rank)) {
            self.stirred.insert((next, spot.clone()));
        }
        if is_here {
            self.index.unpark(&spot, rank);
            self.queue.rekeep(rank, Kept::Ready);
        }
        is_here
    }

    /// What is in the way of a waiter's tokens, and where.
    fn look(&mut self, rank: Rank) -> Option<(By, Spot)> {
        let waiter = self.queue.get(rank)?;
        let obstacle = if waiter.who.lent {
            self.look_lent(rank, waiter)
        } else {
            waiter.who.tokens.iter().find_map(|token| self.index.obstacle(token, rank, &[]))
        };
        if let Some((by, _)) = &obstacle {
            let by = *by;
            self.notice(rank, by);
        }
        obstacle
    }

    /// A lent token is the parent's: whoever conflicts with it waits for the parent, so only what the parent lent besides counts.
    fn look_lent(&self, rank: Rank, waiter: &Waiter) -> Option<(By, Spot)> {
        let tokens = &waiter.who.tokens;
        let holder = tokens.iter().find_map(|token| self.index.holder(token, waiter.who.lenders()));
        let lent_before = || {
            let conflicts = |other: &Asker| other.tokens.iter().any(|a| tokens.iter().any(|b| a.conflicts(b)));
            let mut before = self.queue.children().take_while(|(other, _)| *other < rank);
            before.find(|(_, other)| other.who.lent && conflicts(&other.who)).map(|(other, _)| By::Waiter(other))
        };
        holder.map(By::Lease).or_else(lent_before).map(|by| (by, Spot::nowhere()))
    }

    /// Tells a waiter when something else is in its way than before.
    fn notice(&mut self, rank: Rank, by: By) {
        let first_time = self.queue.get(rank).is_some_and(|waiter| waiter.obstacle.is_none());
        if self.queue.remember(rank, Some(by)) && !first_time {
            let why = self.why(rank);
            self.effects.push(Effect::Moved { ticket: rank.ticket(), why });
        }
    }

    pub(crate) fn grant(&mut self, rank: Rank) {
        let Some(fence) = self.fences.next() else {
            return self.refuse_waiter(rank, Refusal::FencesSpent);
        };
        let Some(waiter) = self.queue.leave(rank) else { return };
        let lease = LeaseId(fence);
        for token in &waiter.who.tokens {
            if !waiter.who.lent {
                self.index.unwait(rank, token);
            }
            self.index.hold(lease, token);
        }
        self.capacities.take(&waiter.needs);
        if let Some(parent) = waiter.who.ancestors.first().and_then(|parent| self.leases.get_mut(parent)) {
            parent.children.insert(lease);
        }
        let ends = self.now.saturating_add(self.bounds.ttl);
        self.ends.insert((ends, lease));
        self.executions.insert(Arc::clone(&waiter.who.execution_id), Live::Held(lease));
        self.events.record(self.now, EventKind::Granted, &waiter.who, Some(lease), String::new());
        let needs = waiter.needs.and(&waiter.taken).without_slot();
        self.leases.insert(lease, Lease { who: waiter.who, since: self.now, ends, needs, children: BTreeSet::new() });
        let grant = Grant { lease, fence, ttl: self.bounds.ttl };
        self.effects.push(Effect::Granted { ticket: rank.ticket(), grant });
    }
}
