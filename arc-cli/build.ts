//! Builds what runs: `out/lib/arc/` (the program in chunks that load when needed), `out/bin/arc` (its launcher), and
//! `out/lib/harness.js` and `out/lib/net.js` (what runs in the sandbox, the second only with net tokens).
//!
//! TypeScript stays outside: it is 9 MB, only `check` and `build` need it, and it reads its own type files beside it.

import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdir, rename, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import type { BunPlugin } from "bun";

import { globals } from "./src/cli.ts";
import { sections } from "./src/commands.ts";
import { programHelp } from "./src/help.ts";
import { style } from "./src/ui.ts";

const here = import.meta.dir;
const out = join(here, "..", "out");

/** `import "typescript"` in a chunk becomes a path to the one in arc-cli/node_modules, relative so that the checkout can move. */
function besideTypeScript(outdir: string): BunPlugin {
  return {
    name: "typescript-stays-outside",
    setup(build) {
      const path = relative(outdir, join(here, "node_modules/typescript/lib/typescript.js"));
      build.onResolve({ filter: /^typescript$/ }, () => ({ path, external: true }));
    },
  };
}

async function bundle(entry: string, outdir: string, naming: string, splitting: boolean, finalDir: string): Promise<void> {
  const result = await Bun.build({
    entrypoints: [join(here, entry)],
    outdir,
    naming: { entry: naming, chunk: "[name]-[hash].[ext]" },
    target: "bun",
    format: "esm",
    splitting,
    minify: { syntax: true, whitespace: true, identifiers: false },
    sourcemap: splitting ? "linked" : "none",
    plugins: [besideTypeScript(finalDir)],
  });
  for (const log of result.logs) console.error(String(log));
  if (!result.success) throw new Error(`${entry} does not build`);
}

/** One word of a shell. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

// `arc --help` is the same for everybody, so the launcher has it ready, plain and in colour. Whoever says more about colours
// than whether it is a terminal is answered by the program.
const help = (colour: boolean): string => quoted(programHelp(sections, globals, style(colour)));

// `$0` is the path the shell found, so following its links leads to the checkout from any directory.
const launcher = `#!/bin/sh
# arc of this checkout, on its pinned Bun. Written by arc-cli/build.ts.
if [ "$#" = 1 ] && [ -z "\${NO_COLOR-}\${FORCE_COLOR-}\${CLICOLOR_FORCE-}\${CLICOLOR-}" ]; then
  case $1 in
    --help|-h)
      if ! [ -t 1 ]; then
        printf '%s\\n' ${help(false)}
        exit
      elif [ "\${TERM-}" != dumb ]; then
        printf '%s\\n' ${help(true)}
        exit
      fi ;;
  esac
fi
self=$0
while [ -L "$self" ]; do
  to=$(readlink "$self")
  case $to in
    /*) self=$to ;;
    *) self=\${self%/*}/$to ;;
  esac
done
case $self in
  */*) dir=\${self%/*} ;;
  *) dir=. ;;
esac
dir=$(CDPATH='' cd -- "$dir" && pwd -P) || exit 1
out=\${dir%/*}
[ -n "\${ARC_CONFIG_DIR:-}" ] || ARC_CONFIG_DIR=$out/arc
ARC_TTY=
for fd in 0 1 2; do if [ -t $fd ]; then ARC_TTY=\${ARC_TTY}t; else ARC_TTY=\${ARC_TTY}-; fi; done
export ARC_CONFIG_DIR ARC_TTY
# Settings of a user's Bun are not for arc.
unset BUN_OPTIONS BUN_INSPECT BUN_INSPECT_CONNECT_TO NODE_ENV BUN_ENV
exec "$dir/bun" --no-install --env-file=/dev/null --config=/dev/null "$out/lib/arc/main.js" "$@"
`;

/** A hash over the program, the SDK it puts into bundles, and the versions of what reads types: another one may build other bytes. */
function buildId(dir: string): string {
  const hash = createHash("sha256");
  for (const from of [dir, join(here, "sdk/src")])
    for (const name of readdirSync(from, { recursive: true, encoding: "utf8" }).sort())
      if (/\.(js|ts)$/.test(name)) hash.update(`${name}\0`).update(readFileSync(join(from, name)));
  hash.update(readFileSync(join(here, "bun.lock")));
  return hash.digest("hex");
}

/** The new program replaces the old in one step, so an arc that starts meanwhile finds one or the other. */
async function replaceDir(draft: string, final: string): Promise<void> {
  const old = `${final}.old`;
  await rm(old, { recursive: true, force: true });
  if (existsSync(final)) await rename(final, old);
  await rename(draft, final);
  await rm(old, { recursive: true, force: true });
}

await mkdir(join(out, "bin"), { recursive: true });
await mkdir(join(out, "lib"), { recursive: true });
const final = join(out, "lib/arc");
const draft = join(out, "lib/.arc.new");
await rm(draft, { recursive: true, force: true });
await bundle("src/main.ts", draft, "main.js", true, final);
await Bun.write(join(draft, "build-id"), `${buildId(draft)}\n`);
await replaceDir(draft, final);

const harness = join(here, "sdk/src/harness/main.ts");
if (existsSync(harness)) await bundle("sdk/src/harness/main.ts", join(out, "lib"), "harness.js", false, join(out, "lib"));
await bundle("sdk/src/net/main.ts", join(out, "lib"), "net.js", false, join(out, "lib"));

const path = join(out, "bin/arc");
await Bun.write(`${path}.new`, launcher);
await chmod(`${path}.new`, 0o755);
await rename(`${path}.new`, path);
