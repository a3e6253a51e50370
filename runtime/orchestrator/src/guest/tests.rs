//! Guests made by hand: what they may, what they may not, and what the worst of them can do.

use std::time::Duration;

use aria_core::UnixMs;
use aria_core::guest::{GuestEvent, GuestRecord};
use aria_core::plan::DeviceLimits;
use aria_core::port::{Ended, EngineStatus, EventSink, Execute, ExecuteError, ExecuteRequest, Limits};
use aria_store::{Secrets, Store};
use serde_json::json;

use super::*;
use crate::guest::lease::Budget;
use crate::{Config, Egress, Handle, NetSettings, Network, PlacesMax};

struct NoEngine;

impl Execute for NoEngine {
    fn execute<'a>(
        &'a self,
        _request: ExecuteRequest,
        _stdin: Option<Box<dyn ByteSource>>,
        _door: Option<Box<dyn ByteSource>>,
        _sink: &'a mut dyn EventSink,
    ) -> BoxFuture<'a, Result<Ended, ExecuteError>> {
        Box::pin(std::future::pending())
    }

    fn status(&self) -> BoxFuture<'_, Result<EngineStatus, ExecuteError>> {
        Box::pin(std::future::pending())
    }
}

/// A device without an engine, and guests of it.
struct Stand {
    handle: Handle,
    _dir: tempfile::TempDir,
}

struct Guest {
    door: Door,
    frames: Box<dyn ByteSource>,
    lease: Arc<LiveLease>,
    record: GuestRecord,
    next: u64,
}

fn stand() -> Stand {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), aria_store::Config::default()).unwrap();
    let limits = DeviceLimits { default: Limits::default(), max: Limits::default() };
    let places = PlacesMax { running: 1, total: 8, per_owner: 8 };
    let budget = Budget { kv_calls_max: 500, ..Budget::default() };
    let config = Config { limits, places, budget, clock: || UnixMs(1), random: || [7; 16] };
    let egress = Egress::new(NetSettings::default()).unwrap();
    let network = Network { egress, secrets: Secrets::open(dir.path()).unwrap() };
    Stand { handle: Handle::new(store, Arc::new(NoEngine), config, network), _dir: dir }
}

impl Stand {
    fn guest(&self, owner: &str, tokens: &[&str], fence: u64) -> Guest {
        let inner = &self.handle.0;
        let tokens: Vec<String> = tokens.iter().map(|text| (*text).to_owned()).collect();
        let lease = Arc::new(LiveLease::new(owner, &tokens, inner.config.budget));
        lease.granted(fence, 600_000);
        inner.leases.add(&lease);
        let id = InvocationId::from_random([1; 16]);
        let (door, frames) = door(inner, &id, owner, Arc::clone(&lease), 0);
        Guest { door, frames, lease, record: GuestRecord::default(), next: 0 }
    }
}

impl Guest {
    /// What the sink does with a frame.
    async fn frame(&mut self, frame: &[u8]) {
        match self.record.frame(frame) {
            GuestEvent::Request(request) => self.door.request(request, frame.len()).await,
            GuestEvent::BadRequest(bad) => self.door.refuse(bad).await,
            _ => {}
        }
    }

    async fn send(&mut self, id: u64, op: &str, body: Value) {
        self.frame(json!({"request": {"id": id, op: body}}).to_string().as_bytes()).await;
    }

    async fn hear(&mut self) -> Value {
        let frame = tokio::time::timeout(Duration::from_secs(20), self.frames.next()).await.expect("an answer in time");
        let frame: Value = serde_json::from_slice(&frame.expect("the way is open")).unwrap();
        frame["response"].clone()
    }

    async fn ask(&mut self, op: &str, body: Value) -> Result<Value, String> {
        self.next += 1;
        self.send(self.next, op, body).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], self.next);
        match answer.get("error") {
            Some(error) => Err(error["reason"].as_str().unwrap().to_owned()),
            None => Ok(answer["ok"].clone()),
        }
    }

    async fn put(&mut self, table: &str, key: &str, value: &str) -> Result<Value, String> {
        self.ask("kvPut", json!({"table": table, "key": key, "valueJson": value})).await
    }

    async fn get(&mut self, table: &str, key: &str) -> Result<Value, String> {
        Ok(self.ask("kvGet", json!({"table": table, "key": key})).await?["valueJson"].clone())
    }
}

