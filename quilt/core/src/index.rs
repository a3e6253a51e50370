//! Claims on resources, found by resource: what conflicts with a token is found in a few look-ups however many claims there are.
//!
//! A claim is a token that is held or waited for. Two tokens conflict when one is about a part of the other and at least one
//! of them wants to be alone, so the claims that matter for `kv:a:b` are those on `kv:a`, on `kv:a:b` and below it. Every place
//! of that tree knows the claims on itself and those below itself.
//!
//! Who is blocked is parked where its obstacle is. A list of parked waiters is in order of rank, and all of them are blocked
//! by the same kind of claim; so when the first that is looked at is still blocked there, all behind it are too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aria_types::ResourceToken;
use aria_types::token::Kind;

use crate::lease::LeaseId;
use crate::queue::Rank;

/// Who has a claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    Lease(LeaseId),
    /// It waits as well, and comes first.
    Waiter(Rank),
}

/// A list of parked waiters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Spot {
    resource: Arc<str>,
    /// The obstacle is below the resource, not on it.
    below: bool,
    /// The waiters want to be alone.
    alone: bool,
}

impl Spot {
    /// For waiters that are not parked.
    pub(crate) fn nowhere() -> Self {
        Self { resource: Arc::default(), below: false, alone: false }
    }
}

/// Ids with how many claims each has; one for those that share, one for those that want to be alone.
#[derive(Clone, Debug)]
struct Claims<Id>([BTreeMap<Id, u32>; 2]);

impl<Id: Ord + Copy> Claims<Id> {
    fn new() -> Self {
        Self([BTreeMap::new(), BTreeMap::new()])
    }

    fn side(&mut self, alone: bool) -> &mut BTreeMap<Id, u32> {
        let [shared, exclusive] = &mut self.0;
        if alone { exclusive } else { shared }
    }

    fn add(&mut self, id: Id, alone: bool) {
        *self.side(alone).entry(id).or_insert(0) += 1;
    }

    fn remove(&mut self, id: Id, alone: bool) {
        let side = self.side(alone);
        match side.get_mut(&id) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(side.remove(&id)),
        }
    }

    /// Ids that are in the way of a claim that wants to be alone or not, in order.
    fn against(&self, alone: bool) -> impl Iterator<Item = Id> {
        let [shared, exclusive] = &self.0;
        let shared = alone.then_some(shared);
        exclusive.keys().chain(shared.into_iter().flat_map(BTreeMap::keys)).copied()
    }

    fn first_against(&self, alone: bool) -> Option<Id> {
        let [shared, exclusive] = &self.0;
        let first = |side: &BTreeMap<Id, u32>| side.first_key_value().map(|(id, _)| *id);
        let shared = if alone { first(shared) } else { None };
        [first(exclusive), shared].into_iter().flatten().min()
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }
}

#[derive(Clone, Debug)]
struct Level {
    held: Claims<LeaseId>,
    waiting: Claims<Rank>,
}

impl Level {
    fn new() -> Self {
        Self { held: Claims::new(), waiting: Claims::new() }
    }

    fn is_empty(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty()
    }
}

#[derive(Clone, Debug)]
struct Node {
    key: Arc<str>,
    here: Level,
    below: Level,
    parked: BTreeMap<(bool, bool), BTreeSet<Rank>>,
}

/// The tree, as a table of its places.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    nodes: HashMap<Arc<str>, Node>,
}

/// `kv:a` and `kv:a:b` for `kv:a:b:ro`; nothing for quantities, which are counted instead.
fn prefixes(token: &ResourceToken) -> impl Iterator<Item = (&str, bool)> {
    let counted = matches!(token.kind(), Kind::Mem | Kind::Cpu);
    let path = if counted { &[] } else { token.path() };
    let last = path.len();
    let mut end = token.kind().as_str().len();
    path.iter().enumerate().filter_map(move |(place, segment)| {
        end += 1 + segment.as_str().len();
        Some((token.as_str().get(..end)?, place + 1 == last))
    })
}

