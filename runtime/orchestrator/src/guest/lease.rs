//! The lease of one run as the device sees it: which tokens, until when, how much of each resource.
//!
//! Every operation of every resource server asks here first, and the store asks again just before it writes. The engine's
//! stream is the only source: what it granted, renewed and revoked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use aria_core::request::GuestError;
use aria_types::ResourceToken;
use aria_types::token::{Kind, Mode};
use tokio::sync::watch;

/// A renewal may wait in the engine's stream behind output nobody has read yet; a guest's request that came on the same stream is
/// not refused before what is behind it could be read.
const LATE_NEWS_MAX: Duration = Duration::from_secs(1);
/// The engine counts from when it granted, we from when we heard of it.
const MARGIN: u32 = 16;

/// What one run may do, while it may.
#[derive(Debug)]
pub(crate) struct LiveLease {
    owner: String,
    state: watch::Sender<State>,
    budget: Budget,
    spent: Mutex<BTreeMap<Kind, Spent>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    tokens: Arc<[ResourceToken]>,
    fence: u64,
    /// By the monotonic clock; `None` before it was granted.
    expires: Option<Instant>,
    /// Why it is over.
    over: Option<String>,
}

/// What one run may ask of its resources, for each kind of resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// Requests to key-value tables.
    pub kv_calls_max: u64,
    /// Bytes sent to key-value tables.
    pub kv_bytes_max: u64,
    /// Requests to vector collections.
    pub vector_calls_max: u64,
    /// Bytes sent to vector collections.
    pub vector_bytes_max: u64,
    /// Calls of other tools.
    pub tool_calls_max: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            kv_calls_max: 1_000_000,
            kv_bytes_max: 1 << 30,
            vector_calls_max: 1_000_000,
            vector_bytes_max: 1 << 30,
            tool_calls_max: 1000,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    calls: u64,
    bytes: u64,
    exhausted: bool,
}

/// A token that allows what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The lease's number.
    pub(crate) fence: u64,
    /// The mode of the token that allows it.
    pub(crate) mode: Mode,
}

impl LiveLease {
    /// Not granted yet: allows nothing.
    pub(crate) fn new(owner: &str, tokens: &[String], budget: Budget) -> Self {
        // They were parsed before they were asked for; one that is none allows nothing.
        let tokens = tokens.iter().filter_map(|text| ResourceToken::parse(text).ok()).collect();
        let state = State { tokens, ..State::default() };
        Self { owner: owner.to_owned(), state: watch::Sender::new(state), budget, spent: Mutex::default() }
    }

    /// The engine granted it.
    pub(crate) fn granted(&self, fence: u64, ttl_ms: u64) {
        self.state.send_modify(|state| (state.fence, state.expires) = (fence, end(ttl_ms)));
    }

    /// The engine renewed it.
    pub(crate) fn renewed(&self, ttl_ms: u64) {
        self.state.send_modify(|state| state.expires = end(ttl_ms));
    }

    /// It is over for ever.
    pub(crate) fn over(&self, why: &str) {
        self.state.send_modify(|state| {
            state.over.get_or_insert_with(|| why.to_owned());
        });
    }

    /// Whether it holds now.
    pub(crate) fn is_live(&self) -> bool {
        self.state.borrow().is_live()
    }

    /// The tokens, for those who show them.
    pub(crate) fn tokens(&self) -> Arc<[ResourceToken]> {
        Arc::clone(&self.state.borrow().tokens)
    }

    /// The token that allows what `needed` allows, with the strongest mode of those that do.
    pub(crate) async fn allows(&self, needed: &ResourceToken) -> Result<Held, GuestError> {
        let found = {
            let state = self.state.borrow();
            let covering = state.tokens.iter().filter(|held| held.covers(needed));
            covering.max_by_key(|held| held.mode()).map(|held| Held { fence: state.fence, mode: held.mode() })
        };
        let held = found.ok_or_else(|| self.missing(needed))?;
        self.live().await?;
        Ok(held)
    }

    fn missing(&self, needed: &ResourceToken) -> GuestError {
        let held = self.tokens().iter().map(ResourceToken::as_str).collect::<Vec<_>>().join(" ");
        let held = if held.is_empty() { "no token".to_owned() } else { held };
        GuestError::new("TOKEN_MISSING", format!("{needed} is needed, this run holds {held}"))
    }

