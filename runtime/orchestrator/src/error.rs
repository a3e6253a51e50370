//! Why a call was not taken to an outcome.

use aria_bundle::BundleError;
use aria_core::invocation::OutOfOrder;
use aria_core::json::JsonError;
use aria_core::name::NameError;
use aria_core::plan::PlanError;
use aria_core::port::ExecuteError;
use aria_store::StoreError;
use aria_types::ErrorKind;

use crate::schema::SchemaError;

/// Why a call was not taken to an outcome. A tool that fails is not an error but an outcome.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The tool's name is no name.
    #[error("{tool:?} is not the name of a tool: {source}")]
    ToolName {
        /// As given, cut.
        tool: String,
        /// Why.
        #[source]
        source: NameError,
    },
    /// No such tool.
    #[error("tool {tool} is not installed")]
    ToolUnknown {
        /// Its name.
        tool: String,
    },
    /// An agent, a team or a pipeline, which this version keeps and does not run.
    #[error("{name} is of the kind {kind}, and this device does not run {kind}s yet")]
    NotBuilt {
        /// As callers write it.
        name: String,
        /// `agent`, `team` or `pipeline`.
        kind: &'static str,
    },
    /// The input is not JSON.
    #[error("the input is not valid JSON: {0}")]
    InputJson(#[source] JsonError),
    /// The input is not what the tool takes.
    #[error("the input does not match the tool's schema: {message}")]
    InputSchema {
        /// Place and rule.
        message: String,
    },
    /// A schema of the bundle is no good.
    #[error("tool {tool}: {source}")]
    Schema {
        /// Which tool.
        tool: String,
        /// Why.
        #[source]
        source: SchemaError,
    },
    /// The call cannot become a program.
    #[error(transparent)]
    Plan(PlanError),
    /// The program's bundle is refused, or a stored manifest does not hold.
    #[error(transparent)]
    Bundle(BundleError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
    /// Reading the program's bundle.
    #[error("read blob {sha256}")]
    ReadBlob {
        /// Which.
        sha256: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Too many runs.
    #[error("as many runs as the device allows are running and waiting; try again")]
    QueueFull,
    /// Tools that call tools that call tools.
    #[error("a tool called from here would be deeper than tools may call each other")]
    TooDeep,
    /// The daemon stops.
    #[error("the device is stopping")]
    Stopping,
    /// The engine could not run it.
    #[error(transparent)]
    Execute(ExecuteError),
    /// The engine said something impossible.
    #[error("the engine broke its protocol: {0}")]
    Engine(#[source] OutOfOrder),
    /// A step that must stand in the audit cannot be written there.
    #[error("the audit cannot be written")]
    Audit,
    /// A bug of ours.
    #[error("bug while doing {doing}")]
    Bug {
        /// What was being done.
        doing: &'static str,
    },
}

impl InvokeError {
    /// The kind callers act on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ToolName { .. } | Self::InputJson(_) | Self::InputSchema { .. } | Self::Schema { .. } => {
                ErrorKind::Invalid
            }
            Self::ToolUnknown { .. } => ErrorKind::NotFound,
            Self::NotBuilt { .. } => ErrorKind::Unsupported,
            Self::Plan(error) => error.kind(),
            Self::Bundle(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::QueueFull | Self::TooDeep => ErrorKind::Exhausted,
            Self::Stopping => ErrorKind::Unavailable,
            Self::Execute(error) => error.kind,
            Self::ReadBlob { .. } | Self::Engine(_) | Self::Audit | Self::Bug { .. } => ErrorKind::Internal,
        }
    }

    /// The stable reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::ToolName { .. } | Self::ToolUnknown { .. } => "TOOL_UNKNOWN",
            Self::NotBuilt { .. } => "KIND_NOT_BUILT",
            Self::InputJson(JsonError::TooLong { .. }) => "INPUT_TOO_LARGE",
            Self::InputJson(_) | Self::InputSchema { .. } => "INPUT_SCHEMA",
            Self::Schema { .. } => "MANIFEST_INVALID",
            Self::Plan(error) => error.reason(),
            Self::Bundle(error) => error.reason(),
            Self::Store(error) => error.reason(),
            Self::QueueFull => "QUEUE_FULL",
            Self::TooDeep => "TOO_DEEP",
            Self::Stopping => "SHUTDOWN",
            Self::Execute(error) => &error.reason,
            Self::ReadBlob { .. } => "STORE_IO",
            Self::Audit => "AUDIT_FAILED",
            Self::Engine(_) | Self::Bug { .. } => "BUG",
        }
    }
}