impl Index {
    fn each(&mut self, token: &ResourceToken, mut change: impl FnMut(&mut Level, bool)) {
        let alone = !token.mode().is_shared();
        for (resource, is_last) in prefixes(token) {
            if !self.nodes.contains_key(resource) {
                let key: Arc<str> = resource.into();
                let node =
                    Node { key: Arc::clone(&key), here: Level::new(), below: Level::new(), parked: BTreeMap::new() };
                self.nodes.insert(key, node);
            }
            if let Some(node) = self.nodes.get_mut(resource) {
                change(if is_last { &mut node.here } else { &mut node.below }, alone);
                if node.here.is_empty() && node.below.is_empty() && node.parked.is_empty() {
                    self.nodes.remove(resource);
                }
            }
        }
    }

    pub(crate) fn hold(&mut self, lease: LeaseId, token: &ResourceToken) {
        self.each(token, |level, alone| level.held.add(lease, alone));
    }

    pub(crate) fn unhold(&mut self, lease: LeaseId, token: &ResourceToken) {
        self.each(token, |level, alone| level.held.remove(lease, alone));
    }

    pub(crate) fn wait(&mut self, rank: Rank, token: &ResourceToken) {
        self.each(token, |level, alone| level.waiting.add(rank, alone));
    }

    pub(crate) fn unwait(&mut self, rank: Rank, token: &ResourceToken) {
        self.each(token, |level, alone| level.waiting.remove(rank, alone));
    }