fn missing<T>() -> Result<T, String> {
    Err("TOKEN_MISSING".to_owned())
}

#[tokio::test]
async fn values_are_kept_for_their_owner() {
    let stand = stand();
    let mut ann = stand.guest("ann", &["kv:orders:rw"], 1);
    assert_eq!(ann.put("orders", "a", "{\"n\":1}").await.unwrap(), json!({"version": 1}));
    let mut later = stand.guest("ann", &["kv:orders:ro"], 2);
    assert_eq!(later.get("orders", "a").await.unwrap(), "{\"n\":1}");
    let mut bob = stand.guest("bob", &["kv:orders:rw"], 3);
    assert_eq!(bob.get("orders", "a").await.unwrap(), Value::Null);
}

#[tokio::test]
async fn the_server_refuses_what_no_token_covers() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:ro", "kv:log:append", "vector:docs:rw"], 1);
    for table in ["orders2", "order", "docs", "log:x"] {
        assert_eq!(guest.get(table, "a").await, missing(), "{table}");
    }
    assert_eq!(guest.get("orders:pending", "a").await.unwrap(), Value::Null);
    assert_eq!(guest.put("orders", "a", "1").await, missing());
    assert_eq!(guest.ask("kvDelete", json!({"table": "orders", "key": "a"})).await, missing());
    assert_eq!(guest.ask("kvAppend", json!({"table": "orders", "valueJson": "1"})).await, missing());
    assert_eq!(
        guest.ask("kvCas", json!({"table": "orders", "key": "a", "expected": 0, "valueJson": "1"})).await,
        missing()
    );
    for table in ["Orders", "orders/pending", "orders%2fpending", "orders\0", "órders", "orders:rw", ""] {
        assert_eq!(guest.get(table, "a").await, Err("TOKEN_SYNTAX".to_owned()), "{table:?}");
    }
    let mut none = stand.guest("ann", &[], 2);
    assert_eq!(none.get("orders", "a").await, missing());
}

#[tokio::test]
async fn appending_adds_and_never_changes_or_reads() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:log:append"], 1);
    let first = guest.ask("kvAppend", json!({"table": "log", "valueJson": "1"})).await.unwrap();
    let second = guest.ask("kvAppend", json!({"table": "log", "valueJson": "2"})).await.unwrap();
    assert!(first["key"].as_str() < second["key"].as_str());
    assert!(guest.put("log", "mine", "3").await.is_ok());
    assert_eq!(guest.put("log", "mine", "4").await, missing());
    assert_eq!(
        guest.ask("kvCas", json!({"table": "log", "key": "mine", "expected": 3, "valueJson": "4"})).await,
        missing()
    );
    assert_eq!(guest.get("log", "mine").await, missing());
    let mut reader = stand.guest("ann", &["kv:log:ro"], 2);
    assert_eq!(reader.get("log", "mine").await.unwrap(), "3");
}

#[tokio::test]
async fn nothing_is_served_after_the_lease() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:rw"], 1);
    guest.put("orders", "a", "1").await.unwrap();
    guest.lease.over("revoked");
    assert_eq!(guest.put("orders", "a", "2").await, Err("LEASE_EXPIRED".to_owned()));
    assert_eq!(guest.get("orders", "a").await, Err("LEASE_EXPIRED".to_owned()));
    let mut next = stand.guest("ann", &["kv:orders:rw"], 2);
    assert_eq!(next.get("orders", "a").await.unwrap(), "1");
}

#[tokio::test]
async fn whoever_wakes_up_late_is_fenced_off() {
    let stand = stand();
    let mut paused = stand.guest("ann", &["kv:orders:exclusive"], 1);
    paused.put("orders", "a", "1").await.unwrap();
    {
        let mut next = stand.guest("ann", &["kv:orders:exclusive"], 2);
        // Granted is enough: the newer holder need not have written.
        assert_eq!(paused.put("orders", "b", "0").await, Err("FENCED".to_owned()));
        next.put("orders", "a", "2").await.unwrap();
    }
    // The newer one is gone; what it wrote still tells.
    assert_eq!(paused.put("orders", "b", "0").await, Err("FENCED".to_owned()));
    let mut reader = stand.guest("ann", &["kv:orders:ro"], 3);
    assert_eq!(reader.get("orders", "a").await.unwrap(), "2");
    assert_eq!(reader.get("orders", "b").await.unwrap(), Value::Null);
}

