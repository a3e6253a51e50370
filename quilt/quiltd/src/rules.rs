//! The rules of this engine: those of the configuration, and those that were added and outlive a restart.
//!
//! The stored ones are one file that is replaced as a whole: written beside it, synced, renamed, and the directory synced,
//! before anybody hears of success. A file that cannot be read is not touched: the configuration's rules hold, the damage is
//! shown, and every change is refused until somebody repairs or removes the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aria_protocol::quilt::v1 as pb;
use aria_types::ResourceToken;
use aria_types::token::Kind;
use quilt_core::{Origin, Policy, Rule};
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// Rules that may be added.
const RULES_MAX: usize = 1024;
/// Entries of each list in a rule.
const ENTRIES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 64;
const ENTRY_BYTES_MAX: usize = 255;
const FILE: &str = "rules.toml";

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// How many rules follow: a file that was cut short is not a shorter list.
    count: usize,
    #[serde(default)]
    rule: Vec<StoredRule>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    name: String,
    kinds: Vec<String>,
    tokens: Vec<String>,
    owners: Vec<String>,
    subjects: Vec<String>,
}

/// One per daemon.
#[derive(Debug)]
pub(crate) struct Rules {
    dir: PathBuf,
    seeds: Vec<Rule>,
    added: Mutex<Result<Vec<Rule>, String>>,
}

impl Rules {
    /// The rules of the configuration and those stored in `dir`.
    pub(crate) fn load(dir: &Path, seeds: Vec<Rule>) -> Self {
        let added = read(&dir.join(FILE));
        if let Err(why) = &added {
            tracing::error!(why, "the stored rules cannot be read; only those of the configuration hold");
        }
        Self { dir: dir.to_owned(), seeds, added: Mutex::new(added) }
    }

    fn added(&self) -> MutexGuard<'_, Result<Vec<Rule>, String>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, in the order in which they are tried.
    pub(crate) fn policy(&self) -> Policy {
        let added = self.added();
        let added = added.as_ref().map(Vec::as_slice).unwrap_or_default();
        Policy::new(self.seeds.iter().chain(added).cloned().collect())
    }

    /// Why the stored rules could not be read.
    pub(crate) fn damaged(&self) -> Option<String> {
        self.added().as_ref().err().cloned()
    }

    /// Adds a rule and stores it. Blocks for as long as the disk takes.
    pub(crate) fn add(&self, asked: pb::Rule) -> Result<Rule, Fault> {
        let rule = rule(asked)?;
        self.replace(|rules| {
            if self.seeds.iter().chain(rules.iter()).any(|other| other.name == rule.name) {
                return Err(Fault::rule_exists(&rule.name));
            }
            if rules.len() >= RULES_MAX {
                return Err(Fault::rules_full(RULES_MAX));
            }
            rules.push(rule.clone());
            Ok(rule)
        })
    }

    /// Removes a rule that was added. Blocks for as long as the disk takes.
    pub(crate) fn remove(&self, name: &str) -> Result<Rule, Fault> {
        self.replace(|rules| match rules.iter().position(|rule| rule.name == name) {
            Some(place) => Ok(rules.remove(place)),
            None if self.seeds.iter().any(|rule| rule.name == name) => Err(Fault::rule_fixed(name)),
            None => Err(Fault::rule_unknown(name)),
        })
    }

    fn replace<T>(&self, change: impl FnOnce(&mut Vec<Rule>) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut added = self.added();
        let mut rules = added.clone().map_err(|why| Fault::rules_unreadable(&why))?;
        let answer = change(&mut rules)?;
        write(&self.dir, &rules).map_err(|error| Fault::state_write(&self.dir.join(FILE), &error))?;
        *added = Ok(rules);
        Ok(answer)
    }
}

