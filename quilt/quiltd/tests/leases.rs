//! Leases of a real engine: who waits, who is told what, what ends them, and what outlives `kill -9`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test they are assertions")]

mod stand;

use std::time::{Duration, Instant};

use aria_protocol::quilt::v1 as pb;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pb::execute_response::Event;
use stand::{Stand, collect, reason, start};
use tonic::{Code, Streaming};

const KV: &str = "[[policy]]\nname = 'kv for all'\nkinds = ['kv', 'cpu', 'mem', 'gpu']\n";
const UP: &str = "console.log('up'); setInterval(() => {}, 1e6)";

type Stream = Streaming<pb::ExecuteResponse>;

fn asking(stand: &Stand, source: &str, tokens: &[&str]) -> pb::ExecuteRequest {
    pb::ExecuteRequest { tokens: tokens.iter().map(ToString::to_string).collect(), ..stand.script(source) }
}

/// Starts an execution and reads until the first event that is not about waiting.
async fn granted(stand: &Stand, request: pb::ExecuteRequest) -> (Stream, pb::Granted) {
    let mut stream = stand.client().execute(request).await.unwrap().into_inner();
    loop {
        match stream.message().await.unwrap().unwrap().event.unwrap() {
            Event::Queued(_) => {}
            Event::Granted(granted) => return (stream, granted),
            other => panic!("{other:?}"),
        }
    }
}

/// Starts an execution that has to wait, and returns why.
async fn queued(stand: &Stand, request: pb::ExecuteRequest) -> (Stream, String) {
    let mut stream = stand.client().execute(request).await.unwrap().into_inner();
    match stream.message().await.unwrap().unwrap().event.unwrap() {
        Event::Queued(queued) => (stream, queued.why),
        other => panic!("{other:?}"),
    }
}

async fn until_up(stream: &mut Stream) {
    while !matches!(stream.message().await.unwrap().unwrap().event.unwrap(), Event::Output(_)) {}
}

/// Reads on to the end: why the lease was revoked, if it was, and the end.
async fn end_of(mut stream: Stream) -> (Option<String>, pb::Ended) {
    let mut revoked = None;
    loop {
        match stream.message().await.unwrap().expect("an end").event.unwrap() {
            Event::Revoked(event) => revoked = Some(event.reason),
            Event::Ended(ended) => return (revoked, ended),
            _ => {}
        }
    }
}

/// Processes of the program, not of what serves it: those that run from the tool root's bun.
fn programs(stand: &Stand) -> Vec<Pid> {
    let is_bun =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("bun"));
    let uid = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        uid.is_some_and(|uid| stand.uids.contains(&uid))
    };
    let pids =
        std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_bun).filter(uid).map(Pid::from_raw).collect()
}

