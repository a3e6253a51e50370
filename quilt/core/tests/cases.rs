//! The listed cases T01-T12, each on the ledger itself. Those with a process, a disk or a wire in them are tested again on a
//! real engine, in `quiltd`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "in a test they are assertions"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aria_types::token::Kind;
use quilt_core::{
    Admission, Bounds, Capacity, Effect, EventKind, Grant, LeaseRequest, Ledger, Policy, Refusal, Rule, Setup, Ticket,
};

const TTL: Duration = Duration::from_secs(10);

fn setup(slots: u64, waiting_max: usize) -> Setup {
    let kinds = vec![Kind::Kv, Kind::Cpu, Kind::Mem, Kind::Gpu];
    Setup {
        policy: Policy::new(vec![Rule { name: "kv".into(), kinds, ..Rule::default() }]),
        bounds: Bounds {
            tokens_max: 8,
            waiting_max,
            waiting_owner_max: waiting_max,
            wait_max: Duration::from_secs(60),
            depth_max: 4,
            ttl: TTL,
        },
        capacity: Capacity {
            slots,
            child_slots: 4,
            cpu_millis: 4000,
            mem_bytes: 1 << 30,
            gpus: BTreeMap::from([("0".to_owned(), 2)]),
        },
        fences: 100..1_000_000,
    }
}

struct Bench {
    ledger: Ledger,
    now: Duration,
}

fn bench() -> Bench {
    Bench { ledger: Ledger::new(setup(100, 100)), now: Duration::ZERO }
}

fn ask(id: &str, tokens: &[&str]) -> LeaseRequest {
    LeaseRequest {
        execution_id: id.into(),
        owner: "ann".into(),
        tokens: tokens.iter().map(ToString::to_string).collect(),
        priority: 4,
        wait: Duration::from_secs(60),
        ..LeaseRequest::default()
    }
}

fn child(id: &str, parent: &str, tokens: &[&str]) -> LeaseRequest {
    LeaseRequest { parent: Some(parent.into()), ..ask(id, tokens) }
}

fn of(owner: &str, request: LeaseRequest) -> LeaseRequest {
    LeaseRequest { owner: owner.into(), ..request }
}

impl Bench {
    fn submit(&mut self, request: &LeaseRequest) -> Result<Admission, Refusal> {
        self.ledger.request(request, self.now)
    }

