//! What differs between two bundles: what they say of themselves, what a model sees, what they may touch, their files. Pure.

import { canonicalJson, type Json, type JsonObject, isObject } from "./json.ts";
import type { Manifest, ToolManifest } from "./manifest.ts";

/** One value that differs; `undefined` on the side that does not have it. `path` is a JSON pointer. */
export interface Change {
  readonly path: string;
  readonly a: Json | undefined;
  readonly b: Json | undefined;
}

export interface ToolChange {
  readonly tool: string;
  readonly change: "added" | "removed" | "changed";
  readonly details: readonly Change[];
}

export interface AuthorityChange {
  readonly tool: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

export interface FileChange {
  readonly path: string;
  readonly change: "added" | "removed" | "changed";
  readonly sizeA: number | null;
  readonly sizeB: number | null;
}

export interface Comparison {
  readonly same: boolean;
  readonly facts: readonly Change[];
  readonly interface: readonly ToolChange[];
  readonly authority: readonly AuthorityChange[];
  /** Whether the second may touch what the first may not. */
  readonly widened: boolean;
  readonly files: readonly FileChange[];
}

const CHANGES_MAX = 1000;
const FACTS = ["name", "version", "description", "authors", "license", "engine", "program", "dependencies", "agents", "teams", "pipelines", "builder"] as const;
const SEEN = ["title", "description", "input", "output", "annotations"] as const;

export function compare(a: Manifest, b: Manifest): Comparison {
  const facts = FACTS.flatMap((key) => changes(a[key] as Json | undefined, b[key] as Json | undefined, `/${key}`));
  const settings = pairs(a, b).flatMap(([name, one, other]) => (one === undefined || other === undefined ? [] : (["limits", "timeoutMs", "runtime", "entry"] as const).flatMap((key) => changes(one[key] as Json, other[key] as Json, `/tools/${name}/${key}`))));
  const seen = pairs(a, b).flatMap(([tool, one, other]): ToolChange[] => {
    if (one === undefined || other === undefined) return [{ tool, change: one === undefined ? "added" : "removed", details: [] }];
    const details = SEEN.flatMap((key) => changes(one[key] as Json, other[key] as Json, `/${key}`));
    return details.length === 0 ? [] : [{ tool, change: "changed", details }];
  });
  const authority = pairs(a, b).flatMap(([tool, one, other]): AuthorityChange[] => {
    const [before, after] = [rights(one), rights(other)];
    const [added, removed] = [after.filter((right) => !before.includes(right)), before.filter((right) => !after.includes(right))];
    return added.length + removed.length === 0 ? [] : [{ tool, added, removed }];
  });
  const files = fileChanges(a, b);
  const all = [...facts, ...settings];
  return { same: all.length + seen.length + authority.length + files.length === 0, facts: all, interface: seen, authority, widened: authority.some(({ added }) => added.length > 0), files };
}

/** Everything a tool may do beyond computing, one text each. A call without approval is a right too. */
function rights(tool: ToolManifest | undefined): string[] {
  if (tool === undefined) return [];
  const approval = tool.approval === "never" ? ["without approval"] : tool.approval === "policy" ? ["approval by policy"] : [];
  return [...tool.tokens, ...tool.egress.map((host) => `egress ${host}`), ...tool.secrets.map((name) => `secret ${name}`), ...(tool.spawn ? ["spawn"] : []), ...approval].sort();
}

function pairs(a: Manifest, b: Manifest): [string, ToolManifest | undefined, ToolManifest | undefined][] {
  const names = [...new Set([...a.tools, ...b.tools].map(({ name }) => name))].sort();
  const find = (manifest: Manifest, name: string): ToolManifest | undefined => manifest.tools.find((tool) => tool.name === name);
  return names.map((name) => [name, find(a, name), find(b, name)]);
}

function fileChanges(a: Manifest, b: Manifest): FileChange[] {
  const [before, after] = [new Map(a.files.map((file) => [file.path, file])), new Map(b.files.map((file) => [file.path, file]))];
  return [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((path): FileChange[] => {
    const [one, other] = [before.get(path), after.get(path)];
    if (one?.sha256 === other?.sha256) return [];
    return [{ path, change: one === undefined ? "added" : other === undefined ? "removed" : "changed", sizeA: one?.size ?? null, sizeB: other?.size ?? null }];
  });
}

/** The deepest places at which two JSON values differ. Arrays are compared whole: an index says little. */
function changes(a: Json | undefined, b: Json | undefined, path: string): Change[] {
  if (a === undefined && b === undefined) return [];
  if (a !== undefined && b !== undefined) {
    if (canonicalJson(a) === canonicalJson(b)) return [];
    if (isObject(a) && isObject(b)) return keysOf(a, b).flatMap((key) => changes(a[key], b[key], `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`)).slice(0, CHANGES_MAX);
  }
  return [{ path, a, b }];
}

const keysOf = (a: JsonObject, b: JsonObject): string[] => [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
