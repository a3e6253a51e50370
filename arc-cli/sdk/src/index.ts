//! What tools import: how to declare one, and how it speaks to its device. Importing it does nothing.

/// <reference path="./assets.d.ts" />

export { aria, defineTool, tool } from "./tool.ts";
export type { Approval, AriaOptions, Tool, ToolAnnotations, ToolDefinition, ToolLimits, ToolOptions } from "./tool.ts";
export { log, progress } from "./door.ts";
export type { Log } from "./door.ts";
export { files, out } from "./files.ts";
export type { JsonObject, JsonValue } from "./json.ts";
