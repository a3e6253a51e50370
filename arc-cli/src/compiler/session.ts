//! What `arc check` and `arc build` share: open the project, help the editor, compile, report.

import { existsSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

import type { Context } from "../command.ts";
import { Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import type { Compiled } from "./compile.ts";

/** Compiles the project at `dir` and goes on with it; every finding leaves as one `UserError`. */
export async function projectStep<T>(dir: string | undefined, { ui, cwd }: Context, next: (compiled: Compiled) => Promise<T>): Promise<T> {
  const from = resolve(cwd, dir ?? ".");
  if (!existsSync(from) || !statSync(from).isDirectory()) throw new UserError("ARC1103", `${from} is not a directory`, { exit: Exit.notFound });
  const [{ compile }, { toUserError }, { CompileError }] = await Promise.all([import("./compile.ts"), import("./report.ts"), import("./diagnostics.ts")]);
  let compiled: Compiled | undefined;
  const working = await ui.working("reading types");
  try {
    ui.detail("reading types");
    compiled = compile(from);
    await helpEditor(compiled.project.root, (text) => ui.warn(text));
    if (compiled.diagnostics.length > 0) throw new CompileError(compiled.diagnostics);
    return await next(compiled);
  } catch (error) {
    throw toUserError(error, (file) => compiled?.read(file) ?? readBeside(from, file));
  } finally {
    working.end();
  }
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
