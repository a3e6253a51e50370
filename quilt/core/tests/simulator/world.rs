//! One history: the ledger and the model are told the same and must say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aria_types::ResourceToken;
use aria_types::token::Kind;
use quilt_core::{
    Admission, Bounds, Capacity, Effect, Grant, LeaseId, LeaseRequest, Ledger, Policy, Refusal, Rule, Setup, Ticket,
};

use crate::model::{Answer, Ask, CHILD_SLOTS, DEPTH, Model, SLOTS, TTL, WAIT, WAITING, WAITING_OWNER};

const STEPS: u64 = 70;
const LIFE_FENCES: u64 = 1 << 20;
const TOKENS: [&str; 17] = [
    "kv:a:ro",
    "kv:a:rw",
    "kv:a:append",
    "kv:a:exclusive",
    "kv:a:x:rw",
    "kv:a:x:ro",
    "kv:a:y:rw",
    "kv:b:ro",
    "kv:b:rw",
    "kv:b:x:append",
    "fs:c:rw",
    "cpu:1",
    "cpu:3",
    "mem:512m",
    "mem:1g",
    "gpu:0",
    "gpu:0:exclusive",
];

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[usize::try_from(self.roll(from.len() as u64)).unwrap()].clone()) }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

struct World {
    dice: Dice,
    ledger: Ledger,
    model: Model,
    now: Duration,
    lives: u64,
    /// Highest before this step.
    fence_floor: u64,
    fences: BTreeSet<u64>,
    names: u64,
    tickets: BTreeMap<Ticket, String>,
    grants: BTreeMap<String, Grant>,
    gone: Vec<LeaseId>,
    /// What kinds of things this history is made of.
    owners: u64,
    tokens_most: u64,
}

fn life(number: u64) -> Ledger {
    let kinds = vec![Kind::Kv, Kind::Fs, Kind::Cpu, Kind::Mem, Kind::Gpu];
    Ledger::new(Setup {
        policy: Policy::new(vec![Rule { name: "all".into(), kinds, ..Rule::default() }]),
        bounds: Bounds {
            tokens_max: 8,
            waiting_max: WAITING,
            waiting_owner_max: WAITING_OWNER,
            wait_max: WAIT,
            depth_max: DEPTH,
            ttl: TTL,
        },
        capacity: Capacity {
            slots: SLOTS,
            child_slots: CHILD_SLOTS,
            cpu_millis: 4000,
            mem_bytes: 1 << 30,
            gpus: BTreeMap::from([("0".to_owned(), 2)]),
        },
        fences: number * LIFE_FENCES..(number + 1) * LIFE_FENCES,
    })
}

pub(crate) fn play(seed: u64) {
    let mut dice = Dice(seed);
    let (owners, tokens_most) = (1 + dice.roll(4), 1 + dice.roll(3));
    let mut world = World {
        dice,
        ledger: life(1),
        model: Model::default(),
        now: Duration::ZERO,
        lives: 1,
        fence_floor: 0,
        fences: BTreeSet::new(),
        names: 0,
        tickets: BTreeMap::new(),
        grants: BTreeMap::new(),
        gone: Vec::new(),
        owners,
        tokens_most,
    };
    for _ in 0..STEPS {
        world.step();
        world.check();
        world.fence_floor = world.fences.last().copied().unwrap_or(0);
    }
    world.drain();
}

impl World {
    fn step(&mut self) {
        match self.dice.roll(100) {
            0..45 => self.ask(),
            45..60 => self.release(),
            60..75 => self.vacate(),
            75..82 => self.renew(),
            82..88 => self.cancel(),
            88..92 => self.end_again(),
            92..99 => self.time(),
            _ => self.crash(),
        }
    }

