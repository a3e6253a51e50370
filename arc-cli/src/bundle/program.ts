//! One TypeScript file and what it imports, as the ephemeral bundle that `arc exec` sends. No types are checked and no
//! rule of arc's applies: whatever the runtime would take is built, also code that means harm. The cage is the answer to that.

import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";

import { bundleFile } from "../compiler/bundler.ts";
import { CompileError } from "../compiler/diagnostics.ts";
import { seal, sourceDigest } from "../compiler/build.ts";
import { kebabCase } from "../compiler/name.ts";
import { toUserError } from "../compiler/report.ts";
import { Exit, UserError } from "../errors.ts";
import { ARC_VERSION } from "../version.ts";
import { NAME } from "./reader.ts";

export interface Program {
  readonly bytes: Uint8Array;
  /** Identity of the bundle, `sha256:<hex>`. */
  readonly digest: string;
}

/** Builds the program in `file` (relative to `cwd`). Works outside any project. Throws `UserError`. */
export async function buildProgram(file: string, { cwd }: { readonly cwd: string }): Promise<Program> {
  const path = resolve(cwd, file);
  if (!existsSync(path) || !statSync(path).isFile()) {
    throw new UserError("ARC1103", `${file} is not a file`, { exit: Exit.notFound, hint: "give the path of a TypeScript or JavaScript file" });
  }
  const root = dirname(path);
  try {
    const { code, sources } = await bundleFile(root, { path: "code/main.js", file: path });
    const built = seal(
      {
        format: 1,
        name: programName(path),
        version: "0.0.0",
        description: "",
        authors: [],
        license: "",
        engine: ">=0.1.0",
        tools: [],
        agents: [],
        teams: [],
        pipelines: [],
        program: { entry: "code/main.js" },
        dependencies: [],
        source: { digest: sourceDigest(sources) },
        builder: { name: "arc", version: ARC_VERSION },
      },
      [...code, ...sources],
    );
    return { bytes: built.bytes, digest: built.bundle.digest };
  } catch (error) {
    throw error instanceof CompileError ? toUserError(error, readSource(root)) : error;
  }
}

function programName(path: string): string {
  const name = kebabCase(basename(path).replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9]+/g, "-")).slice(0, 63);
  return NAME.test(name) ? name : "program";
}

function readSource(root: string): (file: string) => string | undefined {
  return (file) => {
    const path = resolve(root, file);
    return existsSync(path) ? readFileSync(path, "utf8") : undefined;
  };
}
