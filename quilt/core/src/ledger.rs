//! The leases of one engine and the queue for them.
//!
//! A lease is granted whole or not at all, so no holder ever waits while holding, except for its own children. It ends once:
//! released, revoked, or because nobody renewed it in time. Every grant carries a fence, a number that only rises; whoever
//! guards a resource refuses anything older than it has seen.
//!
//! Each call settles everything that follows from it. What others are to be told is in [`Ledger::take_effects`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::capacity::{Capacities, Capacity, Needs};
use crate::deadlock;
use crate::event::{EventKind, EventLog};
use crate::index::{Index, Spot};
use crate::lease::{Asker, Grant, Lease, LeaseId, LeaseRequest, NotHeld};
use crate::policy::Policy;
use crate::queue::{Kept, Queue, Rank, Ticket, Waiter};
use crate::refusal::Refusal;

/// How much a ledger holds at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Tokens in one lease.
    pub tokens_max: usize,
    /// Who waits, of all owners.
    pub waiting_max: usize,
    /// Who waits, of one owner.
    pub waiting_owner_max: usize,
    /// Longest wait.
    pub wait_max: Duration,
    /// Levels of calls: 1 is a request without children.
    pub depth_max: usize,
    /// How long a lease holds without being renewed.
    pub ttl: Duration,
}

/// What a ledger is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What may be asked for.
    pub policy: Policy,
    /// How much of it is kept.
    pub bounds: Bounds,
    /// How much of the counted resources there is.
    pub capacity: Capacity,
    /// A range no engine had before.
    pub fences: Range<u64>,
}

/// The answer to a request that is not refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It has all its tokens.
    Granted(Grant),
    /// It waits; an [`Effect`] with this ticket ends the wait.
    Waiting {
        /// Its place.
        ticket: Ticket,
        /// What is in its way.
        why: String,
    },
}

