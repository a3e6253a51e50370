//! What an editor needs to understand a project without a network: `.arc/` with the SDK's and Bun's types.
//!
//! The compiler itself reads none of this; it knows where arc keeps the originals. So a stale or edited `.arc/`
//! can mislead an editor but never a build.

import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { ARC_VERSION } from "../version.ts";
import { sdkDirectory, typeRoot } from "./assets.ts";

/** The base of a project's tsconfig.json. */
export function offlineTsconfig(): string {
  const config = {
    compilerOptions: {
      target: "ESNext",
      module: "Preserve",
      moduleResolution: "bundler",
      moduleDetection: "force",
      lib: ["ESNext"],
      strict: true,
      noEmit: true,
      skipLibCheck: true,
      isolatedModules: true,
      resolveJsonModule: true,
      allowImportingTsExtensions: true,
      allowArbitraryExtensions: true,
      typeRoots: ["./types", "./types/@types"],
      types: ["bun-types"],
      paths: { "@aria/sdk": ["./sdk/index.ts"] },
    },
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** Writes `.arc/` if it is missing or of another arc. Safe beside another arc doing the same: the directory appears whole. */
export function writeOffline(root: string): void {
  const target = join(root, ".arc");
  const stamp = join(target, "version");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === ARC_VERSION) return;
  const next = mkdtempSync(join(root, ".arc-"));
  try {
    fill(next);
    rmSync(target, { recursive: true, force: true });
    renameSync(next, target);
  } catch (error) {
    rmSync(next, { recursive: true, force: true });
    // Another arc was faster; its directory is as good.
    if (!existsSync(stamp)) throw error;
  }
}

function fill(directory: string): void {
  writeFileSync(join(directory, "tsconfig.json"), offlineTsconfig());
  writeFileSync(join(directory, ".gitignore"), "*\n");
  mkdirSync(join(directory, "sdk"));
  // The sources, not only their types: `bun test` in the project finds a working SDK here.
  for (const name of readdirSync(sdkDirectory).filter((file) => file.endsWith(".ts"))) copyFileSync(join(sdkDirectory, name), join(directory, "sdk", name));
  for (const name of ["bun-types", "@types/node", "undici-types"]) copyTypes(join(typeRoot(), name), join(directory, "types", name));
  writeFileSync(join(directory, "version"), ARC_VERSION);
}

function copyTypes(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, dereference: true, filter: (path) => !/\.(md|mdx|map)$/.test(path) && !path.includes("/docs/") });
}
