//! The simplest ledger that could be right: plain lists, every rule a loop over all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use aria_types::ResourceToken;
use aria_types::token::{Kind, Mode};

pub(crate) const TTL: Duration = Duration::from_secs(10);
pub(crate) const WAIT: Duration = Duration::from_secs(60);
pub(crate) const SLOTS: u64 = 5;
pub(crate) const CHILD_SLOTS: u64 = 4;
pub(crate) const DEPTH: usize = 4;
pub(crate) const WAITING: usize = 12;
pub(crate) const WAITING_OWNER: usize = 8;

/// What one history is played on.
pub(crate) const TOTALS: [(&str, u64); 5] =
    [("slot", SLOTS), ("child", CHILD_SLOTS), ("cpu", 4000), ("mem", 1 << 30), ("gpu:0", 2)];

#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) tokens: Vec<ResourceToken>,
    pub(crate) priority: u8,
    pub(crate) wait: Duration,
    pub(crate) parent: Option<String>,
    pub(crate) lent: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) ask: Ask,
    pub(crate) ends: Duration,
    /// Its tokens are free, its slot is not.
    pub(crate) leaving: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Waits {
    pub(crate) ask: Ask,
    pub(crate) rank: (i64, u64),
    pub(crate) round: u64,
    pub(crate) first_round: u64,
    pub(crate) until: Duration,
    /// Requests of each owner that came later and were granted something in its way.
    pub(crate) passed: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) now: Duration,
    pub(crate) held: Vec<Held>,
    /// In order of rank.
    pub(crate) waits: Vec<Waits>,
    next_round: BTreeMap<String, u64>,
    arrivals: u64,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Granted,
    Waits,
    Duplicate,
    ParentUnknown,
    TooDeep,
    Widened,
    TooMuch,
    QueueFull,
    Deadlock,
}

fn needs(ask: &Ask) -> BTreeMap<&'static str, u64> {
    let mut needs = BTreeMap::new();
    let mut most = |name, amount: u64| {
        let need = needs.entry(name).or_insert(0);
        *need = amount.max(*need);
    };
    most(if ask.parent.is_some() { "child" } else { "slot" }, 1);
    if ask.lent {
        return needs;
    }
    for token in &ask.tokens {
        match token.kind() {
            Kind::Cpu => most("cpu", token.amount()),
            Kind::Mem => most("mem", token.amount()),
            Kind::Gpu => most("gpu:0", if token.mode() == Mode::Exclusive { 2 } else { 1 }),
            _ => {}
        }
    }
    needs
}

fn conflict(one: &Ask, other: &Ask) -> bool {
    one.tokens.iter().any(|a| other.tokens.iter().any(|b| a.conflicts(b)))
}

impl Model {
    pub(crate) fn live(&self, id: &str) -> Option<&Held> {
        self.held.iter().find(|held| held.ask.id == id && !held.leaving)
    }

    fn ancestors(&self, ask: &Ask) -> Vec<String> {
        let mut all = Vec::new();
        let mut next = ask.parent.clone();
        while let Some(id) = next {
            next = self.live(&id).and_then(|held| held.ask.parent.clone());
            all.push(id);
        }
        all
    }

