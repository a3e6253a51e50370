//! Random histories against the ledger: requests, ends, engine crashes and clock jumps. After every step nothing is held
//! twice, fences only rise, and what the ledger holds is exactly what was granted and not released.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "in a test they are assertions")]

use std::collections::BTreeMap;
use std::time::Duration;

use aria_types::ResourceToken;
use aria_types::token::Kind;
use proptest::prelude::*;
use quilt_core::{Bounds, LeaseId, LeaseRequest, Ledger, Policy, Refusal, Rule};

const BOUNDS: Bounds = Bounds { leases_max: 6, tokens_max: 4 };
const LIFE_FENCES: u64 = 1 << 16;

#[derive(Clone, Debug)]
enum Step {
    Ask { execution: u8, tokens: Vec<String> },
    End { pick: usize },
    EndAgain { pick: usize },
    Crash,
    ClockJump { millis: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let token = "(kv|fs):[ab](:[ab])?(:(ro|rw|append|exclusive))?|kv:\\*|net:a|gpu:0";
    prop_oneof![
        6 => (0..12_u8, prop::collection::vec(token, 0..5)).prop_map(|(execution, tokens)| Step::Ask { execution, tokens }),
        4 => any::<usize>().prop_map(|pick| Step::End { pick }),
        1 => any::<usize>().prop_map(|pick| Step::EndAgain { pick }),
        1 => Just(Step::Crash),
        1 => any::<u32>().prop_map(|millis| Step::ClockJump { millis }),
    ]
}

/// The ledger beside the simplest model of it.
struct World {
    ledger: Ledger,
    held: BTreeMap<LeaseId, (String, Vec<ResourceToken>)>,
    ended: Vec<LeaseId>,
    fence_last: u64,
    lives: u64,
    now: Duration,
}

fn policy() -> Policy {
    Policy::new(vec![Rule { name: "data".into(), kinds: vec![Kind::Kv, Kind::Fs], ..Rule::default() }])
}

fn life(number: u64) -> Ledger {
    Ledger::new(policy(), BOUNDS, number * LIFE_FENCES..(number + 1) * LIFE_FENCES)
}

impl World {
    fn new() -> Self {
        let (held, ended) = (BTreeMap::new(), Vec::new());
        Self { ledger: life(1), held, ended, fence_last: 0, lives: 1, now: Duration::ZERO }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Ask { execution, tokens } => self.ask(execution.to_string(), tokens),
            Step::End { pick } => {
                if let Some(lease) = pick_of(self.held.keys().copied().collect(), pick) {
                    self.held.remove(&lease);
                    self.ended.push(lease);
                    self.ledger.release(lease).unwrap();
                }
            }
            Step::EndAgain { pick } => {
                if let Some(lease) = pick_of(self.ended.clone(), pick) {
                    self.ledger.release(lease).unwrap_err();
                }
            }
            Step::Crash => {
                self.lives += 1;
                self.ledger = life(self.lives);
                self.ended.extend(std::mem::take(&mut self.held).into_keys());
            }
            Step::ClockJump { millis } => self.now = Duration::from_millis(millis.into()),
        }
        self.check();
    }

    fn ask(&mut self, execution_id: String, tokens: Vec<String>) {
        let request = LeaseRequest { execution_id: execution_id.clone(), owner: "ann".into(), tokens };
        let parsed: Result<Vec<ResourceToken>, _> = request.tokens.iter().map(|text| text.parse()).collect();
        let allowed = |tokens: &[ResourceToken]| tokens.iter().all(|token| policy().decide("ann", token).is_ok());
        let outcome = self.ledger.grant(&request, self.now);
        match (outcome, parsed) {
            (Ok(grant), Ok(tokens)) => {
                assert!(allowed(&tokens));
                assert!(grant.fence > self.fence_last, "fence {} after {}", grant.fence, self.fence_last);
                self.fence_last = grant.fence;
                self.held.insert(grant.lease, (execution_id, tokens));
            }
            (Ok(_), Err(error)) => panic!("granted a malformed token: {error}"),
            (Err(Refusal::Syntax { .. }), parsed) => assert!(parsed.is_err()),
            (Err(Refusal::NotAllowed(_)), Ok(tokens)) => assert!(!allowed(&tokens)),
            (Err(Refusal::Busy { token, held, holder }), _) => {
                assert!(token.conflicts(&held));
                assert!(self.held.values().any(|(by, tokens)| *by == holder && tokens.contains(&held)));
            }
            (Err(Refusal::Duplicate { execution_id }), _) => {
                assert!(self.held.values().any(|(by, _)| *by == execution_id));
            }
            (Err(Refusal::TooManyTokens { asked, .. }), _) => assert!(asked > BOUNDS.tokens_max),
            (Err(Refusal::Full { .. }), _) => assert_eq!(self.held.len(), BOUNDS.leases_max),
            (Err(other), _) => panic!("{other}"),
        }
    }

    fn check(&self) {
        let live: Vec<LeaseId> = self.ledger.leases(self.now).map(|lease| lease.lease).collect();
        assert_eq!(live, self.held.keys().copied().collect::<Vec<_>>(), "every lease is held until it ends, then gone");
        let views: Vec<_> = self.ledger.leases(self.now).collect();
        for (place, one) in views.iter().enumerate() {
            for other in &views[place + 1..] {
                let twice = one.tokens.iter().find(|a| other.tokens.iter().any(|b| a.conflicts(b)));
                assert_eq!(twice, None, "held twice by {} and {}", one.execution_id, other.execution_id);
                assert_ne!(one.execution_id, other.execution_id);
            }
        }
    }
}

fn pick_of(leases: Vec<LeaseId>, pick: usize) -> Option<LeaseId> {
    if leases.is_empty() { None } else { Some(leases[pick % leases.len()]) }
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn no_history_breaks_the_ledger(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.apply(step));
    }
}
