//! A bundle as the device knows it once every rule of the format holds: names, tools, what they ask for.
//!
//! Values here were checked by `aria_bundle`, which reads the JSON; nothing below checks them again.

use aria_types::ResourceToken;
use semver::{Version, VersionReq};
use serde_json::{Map, Value};

use crate::dependency::Dependency;
use crate::digest::Digest;
use crate::name::{Name, ToolName};

/// The manifest of one bundle.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The bundle's name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// For people, may be empty.
    pub description: String,
    /// For people, may be empty.
    pub authors: Vec<String>,
    /// For people, may be empty.
    pub license: String,
    /// Versions of the runtime it works with.
    pub engine: VersionReq,
    /// Names are unique; empty when there is a program.
    pub tools: Vec<Tool>,
    /// Agents, teams and pipelines; their names and those of the tools are all different.
    pub composites: Vec<Composite>,
    /// Present only in bundles made for one execution.
    pub program: Option<Program>,
    /// Bundles that must be installed before it; names are unique.
    pub dependencies: Vec<Dependency>,
    /// Digest of the sources it was built from.
    pub source: Option<Digest>,
    /// What built it.
    pub builder: Option<Builder>,
    /// Every file of the code layers, paths unique.
    pub files: Vec<FileEntry>,
}

/// One function others may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Unique in its bundle.
    pub name: Name,
    /// For people, may be empty.
    pub title: String,
    /// For people and models.
    pub description: String,
    /// JSON Schema 2020-12 of the input; an object, not yet compiled.
    pub input: Value,
    /// JSON Schema 2020-12 of the output; an object, not yet compiled.
    pub output: Value,
    /// Hints for models.
    pub annotations: Annotations,
    /// What it must hold while it runs.
    pub tokens: Vec<ResourceToken>,
    /// Hosts it may reach.
    pub egress: Vec<String>,
    /// Names of secrets it uses.
    pub secrets: Vec<String>,
    /// Bounds it asks for.
    pub limits: ToolLimits,
    /// Milliseconds from start until it is ended.
    pub timeout_ms: u64,
    /// Whether a person is asked.
    pub approval: Approval,
    /// May start child processes.
    pub spawn: bool,
    /// May make machine code while it runs. Never false together with `spawn`.
    pub jit: bool,
    /// The module, below `code/`, listed in `files`.
    pub entry: String,
}

/// What a tool says of its effects; absent is false, but the interface digest tells absent from false, as the manifest does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Annotations {
    /// Changes nothing.
    pub read_only: Option<bool>,
    /// May destroy.
    pub destructive: Option<bool>,
    /// A second call changes nothing more.
    pub idempotent: Option<bool>,
    /// Talks to the world outside.
    pub open_world: Option<bool>,
}

/// Bounds a tool asks for; `None` is the device's default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ToolLimits {
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Thousandths of one core.
    pub cpu_millis: Option<u32>,
    /// Size of `/tmp` and of `/out`, bytes each.
    pub disk_bytes: Option<u64>,
    /// Live bytes of stdout and stderr together.
    pub output_bytes: Option<u64>,
}

/// When a person is asked before a call, the most free rule first.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Approval {
    /// Not at all.
    #[default]
    Never,
    /// As the device's policy says.
    Policy,
    /// Each time.
    Always,
}

impl Approval {
    /// As the manifest spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Always => "always",
            Self::Policy => "policy",
        }
    }
}

/// What a bundle declares beside tools. This version keeps and shows it and runs none of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    /// Which of the three.
    pub kind: CompositeKind,
    /// Unique in its bundle, tools included.
    pub name: Name,
    /// What a model or a caller sees, its part of the bundle's interface.
    pub interface: Value,
    /// What it may touch, its part of the bundle's authority.
    pub authority: Value,
    /// The same one by one: tokens of an agent, members of a team, calls of a pipeline.
    pub rights: Vec<String>,
    /// Whether a person is asked before an agent runs.
    pub approval: Approval,
}

/// What sort of composite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CompositeKind {
    /// A loop with a model and tools.
    Agent,
    /// Agents with a division of work.
    Team,
    /// A graph of steps.
    Pipeline,
}

