//! Which tokens may be leased at all: everything no rule names is denied.

use aria_types::ResourceToken;
use aria_types::token::Kind;

/// One line of the operator's configuration.
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
}

impl Rule {
    fn allows(&self, owner: &str, token: &ResourceToken) -> bool {
        let for_owner = self.owners.is_empty() || self.owners.iter().any(|listed| listed == owner);
        let named = self.kinds.contains(&token.kind()) || self.tokens.iter().any(|held| held.covers(token));
        for_owner && named
    }
}

/// The rules, in the order they were written. Without rules everything is denied.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// No rule allows the token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{token} is not allowed for {owner}: {rules}")]
pub struct Denied {
    /// The token.
    pub token: ResourceToken,
    /// Who asked.
    pub owner: String,
    /// What the rules do allow, for people.
    pub rules: String,
}

impl Policy {
    /// These rules and nothing else.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// The first rule that allows the token, or all rules that do not.
    pub fn decide(&self, owner: &str, token: &ResourceToken) -> Result<&Rule, Denied> {
        let allowing = self.rules.iter().find(|rule| rule.allows(owner, token));
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
    let whom = if rule.owners.is_empty() { String::new() } else { format!(" for {}", rule.owners.join(", ")) };
    format!("rule {:?} allows {what}{whom}", rule.name)
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
        }
    }

    #[track_caller]
    fn check(rule: Rule, token: &str, allowed: bool) {
        let policy = Policy::new(vec![rule]);
        assert_eq!(policy.decide("ann", &ResourceToken::parse(token).unwrap()).is_ok(), allowed);
    }

    #[test]
    fn without_rules_everything_is_denied() {
        let denied = Policy::default().decide("ann", &ResourceToken::parse("kv:a").unwrap()).unwrap_err();
        assert_eq!(denied.to_string(), "kv:a:ro is not allowed for ann: no rule allows kv tokens");
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
        let denied = policy.decide("ann", &ResourceToken::parse("kv:orders:rw").unwrap()).unwrap_err();
        assert_eq!(denied.rules, "rule \"r\" allows kv:orders:ro for bob");
    }
}
