//! `aria.v1.Tools`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aria_core::{Manifest, Name, Tool, ToolName};
use aria_orchestrator::{Events, InvokeCall};
use aria_protocol::aria::v1 as pb;
use aria_store::{BundleRecord, Store};
use aria_types::ErrorKind;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::convert::{blob, files, run_event};
use super::{Device, List, blocking, exec, listed};
use crate::auth::Caller;
use crate::status::{self, refuse};

pub(super) struct Tools(pub(super) Arc<Device>);

#[tonic::async_trait]
impl pb::tools_server::Tools for Tools {
    type InvokeStream = InvokeStream;

    async fn list_tools(
        &self,
        _request: Request<pb::ListToolsRequest>,
    ) -> Result<Response<pb::ListToolsResponse>, Status> {
        let store = self.0.store.clone();
        let tools = blocking(move || all(&store)).await?;
        Ok(Response::new(pb::ListToolsResponse { tools }))
    }

    async fn get_tool(&self, request: Request<pb::GetToolRequest>) -> Result<Response<pb::GetToolResponse>, Status> {
        let name = request.into_inner().name;
        let store = self.0.store.clone();
        let tool = blocking(move || one(&store, &name)).await?;
        Ok(Response::new(pb::GetToolResponse { tool: Some(tool) }))
    }

    async fn invoke(&self, request: Request<pb::InvokeRequest>) -> Result<Response<InvokeStream>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let bundle = request.bundle.as_ref().map(blob).transpose()?.map(|blob| blob.sha256);
        if bundle.is_some() {
            exec::allowed(&self.0, &caller, "tool").await?;
        }
        let call = InvokeCall {
            owner: caller.subject,
            files: files(&request.files)?,
            tool: request.tool,
            bundle,
            input_json: request.input_json,
            timeout_ms: request.timeout_ms,
        };
        let events = self.0.handle.invoke(call).await.map_err(status::invoke)?;
        Ok(Response::new(InvokeStream(events)))
    }
}

/// Dropping it, as happens when the client goes away, cancels the run.
pub(super) struct InvokeStream(Events);

impl Stream for InvokeStream {
    type Item = Result<pb::InvokeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| {
            event.map(|event| match event {
                Ok(event) => Ok(pb::InvokeResponse { event: Some(run_event(event)) }),
                Err(error) => Err(status::invoke(error)),
            })
        })
    }
}

/// The tools calls go to.
fn all(store: &Store) -> Result<Vec<pb::Tool>, Status> {
    let mut names: Vec<Name> = store.bundles().map_err(status::store)?.into_iter().map(|(name, _)| name).collect();
    names.dedup();
    let mut list = List::new("GetTool");
    for name in &names {
        let Some(record) = listed(store, name, None)? else { continue };
        manifest(&record)?.tools.iter().try_for_each(|tool| list.push(wire(&record, tool)))?;
    }
    Ok(list.items)
}

fn one(store: &Store, name: &str) -> Result<pb::Tool, Status> {
    let unknown = || refuse(ErrorKind::NotFound, "TOOL_UNKNOWN", "no such tool is installed");
    let name = match Name::parse(name) {
        Ok(tool) => store.tool_named(&tool).map_err(status::store)?.ok_or_else(unknown)?,
        Err(_) => ToolName::parse(name).map_err(|_| unknown())?,
    };
    let record = listed(store, &name.bundle, None)?.ok_or_else(unknown)?;
    let manifest = manifest(&record)?;
    if let Some(composite) = manifest.composite(&name.tool) {
        let kind = composite.kind.as_str();
        return Err(refuse(
            ErrorKind::Unsupported,
            "KIND_NOT_BUILT",
            format!("{name} is of the kind {kind}, which this device does not run yet"),
        ));
    }
    let tool = manifest.tool(&name.tool).ok_or_else(unknown)?;
    Ok(wire(&record, tool))
}

fn manifest(record: &BundleRecord) -> Result<Manifest, Status> {
    aria_bundle::parse_manifest(record.manifest_json.as_bytes()).map_err(status::bundle)
}

fn wire(record: &BundleRecord, tool: &Tool) -> pb::Tool {
    pb::Tool {
        name: format!("{}.{}", record.name, tool.name),
        bundle_version: record.version.clone(),
        title: tool.title.clone(),
        description: tool.description.clone(),
        input_schema_json: tool.input.to_string(),
        output_schema_json: tool.output.to_string(),
        tokens: tool.tokens.iter().map(ToString::to_string).collect(),
        timeout_ms: tool.timeout_ms,
        spawn: tool.spawn,
    }
}