#[tokio::test]
async fn who_waits_is_told_for_whom_and_is_served_when_they_leave() {
    let Some(stand) = start(KV).await else { return };
    let holder = asking(&stand, UP, &["kv:orders:ro"]);
    let (stream, first) = granted(&stand, holder.clone()).await;
    let (waiting, why) = queued(&stand, asking(&stand, "console.log('mine')", &["kv:orders:rw"])).await;
    assert_eq!(why, format!("kv:orders:rw is held by {} (ann) as kv:orders:ro; 0 ahead", holder.execution_id));
    let status = stand.status().await;
    assert_eq!((status.leases.len(), status.waiters.len()), (1, 1));
    let (waiter, lease) = (&status.waiters[0], &status.leases[0]);
    assert_eq!((waiter.position, waiter.tokens.as_slice()), (1, ["kv:orders:rw".to_owned()].as_slice()));
    let blocker = &waiter.blocked_by[0];
    assert_eq!(
        (blocker.execution_id.as_str(), blocker.held.as_str(), blocker.holds),
        (holder.execution_id.as_str(), "kv:orders:ro", true)
    );
    assert!(lease.ttl_ms > 0 && lease.ttl_ms <= first.ttl_ms && lease.priority == 4, "{lease:?}");
    drop(stream);
    let served = collect(waiting).await.unwrap();
    assert_eq!(served.text(), "mine\n");
    assert!(served.fence > first.fence);
    stand.idle_within(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_higher_priority_is_served_first() {
    let Some(stand) = start(KV).await else { return };
    let (stream, _) = granted(&stand, asking(&stand, UP, &["kv:a:rw"])).await;
    let with = |priority| pb::ExecuteRequest { priority, ..asking(&stand, "", &["kv:a:rw"]) };
    let (low, _) = queued(&stand, with(1)).await;
    let (high, _) = queued(&stand, with(9)).await;
    drop(stream);
    let (low, high) = tokio::join!(collect(low), collect(high));
    assert!(high.unwrap().fence < low.unwrap().fence);
}

#[tokio::test]
async fn t04_a_wait_that_closes_a_cycle_is_refused_at_once_and_the_other_proceeds() {
    let Some(stand) = start(KV).await else { return };
    let (one, other) = (asking(&stand, UP, &["kv:a:rw"]), asking(&stand, UP, &["kv:b:rw"]));
    let (_one, _) = granted(&stand, one.clone()).await;
    let (other_stream, _) = granted(&stand, other.clone()).await;
    let child = |parent: &pb::ExecuteRequest, token: &str| pb::ExecuteRequest {
        parent_execution_id: parent.execution_id.clone(),
        ..asking(&stand, "console.log('child')", &[token])
    };
    let (waiting, _) = queued(&stand, child(&one, "kv:b:rw")).await;
    let begun = Instant::now();
    let closing = child(&other, "kv:a:rw");
    let (code, reason, message) = stand.refusal(closing.clone()).await;
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!((code, reason.as_str()), (Code::Aborted, "DEADLOCK"));
    assert!(message.contains(&one.execution_id) && message.contains(&other.execution_id), "{message}");
    let seen = events(&stand, 1, 4).await;
    let deadlock = seen.iter().find(|event| event.kind == "deadlock").unwrap();
    assert!(
        deadlock.execution_id == closing.execution_id && deadlock.why.contains("waits for its child"),
        "{deadlock:?}"
    );
    drop(other_stream);
    assert_eq!(collect(waiting).await.unwrap().text(), "child\n");
}

#[tokio::test]
async fn children_have_slots_of_their_own_and_end_with_their_parent() {
    let Some(stand) = start(&format!("concurrent_max = 1\nchild_max = 2\n{KV}")).await else { return };
    let parent = asking(&stand, UP, &["kv:a:ro"]);
    let (stream, _) = granted(&stand, parent.clone()).await;
    let child = |source: &str, tokens: &[&str]| pb::ExecuteRequest {
        parent_execution_id: parent.execution_id.clone(),
        ..asking(&stand, source, tokens)
    };
    assert_eq!(stand.run(child("console.log('beside')", &["kv:a:ro"])).await.text(), "beside\n");
    let lent = pb::ExecuteRequest { lent: true, ..child("", &["kv:a:rw"]) };
    let (code, reason, _) = stand.refusal(lent).await;
    assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "TOKEN_WIDENED"));
    let mut unknown = child("", &[]);
    unknown.parent_execution_id = stand::execution_id();
    assert_eq!(stand.refusal(unknown).await.1, "PARENT_UNKNOWN");
    let (first, _) = granted(&stand, child(UP, &["kv:b:rw"])).await;
    let (_second, _) = granted(&stand, child(UP, &[])).await;
    let (code, reason, _) = stand.refusal(child("", &[])).await;
    assert_eq!((code, reason.as_str()), (Code::ResourceExhausted, "QUEUE_FULL"), "it does not wait for a slot");
    drop(stream);
    let (revoked, ended) = end_of(first).await;
    assert_eq!((revoked.as_deref(), ended.reason()), (Some("the lease of its parent ended"), pb::EndReason::Revoked));
    drop(_second);
    stand.idle_within(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn counted_resources_are_waited_for_and_too_much_is_refused() {
    let Some(stand) =
        start(&format!("{KV}[[resource]]\nname = 'gpu:0'\ntotal = 2\n[[resource]]\nname = 'cpu'\ntotal = 1000\n"))
            .await
    else {
        return;
    };
    for token in ["cpu:2", "gpu:1", "mem:1024g"] {
        let (code, reason, message) = stand.refusal(asking(&stand, "", &[token])).await;
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "TOKEN_TOO_MUCH"), "{message}");
    }
    let (stream, _) = granted(&stand, asking(&stand, UP, &["cpu:700m", "gpu:0"])).await;
    let (_beside, _) = granted(&stand, asking(&stand, UP, &["cpu:300m", "gpu:0"])).await;
    let (waiting, why) = queued(&stand, asking(&stand, "console.log('now')", &["cpu:500m"])).await;
    assert!(why.contains("cpu: 500 asked, 1000 of 1000 taken"), "{why}");
    let status = stand.status().await;
    let used =
        |name: &str| status.capacities.iter().find(|capacity| capacity.name == name).map(|capacity| capacity.used);
    assert_eq!((used("cpu"), used("gpu:0"), used("slot")), (Some(1000), Some(2), Some(2)));
    drop(stream);
    assert_eq!(collect(waiting).await.unwrap().text(), "now\n");
}

