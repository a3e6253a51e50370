//! What people are shown: who holds, who waits, and for what.

use std::collections::BTreeSet;
use std::time::Duration;

use aria_types::ResourceToken;

use crate::capacity::CapacityView;
use crate::index::By;
use crate::lease::{Asker, LeaseId, LeaseView};
use crate::ledger::Ledger;
use crate::queue::{Rank, Waiter};
use crate::refusal::{Blocker, Refusal};

/// Blockers that are named for one waiter.
const BLOCKERS_MAX: usize = 8;
/// Those ahead of a waiter are counted up to here.
const AHEAD_MAX: usize = 1000;

/// Somebody who waits.
#[derive(Clone, Debug)]
pub struct WaiterView<'a> {
    /// Who.
    pub who: &'a Asker,
    /// How long so far.
    pub waited: Duration,
    /// 1 is first in line.
    pub position: usize,
    /// Who or what is in the way; the first eight.
    pub blocked_by: Vec<Blocker>,
}

impl Ledger {
    /// The live leases, oldest first.
    pub fn leases(&self, now: Duration) -> impl Iterator<Item = LeaseView<'_>> {
        let now = now.max(self.now);
        self.leases.iter().map(move |(lease, held)| LeaseView {
            lease: *lease,
            fence: lease.0,
            who: &held.who,
            age: now.saturating_sub(held.since),
            ttl: held.ends.saturating_sub(now),
        })
    }

    /// What a lease holds; `None` when it is over.
    #[must_use]
    pub fn tokens(&self, lease: LeaseId) -> Option<&BTreeSet<ResourceToken>> {
        self.leases.get(&lease).map(|lease| &lease.who.tokens)
    }

    /// What is left of a lease; `None` when it is over.
    #[must_use]
    pub fn left(&self, lease: LeaseId, now: Duration) -> Option<Duration> {
        let left = self.leases.get(&lease)?.ends.saturating_sub(now.max(self.now));
        (left > Duration::ZERO).then_some(left)
    }

    /// Who waits, first in line first.
    pub fn waiters(&self, now: Duration) -> impl Iterator<Item = WaiterView<'_>> {
        let now = now.max(self.now);
        self.queue.iter().enumerate().map(move |(place, (rank, waiter))| WaiterView {
            who: &waiter.who,
            waited: now.saturating_sub(waiter.since),
            position: place + 1,
            blocked_by: self.blockers(rank, waiter),
        })
    }

    /// The counted resources and what is taken of them.
    #[must_use]
    pub fn capacities(&self) -> &[CapacityView] {
        self.capacities.views()
    }

    fn blockers(&self, rank: Rank, waiter: &Waiter) -> Vec<Blocker> {
        let (mut blockers, mut seen) = (Vec::new(), BTreeSet::new());
        let tokens = waiter.who.tokens.iter();
        let in_the_way = tokens.flat_map(|token| self.index.obstacles(token, rank).map(move |by| (token, by)));
        for (token, by) in in_the_way {
            if blockers.len() >= BLOCKERS_MAX {
                break;
            }
            if let Some(blocker) = self.blocker(waiter, token, by)
                && seen.insert(blocker.execution_id.clone())
            {
                blockers.push(blocker);
            }
        }
        if blockers.is_empty()
            && let Some(lack) = self.capacities.lack(&waiter.needs)
        {
            let (name, _) = lack.split_once([':', ' ']).unwrap_or((&lack, ""));
            let name = if name == "every" { "slot" } else { name };
            blockers.push(Blocker {
                execution_id: String::new(),
                owner: String::new(),
                token: name.to_owned(),
                held: String::new(),
                holds: true,
            });
        }
        blockers
    }

    fn blocker(&self, waiter: &Waiter, token: &ResourceToken, by: By) -> Option<Blocker> {
        let (other, holds) = match by {
            By::Lease(lease) if waiter.who.lenders().contains(&lease) => return None,
            By::Lease(lease) => (&self.leases.get(&lease)?.who, true),
            By::Waiter(rank) => (&self.queue.get(rank)?.who, false),
        };
        let held = other.tokens.iter().find(|held| held.conflicts(token))?;
        Some(Blocker {
            execution_id: other.execution_id.to_string(),
            owner: other.owner.to_string(),
            token: token.to_string(),
            held: held.to_string(),
            holds,
        })
    }

    /// What is in a waiter's way, for people.
    pub(crate) fn why(&self, rank: Rank) -> String {
        let Some(waiter) = self.queue.get(rank) else { return String::new() };
        if let Some(blocker) = self.first_blocker(rank, waiter) {
            let ahead: BTreeSet<Rank> = waiter
                .who
                .tokens
                .iter()
                .flat_map(|token| self.index.obstacles(token, rank))
                .filter_map(|by| if let By::Waiter(other) = by { Some(other) } else { None })
                .take(AHEAD_MAX)
                .collect();
            let Blocker { execution_id, owner, token, held, holds } = blocker;
            let how = if holds { "held by" } else { "wanted first by" };
            return format!("{token} is {how} {execution_id} ({owner}) as {held}; {} ahead", ahead.len());
        }
        let ahead = self.queue.iter().take_while(|(other, _)| *other < rank).take(AHEAD_MAX).count();
        let lack = self.capacities.lack(&waiter.needs);
        format!("{}; {ahead} ahead", lack.as_deref().unwrap_or("others come first"))
    }

    fn first_blocker(&self, rank: Rank, waiter: &Waiter) -> Option<Blocker> {
        let tokens = waiter.who.tokens.iter();
        tokens
            .flat_map(|token| self.index.obstacles(token, rank).map(move |by| (token, by)))
            .find_map(|(token, by)| self.blocker(waiter, token, by))
    }

    /// The end of a wait that took too long.
    pub(crate) fn wait_over(&self, rank: Rank) -> Refusal {
        let waiter = self.queue.get(rank);
        let waited = waiter.map_or(Duration::ZERO, |waiter| self.now.saturating_sub(waiter.since));
        Refusal::WaitOver {
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            why: self.why(rank),
            blocker: waiter.and_then(|waiter| self.first_blocker(rank, waiter)).map(Box::new),
        }
    }
}