    fn free(&self) -> BTreeMap<&'static str, i64> {
        let mut free: BTreeMap<&str, i64> =
            TOTALS.iter().map(|(name, total)| (*name, i64::try_from(*total).unwrap())).collect();
        let mut take = |name, amount| *free.get_mut(name).unwrap() -= i64::try_from(amount).unwrap();
        for held in &self.held {
            for (name, amount) in needs(&held.ask) {
                if !held.leaving || matches!(name, "slot" | "child") {
                    take(name, amount);
                }
            }
        }
        // A child has what it needs of these before it has its tokens.
        let children = self.waits.iter().filter(|waits| waits.ask.parent.is_some());
        children.for_each(|child| needs(&child.ask).into_iter().for_each(|(name, amount)| take(name, amount)));
        free
    }

    /// Whether nothing but room keeps this waiter.
    fn is_clear(&self, place: usize) -> bool {
        let ask = &self.waits[place].ask;
        let lenders = if ask.lent { self.ancestors(ask) } else { Vec::new() };
        let mut live = self.held.iter().filter(|held| !held.leaving && !lenders.contains(&held.ask.id));
        let before = |other: &Waits| other.ask.lent == ask.lent && conflict(&other.ask, ask);
        !live.any(|held| conflict(&held.ask, ask)) && !self.waits[..place].iter().any(before)
    }

    /// Grants what can be granted and says who got something.
    pub(crate) fn settle(&mut self) -> Vec<String> {
        let mut granted = Vec::new();
        let mut place = 0;
        while place < self.waits.len() {
            if self.waits[place].ask.parent.is_some() && self.is_clear(place) {
                granted.push(self.grant(place));
            } else {
                place += 1;
            }
        }
        let (mut free, mut closed, mut kept, mut place) = (self.free(), Vec::new(), false, 0);
        while place < self.waits.len() {
            let wanted = needs(&self.waits[place].ask);
            let is_closed = wanted.keys().any(|name| closed.contains(name));
            if self.waits[place].ask.parent.is_some() || is_closed || !self.is_clear(place) {
                place += 1;
                continue;
            }
            let lacks: Vec<&str> = wanted
                .iter()
                .filter(|(name, amount)| free[*name] < i64::try_from(**amount).unwrap())
                .map(|(name, _)| *name)
                .collect();
            let fits = lacks.is_empty();
            closed.extend(lacks);
            if fits || !kept {
                kept |= !fits;
                for (name, amount) in wanted {
                    let free = free.get_mut(name).unwrap();
                    *free = (*free - i64::try_from(amount).unwrap()).max(0);
                }
            }
            if fits {
                granted.push(self.grant(place));
            } else {
                place += 1;
            }
        }
        granted
    }

    fn grant(&mut self, place: usize) -> String {
        let taken = self.waits.remove(place);
        for other in &mut self.waits {
            // Who was there first and is passed by somebody in its way. What is lent is in nobody's way that is not there already.
            if other.rank.1 < taken.rank.1 && !taken.ask.lent && conflict(&other.ask, &taken.ask) {
                *other.passed.entry(taken.ask.owner.clone()).or_insert(0) += 1;
            }
        }
        let id = taken.ask.id.clone();
        self.held.push(Held { ask: taken.ask, ends: self.now + TTL, leaving: false });
        id
    }

    /// The answer, and who else got something: a newcomer in front of somebody who kept room may set that room free.
    pub(crate) fn request(&mut self, ask: Ask) -> (Answer, Vec<String>) {
        match self.refusal(&ask) {
            Some(refusal) => (refusal, Vec::new()),
            None => self.enter(ask),
        }
    }

    fn refusal(&self, ask: &Ask) -> Option<Answer> {
        if needs(&Ask { lent: false, ..ask.clone() })
            .iter()
            .any(|(name, amount)| TOTALS.iter().any(|(other, total)| other == name && amount > total))
        {
            return Some(Answer::TooMuch);
        }
        if let Some(parent) = &ask.parent {
            let Some(held) = self.live(parent).filter(|held| held.ask.owner == ask.owner) else {
                return Some(Answer::ParentUnknown);
            };
            if self.ancestors(ask).len() >= DEPTH {
                return Some(Answer::TooDeep);
            }
            if ask.lent && !ask.tokens.iter().all(|token| held.ask.tokens.iter().any(|has| has.covers(token))) {
                return Some(Answer::Widened);
            }
        }
        if self.held.iter().any(|held| held.ask.id == ask.id) || self.waits.iter().any(|waits| waits.ask.id == ask.id) {
            return Some(Answer::Duplicate);
        }
        let free = self.free();
        if ask.parent.is_some() && needs(ask).iter().any(|(name, amount)| free[name] < i64::try_from(*amount).unwrap())
        {
            return Some(Answer::QueueFull);
        }
        None
    }

    fn enter(&mut self, ask: Ask) -> (Answer, Vec<String>) {
        self.join(ask.clone());
        let mut others = self.settle();
        others.retain(|id| *id != ask.id);
        if !self.waits.iter().any(|waits| waits.ask.id == ask.id) {
            return (Answer::Granted, others);
        }
        let of_owner = self.waits.iter().filter(|waits| waits.ask.owner == ask.owner).count();
        let answer = if self.waits.len() > WAITING || of_owner > WAITING_OWNER {
            Answer::QueueFull
        } else if self.is_stuck(&ask.id) {
            Answer::Deadlock
        } else {
            return (Answer::Waits, others);
        };
        let round = self.waits.iter().find(|waits| waits.ask.id == ask.id).unwrap().round;
        self.next_round.insert(ask.owner.clone(), round);
        self.waits.retain(|waits| waits.ask.id != ask.id);
        assert_eq!(self.settle(), [""; 0], "who does not come changes nothing");
        (answer, others)
    }

    fn join(&mut self, ask: Ask) {
        let first_round = self.waits.iter().map(|waits| waits.round).min().unwrap_or(0);
        if self.waits.is_empty() {
            self.next_round.clear();
        }
        let round = first_round.max(self.next_round.get(&ask.owner).copied().unwrap_or(0));
        self.next_round.insert(ask.owner.clone(), round + 1);
        self.arrivals += 1;
        let own = i64::try_from(round).unwrap() - 4 * i64::from(ask.priority);
        let children = self.waits.iter().filter(|waits| waits.ask.parent.is_some());
        let last_child = children.map(|child| child.rank.0).max().filter(|_| ask.parent.is_none());
        let rank = (last_child.map_or(own, |child| child.max(own)), self.arrivals);
        let until = self.now + ask.wait.min(WAIT);
        self.waits.push(Waits { ask, rank, round, first_round, until, passed: BTreeMap::new() });
        self.waits.sort_by_key(|waits| waits.rank);
    }

    /// Plays on from here with everybody leaving who can; whether this one never gets anything.
    fn is_stuck(&self, id: &str) -> bool {
        let mut world = self.clone();
        loop {
            let busy = |held: &Held| {
                let of = |ask: &Ask| ask.parent.as_ref() == Some(&held.ask.id);
                world.held.iter().any(|other| of(&other.ask)) || world.waits.iter().any(|other| of(&other.ask))
            };
            let Some(place) = world.held.iter().position(|held| held.leaving || !busy(held)) else { break };
            world.held.remove(place);
            world.settle();
        }
        world.waits.iter().any(|waits| waits.ask.id == id)
    }

    /// Ends a lease with all that hangs on it; whose leases and whose waits end with it.
    pub(crate) fn end(&mut self, id: &str) -> (Vec<String>, Vec<String>) {
        let (mut ended, mut refused) = (Vec::new(), Vec::new());
        let mut todo = vec![id.to_owned()];
        while let Some(id) = todo.pop() {
            let Some(held) = self.held.iter_mut().find(|held| held.ask.id == id && !held.leaving) else { continue };
            held.leaving = true;
            let of = |ask: &Ask| ask.parent.as_ref() == Some(&id);
            todo.extend(self.held.iter().filter(|held| of(&held.ask)).map(|held| held.ask.id.clone()));
            refused.extend(self.waits.iter().filter(|waits| of(&waits.ask)).map(|waits| waits.ask.id.clone()));
            self.waits.retain(|waits| !of(&waits.ask));
            ended.push(id);
        }
        (ended, refused)
    }

    /// Lets time come to `now`: whose leases expired, whose waits are over, who got something.
    pub(crate) fn tick(&mut self, now: Duration) -> (Vec<String>, Vec<String>, Vec<String>) {
        self.now = self.now.max(now);
        let (mut revoked, mut refused) = (Vec::new(), Vec::new());
        while let Some(held) = self.held.iter().find(|held| !held.leaving && held.ends <= self.now) {
            let (ended, orphans) = self.end(&held.ask.id.clone());
            revoked.extend(ended);
            refused.extend(orphans);
        }
        let mut granted = self.settle();
        let over = |waits: &Waits| waits.until <= self.now;
        refused.extend(self.waits.iter().filter(|waits| over(waits)).map(|waits| waits.ask.id.clone()));
        self.waits.retain(|waits| !over(waits));
        granted.extend(self.settle());
        (revoked, refused, granted)
    }

    pub(crate) fn vacate(&mut self, id: &str) {
        self.held.retain(|held| held.ask.id != id);
    }
}
