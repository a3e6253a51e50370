//! Resources that are counted: slots to run in, `cpu`, `mem`, and each `gpu` by its name.
//!
//! A request takes from several of them at once or from none. Requests of the same line that do not fit keep later ones from
//! what they lack, so that many small ones cannot starve a large one: see [`Room`].

use std::collections::BTreeMap;

use aria_types::ResourceToken;
use aria_types::token::{Kind, Mode};

/// Most counted resources; a set of them is one machine word.
pub const RESOURCES_MAX: usize = 64;

const SLOT: usize = 0;
const CHILD_SLOT: usize = 1;
const CPU: usize = 2;
const MEM: usize = 3;
const GPU: usize = 4;

/// How much of everything there is.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    /// Executions at once that are nobody's child.
    pub slots: u64,
    /// Executions at once that are somebody's child. They have slots of their own, or parents that wait for them could take all.
    pub child_slots: u64,
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// Bytes.
    pub mem_bytes: u64,
    /// Holders at once of each graphics processor.
    pub gpus: BTreeMap<String, u64>,
}

/// More than there is, so that waiting would not help.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{asked} of {resource} are more than this machine has ({total})")]
pub struct TooMuch {
    /// `cpu`, `mem` or `gpu:<name>`.
    pub resource: String,
    /// Asked for.
    pub asked: u64,
    /// All there is.
    pub total: u64,
}

/// One counted resource, for people and for status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CapacityView {
    /// `slot`, `child-slot`, `cpu`, `mem` or `gpu:<name>`.
    pub name: String,
    /// All there is.
    pub total: u64,
    /// What is taken.
    pub used: u64,
}

/// What one request takes: resource and amount, each resource once, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Needs(Vec<(usize, u64)>);

impl Needs {
    pub(crate) fn slot() -> Self {
        Self(vec![(SLOT, 1)])
    }

    pub(crate) fn child_slot() -> Self {
        Self(vec![(CHILD_SLOT, 1)])
    }

    pub(crate) fn and(&self, other: &Needs) -> Needs {
        let mut all = self.0.clone();
        all.extend(&other.0);
        Needs(all)
    }

    pub(crate) fn without_slot(&self) -> Needs {
        Needs(self.0.iter().filter(|(resource, _)| !matches!(*resource, SLOT | CHILD_SLOT)).copied().collect())
    }

    /// The resources, one bit each.
    pub(crate) fn mask(&self) -> u64 {
        self.0.iter().fold(0, |mask, (resource, _)| mask | 1 << resource)
    }
}

/// The resources and what is taken of them.
#[derive(Clone, Debug)]
pub(crate) struct Capacities {
    all: Vec<CapacityView>,
}

impl Capacities {
    /// Graphics processors beyond [`RESOURCES_MAX`] are left out, which is as if they were not there.
    pub(crate) fn new(capacity: &Capacity) -> Self {
        let one = |name: &str, total| CapacityView { name: name.to_owned(), total, used: 0 };
        let mut all = vec![
            one("slot", capacity.slots),
            one("child-slot", capacity.child_slots),
            one("cpu", capacity.cpu_millis),
            one("mem", capacity.mem_bytes),
        ];
        let gpus = capacity.gpus.iter().take(RESOURCES_MAX - GPU);
        all.extend(gpus.map(|(name, total)| one(&format!("gpu:{name}"), *total)));
        Self { all }
    }

    pub(crate) fn views(&self) -> &[CapacityView] {
        &self.all
    }