#[tokio::test]
async fn t05_the_tokens_of_a_killed_program_are_free_within_a_second() {
    let Some(stand) = start(KV).await else { return };
    let (mut stream, _) = granted(&stand, asking(&stand, UP, &["kv:a:exclusive"])).await;
    until_up(&mut stream).await;
    let (waiting, _) = queued(&stand, asking(&stand, "console.log('mine')", &["kv:a:exclusive"])).await;
    let begun = Instant::now();
    programs(&stand).iter().for_each(|pid| kill(*pid, Signal::SIGKILL).unwrap());
    let mut waiting = waiting;
    loop {
        if let Event::Granted(_) = waiting.message().await.unwrap().unwrap().event.unwrap() {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_living_program_keeps_its_lease_and_a_stopped_one_loses_it() {
    let Some(stand) = start(&format!("{KV}[lease]\nttl_ms = 1500\n")).await else { return };
    let (mut stream, first) = granted(&stand, asking(&stand, UP, &["kv:a:exclusive"])).await;
    assert!((700..=1500).contains(&first.ttl_ms), "{first:?}");
    until_up(&mut stream).await;
    // Alive for more than two lives of a lease.
    for _ in 0..7 {
        let renewed = loop {
            match stream.message().await.unwrap().unwrap().event.unwrap() {
                Event::Renewed(renewed) => break renewed,
                Event::Output(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert!((1..=1500).contains(&renewed.ttl_ms), "{renewed:?}");
    }
    let (waiting, _) = queued(&stand, asking(&stand, "console.log('mine')", &["kv:a:exclusive"])).await;
    programs(&stand).iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    let begun = Instant::now();
    let (revoked, ended) = end_of(stream).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!((revoked.as_deref(), ended.reason()), (Some("it was not renewed in time"), pb::EndReason::Revoked));
    assert!(ended.detail.contains("the lease ended"), "{ended:?}");
    let served = collect(waiting).await.unwrap();
    assert!(served.fence > first.fence, "the paused holder is behind");
    let kinds: Vec<String> = events(&stand, 1, 4).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds[..2], ["granted", "renewed"], "{kinds:?}");
}

#[tokio::test]
async fn a_stopped_program_that_holds_nothing_lives_to_its_deadline() {
    let Some(stand) = start("[lease]\nttl_ms = 1500\n").await else { return };
    let mut request = stand.script(UP);
    request.limits = Some(pb::Limits { wall_ms: 3500, ..pb::Limits::default() });
    let (mut stream, _) = granted(&stand, request).await;
    until_up(&mut stream).await;
    programs(&stand).iter().for_each(|pid| kill(*pid, Signal::SIGSTOP).unwrap());
    let ended = loop {
        if let Event::Ended(ended) = stream.message().await.unwrap().unwrap().event.unwrap() {
            break ended;
        }
    };
    assert_eq!(ended.reason(), pb::EndReason::Deadline);
}

/// The first `count` events from number `from` on.
async fn events(stand: &Stand, from: u64, count: usize) -> Vec<pb::EventsResponse> {
    let mut stream = stand.client().events(pb::EventsRequest { from }).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(5), stream.message()).await;
        seen.push(next.unwrap_or_else(|_| panic!("no more events after {seen:?}")).unwrap().unwrap());
    }
    seen
}

#[tokio::test]
async fn events_are_replayed_from_any_number_and_then_come_as_they_happen() {
    let Some(stand) = start(KV).await else { return };
    let denied = asking(&stand, "", &["net:a.b:80"]);
    assert_eq!(stand.refusal(denied.clone()).await.1, "TOKEN_NOT_ALLOWED");
    let run = asking(&stand, "", &["kv:a:rw"]);
    let fence = stand.run(run.clone()).await.fence;
    let all = events(&stand, 0, 3).await;
    let facts: Vec<_> =
        all.iter().map(|event| (event.seq, event.kind.as_str(), event.execution_id.as_str(), event.fence)).collect();
    let (denied, run) = (denied.execution_id.as_str(), run.execution_id.as_str());
    assert_eq!(facts, [(1, "denied", denied, 0), (2, "granted", run, fence), (3, "released", run, fence)]);
    assert!(all[0].why.contains("arc policy add --token net:a.b:80 --owner ann"), "{:?}", all[0]);
    assert!(all.iter().all(|event| !event.lost
        && event.at_ms > 1_600_000_000_000
        && event.owner == "ann"
        && event.life == all[0].life));
    assert_eq!(events(&stand, 3, 1).await[0].kind, "released");
    let mut stream = stand.client().events(pb::EventsRequest { from: u64::MAX }).await.unwrap().into_inner();
    stand.run(asking(&stand, "", &["kv:a:rw"])).await;
    assert_eq!(stream.message().await.unwrap().unwrap().seq, 4);
}

#[tokio::test]
async fn rules_are_added_removed_and_kept() {
    let Some(mut stand) = start(KV).await else { return };
    let asked = || asking(&stand, "console.log('allowed')", &["net:api.example.com:443"]);
    assert_eq!(stand.refusal(asked()).await.1, "TOKEN_NOT_ALLOWED");
    let rule = pb::Rule {
        name: "net-for-ann".into(),
        tokens: vec!["net:api.example.com:443".into()],
        owners: vec!["ann".into()],
        subjects: vec!["tool:orders.count".into()],
        ..pb::Rule::default()
    };
    let mut client = stand.client();
    client.add_rule(pb::AddRuleRequest { rule: Some(rule.clone()) }).await.unwrap();
    assert_eq!(stand.refusal(asked()).await.1, "TOKEN_NOT_ALLOWED", "it is for one subject");
    let by_tool = || pb::ExecuteRequest { subject: "tool:orders.count".into(), ..asked() };
    assert_eq!(stand.run(by_tool()).await.text(), "allowed\n");
    let again = client.add_rule(pb::AddRuleRequest { rule: Some(rule) }).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::AlreadyExists, "RULE_EXISTS"));
    let seed = client.remove_rule(pb::RemoveRuleRequest { name: "kv for all".into() }).await.unwrap_err();
    assert_eq!((seed.code(), reason(&seed).as_str()), (Code::FailedPrecondition, "RULE_FIXED"));
    let (request, third) = (by_tool(), by_tool());
    stand.signal(Signal::SIGKILL);
    stand.exited().await;
    stand.relaunch().await;
    let listed = stand.client().list_rules(pb::ListRulesRequest {}).await.unwrap().into_inner();
    let names: Vec<_> = listed.rules.iter().map(|rule| (rule.name.as_str(), rule.origin.as_str())).collect();
    assert_eq!(names, [("kv for all", "config"), ("net-for-ann", "device")]);
    assert_eq!(stand.run(request).await.text(), "allowed\n");
    stand.client().remove_rule(pb::RemoveRuleRequest { name: "net-for-ann".into() }).await.unwrap();
    assert_eq!(stand.refusal(third).await.1, "TOKEN_NOT_ALLOWED");
}

#[tokio::test]
async fn damaged_rules_are_shown_and_those_of_the_configuration_hold() {
    let Some(mut stand) = start(KV).await else { return };
    stand.signal(Signal::SIGKILL);
    stand.exited().await;
    let path = stand.dir.path().join("state/rules.toml");
    std::fs::write(&path, "count = 3\n").unwrap();
    stand.relaunch().await;
    let mut client = stand.client();
    let listed = client.list_rules(pb::ListRulesRequest {}).await.unwrap().into_inner();
    assert!(listed.damaged.contains("rules.toml") && listed.rules.len() == 1, "{listed:?}");
    let rule = pb::Rule { name: "a".into(), kinds: vec!["net".into()], ..pb::Rule::default() };
    let refused = client.add_rule(pb::AddRuleRequest { rule: Some(rule) }).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::DataLoss, "RULES_UNREADABLE"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "count = 3\n");
    assert_eq!(stand.run(asking(&stand, "console.log('held')", &["kv:a:rw"])).await.text(), "held\n");
}