/// Something others must be told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Its wait ended well.
    Granted {
        /// Whose.
        ticket: Ticket,
        /// What it has.
        grant: Grant,
    },
    /// Its wait ended without a grant.
    Refused {
        /// Whose.
        ticket: Ticket,
        /// Why.
        refusal: Refusal,
    },
    /// It waits for something else now.
    Moved {
        /// Who.
        ticket: Ticket,
        /// What is in its way.
        why: String,
    },
    /// The lease is over though its holder did not end it.
    Revoked {
        /// Which.
        lease: LeaseId,
        /// Why.
        why: String,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Live {
    Waiting,
    Held(LeaseId),
    /// Its tokens are free, what ran is not gone yet.
    Leaving,
}

/// The live leases of one engine and who waits. `now` is the time since any fixed moment, the same for all calls; a `now` before
/// the last one counts as the last one.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) policy: Policy,
    pub(crate) bounds: Bounds,
    pub(crate) fences: Range<u64>,
    pub(crate) now: Duration,
    pub(crate) capacities: Capacities,
    pub(crate) index: Index,
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    pub(crate) ends: BTreeSet<(Duration, LeaseId)>,
    pub(crate) executions: HashMap<Arc<str>, Live>,
    leaving: HashMap<LeaseId, Arc<Asker>>,
    pub(crate) queue: Queue,
    /// Lists of parked waiters to look at again, each with the rank to begin with.
    pub(crate) stirred: BTreeSet<(Rank, Spot)>,
    pub(crate) events: EventLog,
    pub(crate) effects: Vec<Effect>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self {
            policy: setup.policy,
            bounds: setup.bounds,
            fences: setup.fences,
            now: Duration::ZERO,
            capacities: Capacities::new(&setup.capacity),
            index: Index::default(),
            leases: BTreeMap::new(),
            ends: BTreeSet::new(),
            executions: HashMap::new(),
            leaving: HashMap::new(),
            queue: Queue::default(),
            stirred: BTreeSet::new(),
            events: EventLog::default(),
            effects: Vec::new(),
        }
    }

    /// The rules that hold for requests from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The rules.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What happened.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// What others must be told since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When [`Ledger::tick`] has something to do, if nothing else happens.
    #[must_use]
    pub fn next_end(&self) -> Option<Duration> {
        let lease = self.ends.first().map(|(end, _)| *end);
        [lease, self.queue.next_end()].into_iter().flatten().min()
    }

    /// Ends what is due: leases nobody renewed, waits that are over.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        while let Some((_, lease)) = self.ends.first().copied().filter(|(end, _)| *end <= self.now) {
            self.end(lease, EventKind::Expired, "it was not renewed in time");
        }
        self.settle();
        while let Some(rank) = self.queue.overdue(self.now) {
            let refusal = self.wait_over(rank);
            self.refuse_waiter(rank, refusal);
        }
        self.settle();
    }

    /// Asks for all tokens of a request. Nothing is held or waited for after a refusal.
    pub fn request(&mut self, request: &LeaseRequest, now: Duration) -> Result<Admission, Refusal> {
        self.tick(now);
        let (asker, checked) = self.asker(request);
        let asker = Arc::new(asker);
        let answer = checked.and_then(|needs| self.admit(&asker, needs, request.wait));
        if let Err(refusal) = &answer {
            let deadlock = matches!(refusal, Refusal::Deadlock { .. });
            let kind = if deadlock { EventKind::Deadlock } else { EventKind::Denied };
            self.events.record(self.now, kind, &asker, None, refusal.told());
        }
        self.settle();
        answer
    }

    fn admit(&mut self, who: &Arc<Asker>, needs: Needs, wait: Duration) -> Result<Admission, Refusal> {
        if self.executions.contains_key(&who.execution_id) {
            return Err(Refusal::Duplicate { execution_id: who.execution_id.to_string() });
        }
        if self.fences.is_empty() {
            return Err(Refusal::FencesSpent);
        }
        let rank = self.join(who, needs, wait)?;
        self.settle();
        let ticket = rank.ticket();
        let granted = |effect: &Effect| matches!(effect, Effect::Granted { ticket: whose, .. } if *whose == ticket);
        if let Some(Effect::Granted { grant, .. }) =
            self.effects.iter().position(granted).map(|place| self.effects.remove(place))
        {
            return Ok(Admission::Granted(grant));
        }
        if let Err(refusal) = self.may_wait(who, rank) {
            if let Some(waiter) = self.withdraw(rank) {
                self.queue.turns.give_back(&who.owner, waiter.round);
            }
            return Err(refusal);
        }
        let why = self.why(rank);
        self.events.record(self.now, EventKind::Queued, who, None, why.clone());
        Ok(Admission::Waiting { ticket, why })
    }

    /// Everybody goes through the queue, most without stopping there.
    fn join(&mut self, who: &Arc<Asker>, needs: Needs, wait: Duration) -> Result<Rank, Refusal> {
        let is_child = who.parent.is_some();
        if is_child {
            // A child does not wait for what is counted: its parents may be the ones that have it.
            let all = needs.and(&Needs::child_slot());
            if let Some(why) = self.capacities.lack(&all) {
                return Err(Refusal::QueueFull { why });
            }
            self.capacities.take(&all);
        }
        let turn = self.queue.turns.ask(&who.owner);
        let rank = self.queue.rank(&turn, who);
        let waiter = Waiter {
            who: Arc::clone(who),
            since: self.now,
            until: self.now.saturating_add(wait.min(self.bounds.wait_max)),
            taken: if is_child { needs.clone() } else { Needs::default() },
            needs: if is_child { Needs::default() } else { needs.and(&Needs::slot()) },
            kept: if is_child { Kept::Child } else { Kept::Ready },
            round: turn.round,
            obstacle: None,
        };
        self.queue.turns.take(turn);
        if !who.lent {
            who.tokens.iter().for_each(|token| self.index.wait(rank, token));
        }
        self.executions.insert(Arc::clone(&who.execution_id), Live::Waiting);
        self.queue.join(rank, waiter);
        Ok(rank)
    }

    fn may_wait(&self, who: &Asker, rank: Rank) -> Result<(), Refusal> {
        let Bounds { waiting_max, waiting_owner_max, .. } = self.bounds;
        if self.queue.len() > waiting_max {
            return Err(Refusal::QueueFull { why: format!("{waiting_max} requests wait already") });
        }
        if self.queue.len_of(&who.owner) > waiting_owner_max {
            let why = format!("{waiting_owner_max} requests of {} wait already", who.owner);
            return Err(Refusal::QueueFull { why });
        }
        if who.parent.is_none() {
            return Ok(());
        }
        let Self { leases, index, queue, capacities, .. } = self;
        let cycle = deadlock::cycle(deadlock::State { leases, index, queue, capacities }, rank);
        cycle.map_or(Ok(()), |cycle| Err(Refusal::Deadlock { cycle }))
    }

    /// Ends a lease: its tokens are free, and its children's with it. Its slot is taken until [`Ledger::vacate`]. A second call
    /// changes nothing and says so.
    pub fn release(&mut self, lease: LeaseId, now: Duration) -> Result<(), NotHeld> {
        self.tick(now);
        if !self.leases.contains_key(&lease) {
            return Err(NotHeld(lease));
        }
        self.end(lease, EventKind::Released, "");
        self.settle();
        Ok(())
    }

    /// Nothing is left of what ran under a lease: its slot is free, and its execution id. Ends the lease if it is held.
    pub fn vacate(&mut self, lease: LeaseId, now: Duration) -> Result<(), NotHeld> {
        self.tick(now);
        if self.leases.contains_key(&lease) {
            self.end(lease, EventKind::Released, "");
        }
        let who = self.leaving.remove(&lease).ok_or(NotHeld(lease))?;
        self.capacities.give_back(&if who.parent.is_some() { Needs::child_slot() } else { Needs::slot() });
        self.executions.remove(&who.execution_id);
        self.settle();
        Ok(())
    }

    /// The lease holds for another full time from now.
    pub fn renew(&mut self, lease: LeaseId, now: Duration) -> Result<Duration, NotHeld> {
        self.tick(now);
        let held = self.leases.get_mut(&lease).ok_or(NotHeld(lease))?;
        self.ends.remove(&(held.ends, lease));
        held.ends = self.now.saturating_add(self.bounds.ttl);
        self.ends.insert((held.ends, lease));
        let who = Arc::clone(&held.who);
        self.events.record(self.now, EventKind::Renewed, &who, Some(lease), String::new());
        Ok(self.bounds.ttl)
    }

    /// Leaves the queue. `false`: the wait is over already, one way or the other.
    pub fn cancel(&mut self, ticket: Ticket, now: Duration) -> bool {
        self.tick(now);
        let Some(waiter) = self.queue.find(ticket).and_then(|rank| self.withdraw(rank)) else { return false };
        self.events.record(self.now, EventKind::Denied, &waiter.who, None, "it left the queue".to_owned());
        self.settle();
        true
    }

    /// Ends a lease that is held.
    fn end(&mut self, lease: LeaseId, kind: EventKind, why: &str) {
        let Some(held) = self.leases.remove(&lease) else { return };
        self.ends.remove(&(held.ends, lease));
        for token in &held.who.tokens {
            self.index.unhold(lease, token);
            self.stir(token);
        }
        self.capacities.give_back(&held.needs);
        if let Some(parent) = held.who.ancestors.first().and_then(|parent| self.leases.get_mut(parent)) {
            parent.children.remove(&lease);
        }
        self.executions.insert(Arc::clone(&held.who.execution_id), Live::Leaving);
        self.leaving.insert(lease, Arc::clone(&held.who));
        self.events.record(self.now, kind, &held.who, Some(lease), why.to_owned());
        if kind != EventKind::Released {
            self.effects.push(Effect::Revoked { lease, why: why.to_owned() });
        }
        // As deep as calls may be.
        for child in held.children {
            self.end(child, EventKind::Revoked, "the lease of its parent ended");
        }
        let orphan = |(rank, waiter): (Rank, &Waiter)| (waiter.who.ancestors.first() == Some(&lease)).then_some(rank);
        let orphans: Vec<Rank> = self.queue.children().filter_map(orphan).collect();
        for rank in orphans {
            self.refuse_waiter(rank, Refusal::ParentUnknown { parent: held.who.execution_id.to_string() });
        }
    }

    pub(crate) fn refuse_waiter(&mut self, rank: Rank, refusal: Refusal) {
        let Some(waiter) = self.withdraw(rank) else { return };
        self.events.record(self.now, EventKind::Denied, &waiter.who, None, refusal.told());
        self.effects.push(Effect::Refused { ticket: rank.ticket(), refusal });
    }

    /// Takes a waiter out of the queue as if it had never been there.
    fn withdraw(&mut self, rank: Rank) -> Option<Waiter> {
        let waiter = self.queue.leave(rank)?;
        if let Kept::Parked(spot) = &waiter.kept {
            self.index.unpark(spot, rank);
        }
        if !waiter.who.lent {
            for token in &waiter.who.tokens {
                self.index.unwait(rank, token);
                self.stir(token);
            }
        }
        if waiter.who.parent.is_some() {
            self.capacities.give_back(&waiter.taken.and(&Needs::child_slot()));
        }
        self.executions.remove(&waiter.who.execution_id);
        Some(waiter)
    }
}
