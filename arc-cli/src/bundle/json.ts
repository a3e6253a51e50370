//! Strict JSON and its canonical form.
//!
//! `parseJson` refuses what JSON.parse forgives: a key twice, depth without end, bytes that are not UTF-8.
//! `canonicalJson` is RFC 8785: what the interface and authority digests are computed over.

import { BundleError } from "./error.ts";
import { limits } from "./limits.ts";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses one JSON document of at most 1 MiB and 64 levels; `what` names it in the refusal. */
export function parseJson(bytes: Uint8Array, what: string): Json {
  if (bytes.length > limits.jsonBytes) {
    throw new BundleError("JSON_INVALID", `${what} is ${bytes.length} bytes, limit is ${limits.jsonBytes}`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new BundleError("JSON_INVALID", `${what} is not UTF-8`);
  }
  checkShape(text, what);
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    throw new BundleError("JSON_INVALID", `${what} is not JSON: ${(cause as Error).message}`);
  }
}

/** One pass over the text: depth, and keys that appear twice in one object. Everything else is JSON.parse's to judge. */
function checkShape(text: string, what: string): void {
  const open: (Set<string> | null)[] = [];
  let i = 0;
  while (i < text.length) {
    const c = text[i];
    if (c === '"') {
      const end = stringEnd(text, i);
      const keys = open[open.length - 1];
      if (keys && nextToken(text, end) === ":") {
        const key = decodeKey(text.slice(i, end), what);
        if (keys.has(key)) throw new BundleError("JSON_INVALID", `${what} has the key ${JSON.stringify(key)} twice in one object`);
        keys.add(key);
      }
      i = end;
      continue;
    }
    if (c === "{" || c === "[") {
      open.push(c === "{" ? new Set() : null);
      if (open.length > limits.jsonDepth) throw new BundleError("JSON_INVALID", `${what} is nested deeper than ${limits.jsonDepth} levels`);
    } else if (c === "}" || c === "]") {
      open.pop();
    }
    i += 1;
  }
}

function stringEnd(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i + 1;
}

function nextToken(text: string, from: number): string | undefined {
  let i = from;
  while (i < text.length && " \t\r\n".includes(text[i] ?? "")) i += 1;
  return text[i];
}

function decodeKey(literal: string, what: string): string {
  try {
    return JSON.parse(literal) as string;
  } catch {
    throw new BundleError("JSON_INVALID", `${what} holds a malformed string`);
  }
}

/** RFC 8785. Throws on a lone surrogate or a number that JSON cannot carry: both would make a digest ambiguous. */
export function canonicalJson(value: Json): string {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new BundleError("JSON_INVALID", "a string holds a lone surrogate, it has no canonical form");
    return JSON.stringify(value);
  }
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new BundleError("JSON_INVALID", `${value} has no JSON form`);
    return JSON.stringify(value);
  }
  if (value === null || typeof value === "boolean") return JSON.stringify(value);
  if (isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.keys(value)
    .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
    .map((key) => `${canonicalJson(key)}:${canonicalJson(value[key] ?? null)}`);
  return `{${members.join(",")}}`;
}

function isArray(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}