/// Checks a rule from the wire.
fn rule(asked: pb::Rule) -> Result<Rule, Fault> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    if asked.name.is_empty() || asked.name.len() > NAME_BYTES_MAX || !asked.name.bytes().all(letter) {
        return Err(Fault::spec("rule.name", format!("is not 1 to {NAME_BYTES_MAX} of a-z, 0-9, -, . and _")));
    }
    if asked.kinds.is_empty() && asked.tokens.is_empty() {
        return Err(Fault::spec("rule", "allows nothing: it has neither kinds nor tokens"));
    }
    let kinds = list("rule.kinds", &asked.kinds)?.iter().map(|word| word.parse::<Kind>());
    let kinds = kinds.collect::<Result<_, _>>().map_err(|error| Fault::spec("rule.kinds", error.to_string()))?;
    let tokens = list("rule.tokens", &asked.tokens)?
        .iter()
        .map(|text| ResourceToken::parse(text).map_err(|source| Fault::token_syntax(text, &source)));
    Ok(Rule {
        kinds,
        tokens: tokens.collect::<Result<_, _>>()?,
        owners: list("rule.owners", &asked.owners)?.to_vec(),
        subjects: list("rule.subjects", &asked.subjects)?.to_vec(),
        name: asked.name,
        origin: Origin::Device,
    })
}

fn list<'a>(field: &'static str, entries: &'a [String]) -> Result<&'a [String], Fault> {
    let bad =
        |entry: &&String| entry.is_empty() || entry.len() > ENTRY_BYTES_MAX || entry.chars().any(char::is_control);
    if entries.len() > ENTRIES_MAX {
        return Err(Fault::spec(field, format!("has more than {ENTRIES_MAX} entries")));
    }
    if entries.iter().any(|entry| bad(&entry)) {
        return Err(Fault::spec(
            field,
            format!("has an entry that is not 1 to {ENTRY_BYTES_MAX} bytes without control characters"),
        ));
    }
    Ok(entries)
}

fn read(path: &Path) -> Result<Vec<Rule>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("read {path:?}: {error}")),
    };
    let problem = |what: &dyn std::fmt::Display| format!("{path:?} is damaged: {what}; restore it, or remove it");
    let stored: Stored = toml::from_str(&text).map_err(|error| problem(&error.message()))?;
    if stored.count != stored.rule.len() {
        return Err(problem(&format!("it has {} rules and should have {}", stored.rule.len(), stored.count)));
    }
    let again = |stored: StoredRule| {
        let StoredRule { name, kinds, tokens, owners, subjects } = stored;
        rule(pb::Rule { name, kinds, tokens, owners, subjects, origin: String::new() })
    };
    stored.rule.into_iter().map(again).collect::<Result<_, _>>().map_err(|fault| problem(&fault))
}

fn write(dir: &Path, rules: &[Rule]) -> io::Result<()> {
    let stored = |rule: &Rule| {
        let pb::Rule { name, kinds, tokens, owners, subjects, .. } = wire(rule);
        StoredRule { name, kinds, tokens, owners, subjects }
    };
    let text = toml::to_string(&Stored { count: rules.len(), rule: rules.iter().map(stored).collect() });
    let text = text.map_err(io::Error::other)?;
    let next = dir.join("rules.next");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let mut file = options.open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, dir.join(FILE))?;
    File::open(dir)?.sync_all()
}

