//! The manifest's JSON, checked key by key into [`Manifest`].

use std::collections::BTreeSet;

use aria_core::bundle::Builder;
use aria_core::dependency::Range;
use aria_core::{Annotations, Approval, Dependency, Digest, FileEntry, Manifest, Name, Program, Tool, ToolLimits};
use aria_types::ResourceToken;
use semver::{Version, VersionReq};
use serde_json::Value;

use crate::composites;
use crate::error::{BundleError, Rule, refuse};
use crate::fields::{Fields, document};
use crate::limits::Limits;
use crate::path::{self, Kind, Paths};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
const VERSION_BYTES_MAX: usize = 128;
pub(crate) const TOOLS_MAX: usize = 1000;
pub(crate) const LIST_MAX: usize = 256;
pub(crate) const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;
const TIB: u64 = 1 << 40;

/// Reads a manifest document under the format's own limits: from a bundle, or as it was stored at its install.
pub fn parse(json: &[u8]) -> Result<Manifest, BundleError> {
    parse_within(json, &Limits::default())
}

pub(crate) fn parse_within(json: &[u8], limits: &Limits) -> Result<Manifest, BundleError> {
    let mut at = Fields::new(document(json, "manifest", limits)?, "manifest")?;
    if at.integer("format")? != 1 {
        return Err(refuse(Rule::FormatUnsupported, "manifest/format", "this device reads format 1"));
    }
    let manifest = Manifest {
        name: name(&mut at)?,
        version: version(&mut at)?,
        description: at.text("description")?,
        authors: at.texts("authors")?,
        license: at.text("license")?,
        engine: engine(&mut at)?,
        tools: tools(&mut at)?,
        composites: composites::read(&mut at)?,
        program: program(&mut at)?,
        dependencies: dependencies(&mut at)?,
        source: Some(source(&mut at)?),
        builder: Some(builder(&mut at)?),
        files: files(&mut at, limits)?,
    };
    at.end()?;
    check_names(&manifest)?;
    check_entries(&manifest)?;
    Ok(manifest)
}

pub(crate) fn name(at: &mut Fields) -> Result<Name, BundleError> {
    let text = at.text("name")?;
    Name::parse(&text).map_err(|error| at.wrong("name", error.to_string()))
}

fn version(at: &mut Fields) -> Result<Version, BundleError> {
    let text = at.text("version")?;
    if text.len() > VERSION_BYTES_MAX {
        return Err(at.wrong("version", format!("longer than {VERSION_BYTES_MAX} bytes")));
    }
    Version::parse(&text).map_err(|error| at.wrong("version", error.to_string()))
}

fn engine(at: &mut Fields) -> Result<VersionReq, BundleError> {
    let text = at.text("engine")?;
    VersionReq::parse(&text).map_err(|error| at.wrong("engine", error.to_string()))
}

fn source(at: &mut Fields) -> Result<Digest, BundleError> {
    let mut source = at.object("source")?;
    let digest = source.digest("digest")?;
    source.end()?;
    Ok(digest)
}

fn builder(at: &mut Fields) -> Result<Builder, BundleError> {
    let mut builder = at.object("builder")?;
    let read = Builder { name: builder.text("name")?, version: builder.text("version")? };
    builder.end()?;
    Ok(read)
}

fn program(at: &mut Fields) -> Result<Option<Program>, BundleError> {
    let Some(value) = at.optional("program") else { return Ok(None) };
    let mut program = Fields::new(value, at.place("program"))?;
    let read = Program { entry: program.text("entry")? };
    program.end()?;
    Ok(Some(read))
}

fn dependencies(at: &mut Fields) -> Result<Vec<Dependency>, BundleError> {
    let items = at.array("dependencies")?;
    if items.len() > LIST_MAX {
        return Err(at.wrong("dependencies", format!("more than {LIST_MAX} items")));
    }
    let mut dependencies: Vec<Dependency> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let mut one = Fields::new(item, format!("{}/{index}", at.place("dependencies")))?;
        let (name, text) = (name(&mut one)?, one.text("version")?);
        let range = Range::parse(&text).map_err(|error| one.wrong("version", error.to_string()))?;
        if dependencies.iter().any(|other| other.name == name) {
            return Err(one.wrong("name", format!("a second dependency on {name}")));
        }
        one.end()?;
        dependencies.push(Dependency { name, range });
    }
    Ok(dependencies)
}