#[tokio::test]
async fn a_watch_sees_every_change_in_order_until_it_is_cancelled() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:rw"], 1);
    guest.put("orders", "a", "1").await.unwrap();
    guest.send(90, "kvWatch", json!({"table": "orders", "from": 0})).await;
    assert_eq!(guest.hear().await, json!({"id": 90, "event": {"from": 0}}));
    assert_eq!(guest.hear().await, json!({"id": 90, "event": {"key": "a", "valueJson": "1", "version": 1}}));
    let mut writer = stand.guest("ann", &["kv:other:rw", "kv:orders:rw"], 1);
    writer.put("other", "x", "0").await.unwrap();
    writer.put("orders", "b", "2").await.unwrap();
    writer.ask("kvDelete", json!({"table": "orders", "key": "a"})).await.unwrap();
    assert_eq!(guest.hear().await, json!({"id": 90, "event": {"key": "b", "valueJson": "2", "version": 2}}));
    assert_eq!(guest.hear().await, json!({"id": 90, "event": {"key": "a", "valueJson": null, "version": 3}}));
    guest.send(91, "cancel", json!({"request": 90})).await;
    assert_eq!(guest.hear().await["error"]["reason"], "CANCELLED");
    assert_eq!(guest.hear().await, json!({"id": 91, "ok": {"cancelled": true}}));
    assert_eq!(guest.ask("cancel", json!({"request": 90})).await.unwrap(), json!({"cancelled": false}));
    writer.put("orders", "c", "3").await.unwrap();
    assert_eq!(guest.get("orders", "c").await.unwrap(), "3", "nothing of the old watch is in the way");
}

#[tokio::test]
async fn requests_beyond_the_bound_and_ids_used_twice_are_refused() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:rw"], 1);
    for id in 0..REQUESTS_MAX as u64 {
        guest.send(id, "kvWatch", json!({"table": "orders"})).await;
    }
    guest.send(5, "kvGet", json!({"table": "orders", "key": "a"})).await;
    guest.send(999, "kvGet", json!({"table": "orders", "key": "a"})).await;
    let mut reasons = Vec::new();
    for _ in 0..REQUESTS_MAX + 2 {
        let answer = guest.hear().await;
        reasons.extend(answer.get("error").map(|error| (answer["id"].clone(), error["reason"].clone())));
    }
    assert_eq!(reasons, [(json!(5), json!("REQUEST_INVALID")), (json!(999), json!("TOO_MANY_REQUESTS"))]);
}

#[tokio::test]
async fn garbage_is_answered_where_it_can_be_and_harms_nobody() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:rw"], 1);
    let silent: [&[u8]; 8] = [
        b"",
        b"\xff\xfe",
        b"{\"request\":7}",
        b"{\"request\":{\"kvGet\":{}}}",
        b"{\"response\":{\"id\":1,\"ok\":{}}}",
        b"{\"request\":{\"id\":1,\"kvGet\":{}},\"log\":{}}",
        &[b'['; 100_000],
        b"{\"invoke\":{}}",
    ];
    for frame in silent {
        guest.frame(frame).await;
    }
    for (op, body, reason) in [
        ("openDoor", json!({}), "UNSUPPORTED"),
        ("secretGet", json!({"name": "key"}), "UNSUPPORTED"),
        ("kvGet", json!({}), "REQUEST_INVALID"),
        ("kvGet", json!({"table": "orders", "key": "a", "owner": "bob"}), "REQUEST_INVALID"),
        ("kvPut", json!({"table": "orders", "key": "a", "valueJson": "{"}), "REQUEST_INVALID"),
        ("kvPut", json!({"table": "orders", "key": "a", "valueJson": "x".repeat(800_000)}), "TOO_LARGE"),
        ("cancel", json!({}), "REQUEST_INVALID"),
    ] {
        assert_eq!(guest.ask(op, body).await, Err(reason.to_owned()), "{op}");
    }
    assert!(guest.put("orders", "a", "1").await.is_ok());
}