    #[track_caller]
    fn granted(&mut self, request: &LeaseRequest) -> Grant {
        match self.submit(request) {
            Ok(Admission::Granted(grant)) => grant,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn waits(&mut self, request: &LeaseRequest) -> Ticket {
        match self.submit(request) {
            Ok(Admission::Waiting { ticket, .. }) => ticket,
            other => panic!("{other:?}"),
        }
    }

    /// Who was granted something since the last look, in order.
    fn served(&mut self) -> Vec<(Ticket, Grant)> {
        let granted =
            |effect| if let Effect::Granted { ticket, grant } = effect { Some((ticket, grant)) } else { None };
        self.ledger.take_effects().into_iter().filter_map(granted).collect()
    }

    fn vacate(&mut self, grant: Grant) {
        self.ledger.vacate(grant.lease, self.now).unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.ledger.leases(self.now).map(|lease| lease.who.execution_id.to_string()).collect()
    }
}

#[test]
fn t01_what_is_not_exactly_allowed_is_denied() {
    let mut setup = setup(10, 10);
    let held = vec!["kv:orders:ro".parse().unwrap()];
    setup.policy = Policy::new(vec![Rule { name: "one".into(), tokens: held, ..Rule::default() }]);
    let mut bench = Bench { ledger: Ledger::new(setup), now: Duration::ZERO };
    for token in ["kv:orders:rw", "kv:orders:append", "kv:orders2", "kv:order", "sql:orders:ro"] {
        assert!(matches!(bench.submit(&ask("x", &[token])), Err(Refusal::NotAllowed(_))), "{token}");
    }
    for token in
        ["kv:Orders:ro", "kv:\u{43e}rders:ro", "kv:orders%2fx:ro", "kv:orders/x", "kv:*", "KV:orders:ro", " kv:orders"]
    {
        assert!(matches!(bench.submit(&ask("x", &[token])), Err(Refusal::Syntax { .. })), "{token}");
    }
    bench.granted(&ask("x", &["kv:orders:pending:ro"]));
    assert_eq!(bench.names(), ["x"]);
}

#[test]
fn t02_a_lease_is_its_executions_own() {
    let mut bench = bench();
    let (mine, theirs) = (bench.granted(&ask("a", &["kv:a:rw"])), bench.granted(&of("bob", ask("b", &["kv:b:rw"]))));
    assert!(matches!(bench.submit(&ask("a", &["kv:c"])), Err(Refusal::Duplicate { .. })));
    // Another owner's execution lends nothing and has no children of ours.
    let thief = LeaseRequest { lent: true, ..child("c", "b", &["kv:b:rw"]) };
    assert!(matches!(bench.submit(&thief), Err(Refusal::ParentUnknown { .. })));
    assert_ne!((mine.lease, mine.fence), (theirs.lease, theirs.fence));
}

#[test]
fn t03_what_is_released_expired_or_ended_is_over() {
    let mut bench = bench();
    let (released, expired, ended) = (
        bench.granted(&ask("a", &["kv:a:rw"])),
        bench.granted(&ask("b", &["kv:b:rw"])),
        bench.granted(&ask("c", &["kv:c:rw"])),
    );
    bench.ledger.release(released.lease, bench.now).unwrap();
    bench.vacate(ended);
    bench.now += TTL;
    for grant in [released, expired, ended] {
        bench.ledger.renew(grant.lease, bench.now).unwrap_err();
        bench.ledger.release(grant.lease, bench.now).unwrap_err();
        assert_eq!(bench.ledger.left(grant.lease, bench.now), None);
    }
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn t04_of_two_that_wait_for_each_other_the_second_is_refused_and_the_first_proceeds() {
    let mut bench = bench();
    let (_one, two) = (bench.granted(&ask("one", &["kv:a:rw"])), bench.granted(&ask("two", &["kv:b:rw"])));
    let waiting = bench.waits(&child("one-child", "one", &["kv:b:ro"]));
    let Err(Refusal::Deadlock { cycle }) = bench.submit(&child("two-child", "two", &["kv:a:ro"])) else { panic!() };
    for name in ["one", "two", "one-child", "two-child"] {
        assert!(cycle.contains(name), "{cycle}");
    }
    let (_, events) = bench.ledger.events().from(0, 100);
    assert!(events.iter().any(|event| event.kind == EventKind::Deadlock && event.why.contains(&cycle)));
    bench.vacate(two);
    assert_eq!(bench.served()[0].0, waiting);
}

#[test]
fn t04_a_child_never_waits_for_its_own_parents() {
    let mut bench = bench();
    bench.granted(&ask("a", &["kv:a:rw"]));
    bench.granted(&child("b", "a", &["kv:b:rw"]));
    for token in ["kv:a:ro", "kv:b:x:ro", "kv:a:x:rw"] {
        assert!(matches!(bench.submit(&child("c", "b", &[token])), Err(Refusal::Deadlock { .. })), "{token}");
    }
    bench.granted(&child("c", "b", &["kv:c:rw"]));
}

#[test]
fn t04_a_cycle_through_the_order_of_the_queue_is_one_too() {
    let mut bench = bench();
    bench.granted(&ask("reader", &["kv:a:ro"]));
    let writer = bench.waits(&of("bob", ask("writer", &["kv:a:rw"])));
    // The reader waits for its child, the child would wait behind the writer, the writer waits for the reader.
    assert!(matches!(bench.submit(&child("again", "reader", &["kv:a:ro"])), Err(Refusal::Deadlock { .. })));
    assert!(bench.ledger.cancel(writer, bench.now));
    bench.granted(&child("again", "reader", &["kv:a:ro"]));
}

#[test]
fn t04_a_cycle_through_a_slot_is_one_too() {
    let mut bench = Bench { ledger: Ledger::new(setup(1, 10)), now: Duration::ZERO };
    bench.granted(&ask("parent", &[]));
    bench.waits(&ask("slotless", &["kv:a:rw"]));
    assert!(matches!(bench.submit(&child("child", "parent", &["kv:a:ro"])), Err(Refusal::Deadlock { .. })));
    bench.granted(&child("child", "parent", &["kv:b:ro"]));
}

#[test]
fn t04_nobody_is_put_in_front_of_a_waiting_child() {
    let mut bench = bench();
    let (_parent, other) = (bench.granted(&ask("parent", &["kv:p:ro"])), bench.granted(&ask("other", &["kv:a:rw"])));
    let waiting = bench.waits(&child("child", "parent", &["kv:a:rw"]));
    // In front of the child it would wait for the parent and the child for it.
    bench.waits(&LeaseRequest { priority: 9, ..of("bob", ask("urgent", &["kv:p:rw", "kv:a:rw"])) });
    bench.vacate(other);
    assert_eq!(bench.served()[0].0, waiting);
}

#[test]
fn t05_the_end_of_a_holder_serves_whoever_waits_in_the_same_step() {
    let mut bench = bench();
    let holder = bench.granted(&ask("holder", &["kv:a:exclusive"]));
    let waiting = bench.waits(&ask("next", &["kv:a:exclusive"]));
    bench.vacate(holder);
    let served = bench.served();
    assert!(served[0].0 == waiting && served[0].1.fence > holder.fence);
}

#[test]
fn t06_who_is_not_renewed_loses_to_a_higher_fence() {
    let mut bench = bench();
    let paused = bench.granted(&ask("paused", &["kv:a:rw"]));
    bench.waits(&ask("next", &["kv:a:rw"]));
    bench.now = TTL - Duration::from_millis(1);
    bench.ledger.tick(bench.now);
    assert!(bench.served().is_empty());
    assert_eq!(bench.ledger.next_end(), Some(TTL));
    bench.now = TTL;
    bench.ledger.tick(bench.now);
    let effects = bench.ledger.take_effects();
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Revoked { lease, .. } if *lease == paused.lease)));
    let next =
        effects.iter().find_map(|effect| if let Effect::Granted { grant, .. } = effect { Some(*grant) } else { None });
    assert!(next.unwrap().fence > paused.fence);
    bench.ledger.renew(paused.lease, bench.now).unwrap_err();
}

