//! What a pull does to a directory, from what was there and what a program changed. Pure.

import { DeviceError, Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { Found } from "./directory.ts";
import type { Entry, Kind } from "./tree.ts";

/** Paths named in one message. */
export const NAMED_MAX = 10;

export interface Change {
  readonly path: string;
  /** What is there after the pull; undefined: nothing. */
  readonly after: Kind | undefined;
  /** What was there before; undefined: nothing. */
  readonly before: Kind | undefined;
}

export interface Paths {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly deleted: readonly string[];
}

/** Checks that the changes fit what they are changes of: no path may appear from nowhere, be lost, or hang in the air. */
export function planPull(before: readonly Found[], changes: readonly Entry[]): Change[] {
  const others = changes.filter(({ kind }) => kind === "other").map(({ path }) => path);
  if (others.length > 0) throw notFiles(others);
  const known = new Map(before.map(({ path, kind }) => [path, kind]));
  const after = new Map<string, Kind>(known);
  const planned = changes.map(({ path, kind }) => {
    if (kind === "deleted") after.delete(path);
    else after.set(path, kind);
    return { path, before: known.get(path), after: kind === "deleted" ? undefined : kind };
  });
  for (const change of planned) {
    if (change.before === undefined && change.after === undefined) throw misfit(change.path);
  }
  for (const path of after.keys()) {
    const slash = path.lastIndexOf("/");
    if (slash > 0 && after.get(path.slice(0, slash)) !== "directory") throw misfit(path);
  }
  return planned;
}

export function pathsOf(changes: readonly Change[]): Paths {
  const paths = (keep: (change: Change) => boolean): string[] => changes.filter(keep).map(({ path }) => path);
  return {
    added: paths(({ before }) => before === undefined),
    changed: paths(({ before, after }) => before !== undefined && after !== undefined),
    deleted: paths(({ after }) => after === undefined),
  };
}

/** One line a path, as people read it. */
export function pathLines({ added, changed, deleted }: Paths): string[] {
  const marked = [...added.map((path) => ["+", path] as const), ...changed.map((path) => ["~", path] as const), ...deleted.map((path) => ["-", path] as const)];
  return marked.sort(([, a], [, b]) => (a < b ? -1 : 1)).map(([mark, path]) => `${mark} ${escapeLine(path)}`);
}

/** `a, b and 7 more`. */
export function named(paths: readonly string[]): string {
  const shown = paths.slice(0, NAMED_MAX).map(escapeLine).join(", ");
  return paths.length > NAMED_MAX ? `${shown} and ${paths.length - NAMED_MAX} more` : shown;
}

function notFiles(paths: readonly string[]): UserError {
  return new UserError("ARC2063", `the program left what is neither a file nor a directory: ${named(paths)}; nothing was pulled`, { exit: Exit.conflict, details: { paths } });
}

const misfit = (path: string): DeviceError =>
  new DeviceError("ARC3010", `the changes the device sent do not fit the directory they are of (${escapeLine(path)}); nothing was pulled`, { exit: Exit.unexpected });