    /// What these tokens take. Of two amounts of the same resource the larger covers the smaller.
    pub(crate) fn needs<'a>(&self, tokens: impl IntoIterator<Item = &'a ResourceToken>) -> Result<Needs, TooMuch> {
        let mut needs = BTreeMap::<usize, u64>::new();
        for token in tokens {
            let Some((resource, amount)) = self.need(token)? else { continue };
            let total = self.all.get(resource).map_or(0, |resource| resource.total);
            if amount > total {
                let resource = self.name(resource).to_owned();
                return Err(TooMuch { resource, asked: amount, total });
            }
            let need = needs.entry(resource).or_default();
            *need = amount.max(*need);
        }
        Ok(Needs(needs.into_iter().collect()))
    }

    fn need(&self, token: &ResourceToken) -> Result<Option<(usize, u64)>, TooMuch> {
        let gpu = |name: String| {
            let found = self.all.iter().enumerate().skip(GPU).find(|(_, resource)| resource.name == name);
            let (place, resource) = found.ok_or(TooMuch { resource: name, asked: 1, total: 0 })?;
            let all_of_it = token.mode() == Mode::Exclusive;
            Ok(Some((place, if all_of_it { resource.total.max(1) } else { 1 })))
        };
        match (token.kind(), token.path().first()) {
            (Kind::Cpu, _) => Ok(Some((CPU, token.amount()))),
            (Kind::Mem, _) => Ok(Some((MEM, token.amount()))),
            (Kind::Gpu, Some(name)) => gpu(format!("gpu:{}", name.as_str())),
            _ => Ok(None),
        }
    }

    pub(crate) fn name(&self, resource: usize) -> &str {
        self.all.get(resource).map_or("", |resource| &resource.name)
    }

    pub(crate) fn take(&mut self, needs: &Needs) {
        for (resource, amount) in &needs.0 {
            if let Some(resource) = self.all.get_mut(*resource) {
                resource.used += amount;
            }
        }
        debug_assert!(self.all.iter().all(|resource| resource.used <= resource.total), "{:?}", self.all);
    }

    pub(crate) fn give_back(&mut self, needs: &Needs) {
        for (resource, amount) in &needs.0 {
            if let Some(resource) = self.all.get_mut(*resource) {
                debug_assert!(resource.used >= *amount, "{resource:?}");
                resource.used = resource.used.saturating_sub(*amount);
            }
        }
    }

    /// What is free right now, for one pass over the queue.
    pub(crate) fn room(&self) -> Room {
        Room { free: self.all.iter().map(|it| it.total - it.used.min(it.total)).collect(), closed: 0, kept: false }
    }

    /// Everything, as if nobody had taken anything.
    pub(crate) fn empty_room(&self) -> Room {
        Room { free: self.all.iter().map(|it| it.total).collect(), closed: 0, kept: false }
    }

    /// Why `needs` do not fit, for people; empty when they do.
    pub(crate) fn lack(&self, needs: &Needs) -> Option<String> {
        let lacking = |(resource, amount): &&(usize, u64)| {
            self.all.get(*resource).is_some_and(|it| it.total.saturating_sub(it.used) < *amount)
        };
        let (resource, amount) = needs.0.iter().find(lacking)?;
        let resource = self.all.get(*resource)?;
        Some(match resource.name.as_str() {
            name @ ("slot" | "child-slot") => {
                format!("every {name} is taken ({} of {})", resource.used, resource.total)
            }
            name => format!("{name}: {amount} asked, {} of {} taken", resource.used, resource.total),
        })
    }
}

/// What is left while the queue is walked from its front.
///
/// Who does not fit closes what it lacks for everybody behind it; the first of them also keeps its share of what it does not
/// lack. So the first in line gets everything it needs as holders leave, and then the next is first.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    free: Vec<u64>,
    closed: u64,
    kept: bool,
}

impl Room {
    /// Takes the needs if they fit, and closes what they lack if not. Who needs something closed changes nothing.
    pub(crate) fn admit(&mut self, needs: &Needs) -> bool {
        if self.is_closed_for(needs.mask()) {
            return false;
        }
        let free = |resource: usize| self.free.get(resource).copied().unwrap_or(0);
        let lacking = needs.0.iter().filter(|(resource, amount)| free(*resource) < *amount);
        let lacking = lacking.fold(0, |mask, (resource, _)| mask | 1 << resource);
        self.closed |= lacking;
        if lacking == 0 || !self.kept {
            self.kept |= lacking != 0;
            self.take(needs);
        }
        lacking == 0
    }

    /// Takes what is there.
    pub(crate) fn take(&mut self, needs: &Needs) {
        for (resource, amount) in &needs.0 {
            if let Some(free) = self.free.get_mut(*resource) {
                *free = free.saturating_sub(*amount);
            }
        }
    }

    /// As if nobody held these.
    pub(crate) fn add(&mut self, needs: &Needs) {
        for (resource, amount) in &needs.0 {
            if let Some(free) = self.free.get_mut(*resource) {
                *free += amount;
            }
        }
    }

    pub(crate) fn is_closed_for(&self, mask: u64) -> bool {
        self.closed & mask != 0
    }

    /// Nobody without a parent can start any more.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closed_for(1 << SLOT)
    }
}
