//! `arc build --reproducible`: the same project in another directory, by another arc process whose clock is 400 days on and whose
//! time zone and language are others, must give the same bytes.

import { copyFileSync, existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";

import { openBundle } from "../bundle/layout.ts";
import type { Context } from "../command.ts";
import { Exit, UserError } from "../errors.ts";

const SKIPPED = new Set([".arc", ".git"]);
const DEPTH_MAX = 64;

/** A clock 400 days ahead, for everything JavaScript can ask. */
const OTHER_CLOCK = `const ahead = 400 * 86_400_000, Real = Date, now = Date.now;
globalThis.Date = class extends Real { constructor(...args) { if (args.length === 0) super(now() + ahead); else super(...args); } static now() { return now() + ahead; } };
`;

/** Builds the project at `root` elsewhere and compares with `bytes`, which are not signed. Throws with the first difference. */
export async function buildElsewhere(root: string, bytes: Uint8Array, { signal, ui }: Pick<Context, "signal" | "ui">): Promise<void> {
  ui.detail("building again, in another directory at another time");
  const scratch = mkdtempSync(join(tmpdir(), "arc-again-"));
  try {
    const copy = join(scratch, "some/where/else", basename(root));
    copyTree(root, copy, 0);
    linkPackages(root, scratch);
    const again = await build(scratch, copy, signal);
    const found = difference(bytes, again);
    if (found === undefined) return;
    throw new UserError("ARC1105", `the build is not reproducible: ${found}`, { exit: Exit.build, hint: "something of the directory, the time or the environment reached the bundle" });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function build(scratch: string, copy: string, signal: AbortSignal): Promise<Uint8Array> {
  const out = join(scratch, "again.aria");
  const clock = join(scratch, "clock.js");
  writeFileSync(clock, OTHER_CLOCK);
  const beside = join(import.meta.dir, "main.js");
  const program = existsSync(beside) ? beside : join(import.meta.dir, "../main.ts");
  const argv = [process.execPath, "--no-install", "--env-file=/dev/null", "--config=/dev/null", "--preload", clock, program, "build", copy, "--unsigned", "--fresh", "--out", out];
  const env = { PATH: process.env["PATH"] ?? "", HOME: scratch, ARC_CONFIG_DIR: join(scratch, "config"), TZ: "Pacific/Kiritimati", LANG: "tr_TR.UTF-8", NO_COLOR: "1", ARC_TTY: "---" };
  const child = Bun.spawn(argv, { cwd: scratch, env, stdin: "ignore", stdout: "ignore", stderr: "pipe", signal });
  const [said, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  if (code !== 0) throw new UserError("ARC1105", `the project does not build elsewhere: ${said.trim().split("\n").slice(0, 3).join(" ")}`, { exit: Exit.build, hint: "it needs something outside its directory" });
  return new Uint8Array(readFileSync(out));
}

/** Where two bundles first differ, in words; nothing when they are the same. */
export function difference(first: Uint8Array, second: Uint8Array): string | undefined {
  if (Buffer.compare(first, second) === 0) return undefined;
  const [a, b] = [openBundle(first), openBundle(second)];
  const others = new Map(b.files.map((file) => [file.path, file.bytes]));
  for (const { path, bytes } of a.files) {
    const other = others.get(path);
    if (other === undefined) return `${path} is only in the first`;
    others.delete(path);
    const at = firstDifference(bytes, other);
    if (at !== undefined) return `${path} differs from byte ${at} on (line ${lineAt(bytes, at)})`;
  }
  for (const path of others.keys()) return `${path} is only in the second`;
  const at = firstDifference(Buffer.from(JSON.stringify(a.manifest)), Buffer.from(JSON.stringify(b.manifest)));
  return at === undefined ? `the files are the same, the archive differs from byte ${firstDifference(first, second)} on` : `the manifest differs from byte ${at} on`;
}

function firstDifference(a: Uint8Array, b: Uint8Array): number | undefined {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) if (a[at] !== b[at]) return at;
  return a.length === b.length ? undefined : length;
}

const lineAt = (bytes: Uint8Array, at: number): number => bytes.subarray(0, at).filter((byte) => byte === 10).length + 1;

function copyTree(from: string, to: string, depth: number): void {
  mkdirSync(to, { recursive: true });
  if (depth > DEPTH_MAX) return;
  for (const item of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, item.name), join(to, item.name)];
    if (item.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    else if (item.isDirectory()) {
      if (!SKIPPED.has(item.name)) copyTree(source, target, depth + 1);
    } else if (item.isFile() && !item.name.endsWith(".aria")) copyFile(source, target);
  }
}

/** Packages are many and never edited in place, so they are linked; what is the author's is copied. */
function copyFile(source: string, target: string): void {
  if (source.includes("/node_modules/")) {
    try {
      return linkSync(source, target);
    } catch {
      // Another file system: copy.
    }
  }
  copyFileSync(source, target);
}

/** Packages of a workspace lie above the project. */
function linkPackages(root: string, scratch: string): void {
  for (let at = dirname(root); at !== dirname(at); at = dirname(at)) {
    if (existsSync(join(at, "node_modules"))) return symlinkSync(join(at, "node_modules"), join(scratch, "node_modules"));
  }
}
