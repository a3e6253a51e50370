//! Installed bundles as scripts see them, and how people name them.

import { UserError } from "../errors.ts";
import type { Bundle } from "../gen/aria/v1/bundles_pb.ts";

export function bundleJson(bundle: Bundle): Record<string, unknown> {
  const { name, version, digest, interfaceDigest, authorityDigest, sizeBytes, installedAt, tools, description, active, pinned, deprecated, publisher, signer, blocked } = bundle;
  const dependencies = bundle.dependencies.map(({ name, version }) => ({ name, version }));
  return { name, version, digest, interfaceDigest, authorityDigest, sizeBytes, installedAt, tools, description, active, pinned, deprecated, dependencies, publisher: publisher || null, signer: signer || null, blocked: blocked || null };
}

/** `NAME` or `NAME@VERSION`; an absent version is empty. */
export function parseBundle(text: string): { name: string; version: string } {
  const match = /^([a-z][a-z0-9-]{0,62})(?:@([0-9A-Za-z.+-]{1,128}))?$/.exec(text);
  if (match === null) throw new UserError("ARC2043", `\`${text}\` is no bundle`, { hint: "write NAME or NAME@VERSION" });
  return { name: match[1] ?? "", version: match[2] ?? "" };
}

/** As `parseBundle`, where the version must be said. */
export function parseVersion(text: string): { name: string; version: string } {
  const parsed = parseBundle(text);
  if (parsed.version === "") throw new UserError("ARC2043", `\`${text}\` names no version`, { hint: "write NAME@VERSION", fix: ["arc ls"] });
  return parsed;
}
