//! What tools import: how to declare one, and how it speaks to its device. Importing it does nothing.

/// <reference path="./assets.d.ts" />

export { agent, defineAgent } from "./agent.ts";
export type { Agent, AgentInput, AgentMemory, AgentOptions, AgentOutput, RunBudget, RunLimits } from "./agent.ts";
export { definePipeline, pipeline } from "./pipeline.ts";
export type { Condition, Flow, Pipeline, PipelineOptions, Retry, Step, Target } from "./pipeline.ts";
export { defineTeam, team } from "./team.ts";
export type { Team, TeamOptions, TeamRules, TeamStrategy } from "./team.ts";
export { aria, defineAria, defineTool, tool } from "./tool.ts";
export type { Approval, AriaOptions, Tool, ToolAnnotations, ToolDefinition, ToolLimits, ToolOptions } from "./tool.ts";
export { SchemaError } from "./standard.ts";
export type { InferInput, InferOutput, StandardSchema } from "./standard.ts";
export { log, progress } from "./door.ts";
export type { Log } from "./door.ts";
export { AriaError } from "./guest.ts";
export { kv } from "./kv.ts";
export type { Kv, KvChange, KvEntry, KvPage } from "./kv.ts";
export { tools } from "./tools.ts";
export { vector } from "./vector.ts";
export type { VectorHit, VectorItem, VectorSearch, Vectors } from "./vector.ts";
export { files, out } from "./files.ts";
export { secret } from "./secret.ts";
export type { JsonObject, JsonValue } from "./json.ts";
