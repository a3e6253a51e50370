//! Digests as they are shown everywhere: `sha256:<hex>`.

import { canonicalJson, type Json } from "./json.ts";
import type { Manifest } from "./manifest.ts";

export function sha256Hex(bytes: Uint8Array | string): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${sha256Hex(bytes)}`;
}

/** What a model sees: names, titles, descriptions, schemas and annotations of all tools. */
export function interfaceDigest(manifest: Manifest): string {
  const tools = sortedByName(manifest.tools).map((tool) => ({
    name: tool.name,
    title: tool.title,
    description: tool.description,
    input: tool.input,
    output: tool.output,
    annotations: tool.annotations as unknown as Json,
  }));
  return digestOf(canonicalJson({ tools }));
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
  }));
  return digestOf(canonicalJson({ tools }));
}

function sortedByName<T extends { readonly name: string }>(items: readonly T[]): T[] {
  return [...items].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
}
