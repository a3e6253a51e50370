//! `arc.lock`: which content each needed bundle had when it was resolved, so that the next install gets the same or nothing.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "smol-toml";
import { NAME, SEMVER } from "../bundle/reader.ts";
import { writeWhole } from "../commands/build.ts";
import { Exit, UserError } from "../errors.ts";
import { SHELF } from "./reference.ts";

export interface Locked {
  readonly name: string;
  readonly version: string;
  /** Identity: the digest of the image, `sha256:<hex>`. */
  readonly digest: string;
  readonly shelf: string;
}

const FILE = "arc.lock";
const LOCKED_MAX = 256;

/** What the project's lock file says; nothing when there is none. */
export function readLock(root: string): Locked[] {
  const path = join(root, FILE);
  if (!existsSync(path)) return [];
  const damaged = (why: string): UserError => new UserError("ARC2209", `${FILE} ${why}`, { exit: Exit.conflict, hint: "restore it, or remove it and resolve anew", fix: ["arc install --update"] });
  let json: unknown;
  try {
    json = parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw damaged(`is not TOML: ${(cause as Error).message.split("\n")[0]}`);
  }
  const { version, bundle = [] } = json as { version?: unknown; bundle?: unknown };
  if (version !== 1) throw damaged("has another version than 1; it was written by another arc");
  if (!Array.isArray(bundle) || bundle.length > LOCKED_MAX || !bundle.every(isLocked)) throw damaged("has an entry that is none");
  return bundle.map(({ name, version, digest, shelf }) => ({ name, version, digest, shelf }));
}

function isLocked(value: unknown): value is Locked {
  const { name, version, digest, shelf } = (value ?? {}) as Record<string, unknown>;
  return typeof name === "string" && NAME.test(name) && typeof version === "string" && SEMVER.test(version) && typeof digest === "string" && /^sha256:[0-9a-f]{64}$/.test(digest) && typeof shelf === "string" && SHELF.test(shelf);
}

/** Writes it whole; the same bundles give the same bytes. */
export function writeLock(root: string, locked: readonly Locked[]): void {
  const sorted = [...locked].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : Bun.semver.order(a.version, b.version)));
  const text = sorted.map(({ name, version, digest, shelf }) => `\n[[bundle]]\n${Object.entries({ name, version, digest, shelf }).map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`).join("")}`);
  writeWhole(join(root, FILE), new TextEncoder().encode(`# Written by \`arc install\`. Commit it; do not edit it.\nversion = 1\n${text.join("")}`));
}
