//! A tool calls a tool: the same path as any call, under the called tool's own tokens, with the caller as its parent.

use std::sync::Arc;

use aria_core::ToolName;
use aria_core::outcome::Outcome;
use aria_core::plan::INPUT_BYTES_MAX;
use aria_core::request::{Fields, GuestError, object};
use aria_types::ResourceToken;
use aria_types::token::Kind;
use serde_json::{Map, Value};

use super::Caller;
use crate::{Handle, Inner, InvokeCall, InvokeError, Parent, RunEvent};

/// Longest name of a tool, bytes: two names and a dot.
const TOOL_BYTES_MAX: usize = 127;

/// Serves one request; dropping this future cancels the called tool.
pub(crate) async fn serve(
    inner: &Arc<Inner>,
    caller: &Arc<Caller>,
    op: &str,
    body: Map<String, Value>,
) -> Result<Value, GuestError> {
    if op != "toolCall" {
        return Err(GuestError::unsupported(op));
    }
    let mut fields = Fields::new(body);
    let tool = fields.text("tool", TOOL_BYTES_MAX)?;
    let input_json = fields.text_or_none("inputJson", INPUT_BYTES_MAX)?.unwrap_or_default();
    fields.end()?;
    ToolName::parse(&tool).map_err(|error| GuestError::new("TOOL_UNKNOWN", format!("{tool:?}: {error}")))?;
    let needed = ResourceToken::parse(&format!("tool:{tool}"))
        .map_err(|error| GuestError::new("TOKEN_SYNTAX", format!("no token names {tool:?}: {error}")))?;
    caller.lease.allows(&needed).await?;
    caller.lease.spend(Kind::Tool, 0)?;
    let owner = caller.owner.clone();
    let call = InvokeCall { owner, tool, bundle: None, input_json, files: Vec::new(), timeout_ms: 0 };
    let parent = Parent { invocation: caller.invocation.clone(), depth: caller.depth };
    let handle = Handle(Arc::clone(inner));
    let mut events = handle.invoke_child(call, parent).await.map_err(|error| refused(&error))?;
    loop {
        match events.recv().await {
            Some(Ok(RunEvent::Finished(finished))) => return answer(finished.outcome),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(refused(&error)),
            None => return Err(GuestError::new("BUG", "the called tool ended without an outcome")),
        }
    }
}

fn answer(outcome: Outcome) -> Result<Value, GuestError> {
    let label = outcome.label().to_owned();
    match outcome {
        Outcome::Succeeded { output_json, .. } => Ok(object([("outputJson", output_json.into())])),
        Outcome::Failed(failed) => Err(GuestError::new(label, failed.message)),
        Outcome::Cancelled { by } => {
            Err(GuestError::new("CANCELLED", format!("the called tool was cancelled by {by}")))
        }
        Outcome::Refused { reason, message } => Err(GuestError::new(reason, message)),
    }
}

/// What the caller may know: its own mistakes and refusals whole, the device's faults by name.
fn refused(error: &InvokeError) -> GuestError {
    let message = match error.kind() {
        aria_types::ErrorKind::Internal | aria_types::ErrorKind::Damaged => "a fault of the device".to_owned(),
        _ => error.to_string(),
    };
    GuestError::new(error.reason().to_owned(), message)
}