    fn ask(&mut self) {
        self.names += 1;
        let live: Vec<String> = self.model.held.iter().map(|held| held.ask.id.clone()).collect();
        let parent = if self.dice.chance(40) { self.dice.pick(&live) } else { None };
        let of_parent = parent.as_ref().and_then(|id| self.model.live(id)).map(|held| held.ask.clone());
        let lent = parent.is_some() && self.dice.chance(30);
        let owner = match &of_parent {
            Some(parent) if self.dice.chance(95) => parent.owner.clone(),
            _ => format!("owner-{}", self.dice.roll(self.owners)),
        };
        let count = self.dice.roll(self.tokens_most + 1);
        let mut tokens: Vec<String> = (0..count).filter_map(|_| self.dice.pick(&TOKENS)).map(str::to_owned).collect();
        if let (true, Some(parent)) = (lent, &of_parent) {
            let own = parent.tokens.iter().map(ToString::to_string).collect::<Vec<_>>();
            tokens = (0..count).filter_map(|_| self.dice.pick(&own)).collect();
            tokens.extend(if self.dice.chance(10) { self.dice.pick(&TOKENS).map(str::to_owned) } else { None });
        }
        if self.dice.chance(2) {
            tokens.push("mem:2g".into());
        }
        let fresh = format!("run-{}", self.names);
        let id = if self.dice.chance(3) { self.dice.pick(&live).unwrap_or(fresh) } else { fresh };
        let wait = if self.dice.chance(80) { WAIT } else { Duration::from_secs(self.dice.roll(20)) };
        let priority = if self.dice.chance(50) { 4 } else { u8::try_from(self.dice.roll(10)).unwrap() };
        self.submit(LeaseRequest {
            execution_id: id,
            owner,
            subject: "exec".into(),
            tokens,
            priority,
            wait,
            parent,
            lent,
        });
    }

    fn submit(&mut self, request: LeaseRequest) {
        let parsed: BTreeSet<ResourceToken> = request.tokens.iter().map(|text| text.parse().unwrap()).collect();
        let ask = Ask {
            id: request.execution_id.clone(),
            owner: request.owner.clone(),
            tokens: parsed.into_iter().collect(),
            priority: request.priority,
            wait: request.wait,
            parent: request.parent.clone(),
            lent: request.lent,
        };
        let (revoked, refused, mut granted) = self.model.tick(self.now);
        let answer = self.ledger.request(&request, self.now);
        let (expected, others) = self.model.request(ask);
        granted.extend(others);
        self.hear((revoked, refused, granted));
        let got = match answer {
            Ok(Admission::Granted(grant)) => {
                self.granted(&request.execution_id, grant);
                Answer::Granted
            }
            Ok(Admission::Waiting { ticket, why }) => {
                assert!(!why.is_empty());
                self.tickets.insert(ticket, request.execution_id.clone());
                Answer::Waits
            }
            Err(Refusal::Duplicate { .. }) => Answer::Duplicate,
            Err(Refusal::ParentUnknown { .. }) => Answer::ParentUnknown,
            Err(Refusal::TooDeep { .. }) => Answer::TooDeep,
            Err(Refusal::Widened { .. }) => Answer::Widened,
            Err(Refusal::TooMuch(_)) => Answer::TooMuch,
            Err(Refusal::QueueFull { .. }) => Answer::QueueFull,
            Err(Refusal::Deadlock { cycle }) => {
                assert!(cycle.contains(&request.execution_id) && cycle.contains("waits for its child"), "{cycle}");
                Answer::Deadlock
            }
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, expected, "{request:?}");
    }

    fn granted(&mut self, id: &str, grant: Grant) {
        // Several may be granted in one step; what is told first need not be granted first.
        assert!(grant.fence > self.fence_floor, "fence {} after {}", grant.fence, self.fence_floor);
        assert!(self.fences.insert(grant.fence), "fence {} is given twice", grant.fence);
        assert_eq!(self.grants.insert(id.to_owned(), grant), None, "{id} is granted twice");
    }

