//! What can be said about a request before the queue is looked at: its tokens, the rules, its parent.

use std::sync::Arc;

use aria_types::ResourceToken;

use crate::capacity::Needs;
use crate::lease::{Asker, LeaseRequest, PRIORITY_MAX};
use crate::ledger::{Ledger, Live};
use crate::refusal::Refusal;

impl Ledger {
    /// Everything that can be said about a request before the queue is looked at.
    pub(crate) fn asker(&self, request: &LeaseRequest) -> (Asker, Result<Needs, Refusal>) {
        let mut asker = Asker {
            execution_id: request.execution_id.as_str().into(),
            owner: request.owner.as_str().into(),
            priority: request.priority.min(PRIORITY_MAX),
            parent: request.parent.as_deref().map(Arc::from),
            lent: request.lent,
            ..Asker::default()
        };
        let needs = self.check(request, &mut asker);
        (asker, needs)
    }

    fn check(&self, request: &LeaseRequest, asker: &mut Asker) -> Result<Needs, Refusal> {
        if request.tokens.len() > self.bounds.tokens_max {
            return Err(Refusal::TooManyTokens { asked: request.tokens.len(), max: self.bounds.tokens_max });
        }
        let parse = |text: &String| {
            let shown = || text.chars().take(80).collect();
            ResourceToken::parse(text).map_err(|source| Refusal::Syntax { text: shown(), source })
        };
        asker.tokens = request.tokens.iter().map(parse).collect::<Result<_, _>>()?;
        let decide = |token| self.policy.decide(&request.owner, &request.subject, token).map(|_| ());
        asker.tokens.iter().try_for_each(decide)?;
        let needs = self.capacities.needs(&asker.tokens)?;
        let Some(parent) = &request.parent else { return Ok(needs) };
        let unknown = || Refusal::ParentUnknown { parent: parent.clone() };
        let Some(Live::Held(id)) = self.executions.get(parent.as_str()).copied() else { return Err(unknown()) };
        let lease = self.leases.get(&id).filter(|lease| lease.who.owner == asker.owner).ok_or_else(unknown)?;
        asker.ancestors = std::iter::once(id).chain(lease.who.ancestors.iter().copied()).collect();
        if asker.ancestors.len() >= self.bounds.depth_max {
            return Err(Refusal::TooDeep { max: self.bounds.depth_max });
        }
        if !asker.lent {
            return Ok(needs);
        }
        let widened = |token: &&ResourceToken| !lease.who.tokens.iter().any(|held| held.covers(token));
        match asker.tokens.iter().find(widened) {
            Some(token) => Err(Refusal::Widened { token: token.clone() }),
            // The parent has taken it already.
            None => Ok(Needs::default()),
        }
    }
}