    /// Waits a moment for news of a lease whose time is over.
    async fn live(&self) -> Result<(), GuestError> {
        if self.is_live() {
            return Ok(());
        }
        let mut news = self.state.subscribe();
        let live = news.wait_for(|state| state.is_live() || state.over.is_some());
        let state = match tokio::time::timeout(LATE_NEWS_MAX, live).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) | Err(_) => self.state.borrow().clone(),
        };
        match state.over {
            Some(why) => Err(GuestError::new("LEASE_EXPIRED", format!("the lease of this run is over: {why}"))),
            None if state.is_live() => Ok(()),
            None => Err(GuestError::new("LEASE_EXPIRED", "the lease of this run was not renewed in time")),
        }
    }

    /// Counts one request and its bytes against the budget.
    pub(crate) fn spend(&self, kind: Kind, bytes: u64) -> Result<(), GuestError> {
        let (calls_max, bytes_max) = match kind {
            Kind::Kv => (self.budget.kv_calls_max, self.budget.kv_bytes_max),
            Kind::Vector => (self.budget.vector_calls_max, self.budget.vector_bytes_max),
            Kind::Tool => (self.budget.tool_calls_max, u64::MAX),
            // Counted by their own servers.
            _ => return Ok(()),
        };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = spent.entry(kind).or_default();
        let (calls, sum) = (spent.calls.saturating_add(1), spent.bytes.saturating_add(bytes));
        if calls > calls_max || sum > bytes_max {
            spent.exhausted = true;
            let what = if calls > calls_max { (calls_max, "requests") } else { (bytes_max, "bytes") };
            let message = format!("this run may spend {} {} on {kind}", what.0, what.1);
            return Err(GuestError::new("BUDGET_EXHAUSTED", message));
        }
        (spent.calls, spent.bytes) = (calls, sum);
        Ok(())
    }

    /// Whether something was refused for the budget's sake.
    pub(crate) fn exhausted(&self) -> bool {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).values().any(|spent| spent.exhausted)
    }

    /// Whether this lease ended before `other` began, though nobody told us: the engine gave away what it held.
    fn superseded_by(&self, other: &LiveLease) -> bool {
        let (mine, theirs) = (self.state.borrow(), other.state.borrow());
        self.owner == other.owner
            && theirs.expires.is_some()
            && theirs.fence > mine.fence
            && mine.tokens.iter().any(|held| theirs.tokens.iter().any(|token| token.conflicts(held)))
    }
}

impl State {
    fn is_live(&self) -> bool {
        self.over.is_none() && self.expires.is_some_and(|end| Instant::now() < end)
    }
}

fn end(ttl_ms: u64) -> Option<Instant> {
    let ttl = Duration::from_millis(ttl_ms);
    // A time beyond what the clock can tell never comes.
    let now = Instant::now();
    now.checked_add(ttl - ttl / MARGIN).or_else(|| now.checked_add(Duration::from_secs(86_400 * 365)))
}

/// All leases of living runs.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Vec<Weak<LiveLease>>>);