impl CompositeKind {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Team => "team",
            Self::Pipeline => "pipeline",
        }
    }

    /// The manifest's key for all of them.
    pub fn key(self) -> &'static str {
        match self {
            Self::Agent => "agents",
            Self::Team => "teams",
            Self::Pipeline => "pipelines",
        }
    }
}

/// A script that runs once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// The module, below `code/`, listed in `files`.
    pub entry: String,
}

/// Who made the bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Builder {
    /// Program.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One file of the code layers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileEntry {
    /// Relative, checked by the rules of the archive.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its content.
    pub sha256: Digest,
}

impl Manifest {
    /// The tool of this name.
    pub fn tool(&self, name: &Name) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == *name)
    }

    /// The agent, team or pipeline of this name.
    pub fn composite(&self, name: &Name) -> Option<&Composite> {
        self.composites.iter().find(|composite| composite.name == *name)
    }

    /// Names as callers write them, in the manifest's order.
    pub fn tool_names(&self) -> impl Iterator<Item = ToolName> + '_ {
        self.tools.iter().map(|tool| ToolName { bundle: self.name.clone(), tool: tool.name.clone() })
    }

    /// Whether this runtime version is in the bundle's `engine` range.
    pub fn runs_on(&self, engine: &Version) -> bool {
        self.engine.matches(engine)
    }

    /// What a model sees of the bundle; the interface digest is the hash of its canonical JSON.
    pub fn interface(&self) -> Value {
        self.view(
            |tool| {
                object([
                    ("name", tool.name.as_str().into()),
                    ("title", tool.title.as_str().into()),
                    ("description", tool.description.as_str().into()),
                    ("input", tool.input.clone()),
                    ("output", tool.output.clone()),
                    ("annotations", annotations(&tool.annotations)),
                ])
            },
            |composite| &composite.interface,
        )
    }

    /// What the bundle may touch; the authority digest is the hash of its canonical JSON.
    pub fn authority(&self) -> Value {
        self.view(
            |tool| {
                let mut touches = Map::from_iter([
                    ("name".to_owned(), tool.name.as_str().into()),
                    ("tokens".to_owned(), sorted(tool.tokens.iter().map(ToString::to_string))),
                    ("egress".to_owned(), sorted(tool.egress.iter().cloned())),
                    ("secrets".to_owned(), sorted(tool.secrets.iter().cloned())),
                    ("spawn".to_owned(), tool.spawn.into()),
                    ("approval".to_owned(), tool.approval.as_str().into()),
                ]);
                if !tool.jit {
                    touches.insert("jit".to_owned(), false.into());
                }
                Value::Object(touches)
            },
            |composite| &composite.authority,
        )
    }

    /// Kinds the bundle has none of take no part, so a bundle of tools alone is described as it always was.
    fn view(&self, tool: impl Fn(&Tool) -> Value, composite: impl Fn(&Composite) -> &Value) -> Value {
        let mut tools: Vec<&Tool> = self.tools.iter().collect();
        tools.sort_by(|a, b| a.name.cmp(&b.name));
        let mut whole = Map::from_iter([("tools".to_owned(), tools.into_iter().map(tool).collect())]);
        for kind in [CompositeKind::Agent, CompositeKind::Team, CompositeKind::Pipeline] {
            let mut of_kind: Vec<&Composite> = self.composites.iter().filter(|one| one.kind == kind).collect();
            of_kind.sort_by(|a, b| a.name.cmp(&b.name));
            if !of_kind.is_empty() {
                whole.insert(kind.key().to_owned(), of_kind.into_iter().map(|one| composite(one).clone()).collect());
            }
        }
        Value::Object(whole)
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}

fn annotations(given: &Annotations) -> Value {
    let Annotations { read_only, destructive, idempotent, open_world } = *given;
    let all =
        [("readOnly", read_only), ("destructive", destructive), ("idempotent", idempotent), ("openWorld", open_world)];
    let present = all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::Bool(value?))));
    Value::Object(present.collect::<Map<_, _>>())
}

fn sorted(texts: impl Iterator<Item = String>) -> Value {
    let mut texts: Vec<String> = texts.collect();
    texts.sort();
    texts.into()
}