    /// What the ledger tells others is what the model says they must be told.
    fn hear(&mut self, (revoked, refused, granted): (Vec<String>, Vec<String>, Vec<String>)) {
        let (mut heard_revoked, mut heard_refused, mut heard_granted) = (Vec::new(), Vec::new(), Vec::new());
        for effect in self.ledger.take_effects() {
            match effect {
                Effect::Granted { ticket, grant } => {
                    let id = self.tickets.remove(&ticket).expect("a wait ends once");
                    self.granted(&id, grant);
                    heard_granted.push(id);
                }
                Effect::Refused { ticket, .. } => {
                    heard_refused.push(self.tickets.remove(&ticket).expect("a wait ends once"));
                }
                Effect::Moved { ticket, why } => assert!(!why.is_empty() && self.tickets.contains_key(&ticket)),
                Effect::Revoked { lease, .. } => {
                    let id = self.grants.iter().find(|(_, grant)| grant.lease == lease).expect("it was granted").0;
                    heard_revoked.push(id.clone());
                }
            }
        }
        same("revoked", heard_revoked, revoked);
        same("refused", heard_refused, refused);
        same("granted", heard_granted, granted);
    }

    fn release(&mut self) {
        let live: Vec<String> =
            self.model.held.iter().filter(|held| !held.leaving).map(|held| held.ask.id.clone()).collect();
        let Some(id) = self.dice.pick(&live) else { return };
        let (mut revoked, mut refused, mut granted) = self.model.tick(self.now);
        let was_live = self.model.live(&id).is_some();
        let (ended, orphans) = self.model.end(&id);
        revoked.extend(ended.into_iter().filter(|ended| *ended != id));
        refused.extend(orphans);
        granted.extend(self.model.settle());
        let lease = self.grants[&id].lease;
        assert_eq!(self.ledger.release(lease, self.now).is_ok(), was_live);
        self.hear((revoked, refused, granted));
    }

    fn vacate(&mut self) {
        let all: Vec<String> = self.model.held.iter().map(|held| held.ask.id.clone()).collect();
        let Some(id) = self.dice.pick(&all) else { return };
        let (mut revoked, mut refused, mut granted) = self.model.tick(self.now);
        let (ended, orphans) = self.model.end(&id);
        revoked.extend(ended.into_iter().filter(|ended| *ended != id));
        refused.extend(orphans);
        self.model.vacate(&id);
        granted.extend(self.model.settle());
        let lease = self.grants[&id].lease;
        self.ledger.vacate(lease, self.now).unwrap();
        self.hear((revoked, refused, granted));
        self.grants.remove(&id);
        self.gone.push(lease);
    }

    fn renew(&mut self) {
        let all: Vec<String> = self.model.held.iter().map(|held| held.ask.id.clone()).collect();
        let Some(id) = self.dice.pick(&all) else { return };
        let expected = self.model.tick(self.now);
        let now = self.model.now;
        let live = self.model.held.iter_mut().find(|held| held.ask.id == id && !held.leaving);
        let is_live = live.map(|held| held.ends = now + TTL).is_some();
        let renewed = self.ledger.renew(self.grants[&id].lease, self.now);
        assert_eq!(renewed.is_ok(), is_live, "what is over cannot be renewed");
        self.hear(expected);
    }

    /// Also at the moment of the grant: the ticket may have been granted or refused in this very step.
    fn cancel(&mut self) {
        let Some((ticket, id)) = self.dice.pick(&self.tickets.clone().into_iter().collect::<Vec<_>>()) else { return };
        let (revoked, refused, mut granted) = self.model.tick(self.now);
        let waits = self.model.waits.iter().any(|waits| waits.ask.id == id);
        self.model.waits.retain(|waits| waits.ask.id != id);
        granted.extend(self.model.settle());
        assert_eq!(self.ledger.cancel(ticket, self.now), waits);
        self.hear((revoked, refused, granted));
        if waits {
            self.tickets.remove(&ticket);
        }
        assert!(!self.ledger.cancel(ticket, self.now), "a wait ends once");
    }

    fn end_again(&mut self) {
        let Some(lease) = self.dice.pick(&self.gone) else { return };
        let expected = self.model.tick(self.now);
        self.ledger.release(lease, self.now).unwrap_err();
        self.ledger.vacate(lease, self.now).unwrap_err();
        self.ledger.renew(lease, self.now).unwrap_err();
        self.hear(expected);
    }

