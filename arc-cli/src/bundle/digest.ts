//! Digests as they are shown everywhere: `sha256:<hex>`.

import type { StepManifest } from "./composites.ts";
import { canonicalJson, type Json, type JsonObject } from "./json.ts";
import type { Manifest } from "./manifest.ts";

export function sha256Hex(bytes: Uint8Array | string): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${sha256Hex(bytes)}`;
}

/** What a model sees: names, titles, descriptions, schemas and annotations of all tools, and what else can be called. */
export function interfaceDigest(manifest: Manifest): string {
  const tools = sortedByName(manifest.tools).map((tool) => ({
    name: tool.name,
    title: tool.title,
    description: tool.description,
    input: tool.input,
    output: tool.output,
    annotations: tool.annotations as unknown as Json,
  }));
  const described = ({ name, title, description }: Described): Json => ({ name, title, description });
  const agents = sortedByName(manifest.agents).map(described);
  const teams = sortedByName(manifest.teams).map(described);
  const pipelines = sortedByName(manifest.pipelines).map((pipeline) => ({ ...(described(pipeline) as JsonObject), variables: pipeline.variables }));
  return digestOf(canonicalJson({ tools, ...present({ agents, teams, pipelines }) }));
}

/** What the bundle may touch. It changes exactly when the authority does. */
export function authorityDigest(manifest: Manifest): string {
  const tools = sortedByName(manifest.tools).map((tool) => ({
    name: tool.name,
    tokens: [...tool.tokens].sort(),
    egress: [...tool.egress].sort(),
    secrets: [...tool.secrets].sort(),
    spawn: tool.spawn,
    approval: tool.approval,
    ...(tool.jit === false ? { jit: false } : {}),
  }));
  const agents = sortedByName(manifest.agents).map(({ name, tools, tokens, approval }) => ({ name, tools: [...tools].sort(), tokens: [...tokens].sort(), approval }));
  const teams = sortedByName(manifest.teams).map(({ name, members }) => ({ name, members: [...members].sort() }));
  const pipelines = sortedByName(manifest.pipelines).map(({ name, steps }) => ({ name, calls: calls(steps) }));
  return digestOf(canonicalJson({ tools, ...present({ agents, teams, pipelines }) }));
}

/** Everything the steps call, each once: `tool orders.count`. */
function calls(steps: readonly StepManifest[]): string[] {
  const all = steps.flatMap((step) => [step, ...(step.compensate ? [step.compensate] : [])]);
  return [...new Set(all.map(({ kind, uses }) => `${kind} ${uses}`))].sort();
}

/** Kinds the bundle has none of take no part, so bundles of tools alone keep their digests. */
function present(kinds: { readonly [kind: string]: readonly Json[] }): JsonObject {
  return Object.fromEntries(Object.entries(kinds).filter(([, list]) => list.length > 0)) as JsonObject;
}

interface Described {
  readonly name: string;
  readonly title: string;
  readonly description: string;
}

function sortedByName<T extends { readonly name: string }>(items: readonly T[]): T[] {
  return [...items].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}