#[tokio::test]
async fn t06_a_child_keeps_no_lease_for_a_stopped_parent_and_takes_none_from_a_living_one() {
    let Some(stand) = start(&format!("{KV}[lease]\nttl_ms = 1500\n")).await else { return };
    const FAMILY: &str = "const child = Bun.spawn([process.execPath, '-e', 'setInterval(() => {}, 1)']);
        console.log(child.pid); setInterval(() => {}, 1e6);";
    let (mut stream, first) = granted(&stand, asking(&stand, FAMILY, &["kv:a:exclusive"])).await;
    until_up(&mut stream).await;
    let family = programs(&stand);
    let (parent, child) = match inner_pids(&family)[..] {
        [(parent, 2), (child, _)] => (parent, child),
        ref other => panic!("a program and its child: {other:?}"),
    };
    kill(child, Signal::SIGSTOP).unwrap();
    let begun = Instant::now();
    // Two lives of a lease.
    while begun.elapsed() < Duration::from_secs(3) {
        match stream.message().await.unwrap().unwrap().event.unwrap() {
            Event::Renewed(_) | Event::Output(_) => {}
            other => panic!("a stopped child took the lease of its parent: {other:?}"),
        }
    }
    kill(child, Signal::SIGCONT).unwrap();
    let (waiting, _) = queued(&stand, asking(&stand, "console.log('mine')", &["kv:a:exclusive"])).await;
    kill(parent, Signal::SIGSTOP).unwrap();
    let served = collect(waiting).await.unwrap();
    assert!(served.text() == "mine\n" && served.fence > first.fence);
    let (revoked, ended) = end_of(stream).await;
    assert_eq!((revoked.as_deref(), ended.reason()), (Some("it was not renewed in time"), pb::EndReason::Revoked));
    stand.idle_within(Duration::from_secs(2)).await;
}