fn tools(at: &mut Fields) -> Result<Vec<Tool>, BundleError> {
    let items = at.array("tools")?;
    if items.len() > TOOLS_MAX {
        return Err(at.wrong("tools", format!("more than {TOOLS_MAX} tools")));
    }
    let mut names = BTreeSet::new();
    let mut tools = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("{}/{index}", at.place("tools"));
        let tool = tool(Fields::new(item, &place)?)?;
        if !names.insert(tool.name.clone()) {
            return Err(refuse(Rule::ManifestInvalid, place, format!("a second tool named {}", tool.name)));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn tool(mut at: Fields) -> Result<Tool, BundleError> {
    let tool = Tool {
        name: name(&mut at)?,
        title: at.text("title")?,
        description: at.text("description")?,
        input: schema(&mut at, "input")?,
        output: schema(&mut at, "output")?,
        annotations: annotations(&mut at)?,
        tokens: tokens(&mut at)?,
        egress: list(&mut at, "egress", is_host)?,
        secrets: list(&mut at, "secrets", is_secret)?,
        limits: tool_limits(&mut at)?,
        timeout_ms: timeout(&mut at)?,
        approval: approval(&mut at)?,
        spawn: at.flag("spawn")?,
        jit: at.optional_flag("jit")?.unwrap_or(true),
        entry: at.text("entry")?,
    };
    let runtime = at.text("runtime")?;
    if runtime != "bun" {
        return Err(refuse(Rule::FormatUnsupported, at.place("runtime"), "this device runs `bun` tools"));
    }
    if tool.spawn && !tool.jit {
        return Err(at.wrong("jit", "what a program starts would make machine code again"));
    }
    at.end()?;
    Ok(tool)
}

/// Callers name tools, agents, teams and pipelines alike, so they share one set of names.
fn check_names(manifest: &Manifest) -> Result<(), BundleError> {
    let mut names: BTreeSet<&Name> = manifest.tools.iter().map(|tool| &tool.name).collect();
    for composite in &manifest.composites {
        if !names.insert(&composite.name) {
            let place = format!("manifest/{}", composite.kind.key());
            return Err(refuse(
                Rule::ManifestInvalid,
                place,
                format!("{} is the name of something else too", composite.name),
            ));
        }
    }
    Ok(())
}

// Whether a schema compiles is the device's question; here it is an object and of the one dialect we speak.
pub(crate) fn schema(at: &mut Fields, key: &str) -> Result<Value, BundleError> {
    let schema = at.value(key)?;
    let Value::Object(members) = &schema else { return Err(at.wrong(key, "a schema is an object")) };
    match members.get("$schema") {
        None => Ok(schema),
        Some(Value::String(dialect)) if dialect == DIALECT => Ok(schema),
        Some(_) => Err(at.wrong(key, format!("$schema is not {DIALECT}"))),
    }
}

fn annotations(at: &mut Fields) -> Result<Annotations, BundleError> {
    let mut flags = at.object("annotations")?;
    let annotations = Annotations {
        read_only: flags.optional_flag("readOnly")?,
        destructive: flags.optional_flag("destructive")?,
        idempotent: flags.optional_flag("idempotent")?,
        open_world: flags.optional_flag("openWorld")?,
    };
    flags.end()?;
    Ok(annotations)
}

pub(crate) fn tokens(at: &mut Fields) -> Result<Vec<ResourceToken>, BundleError> {
    let texts = list(at, "tokens", |_| true)?;
    let parse = |(index, text): (usize, &String)| {
        ResourceToken::parse(text).map_err(|error| {
            let place = format!("{}/{index}", at.place("tokens"));
            refuse(Rule::ManifestInvalid, place, format!("token {text:?}: {error}"))
        })
    };
    texts.iter().enumerate().map(parse).collect()
}

fn list(at: &mut Fields, key: &str, good: fn(&str) -> bool) -> Result<Vec<String>, BundleError> {
    let texts = at.texts(key)?;
    if texts.len() > LIST_MAX {
        return Err(at.wrong(key, format!("more than {LIST_MAX} items")));
    }
    match texts.iter().position(|text| !good(text)) {
        None => Ok(texts),
        Some(index) => Err(refuse(Rule::ManifestInvalid, format!("{}/{index}", at.place(key)), "not a valid name")),
    }
}

// Lower-case host name with an optional port.
fn is_host(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        (1..=63).contains(&bytes.len()) && inner && bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-')
    };
    let port = port.is_none_or(|port| !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok());
    text.len() <= 253 && host.split('.').all(label) && port
}

fn is_secret(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'));
    text.len() <= 63 && first && rest
}

fn tool_limits(at: &mut Fields) -> Result<ToolLimits, BundleError> {
    let mut limits = at.object("limits")?;
    // Both narrow values were just checked to fit.
    let narrow = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
    let read = ToolLimits {
        memory_bytes: limits.optional_integer("memoryBytes", 1 << 20, TIB)?,
        pids: narrow(limits.optional_integer("pids", 1, 1 << 20)?),
        cpu_millis: narrow(limits.optional_integer("cpuMillis", 1, 1_000_000)?),
        disk_bytes: limits.optional_integer("diskBytes", 1, TIB)?,
        output_bytes: limits.optional_integer("outputBytes", 1, TIB)?,
    };
    limits.end()?;
    Ok(read)
}

fn timeout(at: &mut Fields) -> Result<u64, BundleError> {
    let timeout = at.optional_integer("timeoutMs", 1, TIMEOUT_MS_MAX)?;
    timeout.ok_or_else(|| at.wrong("timeoutMs", "missing"))
}

pub(crate) fn approval(at: &mut Fields) -> Result<Approval, BundleError> {
    match at.text("approval")?.as_str() {
        "never" => Ok(Approval::Never),
        "always" => Ok(Approval::Always),
        "policy" => Ok(Approval::Policy),
        _ => Err(at.wrong("approval", "not never, always or policy")),
    }
}

fn files(at: &mut Fields, limits: &Limits) -> Result<Vec<FileEntry>, BundleError> {
    let items = at.array("files")?;
    let mut paths = Paths::new(limits.entries_max);
    let mut files = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let mut file = Fields::new(item, format!("{}/{index}", at.place("files")))?;
        let path = file.text("path")?;
        path::check(path.as_bytes())?;
        paths.add(&path, Kind::File)?;
        let size_bytes = file.integer("size")?;
        if size_bytes > limits.entry_bytes_max {
            return Err(refuse(Rule::EntryTooLarge, file.place("size"), format!("{size_bytes} bytes")));
        }
        let hex = file.text("sha256")?;
        let sha256 =
            Digest::from_hex(&hex).map_err(|_| file.wrong("sha256", "not 64 lower-case hexadecimal digits"))?;
        file.end()?;
        files.push(FileEntry { path, size_bytes, sha256 });
    }
    Ok(files)
}

fn check_entries(manifest: &Manifest) -> Result<(), BundleError> {
    if manifest.program.is_some() && !(manifest.tools.is_empty() && manifest.composites.is_empty()) {
        return Err(refuse(Rule::ManifestInvalid, "manifest/program", "a bundle with a program has no tools"));
    }
    let listed: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    let tools =
        manifest.tools.iter().enumerate().map(|(index, tool)| (format!("manifest/tools/{index}/entry"), &tool.entry));
    let program = manifest.program.iter().map(|program| ("manifest/program/entry".to_owned(), &program.entry));
    for (place, entry) in tools.chain(program) {
        if !entry.starts_with("code/") || !entry.ends_with(".js") {
            return Err(refuse(Rule::ManifestInvalid, place, "an entry is a .js file below code/"));
        }
        if !listed.contains(entry.as_str()) {
            return Err(refuse(Rule::ManifestInvalid, place, "the entry is not among the manifest's files"));
        }
    }
    Ok(())
}
