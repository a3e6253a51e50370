//! Other bundles a project refers to: the ranges of `arc.toml`, the versions `arc.lock` pins, and what is in those versions as
//! far as the cache of `arc install` has them.

import { readLock } from "../registry/lock.ts";
import type { Project } from "./project.ts";

/** Names that a bundle declares. */
export interface Contents {
  readonly tool: readonly string[];
  readonly agent: readonly string[];
  readonly team: readonly string[];
  readonly pipeline: readonly string[];
}

/** The contents of a bundle by its digest; nothing when it is not here. */
export type Cached = (digest: string) => Contents | undefined;

export interface Pinned {
  readonly version: string;
  readonly contents: Contents | undefined;
}

export interface Dependencies {
  /** Version range by the bundle's name. */
  readonly wanted: ReadonlyMap<string, string>;
  /** What satisfies the range, or else what the lock has. */
  readonly pinned: ReadonlyMap<string, Pinned>;
}

/** Reads `arc.lock` only when the project has dependencies. Throws `UserError` when it is damaged. */
export function dependenciesOf({ root, config }: Project, cached: Cached): Dependencies {
  const wanted = new Map(Object.entries(config.dependencies));
  const pinned = new Map<string, Pinned>();
  for (const { name, version, digest } of wanted.size === 0 ? [] : readLock(root)) {
    const range = wanted.get(name);
    // A bundle may be there in several versions, for those that need it.
    const known = pinned.get(name);
    if (range !== undefined && (!known || !satisfies(known.version, range))) pinned.set(name, { version, contents: cached(digest) });
  }
  return { wanted, pinned };
}

export function satisfies(version: string, range: string): boolean {
  return Bun.semver.satisfies(version, range);
}
