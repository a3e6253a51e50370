//! Where arc keeps what it carries: the SDK, the templates, TypeScript's and Bun's type files.

import { existsSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";

/** The directory that holds `sdk/` and `templates/`; arc may run from its sources or as one bundled file beside them. */
export const installRoot: string = findRoot(import.meta.dir);

export const sdkEntry: string = join(installRoot, "sdk/src/index.ts");
export const sdkDirectory: string = join(installRoot, "sdk/src");
export const templatesDirectory: string = join(installRoot, "templates");

/** The directory in which `bun-types`, `@types/node` and their dependencies lie side by side. */
export function typeRoot(): string {
  return dirname(realpathSync(join(installRoot, "node_modules/bun-types")));
}

function findRoot(from: string): string {
  for (let at = from; ; at = dirname(at)) {
    for (const candidate of [at, join(at, "arc-cli")]) {
      if (existsSync(join(candidate, "sdk/src/index.ts"))) return candidate;
    }
    if (dirname(at) === at) throw new Error(`arc's own files are missing: no sdk/ above ${from}`);
  }
}