impl Leases {
    /// Remembers a lease until it is dropped. There are as many as there are places for runs.
    pub(crate) fn add(&self, lease: &Arc<LiveLease>) {
        let mut leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|lease| lease.strong_count() > 0);
        leases.push(Arc::downgrade(lease));
    }

    /// Refuses a lease that a later one has made impossible.
    pub(crate) fn check(&self, lease: &LiveLease) -> Result<(), GuestError> {
        let leases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = leases.iter().filter_map(Weak::upgrade).any(|other| lease.superseded_by(&other));
        if later { Err(GuestError::new("FENCED", "a later lease holds what this run held")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> ResourceToken {
        ResourceToken::parse(text).expect("token")
    }

    fn lease(tokens: &[&str]) -> LiveLease {
        let tokens: Vec<String> = tokens.iter().map(|text| (*text).to_owned()).collect();
        let lease = LiveLease::new("ann", &tokens, Budget::default());
        lease.granted(7, 60_000);
        lease
    }

    async fn reason(lease: &LiveLease, needed: &str) -> Option<String> {
        lease.allows(&token(needed)).await.err().map(|error| error.reason.into_owned())
    }

    #[tokio::test]
    async fn only_what_a_token_covers_is_allowed() {
        let lease = lease(&["kv:orders:rw", "kv:log:append", "vector:docs:ro"]);
        for good in ["kv:orders:ro", "kv:orders:append", "kv:orders:rw", "kv:orders:pending:rw", "kv:log:append"] {
            assert_eq!(reason(&lease, good).await, None, "{good}");
        }
        for bad in ["kv:orders2:ro", "kv:order:ro", "kv:log:ro", "kv:log:rw", "vector:orders:ro", "vector:docs:append"]
        {
            assert_eq!(reason(&lease, bad).await.as_deref(), Some("TOKEN_MISSING"), "{bad}");
        }
        let held = lease.allows(&token("kv:orders:append")).await.expect("held");
        assert_eq!((held.fence, held.mode), (7, Mode::Rw));
    }

    #[tokio::test]
    async fn a_lease_allows_nothing_before_and_after_its_time() {
        let waiting = LiveLease::new("ann", &["kv:orders:rw".to_owned()], Budget::default());
        assert_eq!(reason(&waiting, "kv:orders:ro").await.as_deref(), Some("LEASE_EXPIRED"));
        let lease = lease(&["kv:orders:rw"]);
        lease.renewed(0);
        assert!(!lease.is_live());
        assert_eq!(reason(&lease, "kv:orders:ro").await.as_deref(), Some("LEASE_EXPIRED"));
        lease.renewed(60_000);
        assert_eq!(reason(&lease, "kv:orders:ro").await, None);
        lease.over("revoked");
        lease.renewed(60_000);
        assert_eq!(reason(&lease, "kv:orders:ro").await.as_deref(), Some("LEASE_EXPIRED"));
        assert!(!lease.is_live());
    }

    #[tokio::test]
    async fn a_renewal_that_is_on_its_way_is_waited_for() {
        let lease = lease(&["kv:orders:rw"]);
        lease.renewed(0);
        let needed = token("kv:orders:ro");
        let renew = async {
            tokio::task::yield_now().await;
            lease.renewed(60_000);
        };
        assert!(tokio::join!(lease.allows(&needed), renew).0.is_ok());
    }

    #[test]
    fn a_later_lease_that_conflicts_ends_an_earlier_one() {
        let leases = Leases::default();
        let make = |owner: &str, tokens: &str, fence| {
            let lease = Arc::new(LiveLease::new(owner, &[tokens.to_owned()], Budget::default()));
            lease.granted(fence, 60_000);
            leases.add(&lease);
            lease
        };
        let old = make("ann", "kv:orders:rw", 3);
        let beside = make("ann", "kv:other:rw", 4);
        let other = make("bob", "kv:orders:rw", 5);
        assert_eq!(leases.check(&old), Ok(()));
        let new = make("ann", "kv:orders:pending:exclusive", 6);
        assert_eq!(leases.check(&old).expect_err("late").reason, "FENCED");
        assert!(leases.check(&new).is_ok() && leases.check(&beside).is_ok() && leases.check(&other).is_ok());
    }

    #[test]
    fn a_budget_ends_and_says_so() {
        let budget = Budget { kv_calls_max: 2, kv_bytes_max: 100, tool_calls_max: 0, ..Budget::default() };
        let lease = LiveLease::new("ann", &[], budget);
        assert_eq!(lease.spend(Kind::Kv, 60), Ok(()));
        assert_eq!(lease.spend(Kind::Kv, 60).expect_err("bytes").reason, "BUDGET_EXHAUSTED");
        assert!(lease.exhausted());
        assert_eq!(lease.spend(Kind::Kv, 1), Ok(()));
        assert_eq!(lease.spend(Kind::Kv, 0).expect_err("calls").reason, "BUDGET_EXHAUSTED");
        assert_eq!(lease.spend(Kind::Tool, 0).expect_err("none").reason, "BUDGET_EXHAUSTED");
        assert_eq!(lease.spend(Kind::Vector, 10), Ok(()));
    }
}
