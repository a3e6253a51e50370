// C42, C13, C70 among tools: calls of two bundles follow each other and run beside each other, each leaving marks wherever it can. No
// call sees a mark, a descriptor, a variable or a file that is not its own, also where a cage was made ready before its call.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, root, run, type Run } from "../../stand/host.ts";
import { type Driver, Findings } from "./driver.ts";
import { answerOf } from "./results.ts";

const PROJECT = join(root, "tests/hostile/projects/tenant");
const TENANTS = ["tenant-a", "tenant-b"] as const;
const CALLS = { light: 12, usual: 60, full: 600 };
const AT_ONCE = 3;
/** Everything a cage may have in its environment. */
const ENVIRONMENT = /^(HOME|PATH|TMPDIR|LANG|TZ|PWD|ARIA_[A-Z_]+|BUN_[A-Z_]+)$/;
const DESCRIPTOR = /^\d+ (pipe:\[N\]|socket:\[N\]|anon_inode:\S+|\/dev\/(null|urandom)|\/proc\/\S*|\/bin\/bun|\/memfd:\S*|\/app\S*|\/lib\S*|\/tmp|gone)/;

interface Seen {
  found: string[];
  env: string[];
  descriptors: string[];
  places: Record<string, string[]>;
  mounts: string;
  random: string[];
  processes: number;
}

export const tenants: Driver = {
  name: "C42 tenants",
  attack: "find what an earlier or another tool left: marks, descriptors, variables, files, random numbers, also in a cage made ready before",
  holds: "a cage serves one call; tmpfs, uid and namespaces of its own",
  where: "any",
  heavy: false,
  async run(device, { full, light }) {
    const findings = new Findings();
    const directory = mkdtempSync(join(tmpdir(), "tenants-"));
    const arc = (...args: string[]): Promise<Run> => run([arcProgram, ...args], { env: { ARC_CONFIG_DIR: device.configDir, NO_COLOR: "1" } });
    const total = full ? CALLS.full : light ? CALLS.light : CALLS.usual;
    const [random, shapes, socketCounts] = [new Set<string>(), new Set<string>(), new Set<number>()];
    try {
      for (const name of TENANTS) {
        const project = join(directory, name);
        cpSync(PROJECT, project, { recursive: true, filter: (path) => !path.includes("/.arc") });
        writeFileSync(join(project, "arc.toml"), readFileSync(join(project, "arc.toml"), "utf8").replace('"tenant"', `"${name}"`));
        for (const args of [["build", project, "--out", join(directory, `${name}.aria`)], ["upload", join(directory, `${name}.aria`)]]) {
          const done = await arc(...args);
          findings.check(args[0]!, done.code === 0, done.stderr.slice(0, 600));
        }
      }
      let calls = 0;
      const worker = async (): Promise<void> => {
        while (calls < total) {
          const call = (calls += 1);
          const answer = answerOf(await arc("--json", "invoke", `${TENANTS[call % 2]}.visit`, "--input", JSON.stringify({ stay: call % 5 === 0 ? 300 : 0 })));
          findings.check("a visit answers", answer.ok, answer.text.slice(0, 200));
          if (!answer.ok) continue;
          const seen = answer.output as Seen;
          findings.check("no mark is found", seen.found.length === 0, `call ${call}: ${seen.found.join(", ")}`);
          findings.check("no variable but the cage's own", seen.env.every((name) => ENVIRONMENT.test(name)), seen.env.filter((name) => !ENVIRONMENT.test(name)).join(" "));
          findings.check("no descriptor but its own", seen.descriptors.every((one) => DESCRIPTOR.test(one)), seen.descriptors.filter((one) => !DESCRIPTOR.test(one)).join(", "));
          findings.check("no process but its own", seen.processes <= 1, seen.processes);
          findings.check("only its own code", (seen.places["/app/code"] ?? []).every((name) => !name.startsWith("-")) && JSON.stringify(seen.places["/in"]) === "[]", JSON.stringify(seen.places));
          for (const path of ["/tmp", "/out"]) findings.check(`${path} is empty`, (seen.places[path] ?? []).length === 0, (seen.places[path] ?? []).join(" "));
          for (const value of seen.random) {
            findings.check("no random value twice", !random.has(value), value);
            random.add(value);
          }
          // A cage made ready before its call has the code mounted over an empty place.
          shapes.add([...new Set(seen.mounts.trim().split(" "))].join(" "));
          socketCounts.add(seen.descriptors.filter((one) => one.includes("socket:")).length);
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, worker));
      findings.check("the same mounts in every call", shapes.size === 1, [...shapes].join(" / ").slice(0, 600));
      findings.check("the same number of sockets in every call", socketCounts.size === 1, [...socketCounts].join(" "));
      for (const name of TENANTS) await arc("rm", name, "--yes");
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    return findings.verdict(`${total} calls of two bundles`);
  },
};