#[test]
fn t06_a_renewed_lease_holds() {
    let mut bench = bench();
    let grant = bench.granted(&ask("a", &["kv:a:rw"]));
    for _ in 0..10 {
        bench.now += TTL - Duration::from_millis(1);
        bench.ledger.renew(grant.lease, bench.now).unwrap();
    }
    assert_eq!(bench.names(), ["a"]);
}

#[test]
fn t07_a_lease_ends_once_and_nobody_ends_anothers() {
    let mut bench = bench();
    let first = bench.granted(&ask("a", &["kv:a:rw"]));
    bench.ledger.release(first.lease, bench.now).unwrap();
    bench.ledger.release(first.lease, bench.now).unwrap_err();
    bench.vacate(first);
    bench.ledger.vacate(first.lease, bench.now).unwrap_err();
    let second = bench.granted(&ask("a", &["kv:a:rw"]));
    assert!(second.fence > first.fence);
    bench.ledger.release(first.lease, bench.now).unwrap_err();
    assert_eq!(bench.names(), ["a"], "an old name does not end a new lease");
}

#[test]
fn t08_a_writer_gets_in_under_a_stream_of_readers() {
    for (priority, others_max) in [(4, 0), (9, 20)] {
        let mut bench = bench();
        let mut readers = vec![bench.granted(&of("bob", ask("reader-0", &["kv:a:ro"])))];
        let writer = bench.waits(&ask("writer", &["kv:a:rw"]));
        let mut served_before = 0;
        for n in 1..200 {
            // One reader comes for each that leaves, and they never all leave by themselves.
            let request = LeaseRequest { priority, ..of("bob", ask(&format!("reader-{n}"), &["kv:a:ro"])) };
            match bench.submit(&request).unwrap() {
                Admission::Granted(grant) => {
                    readers.push(grant);
                    served_before += 1;
                }
                Admission::Waiting { .. } => {}
            }
            if readers.is_empty() {
                break;
            }
            let oldest = readers.remove(0);
            bench.vacate(oldest);
            let served = bench.served();
            if served.iter().any(|(ticket, _)| *ticket == writer) {
                break;
            }
            readers.extend(served.into_iter().map(|(_, grant)| grant));
        }
        assert!(bench.names().contains(&"writer".to_owned()), "priority {priority}");
        assert!(served_before <= others_max, "{served_before} readers of priority {priority} passed the writer");
    }
}

#[test]
fn t09_a_new_life_knows_nobody_and_gives_only_higher_fences() {
    let mut first = bench();
    let old = first.granted(&ask("a", &["kv:a:exclusive"]));
    let mut setup = setup(10, 10);
    setup.fences = 1_000_000..2_000_000;
    let mut second = Bench { ledger: Ledger::new(setup), now: Duration::ZERO };
    second.ledger.release(old.lease, second.now).unwrap_err();
    assert!(second.granted(&ask("b", &["kv:a:exclusive"])).fence > old.fence);
}

#[test]
fn t09_spent_fences_are_an_error_not_a_repeat() {
    let mut setup = setup(10, 10);
    setup.fences = 7..8;
    let mut bench = Bench { ledger: Ledger::new(setup), now: Duration::ZERO };
    let only = bench.granted(&ask("a", &["kv:a:rw"]));
    assert_eq!(only.fence, 7);
    assert_eq!(bench.submit(&ask("b", &[])), Err(Refusal::FencesSpent));
}

