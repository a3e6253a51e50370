//! What a project says about bundles it needs and where they are.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Dependency } from "../bundle/manifest.ts";
import { type ProjectConfig, readConfig } from "../compiler/project.ts";
import { toUserError } from "../compiler/report.ts";

export interface Needs {
  /** The directory with `arc.toml`. */
  readonly root: string;
  readonly dependencies: readonly Dependency[];
  readonly shelf: string | undefined;
}

/** The project at or above a directory; undefined when there is none. Sources are not looked at. */
export function projectNeeds(from: string): Needs | undefined {
  for (let root = resolve(from); ; root = dirname(root)) {
    const path = join(root, "arc.toml");
    if (existsSync(path)) {
      const { dependencies, shelf } = read(readFileSync(path, "utf8"));
      return { root, shelf, dependencies: Object.entries(dependencies).map(([name, version]) => ({ name, version })) };
    }
    if (dirname(root) === root) return undefined;
  }
}

function read(text: string): ProjectConfig {
  try {
    return readConfig(text).config;
  } catch (error) {
    throw toUserError(error, () => text);
  }
}

/** The project's shelf, and the directory its path is relative to. */
export function projectShelf(from: string): { label: string; cwd: string } | undefined {
  const needs = projectNeeds(from);
  return needs?.shelf === undefined ? undefined : { label: needs.shelf, cwd: needs.root };
}