    fn time(&mut self) {
        let passes = Duration::from_millis(self.dice.roll(8000));
        // Now and then a clock that went back.
        self.now = if self.dice.chance(10) { self.now.saturating_sub(passes) } else { self.now + passes };
        let expected = self.model.tick(self.now);
        self.ledger.tick(self.now);
        self.hear(expected);
        assert!(self.ledger.next_end().is_none_or(|end| end > self.model.now), "what is due is done");
    }

    fn crash(&mut self) {
        self.lives += 1;
        self.ledger = life(self.lives);
        self.gone.extend(self.grants.values().map(|grant| grant.lease));
        (self.model, self.grants, self.tickets) = (Model::default(), BTreeMap::new(), BTreeMap::new());
        self.now = Duration::ZERO;
    }

    fn check(&self) {
        let views: Vec<_> = self.ledger.leases(self.now).collect();
        let live = self.model.held.iter().filter(|held| !held.leaving);
        same(
            "held",
            views.iter().map(|view| view.who.execution_id.to_string()).collect(),
            live.map(|held| held.ask.id.clone()).collect(),
        );
        let waiting: Vec<String> =
            self.ledger.waiters(self.now).map(|view| view.who.execution_id.to_string()).collect();
        assert_eq!(waiting, self.model.waits.iter().map(|waits| waits.ask.id.clone()).collect::<Vec<_>>(), "the queue");
        for (place, one) in views.iter().enumerate() {
            assert!(one.ttl > Duration::ZERO, "{} is held past its end", one.who.execution_id);
            for other in &views[place + 1..] {
                let both = one.who.tokens.iter().any(|a| other.who.tokens.iter().any(|b| a.conflicts(b)));
                let family = one.who.lent || other.who.lent;
                assert!(!both || family, "held twice by {} and {}", one.who.execution_id, other.who.execution_id);
            }
        }
        for view in self.ledger.waiters(self.now) {
            assert!(
                !view.blocked_by.is_empty() || view.who.lent || self.waits_for_its_turn(&view.who.execution_id),
                "{view:?}"
            );
        }
        for capacity in self.ledger.capacities() {
            assert!(capacity.used <= capacity.total, "{capacity:?}");
        }
        for waits in &self.model.waits {
            let bound = waits.rank.0 + 4 * 9 - i64::try_from(waits.first_round).unwrap();
            let most = i64::try_from(waits.passed.values().max().copied().unwrap_or(0)).unwrap();
            assert!(most <= bound, "{} was passed {most} times by one owner, the bound is {bound}", waits.ask.id);
        }
    }

    /// Nothing it needs is taken; somebody in front of it is to have it first.
    fn waits_for_its_turn(&self, id: &str) -> bool {
        self.model.waits.first().is_some_and(|first| first.ask.id != id)
    }

    /// When holders leave and nobody comes, everybody gets its turn.
    fn drain(&mut self) {
        for _ in 0..=WAITING + 1 {
            if self.model.waits.is_empty() {
                return;
            }
            let all: Vec<LeaseId> = self.grants.values().map(|grant| grant.lease).collect();
            for lease in all {
                self.ledger.vacate(lease, self.now).unwrap();
            }
            self.grants.clear();
            for effect in self.ledger.take_effects() {
                if let Effect::Granted { ticket, grant } = effect {
                    let id = self.tickets.remove(&ticket).expect("a wait ends once");
                    self.granted(&id, grant);
                }
            }
            if self.ledger.waiters(self.now).next().is_none() {
                return;
            }
        }
        panic!("somebody waits for ever: {:?}", self.ledger.waiters(self.now).collect::<Vec<_>>());
    }
}

#[track_caller]
fn same(what: &str, mut left: Vec<String>, mut right: Vec<String>) {
    left.sort_unstable();
    right.sort_unstable();
    assert_eq!(left, right, "{what}: the ledger, then the model");
}
