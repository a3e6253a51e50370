//! `arc build`: the project becomes one `.aria` file.

import { renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";

import { command, option, positional } from "../command.ts";
import { projectStep } from "../compiler/session.ts";
import { escapeLine } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";
import { bytesText } from "../table.ts";

export const build = command({
  name: "build",
  summary: "Build the project into a bundle",
  description: "Writes NAME-VERSION.aria into the project and prints the digests. The same sources and the same arc give the same bytes.",
  args: {
    dir: positional({ value: "DIR", help: "The project; default is the current directory or the nearest above it", optional: true }),
    out: option({ value: "FILE", help: "Where to write the bundle", short: "o" }),
  },
  examples: ["arc build", "arc build --out /tmp/weather.aria"],
  async run({ dir, out }, context) {
    const { ui, cwd } = context;
    const { built, root } = await projectStep(dir, context, async (compiled) => {
      const { buildCompiled } = await import("../compiler/build.ts");
      return { built: await buildCompiled(compiled, (step) => ui.detail(step)), root: compiled.project.root };
    });
    const { manifest, digest, sizeBytes } = built.bundle;
    const path = out === undefined ? join(root, `${manifest.name}-${manifest.version}.aria`) : resolve(cwd, out);
    writeWhole(path, built.bytes);
    const { interfaceDigest, authorityDigest } = built;
    const tools = manifest.tools.map((tool) => `${manifest.name}.${tool.name}`);
    ui.done({ file: path, name: manifest.name, version: manifest.version, digest, interfaceDigest, authorityDigest, sizeBytes, tools }, () =>
      [
        `${escapeLine(relative(cwd, path) || path)}  ${bytesText(sizeBytes)}, ${tools.length} ${tools.length === 1 ? "tool" : "tools"}: ${tools.join(" ")}`,
        `digest     ${digest}`,
        `interface  ${interfaceDigest}`,
        `authority  ${authorityDigest}`,
      ].join("\n"),
    );
  },
});

/** The file appears whole or not at all. */
function writeWhole(path: string, bytes: Uint8Array): void {
  const draft = join(path, "..", `.${basename(path)}.${process.pid}`);
  try {
    writeFileSync(draft, bytes);
    renameSync(draft, path);
  } catch (cause) {
    rmSync(draft, { force: true });
    throw new UserError("ARC1102", `${path} cannot be written: ${(cause as Error).message}`, { exit: Exit.conflict, cause });
  }
}