/// Each with its number in the cage, the program first.
fn inner_pids(pids: &[Pid]) -> Vec<(Pid, u32)> {
    let inner = |pid: &Pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        Some((*pid, numbers.split_whitespace().nth(1)?.parse().ok()?))
    };
    let mut found: Vec<_> = pids.iter().filter_map(inner).collect();
    found.sort_by_key(|(_, number)| *number);
    found
}

#[tokio::test]
async fn t06_a_frozen_program_loses_its_lease_and_its_life() {
    let Some(stand) = start(&format!("{KV}[lease]\nttl_ms = 1500\n")).await else { return };
    let (mut stream, first) = granted(&stand, asking(&stand, UP, &["kv:a:rw"])).await;
    until_up(&mut stream).await;
    let pid = programs(&stand)[0];
    let mut frozen = 0;
    for home in stand.cgroups() {
        for leaf in std::fs::read_dir(home).unwrap().flatten() {
            let listed = std::fs::read_to_string(leaf.path().join("cgroup.procs")).unwrap_or_default();
            let freeze = leaf.path().join("cgroup.freeze");
            if listed.lines().any(|line| line == pid.to_string()) && freeze.exists() {
                std::fs::write(freeze, "1").unwrap();
                frozen += 1;
            }
        }
    }
    if frozen == 0 {
        return eprintln!("skipped: this machine's cgroups do not freeze");
    }
    let (waiting, _) = queued(&stand, asking(&stand, "console.log('mine')", &["kv:a:rw"])).await;
    let served = collect(waiting).await.unwrap();
    assert!(served.text() == "mine\n" && served.fence > first.fence);
    stand.clean_within(Duration::from_secs(5)).await;
    stand.idle_within(Duration::from_secs(2)).await;
}
