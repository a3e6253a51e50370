//! What `arc check` and `arc build` share: open the project, help the editor, compile, report.

import { existsSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

import type { Context } from "../command.ts";
import { Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { Compiled } from "./compile.ts";
import type { Cached } from "./dependencies.ts";
import type { Diagnostic } from "./diagnostics.ts";

/** Compiles the project at `dir` and goes on with it; every finding leaves as one `UserError`. */
export async function projectStep<T>(dir: string | undefined, { ui, cwd, env }: Context, next: (compiled: Compiled) => Promise<T>): Promise<T> {
  const from = resolve(cwd, dir ?? ".");
  if (!existsSync(from) || !statSync(from).isDirectory()) throw new UserError("ARC1103", `${from} is not a directory`, { exit: Exit.notFound });
  const [{ compile }, { toUserError }, { CompileError }] = await Promise.all([import("./compile.ts"), import("./report.ts"), import("./diagnostics.ts")]);
  let compiled: Compiled | undefined;
  const working = await ui.working("reading types");
  try {
    ui.detail("reading types");
    compiled = compile(from, await contentsOf(env));
    await helpEditor(compiled.project.root, (text) => ui.warn(text));
    if (compiled.diagnostics.length > 0) throw new CompileError(compiled.diagnostics);
    await warn(compiled, ui);
    return await next(compiled);
  } catch (error) {
    throw toUserError(error, (file) => compiled?.read(file) ?? readBeside(from, file));
  } finally {
    working.end();
  }
}

/** What the bundles declare that `arc install` fetched. */
export async function contentsOf(env: Context["env"]): Promise<Cached> {
  const { BundleCache } = await import("../registry/cache.ts");
  const cache = new BundleCache(env);
  const names = (list: readonly { readonly name: string }[]): string[] => list.map(({ name }) => name);
  return (digest) => {
    const manifest = cache.get(digest)?.bundle.manifest;
    return manifest && { tool: names(manifest.tools), agent: names(manifest.agents), team: names(manifest.teams), pipeline: names(manifest.pipelines) };
  };
}

/** At most so many are shown; `arc check --json` has all. */
const WARNINGS_SHOWN_MAX = 20;

async function warn({ warnings, read }: Compiled, ui: Context["ui"]): Promise<void> {
  const { describe } = await import("./frame.ts");
  const line = ({ id, message, span }: Diagnostic): string => `${id}: ${message}${span ? ` (${span.file}:${span.line}:${span.column})` : ""}`;
  for (const warning of warnings.slice(0, WARNINGS_SHOWN_MAX)) ui.warn(ui.json ? line(warning) : describe(warning, read));
  const rest = warnings.length - WARNINGS_SHOWN_MAX;
  if (rest > 0) ui.warn(`${rest} more; arc check --json lists all`);
}

/** Writes `.arc/` for a project whose tsconfig.json builds on it. A directory that cannot be written is no reason to fail. */
async function helpEditor(root: string, warn: (text: string) => void): Promise<void> {
  const tsconfig = join(root, "tsconfig.json");
  if (!existsSync(tsconfig) || !statSync(tsconfig).isFile() || !readFileSync(tsconfig, "utf8").includes(".arc/")) return;
  const { writeOffline } = await import("./offline.ts");
  try {
    writeOffline(root);
  } catch (error) {
    warn(`.arc/ could not be written, the editor may miss types: ${escapeLine((error as Error).message)}`);
  }
}

/** A file that the compiler did not read, such as arc.toml. */
export function readBeside(from: string, file: string): string | undefined {
  const path = join(from, file);
  return existsSync(path) && statSync(path).isFile() ? readFileSync(path, "utf8") : undefined;
}
