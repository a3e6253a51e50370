//! Which layers to leave out, and what that does to the step lists.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use quilt_sandbox::for_weak_launcher::{
    CAGE, Cage, IDENTITY, PARK, PROGRAM, Program, Step, TEMPLATE, Template, whole_proc,
};

/// Steps no control needs: without them there is no cage to attack, or this launcher could not run one.
const FIXED: [&str; 10] =
    ["root-bind", "pivot", "tmp", "app", "in", "out", "workspace", "workspace-files", "stdio", "execve"];
/// Steps of the product that assume its own launcher; always left out here.
const OURS: [&str; 3] = ["launcher-death-signal", "shim-death-signal", "death-signal"];
/// Layers that are not a step of their own: (name, what it takes away).
const EXTRA: [(&str, &str); 7] = [
    ("ro-root", "the root is writable (on a throw-away overlay) and has a readable file /forbidden"),
    ("noexec", "/tmp, /out and /app may be executed"),
    ("disk", "/tmp and /out have no size"),
    ("proc-options", "/proc shows everything"),
    ("memory", "no memory limit"),
    ("pids", "no process limit"),
    ("cpu", "no share of CPU time"),
];

/// The layers to leave out.
#[derive(Debug, Default)]
pub(crate) struct Without(BTreeSet<String>);

impl Without {
    /// A comma-separated list of names; every one must exist.
    pub(crate) fn parse(list: &str) -> Result<Without> {
        let known = names();
        let wanted: BTreeSet<String> = list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("no layer {unknown:?}; there are {}", known.join(" "));
        }
        Ok(Without(wanted))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn keeps(&self, step: &str) -> bool {
        let alias = step == "root-read-only" && self.has("ro-root");
        !OURS.contains(&step) && !self.has(step) && !alias
    }

    fn filter<C>(&self, steps: &'static [Step<C>]) -> Vec<Step<C>> {
        steps.iter().filter(|step| self.keeps(step.name)).map(|step| Step { name: step.name, run: step.run }).collect()
    }

    pub(crate) fn template(&self) -> Vec<Step<Template>> {
        self.filter(TEMPLATE)
    }

    /// The shim's steps while it waits in the product.
    pub(crate) fn park(&self) -> Vec<Step<Template>> {
        let mut steps = self.filter(PARK);
        if self.has("proc-options") {
            for step in steps.iter_mut().filter(|step| step.name == "proc") {
                step.run = whole_proc;
            }
        }
        steps
    }

    /// The shim's steps when it has its order.
    pub(crate) fn cage(&self) -> Vec<Step<Cage>> {
        let mut steps = self.filter(CAGE);
        steps.extend(self.filter(IDENTITY));
        steps
    }

    pub(crate) fn program(&self) -> Vec<Step<Program>> {
        self.filter(PROGRAM)
    }
}

/// Every name `--without` takes.
pub(crate) fn names() -> Vec<&'static str> {
    fn of<C>(steps: &[Step<C>]) -> impl Iterator<Item = &'static str> {
        steps.iter().map(|step| step.name)
    }
    of(TEMPLATE)
        .chain(of(PARK))
        .chain(of(CAGE))
        .chain(of(IDENTITY))
        .chain(of(PROGRAM))
        .filter(|name| !FIXED.contains(name) && !OURS.contains(name))
        .chain(EXTRA.iter().map(|(name, _)| *name))
        .collect()
}

/// The names with what they take away, for `--help`.
pub(crate) fn help() -> String {
    let steps: Vec<_> = names().into_iter().filter(|name| EXTRA.iter().all(|(extra, _)| extra != name)).collect();
    let extra = EXTRA.iter().map(|(name, what)| format!("  {name:14} {what}\n")).collect::<String>();
    format!("steps: {}\n{extra}", steps.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_left_out_is_not_in_the_list_and_the_rest_is() {
        let without = Without::parse("seccomp,landlock").expect("known");
        let names: Vec<_> = without.program().iter().map(|step| step.name).collect();
        assert!(!names.contains(&"seccomp") && !names.contains(&"landlock"));
        assert_eq!(names.len(), PROGRAM.len() - 2);
    }

    #[test]
    fn nothing_left_out_leaves_every_step_but_those_of_the_products_launcher() {
        let without = Without::default();
        let count = without.template().len() + without.park().len() + without.cage().len() + without.program().len();
        let all = TEMPLATE.len() + PARK.len() + CAGE.len() + IDENTITY.len() + PROGRAM.len();
        assert_eq!(count, all - OURS.len());
    }

    #[test]
    fn unknown_layers_and_the_frame_itself_are_refused() {
        for name in ["secomp", "pivot", "execve"] {
            assert!(Without::parse(name).is_err(), "{name}");
        }
    }
}