    fn levels<'a>(&'a self, token: &'a ResourceToken) -> impl Iterator<Item = (&'a Node, &'a Level, bool)> {
        prefixes(token).filter_map(|(resource, is_last)| Some((self.nodes.get(resource)?, is_last))).flat_map(
            |(node, is_last)| {
                let below = is_last.then_some((node, &node.below, true));
                std::iter::once((node, &node.here, false)).chain(below)
            },
        )
    }

    /// The first obstacle of a token: a lease that is not one of `lenders`, else a waiter before `rank`, and where it is.
    pub(crate) fn obstacle(&self, token: &ResourceToken, rank: Rank, lenders: &[LeaseId]) -> Option<(By, Spot)> {
        let alone = !token.mode().is_shared();
        let spot = |node: &Node, below| Spot { resource: Arc::clone(&node.key), below, alone };
        let held = self.levels(token).find_map(|(node, level, below)| {
            let lease = level.held.against(alone).find(|lease| !lenders.contains(lease))?;
            Some((By::Lease(lease), spot(node, below)))
        });
        held.or_else(|| {
            self.levels(token).find_map(|(node, level, below)| {
                let first = level.waiting.first_against(alone).filter(|first| *first < rank)?;
                Some((By::Waiter(first), spot(node, below)))
            })
        })
    }

    /// The first lease that is in the way of a lent token.
    pub(crate) fn holder(&self, token: &ResourceToken, lenders: &[LeaseId]) -> Option<LeaseId> {
        let alone = !token.mode().is_shared();
        self.levels(token).find_map(|(_, level, _)| level.held.against(alone).find(|lease| !lenders.contains(lease)))
    }

    /// Everybody in the way of a token, holders first; each may come more than once.
    pub(crate) fn obstacles<'a>(&'a self, token: &'a ResourceToken, rank: Rank) -> impl Iterator<Item = By> + 'a {
        let alone = !token.mode().is_shared();
        let held = self.levels(token).flat_map(move |(_, level, _)| level.held.against(alone).map(By::Lease));
        let before = move |other: &Rank| *other < rank;
        let waiting = self
            .levels(token)
            .flat_map(move |(_, level, _)| level.waiting.against(alone).filter(before).map(By::Waiter));
        held.chain(waiting)
    }

    /// Whether whoever of this rank is parked here is still blocked by a claim of this place.
    pub(crate) fn still_blocks(&self, spot: &Spot, rank: Rank) -> Option<By> {
        let node = self.nodes.get(&spot.resource)?;
        let level = if spot.below { &node.below } else { &node.here };
        let held = level.held.against(spot.alone).next().map(By::Lease);
        let waiting = || level.waiting.first_against(spot.alone).filter(|first| *first < rank).map(By::Waiter);
        held.or_else(waiting)
    }

    pub(crate) fn park(&mut self, spot: &Spot, rank: Rank) {
        if let Some(node) = self.nodes.get_mut(&spot.resource) {
            node.parked.entry((spot.below, spot.alone)).or_default().insert(rank);
        }
    }

    pub(crate) fn unpark(&mut self, spot: &Spot, rank: Rank) {
        let Some(node) = self.nodes.get_mut(&spot.resource) else { return };
        if let Some(list) = node.parked.get_mut(&(spot.below, spot.alone)) {
            list.remove(&rank);
            if list.is_empty() {
                node.parked.remove(&(spot.below, spot.alone));
            }
        }
        if node.here.is_empty() && node.below.is_empty() && node.parked.is_empty() {
            self.nodes.remove(&spot.resource);
        }
    }

    /// The first of a list behind `after`.
    pub(crate) fn parked(&self, spot: &Spot, after: Option<Rank>) -> Option<Rank> {
        use std::ops::Bound::{Excluded, Unbounded};
        let list = self.nodes.get(&spot.resource)?.parked.get(&(spot.below, spot.alone))?;
        let from = after.map_or(Unbounded, Excluded);
        list.range((from, Unbounded)).next().copied()
    }

    /// The lists whose waiters may be free of an obstacle now that a claim with this token is gone.
    pub(crate) fn freed(&self, token: &ResourceToken) -> Vec<Spot> {
        let alone = !token.mode().is_shared();
        let mut spots = Vec::new();
        for (resource, is_last) in prefixes(token) {
            let Some(node) = self.nodes.get(resource) else { continue };
            let touched = |(below, wants_alone): &(bool, bool)| *below != is_last && (alone || *wants_alone);
            let lists = node.parked.keys().filter(|list| touched(list));
            spots.extend(lists.map(|(below, alone)| Spot {
                resource: Arc::clone(&node.key),
                below: *below,
                alone: *alone,
            }));
        }
        spots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> ResourceToken {
        ResourceToken::parse(text).unwrap()
    }

    /// The index says the same as the definition of a conflict.
    #[track_caller]
    fn check(held: &str, asked: &str) {
        let (held, asked) = (token(held), token(asked));
        let mut index = Index::default();
        index.hold(LeaseId(1), &held);
        let obstacle = index.obstacle(&asked, Rank::new(0, 1), &[]);
        assert_eq!(obstacle.is_some(), held.conflicts(&asked), "{held} and {asked}");
        assert_eq!(index.obstacle(&asked, Rank::new(0, 1), &[LeaseId(1)]), None);
        index.unhold(LeaseId(1), &held);
        assert!(index.nodes.is_empty());
        index.wait(Rank::new(0, 1), &held);
        assert_eq!(index.obstacle(&asked, Rank::new(0, 2), &[]).is_some(), held.conflicts(&asked));
        assert_eq!(index.obstacle(&asked, Rank::new(0, 0), &[]), None, "it comes later");
        index.unwait(Rank::new(0, 1), &held);
        assert!(index.nodes.is_empty());
    }

    #[test]
    fn a_conflict_is_found_wherever_it_is() {
        let paths = ["kv:a", "kv:b", "kv:a:b", "kv:a:b:c", "kv:a:c", "kv:ab", "fs:a"];
        let modes = ["ro", "append", "rw", "exclusive"];
        let tokens = paths.iter().flat_map(|path| modes.iter().map(move |mode| format!("{path}:{mode}")));
        let tokens: Vec<String> =
            tokens.chain(["net:a.b:80", "net:a.b", "gpu:0", "gpu:0:exclusive", "cpu:1"].map(String::from)).collect();
        for held in &tokens {
            tokens.iter().for_each(|asked| check(held, asked));
        }
    }

    #[test]
    fn a_lease_may_claim_a_place_twice() {
        let mut index = Index::default();
        index.hold(LeaseId(1), &token("kv:a:b:rw"));
        index.hold(LeaseId(1), &token("kv:a:c:rw"));
        index.unhold(LeaseId(1), &token("kv:a:b:rw"));
        assert!(index.obstacle(&token("kv:a:ro"), Rank::new(0, 1), &[]).is_some());
    }
}
