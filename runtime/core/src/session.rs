//! Sessions: a program's private copy of a directory, and the token it is held by.
//!
//! Every copy is a resource of its own, so its token is `fs:workspace` with the run's id as scope. A rule for `fs:workspace`
//! covers it, and two sessions never wait for each other.

use aria_types::ResourceToken;
use aria_types::token::{Kind, Mode};

use crate::id::InvocationId;
use crate::plan::PlanError;

const NAME: &str = "workspace";

/// Puts the run's id into the tokens of its workspace; whether one of them allows to write.
pub(crate) fn scope(tokens: Vec<ResourceToken>, run: &InvocationId) -> Result<(bool, Vec<ResourceToken>), PlanError> {
    let (ours, mut tokens): (Vec<_>, Vec<_>) = tokens.into_iter().partition(is_workspace);
    let writable = ours.iter().any(|token| matches!(token.mode(), Mode::Rw | Mode::Exclusive));
    if !writable && !ours.iter().any(|token| token.mode() == Mode::Ro) {
        return Err(PlanError::SessionToken);
    }
    let text = format!("fs:{NAME}:{run}:{}", if writable { "rw" } else { "ro" });
    tokens.push(ResourceToken::parse(&text).map_err(|_| PlanError::SessionToken)?);
    Ok((writable, tokens))
}

fn is_workspace(token: &ResourceToken) -> bool {
    token.kind() == Kind::Fs && matches!(token.path(), [name] if name.as_str() == NAME)
}

/// A message of the engine in the caller's terms: without the scope the caller did not write.
pub fn unscoped(message: &str, run: &InvocationId) -> String {
    message.replace(&format!("fs:{NAME}:{run}:"), &format!("fs:{NAME}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> InvocationId {
        InvocationId::from_random([0xab; 16])
    }

    fn scoped(texts: &[&str]) -> Result<(bool, Vec<String>), PlanError> {
        let tokens = texts.iter().map(|text| ResourceToken::parse(text).unwrap()).collect();
        scope(tokens, &run()).map(|(writable, tokens)| (writable, tokens.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn a_workspace_is_its_runs_own_and_a_rule_for_all_covers_it() {
        let own = format!("fs:workspace:{}:rw", run());
        assert_eq!(scoped(&["kv:a:ro", "fs:workspace:rw"]), Ok((true, vec!["kv:a:ro".into(), own.clone()])));
        let rule = ResourceToken::parse("fs:workspace:rw").unwrap();
        assert!(rule.covers(&ResourceToken::parse(&own).unwrap()));
        let other = ResourceToken::parse(&own.replace("abab", "cdcd")).unwrap();
        assert!(!other.conflicts(&ResourceToken::parse(&own).unwrap()));
    }

    #[test]
    fn the_mode_is_the_widest_that_is_held() {
        assert_eq!(scoped(&["fs:workspace"]).map(|(writable, _)| writable), Ok(false));
        assert_eq!(scoped(&["fs:workspace:ro", "fs:workspace:rw"]).map(|(writable, _)| writable), Ok(true));
        assert_eq!(scoped(&["fs:workspace:exclusive"]).map(|(writable, _)| writable), Ok(true));
    }

    #[test]
    fn without_a_token_of_the_workspace_there_is_no_session() {
        for texts in [&[][..], &["kv:workspace:rw"], &["fs:other:rw"], &["fs:workspace:append"], &["fs:workspace:a:rw"]]
        {
            assert_eq!(scoped(texts), Err(PlanError::SessionToken), "{texts:?}");
        }
    }

    #[test]
    fn a_denial_names_what_the_caller_asked_for() {
        let message = format!("fs:workspace:{}:rw is not allowed for ann", run());
        assert_eq!(unscoped(&message, &run()), "fs:workspace:rw is not allowed for ann");
    }
}