/// Ten thousand wait for a few things; everything that is decided then is decided quickly, and owners take turns.
#[test]
fn t10_ten_thousand_waiters_are_served_fairly() {
    let mut bench = Bench { ledger: Ledger::new(setup(16, 10_001)), now: Duration::ZERO };
    let tokens = ["kv:a:rw", "kv:a:x:rw", "kv:b:rw", "kv:a:ro"];
    let mut slowest = Vec::new();
    let mut running = vec![bench.granted(&ask("root", &["kv:a:rw", "kv:b:rw"]))];
    for n in 0..10_000_usize {
        // One owner has asked for almost everything before the others come.
        let owner = if n < 9_000 { "flood".to_owned() } else { format!("owner-{}", n % 3) };
        let request = of(&owner, ask(&format!("r{n}"), &[tokens[n % tokens.len()]]));
        let begun = Instant::now();
        bench.waits(&request);
        slowest.push(begun.elapsed());
    }
    let begun = Instant::now();
    assert!(matches!(bench.submit(&of("ann", child("child", "root", &["kv:a:ro"]))), Err(Refusal::Deadlock { .. })));
    println!("a cycle behind 10,000 waiters is found in {:?}", begun.elapsed());
    let mut order = Vec::new();
    while !running.is_empty() {
        let grant = running.remove(0);
        let begun = Instant::now();
        bench.ledger.vacate(grant.lease, bench.now).unwrap();
        slowest.push(begun.elapsed());
        let served = bench.served();
        let owner = |grant: &Grant| {
            bench.ledger.leases(bench.now).find(|lease| lease.lease == grant.lease).unwrap().who.owner.to_string()
        };
        order.extend(served.iter().map(|(_, grant)| owner(grant)));
        running.extend(served.into_iter().map(|(_, grant)| grant));
    }
    assert_eq!(order.len(), 10_000, "everybody is served");
    // A thousand requests of three owners among the first served, though nine thousand came before them.
    let others = order.iter().take(2_000).filter(|owner| *owner != "flood").count();
    assert!(others >= 900, "{others} of 1000 among the first 2000");
    slowest.sort_unstable();
    println!(
        "decisions with 10,000 waiters: p50 {:?}, p99 {:?}, max {:?}",
        slowest[slowest.len() / 2],
        slowest[slowest.len() * 99 / 100],
        slowest[slowest.len() - 1]
    );
}

#[test]
fn t11_a_set_is_never_held_in_part() {
    let mut bench = bench();
    let holder = bench.granted(&ask("holder", &["kv:b:rw"]));
    bench.waits(&ask("both", &["kv:a:rw", "kv:b:ro"]));
    assert_eq!(bench.names(), ["holder"]);
    // Nor does it keep others from what it lacks nothing of, except by its place in line.
    bench.granted(&ask("elsewhere", &["kv:c:rw"]));
    assert!(matches!(bench.submit(&ask("too-much", &["kv:d:rw", "mem:2g"])), Err(Refusal::TooMuch(_))));
    bench.granted(&ask("whole", &["kv:d:rw"]));
    bench.vacate(holder);
    let both = bench.ledger.leases(bench.now).find(|lease| &*lease.who.execution_id == "both").unwrap();
    assert_eq!(both.who.tokens.len(), 2);
}

#[test]
fn t12_who_leaves_the_queue_is_gone_once_also_at_the_moment_of_the_grant() {
    let mut bench = bench();
    let holder = bench.granted(&ask("holder", &["kv:a:rw"]));
    let (first, second) = (bench.waits(&ask("first", &["kv:a:rw"])), bench.waits(&ask("second", &["kv:a:rw"])));
    assert!(bench.ledger.cancel(first, bench.now));
    assert!(!bench.ledger.cancel(first, bench.now));
    bench.vacate(holder);
    let (ticket, grant) = bench.served()[0];
    assert_eq!(ticket, second);
    assert!(!bench.ledger.cancel(second, bench.now), "it has a lease by now, which is what it must give back");
    bench.vacate(grant);
    assert_eq!(bench.names(), [""; 0]);
    bench.granted(&ask("third", &["kv:a:rw"]));
}

