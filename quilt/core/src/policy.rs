//! Which tokens may be leased at all: everything no rule names is denied.

use aria_types::ResourceToken;
use aria_types::token::Kind;

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Origin {
    /// Written in the configuration.
    #[default]
    Config,
    /// Added while the engine ran.
    Device,
}

/// One line of what the operator allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// What messages call it.
    pub name: String,
    /// Every token of these kinds is allowed.
    pub kinds: Vec<Kind>,
    /// Every token that one of these covers is allowed.
    pub tokens: Vec<ResourceToken>,
    /// Only for these owners; empty: for everybody.
    pub owners: Vec<String>,
    /// Only for what asks as one of these; empty: for everything.
    pub subjects: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Rule {
    fn allows(&self, owner: &str, subject: &str, token: &ResourceToken) -> bool {
        let listed = |list: &[String], who: &str| list.is_empty() || list.iter().any(|listed| listed == who);
        let named = self.kinds.contains(&token.kind()) || self.tokens.iter().any(|held| held.covers(token));
        listed(&self.owners, owner) && listed(&self.subjects, subject) && named
    }
}

/// The rules, in the order they were written. Without rules everything is denied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// No rule allows the token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{token} is not allowed for {owner}: {rules}; allow it with: {}", self.fix())]
pub struct Denied {
    /// The token.
    pub token: ResourceToken,
    /// Who asked.
    pub owner: String,
    /// What the rules do allow, for people.
    pub rules: String,
}

impl Denied {
    /// The command that would allow it.
    #[must_use]
    pub fn fix(&self) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=@:/,+".contains(&byte);
        let owner = match &self.owner {
            owner if !owner.is_empty() && owner.bytes().all(plain) => owner.clone(),
            owner => format!("'{}'", owner.replace('\'', "'\\''")),
        };
        format!("arc policy add --token {} --owner {owner}", self.token)
    }
}

impl Policy {
    /// These rules and nothing else.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule that allows the token, or all rules that do not.
    pub fn decide(&self, owner: &str, subject: &str, token: &ResourceToken) -> Result<&Rule, Denied> {
        let allowing = self.rules.iter().find(|rule| rule.allows(owner, subject, token));
        allowing.ok_or_else(|| Denied {
            token: token.clone(),
            owner: owner.to_owned(),
            rules: self.describe(token.kind()),
        })
    }

    fn describe(&self, kind: Kind) -> String {
        let about = |rule: &&Rule| rule.tokens.iter().any(|token| token.kind() == kind) || rule.kinds.contains(&kind);
        let lines: Vec<String> = self.rules.iter().filter(about).map(describe_rule).collect();
        if lines.is_empty() { format!("no rule allows {kind} tokens") } else { lines.join("; ") }
    }
}

fn describe_rule(rule: &Rule) -> String {
    let kinds = rule.kinds.iter().map(|kind| format!("every {kind} token"));
    let tokens = rule.tokens.iter().map(ToString::to_string);
    let what = kinds.chain(tokens).collect::<Vec<_>>().join(", ");
    let list = |word: &str, list: &[String]| {
        if list.is_empty() { String::new() } else { format!(" {word} {}", list.join(", ")) }
    };
    format!("rule {:?} allows {what}{}{}", rule.name, list("for", &rule.owners), list("to", &rule.subjects))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kinds: &[Kind], tokens: &[&str], owners: &[&str]) -> Rule {
        Rule {
            name: "r".into(),
            kinds: kinds.to_vec(),
            tokens: tokens.iter().map(|text| ResourceToken::parse(text).unwrap()).collect(),
            owners: owners.iter().map(ToString::to_string).collect(),
            ..Rule::default()
        }
    }

    #[track_caller]
    fn check(rule: Rule, token: &str, allowed: bool) {
        let policy = Policy::new(vec![rule]);
        assert_eq!(policy.decide("ann", "exec", &ResourceToken::parse(token).unwrap()).is_ok(), allowed);
    }

    #[test]
    fn without_rules_everything_is_denied() {
        let denied = Policy::default().decide("ann", "exec", &ResourceToken::parse("kv:a").unwrap()).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "kv:a:ro is not allowed for ann: no rule allows kv tokens; allow it with: arc policy add --token kv:a:ro --owner ann"
        );
    }

    #[test]
    fn a_kind_allows_all_its_tokens_and_no_other() {
        check(rule(&[Kind::Kv], &[], &[]), "kv:a:exclusive", true);
        check(rule(&[Kind::Kv], &[], &[]), "sql:a:ro", false);
    }

    #[test]
    fn a_token_allows_what_it_covers() {
        check(rule(&[], &["kv:orders:ro"], &[]), "kv:orders:pending:ro", true);
        check(rule(&[], &["kv:orders:ro"], &[]), "kv:orders:rw", false);
        check(rule(&[], &["kv:orders:ro"], &[]), "kv:orders2:ro", false);
        check(rule(&[], &["kv:orders:pending:ro"], &[]), "kv:orders:ro", false);
    }

    #[test]
    fn a_rule_for_others_allows_nothing() {
        check(rule(&[Kind::Kv], &[], &["bob"]), "kv:a", false);
        check(rule(&[Kind::Kv], &[], &["bob", "ann"]), "kv:a", true);
    }

    #[test]
    fn a_denial_says_what_would_be_allowed() {
        let policy = Policy::new(vec![rule(&[], &["kv:orders:ro"], &["bob"]), rule(&[Kind::Net], &[], &[])]);
        let denied = policy.decide("ann", "exec", &ResourceToken::parse("kv:orders:rw").unwrap()).unwrap_err();
        assert_eq!(denied.rules, "rule \"r\" allows kv:orders:ro for bob");
    }
}