/// A rule as it is sent.
pub(crate) fn wire(rule: &Rule) -> pb::Rule {
    pb::Rule {
        name: rule.name.clone(),
        kinds: rule.kinds.iter().map(ToString::to_string).collect(),
        tokens: rule.tokens.iter().map(ToString::to_string).collect(),
        owners: rule.owners.clone(),
        subjects: rule.subjects.clone(),
        origin: match rule.origin {
            Origin::Config => "config".to_owned(),
            Origin::Device => "device".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> pb::Rule {
        pb::Rule { name: name.into(), tokens: vec!["kv:orders:rw".into()], ..pb::Rule::default() }
    }

    fn names(rules: &Rules) -> Vec<String> {
        rules.policy().rules().iter().map(|rule| rule.name.clone()).collect()
    }

    fn seeds() -> Vec<Rule> {
        vec![Rule { name: "seed".into(), kinds: vec![Kind::Kv], ..Rule::default() }]
    }

    #[test]
    fn what_was_added_outlives_the_engine() {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules::load(dir.path(), seeds());
        let full = pb::Rule {
            kinds: vec!["net".into()],
            owners: vec!["CN=ann, O=\"x\"".into()],
            subjects: vec!["tool:a.b".into()],
            ..asked("one")
        };
        let added = rules.add(full).unwrap();
        rules.add(asked("two")).unwrap();
        rules.remove("two").unwrap();
        let again = Rules::load(dir.path(), seeds());
        assert_eq!(names(&again), ["seed", "one"]);
        assert_eq!(again.policy().rules()[1], added);
        assert!(again.damaged().is_none());
    }

    #[track_caller]
    fn refused(rules: &Rules, rule: pb::Rule, reason: &str) {
        let before = names(rules);
        assert_eq!(rules.add(rule).unwrap_err().reason, reason);
        assert_eq!(names(rules), before);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules::load(dir.path(), seeds());
        for name in ["", "A", "a b", "ä", "a/b", &"a".repeat(65)] {
            refused(&rules, asked(name), "SPEC_INVALID");
        }
        refused(&rules, pb::Rule { tokens: vec![], ..asked("a") }, "SPEC_INVALID");
        refused(&rules, pb::Rule { kinds: vec!["table".into()], ..asked("a") }, "SPEC_INVALID");
        refused(&rules, pb::Rule { tokens: vec!["kv:*".into()], ..asked("a") }, "TOKEN_SYNTAX");
        refused(&rules, pb::Rule { owners: vec!["a\nb".into()], ..asked("a") }, "SPEC_INVALID");
        refused(&rules, pb::Rule { owners: vec![String::new()], ..asked("a") }, "SPEC_INVALID");
        refused(&rules, pb::Rule { subjects: vec!["x".into(); 65], ..asked("a") }, "SPEC_INVALID");
        refused(&rules, asked("seed"), "RULE_EXISTS");
        rules.add(asked("a")).unwrap();
        refused(&rules, asked("a"), "RULE_EXISTS");
        assert_eq!(rules.remove("seed").unwrap_err().reason, "RULE_FIXED");
        assert_eq!(rules.remove("b").unwrap_err().reason, "RULE_UNKNOWN");
    }

    #[test]
    fn there_are_at_most_so_many() {
        let dir = tempfile::tempdir().unwrap();
        let many = (0..RULES_MAX).map(|n| rule(asked(&format!("r{n}"))).unwrap()).collect::<Vec<_>>();
        write(dir.path(), &many).unwrap();
        let rules = Rules::load(dir.path(), seeds());
        refused(&rules, asked("one-more"), "RULES_FULL");
    }

    #[test]
    fn a_damaged_file_is_shown_and_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        Rules::load(dir.path(), seeds()).add(asked("one")).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        let cut = &good[..good.find("[[rule]]").unwrap()];
        for text in
            ["", "x", cut, &good.replace("count = 1", "count = 2"), &good.replace("kv:orders:rw", "kv:*"), "\u{0}\u{0}"]
        {
            std::fs::write(&path, text).unwrap();
            let rules = Rules::load(dir.path(), seeds());
            assert_eq!(names(&rules), ["seed"], "{text:?}");
            assert!(rules.damaged().unwrap().contains("rules.toml"), "{text:?}");
            refused(&rules, asked("two"), "RULES_UNREADABLE");
            assert_eq!(rules.remove("one").unwrap_err().reason, "RULES_UNREADABLE");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn an_interrupted_write_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        Rules::load(dir.path(), seeds()).add(asked("one")).unwrap();
        std::fs::write(dir.path().join("rules.next"), "half").unwrap();
        let rules = Rules::load(dir.path(), seeds());
        assert_eq!(names(&rules), ["seed", "one"]);
        rules.add(asked("two")).unwrap();
        assert_eq!(names(&Rules::load(dir.path(), seeds())), ["seed", "one", "two"]);
    }

    #[test]
    fn what_cannot_be_stored_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        let rules = Rules::load(dir.path(), seeds());
        std::fs::create_dir(dir.path().join("rules.next")).unwrap();
        refused(&rules, asked("one"), "STATE_WRITE");
    }
}