#[test]
fn owners_take_turns_and_priority_is_worth_four_of_them() {
    let mut bench = Bench { ledger: Ledger::new(setup(1, 100)), now: Duration::ZERO };
    let mut running = bench.granted(&ask("first", &[]));
    for n in 0..10 {
        bench.waits(&ask(&format!("ann-{n}"), &[]));
    }
    bench.waits(&of("bob", ask("bob-0", &[])));
    bench.waits(&of("bob", ask("bob-1", &[])));
    bench.waits(&LeaseRequest { priority: 5, ..ask("ann-urgent", &[]) });
    let mut order = Vec::new();
    while bench.ledger.waiters(bench.now).next().is_some() {
        bench.vacate(running);
        running = bench.served()[0].1;
        order.push(bench.names().remove(0));
    }
    let expected =
        ["ann-0", "bob-0", "ann-1", "bob-1", "ann-2", "ann-3", "ann-4", "ann-5", "ann-6", "ann-urgent", "ann-7"];
    assert_eq!(order[..expected.len()], expected);
}

#[test]
fn asking_in_vain_costs_no_turn() {
    let mut bench = Bench { ledger: Ledger::new(setup(1, 3)), now: Duration::ZERO };
    let mut running = bench.granted(&ask("first", &[]));
    for n in 0..3 {
        bench.waits(&ask(&format!("ann-{n}"), &[]));
    }
    for n in 0..50 {
        assert!(matches!(bench.submit(&of("bob", ask(&format!("vain-{n}"), &[]))), Err(Refusal::QueueFull { .. })));
    }
    bench.vacate(running);
    running = bench.served()[0].1;
    let bob = bench.waits(&of("bob", ask("bob", &[])));
    bench.vacate(running);
    running = bench.served()[0].1;
    bench.vacate(running);
    assert_eq!(bench.served()[0].0, bob, "after one of the others at most");
}

#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    let mut bench = bench();
    let mut small = vec![bench.granted(&of("bob", ask("small-0", &["mem:512m"])))];
    let large = bench.waits(&ask("large", &["mem:1g"]));
    for n in 1..50 {
        if let Ok(Admission::Granted(grant)) = bench.submit(&of("bob", ask(&format!("small-{n}"), &["mem:512m"]))) {
            small.push(grant);
        }
        let Some(grant) = small.pop() else { break };
        bench.vacate(grant);
    }
    assert!(bench.served().iter().any(|(ticket, _)| *ticket == large));
}

#[test]
fn every_refusal_changes_nothing() {
    let mut bench = Bench { ledger: Ledger::new(setup(1, 1)), now: Duration::ZERO };
    bench.granted(&ask("a", &["kv:a:rw"]));
    bench.waits(&ask("b", &["kv:a:rw"]));
    let many: Vec<String> = (0..9).map(|n| format!("kv:t{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(bench.submit(&ask("c", &many)), Err(Refusal::TooManyTokens { asked: 9, max: 8 }));
    assert!(matches!(bench.submit(&ask("c", &[])), Err(Refusal::QueueFull { .. })));
    assert!(matches!(bench.submit(&child("c", "b", &[])), Err(Refusal::ParentUnknown { .. })), "it waits itself");
    assert!(matches!(bench.submit(&ask("c", &["gpu:1"])), Err(Refusal::TooMuch(_))));
    let widened = LeaseRequest { lent: true, ..child("c", "a", &["kv:a:exclusive"]) };
    assert!(matches!(bench.submit(&widened), Err(Refusal::Widened { .. })));
    let lent = LeaseRequest { lent: true, ..child("c", "a", &["kv:a:x:rw"]) };
    bench.granted(&lent);
    bench.granted(&child("d", "c", &[]));
    bench.granted(&child("e", "d", &[]));
    assert_eq!(bench.submit(&child("f", "e", &[])), Err(Refusal::TooDeep { max: 4 }));
    let (held, waits) = (bench.names(), bench.ledger.waiters(bench.now).count());
    assert_eq!((held, waits), (["a", "c", "d", "e"].map(String::from).to_vec(), 1));
}

#[test]
fn a_wait_that_takes_too_long_says_what_was_in_the_way() {
    let mut bench = bench();
    let holder = bench.granted(&ask("holder", &["kv:a:rw"]));
    bench.waits(&LeaseRequest { wait: Duration::from_secs(3), ..ask("patient", &["kv:a:x:ro"]) });
    bench.now = Duration::from_secs(3);
    bench.ledger.renew(holder.lease, bench.now).unwrap();
    let Some(Effect::Refused { refusal: Refusal::WaitOver { waited_ms, why, blocker }, .. }) =
        bench.ledger.take_effects().pop()
    else {
        panic!()
    };
    assert_eq!((waited_ms, blocker.unwrap().held.as_str()), (3000, "kv:a:rw"));
    assert_eq!(why, "kv:a:x:ro is held by holder (ann) as kv:a:rw; 0 ahead");
    assert_eq!(bench.ledger.waiters(bench.now).count(), 0);
}