#[tokio::test]
async fn a_guest_that_asks_and_never_reads_holds_up_only_itself() {
    let stand = stand();
    let mut deaf = stand.guest("ann", &["kv:orders:rw"], 1);
    let large = format!("\"{}\"", "x".repeat(600_000));
    deaf.put("orders", "a", &large).await.unwrap();
    let flood = async {
        for id in 100.. {
            deaf.send(id, "kvGet", json!({"table": "orders", "key": "a"})).await;
        }
    };
    // It is stopped by what it does not take, long before it could fill anything.
    assert!(tokio::time::timeout(Duration::from_millis(500), flood).await.is_err());
    let mut other = stand.guest("bob", &["kv:orders:rw"], 2);
    other.put("orders", "a", "1").await.unwrap();
    let held = ROOM_BYTES / UNIT_BYTES - deaf.door.caller.way.room.available_permits();
    assert!(held <= ROOM_BYTES / UNIT_BYTES);
    // Reading sets it free.
    let mut answers = 0;
    while answers < 64 {
        answers += usize::from(deaf.hear().await.get("ok").is_some());
    }
}

#[tokio::test]
async fn what_is_in_work_ends_with_the_door() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:rw"], 1);
    guest.send(1, "kvWatch", json!({"table": "orders"})).await;
    guest.hear().await;
    let caller = Arc::downgrade(&guest.door.caller);
    drop(guest);
    tokio::time::timeout(Duration::from_secs(5), async {
        while caller.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("nothing keeps a guest that is gone");
}

#[tokio::test]
async fn the_budget_of_a_run_ends() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:ro"], 1);
    for _ in 0..500 {
        guest.get("orders", "a").await.unwrap();
    }
    assert_eq!(guest.get("orders", "a").await, Err("BUDGET_EXHAUSTED".to_owned()));
    assert!(guest.lease.exhausted());
}

#[tokio::test]
async fn many_writes_at_once_are_each_answered_once() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["kv:orders:rw"], 1);
    for id in 0..60 {
        guest.send(id, "kvPut", json!({"table": "orders", "key": format!("k{id}"), "valueJson": "1"})).await;
    }
    let mut versions: Vec<u64> = Vec::new();
    for _ in 0..60 {
        versions.push(guest.hear().await["ok"]["version"].as_u64().unwrap());
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=60).collect::<Vec<_>>());
}

fn floats(vector: &[f32]) -> String {
    use base64::Engine;
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Numbers that look random and are the same every time.
fn points(count: usize, dimensions: usize) -> Vec<Vec<f32>> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32) - 0.5
    };
    (0..count).map(|_| (0..dimensions).map(|_| next()).collect()).collect()
}

