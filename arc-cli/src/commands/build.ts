//! `arc build`: the project becomes one `.aria` file.

import { lstatSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";

import { openBundle, signBundle } from "../bundle/layout.ts";
import { type Context, command, flag, option, positional } from "../command.ts";
import { configDir } from "../config.ts";
import { projectStep } from "../compiler/session.ts";
import { buildId, remember, rootAbove, unchanged, type Wanted } from "../compiler/stamp.ts";
import { escapeLine } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";
import { bytesText, countDeclared } from "../table.ts";
import { DEFAULT_KEY, findKey, requireKey, type AuthorKey } from "../trust/keys.ts";

export const build = command({
  name: "build",
  summary: "Build the project into a bundle",
  description: "Writes NAME-VERSION.aria into the project and prints the digests. Signs it with the key called default when there is one (`arc key new`). The same sources, the same key and the same arc give the same bytes, so what did not change is not built again.",
  args: {
    dir: positional({ value: "DIR", help: "The project; default is the current directory or the nearest above it", optional: true }),
    out: option({ value: "FILE", help: "Where to write the bundle", short: "o" }),
    key: option({ value: "NAME", help: `Key to sign with; absent: ${DEFAULT_KEY}, if there is one` }),
    unsigned: flag({ help: "Do not sign" }),
    fresh: flag({ help: "Build also when nothing changed since the last build" }),
    reproducible: flag({ help: "Build once more, in another directory at another time, and compare every byte" }),
  },
  examples: ["arc build", "arc build --out /tmp/weather.aria", "arc build --reproducible"],
  async run({ dir, out, key, unsigned, fresh, reproducible }, context) {
    const { ui, cwd, env } = context;
    if (unsigned && key !== undefined) throw new UserError("ARC2075", "--unsigned and --key exclude each other");
    // Before the work, so that a wrong name costs nothing.
    const signer = unsigned ? undefined : await chosenKey(configDir(env), key);
    const arc = buildId();
    const wanted = (root: string): Wanted => ({ root, out: out === undefined ? null : resolve(cwd, out), signer: signer?.keyId ?? null, arc: arc ?? "" });
    const here = arc === undefined || fresh || reproducible ? undefined : rootAbove(resolve(cwd, dir ?? "."));
    const last = here === undefined ? undefined : unchanged<BuildResult>(wanted(here));
    if (last !== undefined) return shown({ ...last, reused: true }, signer, context);
    const { built, root } = await projectStep(dir, context, async (compiled) => {
      const { buildCompiled } = await import("../compiler/build.ts");
      return { built: await buildCompiled(compiled, (step) => ui.detail(step)), root: compiled.project.root };
    });
    const bytes = signer === undefined ? built.bytes : signBundle(built.bytes, signer.privatePem);
    const { manifest, digest, sizeBytes } = openBundle(bytes);
    const path = out === undefined ? join(root, `${manifest.name}-${manifest.version}.aria`) : resolve(cwd, out);
    if (reproducible) {
      const { buildElsewhere } = await import("../compiler/reproduce.ts");
      await buildElsewhere(root, built.bytes, context);
    }
    writeWhole(path, bytes);
    const { interfaceDigest, authorityDigest } = built;
    const names = (list: readonly { readonly name: string }[]): string[] => list.map(({ name }) => `${manifest.name}.${name}`);
    const [tools, agents, teams, pipelines] = [names(manifest.tools), names(manifest.agents), names(manifest.teams), names(manifest.pipelines)];
    const result: BuildResult = { file: path, name: manifest.name, version: manifest.version, digest, interfaceDigest, authorityDigest, sizeBytes, tools, agents, teams, pipelines, signer: signer?.keyId ?? null };
    if (arc !== undefined) remember(wanted(root), built.inputs, bytes, result);
    shown({ ...result, reused: false, ...(reproducible ? { reproducible: true } : {}) }, signer, context);
  },
});

/** What is printed, and remembered for the next build of the same. */
interface BuildResult {
  readonly file: string;
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly interfaceDigest: string;
  readonly authorityDigest: string;
  readonly sizeBytes: number;
  readonly tools: readonly string[];
  readonly agents: readonly string[];
  readonly teams: readonly string[];
  readonly pipelines: readonly string[];
  readonly signer: string | null;
}

function shown(result: BuildResult & { readonly reused: boolean; readonly reproducible?: boolean }, signer: AuthorKey | undefined, { ui, cwd }: Context): void {
  const { file, sizeBytes, tools, agents, teams, pipelines, digest, interfaceDigest, authorityDigest } = result;
  ui.done(result, () =>
    [
      `${escapeLine(relative(cwd, file) || file)}  ${bytesText(sizeBytes)}, ${countDeclared(result)}: ${[...tools, ...agents, ...teams, ...pipelines].join(" ")}${result.reused ? " (unchanged)" : ""}`,
      `digest     ${digest}`,
      `interface  ${interfaceDigest}`,
      `authority  ${authorityDigest}`,
      signer === undefined ? "not signed; `arc key new` makes a key" : `signed     ${signer.keyId} (${signer.name})`,
      ...(result.reproducible === true ? ["built twice, in two directories at two times: the same bytes"] : []),
    ].join("\n"),
  );
}

async function chosenKey(dir: string, name: string | undefined): Promise<AuthorKey | undefined> {
  return name === undefined ? await findKey(dir, DEFAULT_KEY) : await requireKey(dir, name);
}

/** The file appears whole or not at all. A link stays and its target is written; what is no regular file is left alone. */
export function writeWhole(named: string, bytes: Uint8Array): void {
  const path = regularFile(named);
  const draft = join(path, "..", `.${basename(path)}.${process.pid}`);
  try {
    writeFileSync(draft, bytes, { flag: "wx" });
    renameSync(draft, path);
  } catch (cause) {
    rmSync(draft, { force: true });
    throw refused(named, (cause as Error).message, cause);
  }
}

/** The path itself, or where its links lead. Renaming over a device or a pipe would destroy it. */
function regularFile(path: string): string {
  try {
    const entry = lstatSync(path, { throwIfNoEntry: false });
    if (entry === undefined) return path;
    const real = entry.isSymbolicLink() ? realpathSync(path) : path;
    if (lstatSync(real).isFile()) return real;
  } catch (cause) {
    throw refused(path, (cause as Error).message, cause);
  }
  throw refused(path, "it exists and is no regular file");
}

function refused(path: string, why: string, cause?: unknown): UserError {
  return new UserError("ARC1102", `${path} cannot be written: ${why}`, { exit: Exit.conflict, cause });
}
