// Positive controls: a case that cannot fire proves nothing. Each is run by the test-only launcher with the steps its header names
// left out, and must then report an escape. What has no such step says why, in its header.
//
// Nothing here reaches further than an empty network namespace, a throw-away overlay and open() without write().

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bun, root, run } from "../../stand/host.ts";
import { type CaseFile, readCases } from "../case-file.ts";
import { LineReader, newCanary } from "../device.ts";
import { type Driver, Findings } from "./driver.ts";

const CASES = join(root, "tests/hostile/cases");
const TARGET = join(root, "target/x86_64-unknown-linux-gnu");
const FLAGS = ["--no-install", "--env-file=/dev/null", "--config=/dev/null", "--no-orphans"];
const RUN_MS_MAX = 90_000;
const SEEDED = "seeded";

export interface Weak {
  without: readonly string[];
  env?: readonly string[];
}

/** What to leave out for a case; undefined when its header says why nothing can be. */
export function weakening(file: CaseFile): Weak | undefined {
  const control = file.header?.control ?? [];
  if (control[0] === "seeded-env") return { without: [], env: [`ARIA_HOSTILE_SECRET=${newCanary()}`] };
  return control.some((name) => name.startsWith(SEEDED)) ? undefined : { without: control };
}

async function launcher(): Promise<string> {
  const built = ["release", "debug"].map((kind) => join(TARGET, kind, "weak-launcher")).find(existsSync);
  if (built !== undefined) return built;
  const cargo = await run(["cargo", "build", "--locked", "--quiet", "--package", "weak-launcher"]);
  if (cargo.code !== 0) throw new Error(`the weak launcher does not build:\n${cargo.stderr}`);
  return join(TARGET, "debug/weak-launcher");
}

export interface WeakRun {
  escaped: boolean;
  said: string;
}

export async function weakRun(program: string, file: CaseFile, weak: Weak, directory: string): Promise<WeakRun> {
  const app = join(directory, file.name);
  const built = await run([bun, "build", "--target=bun", `--outfile=${app}/main.js`, file.path]);
  if (built.code !== 0) throw new Error(`${file.name} does not build: ${built.stderr}`);
  const profile = file.profiles.includes("tool") ? "tool" : "tool-noexec";
  const memory = file.limits[file.limits.indexOf("--memory") + 1] ?? "";
  // Core files are off in most shells; c66-core is about the cage's own limit.
  const child = Bun.spawn([
    "prlimit", "--core=unlimited", program, "--root", join(root, "out/tool-root"), "--app", app, "--profile", profile, ...(weak.without.length > 0 ? ["--without", weak.without.join(",")] : []),
    ...(weak.env ?? []).flatMap((value) => ["--env", value]), ...(file.limits.includes("--memory") ? ["--memory", String(Number.parseInt(memory, 10) * 2 ** 20)] : []),
    "--", "/bin/bun", ...FLAGS, "/app/main.js",
  ], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX);
  const reader = new LineReader();
  const decoder = new TextDecoder();
  const errors = new Response(child.stderr).text();
  for await (const chunk of child.stdout) reader.take(decoder.decode(chunk, { stream: true }));
  reader.end();
  clearTimeout(timer);
  const code = await child.exited;
  const line = reader.lines.find((one) => one.escaped === true) ?? reader.lines.at(-1);
  return { escaped: line?.escaped === true, said: line === undefined ? `no line, exit ${code}: ${(await errors).trim().slice(-300)}` : line.detail.slice(0, 160) };
}

/** Something for c31 to find when its network namespace is the machine's. */
function abstractListener(): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => server.once("error", reject).listen("\0aria-hostile-canary", () => resolve(server)));
}

/** For the report: which cases fired without their layers, by name. */
export const fired = new Map<string, boolean>();

export const controls: Driver = {
  name: "controls",
  attack: "the cases themselves, with the layers that hold them left out: each must fire",
  holds: "the layers each case names",
  where: "host",
  heavy: true,
  async run() {
    const findings = new Findings();
    const program = await launcher();
    const directory = mkdtempSync(join(tmpdir(), "controls-"));
    const listener = await abstractListener();
    const reasons: string[] = [];
    try {
      for (const file of readCases(CASES)) {
        const weak = weakening(file);
        if (weak === undefined) {
          reasons.push(`${file.name} (${file.header!.control.join(", ")})`);
          continue;
        }
        const result = await weakRun(program, file, weak, directory);
        fired.set(file.name, result.escaped);
        findings.check(`${file.name} fires without ${weak.without.join(", ") || "its seed"}`, result.escaped, result.said);
      }
      // C14: with the mount layer weakened and an owner's rights, Landlock alone still refuses.
      const c14 = readCases(CASES).find((file) => file.name === "c14")!;
      const held = await weakRun(program, c14, { without: c14.header!.control.filter((name) => name !== "landlock") }, directory);
      findings.check("C14: Landlock alone refuses", !held.escaped && held.said.includes("probes held"), held.said);
    } finally {
      listener.close();
      rmSync(directory, { recursive: true, force: true });
    }
    return findings.verdict(`not fired, with reason: ${reasons.join("; ")}`);
  },
};