#[tokio::test]
async fn a_search_finds_what_looking_at_everything_finds() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["vector:docs:rw"], 1);
    let all = points(500, 8);
    for (start, batch) in all.chunks(100).enumerate() {
        let item = |(at, vector): (usize, &Vec<f32>)| {
            let number = start * 100 + at;
            json!({"id": format!("p{number:03}"), "vector": floats(vector), "metadataJson": json!({"odd": number % 2 == 1}).to_string()})
        };
        let items: Vec<Value> = batch.iter().enumerate().map(item).collect();
        assert_eq!(
            guest.ask("vectorUpsert", json!({"collection": "docs", "items": items})).await,
            Ok(json!({"count": 100}))
        );
    }
    let wanted = &points(501, 8)[500];
    for (metric, nearer_is_more) in [("cosine", true), ("dot", true), ("l2", false)] {
        for filter in [json!({}), json!({"odd": true})] {
            let score = |vector: &Vec<f32>| -> f64 {
                let pairs = || vector.iter().zip(wanted).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                let dot: f64 = pairs().map(|(a, b)| a * b).sum();
                let length = |of: &[f32]| of.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt();
                match metric {
                    "dot" => dot,
                    "l2" => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
                    _ => dot / (length(vector) * length(wanted)),
                }
            };
            let odd_only = filter.get("odd").is_some();
            let mut expected: Vec<(usize, f64)> = all
                .iter()
                .enumerate()
                .map(|(at, v)| (at, score(v)))
                .filter(|(at, _)| !odd_only || at % 2 == 1)
                .collect();
            expected.sort_by(|a, b| if nearer_is_more { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
            let ask =
                json!({"collection": "docs", "vector": floats(wanted), "k": 20, "metric": metric, "filter": filter});
            let found = guest.ask("vectorSearch", ask).await.unwrap();
            let found: Vec<&str> =
                found["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect();
            let expected: Vec<String> = expected.iter().take(20).map(|(at, _)| format!("p{at:03}")).collect();
            assert_eq!(found, expected, "{metric}");
        }
    }
}

#[tokio::test]
async fn vectors_obey_tokens_dimensions_and_fences() {
    let stand = stand();
    let one = |id: &str, vector: &[f32]| json!({"collection": "docs", "items": [{"id": id, "vector": floats(vector)}]});
    let search = |vector: &[f32]| json!({"collection": "docs", "vector": floats(vector)});
    let mut adder = stand.guest("ann", &["vector:docs:append"], 1);
    assert!(adder.ask("vectorUpsert", one("a", &[1.0, 0.0])).await.is_ok());
    assert_eq!(adder.ask("vectorUpsert", one("a", &[0.0, 1.0])).await, missing());
    assert_eq!(adder.ask("vectorSearch", search(&[1.0, 0.0])).await, missing());
    assert_eq!(adder.ask("vectorDelete", json!({"collection": "docs", "id": "a"})).await, missing());
    assert_eq!(adder.ask("vectorUpsert", one("b", &[1.0])).await, Err("DIMENSION".to_owned()));
    let mut writer = stand.guest("ann", &["vector:docs:rw"], 3);
    assert_eq!(writer.ask("vectorSearch", search(&[1.0])).await, Err("DIMENSION".to_owned()));
    assert!(writer.ask("vectorUpsert", one("a", &[0.0, 1.0])).await.is_ok());
    assert_eq!(adder.ask("vectorUpsert", one("late", &[0.0, 1.0])).await, Err("FENCED".to_owned()));
    let hit = writer.ask("vectorSearch", search(&[0.0, 2.0])).await.unwrap();
    assert_eq!(hit, json!({"hits": [{"id": "a", "score": 1.0, "metadataJson": "{}"}]}));
    assert_eq!(writer.ask("vectorDelete", json!({"collection": "docs", "id": "a"})).await, Ok(json!({"count": 1})));
    assert_eq!(writer.ask("vectorSearch", search(&[0.0, 2.0])).await, Ok(json!({"hits": []})));
    let mut reader = stand.guest("ann", &["vector:docs:ro", "vector:docs2:rw"], 4);
    assert_eq!(reader.ask("vectorUpsert", one("x", &[0.0, 1.0])).await, missing());
    let mut other = stand.guest("bob", &["vector:docs:rw"], 5);
    assert!(
        other.ask("vectorUpsert", one("a", &[1.0, 2.0, 3.0])).await.is_ok(),
        "another owner's collection is another one"
    );
}

#[tokio::test]
async fn a_tool_is_called_only_by_its_token_and_only_so_deep() {
    let stand = stand();
    let mut guest = stand.guest("ann", &["tool:orders.count"], 1);
    let call = |tool: &str| json!({"tool": tool, "inputJson": "{}"});
    assert_eq!(guest.ask("toolCall", call("orders.drop")).await, missing());
    assert_eq!(guest.ask("toolCall", call("orders.count2")).await, missing());
    for bad in ["orders", "Orders.count", "orders.count.x", "orders/count", ""] {
        assert_eq!(guest.ask("toolCall", call(bad)).await, Err("TOOL_UNKNOWN".to_owned()), "{bad}");
    }
    assert_eq!(guest.ask("toolCall", call("orders.count")).await, Err("TOOL_UNKNOWN".to_owned()));
    let inner = &stand.handle.0;
    let lease = Arc::clone(&guest.lease);
    let (deep, frames) = door(inner, &InvocationId::from_random([2; 16]), "ann", Arc::clone(&lease), 3);
    let mut deep = Guest { door: deep, frames, lease, record: GuestRecord::default(), next: 0 };
    assert_eq!(deep.ask("toolCall", call("orders.count")).await, Err("TOO_DEEP".to_owned()));
}
