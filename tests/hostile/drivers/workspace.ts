// C56, V05: a session that is filled, or filled with links, odd names and things that changed their kind. It ends at its quota, and
// what is brought back stays below the directory it came from.

import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "../../stand/host.ts";
import { exec, type ExecResult } from "../device.ts";
import { judge } from "../verdict.ts";
import { type Driver, Findings } from "./driver.ts";

const PROGRAM = join(root, "tests/hostile/cases/_workspace.ts");
const QUOTA_MIB = 16;

export const workspace: Driver = {
  name: "C56 workspace",
  attack: "fill a session, leave it by links, bring back links, odd names and set-id files over what was there",
  holds: "disk; the reader of changes (engine), path rules (arc)",
  where: "any",
  heavy: false,
  async run(device) {
    const findings = new Findings();
    const outer = mkdtempSync(join(tmpdir(), "session-"));
    const slow = device.kind === "vm" ? 6 : 1;
    const go = async (how: string, options: string[], fresh = true): Promise<ExecResult> => {
      const dir = join(outer, "session");
      if (fresh) {
        rmSync(outer, { recursive: true, force: true });
        mkdirSync(join(dir, "dir"), { recursive: true });
        mkdirSync(join(outer, "outside"));
        writeFileSync(join(outer, "outside-file"), "outside\n");
        writeFileSync(join(dir, "base.txt"), "base\n");
        writeFileSync(join(dir, "dir/inner.txt"), "inner\n");
      }
      const run = await exec(device, PROGRAM, ["--session", dir, "--disk", `${QUOTA_MIB}M`, "--timeout", `${60 * slow}s`, ...options], 150_000 * slow, [how, String(QUOTA_MIB << 20)]);
      const verdict = judge(run, undefined);
      findings.check(how, verdict.pass && run.lines.length > 0, `${verdict.detail} ${JSON.stringify(run.ended).slice(0, 300)}`);
      return run;
    };
    try {
      for (const profile of ["tool", "tool-noexec"]) await go("fill", ["--profile", profile]);
      findings.check("without --pull nothing comes back", JSON.stringify(readdirSync(join(outer, "session")).sort()) === '["base.txt","dir"]', readdirSync(join(outer, "session")).join(" "));
      await go("execute", []);
      await go("read-only", ["--token", "fs:workspace:ro"]);
      await go("leave", ["--pull"]);
      const session = join(outer, "session");
      findings.check("nothing is outside", JSON.stringify(readdirSync(outer).sort()) === '["outside","outside-file","session"]' && readdirSync(join(outer, "outside")).length === 0, `${readdirSync(outer).join(" ")}; ${readdirSync(join(outer, "outside")).join(" ")}`);
      findings.check("what is outside is unchanged", readFileSync(join(outer, "outside-file"), "utf8") === "outside\n");
      for (const name of readdirSync(session, { recursive: true, encoding: "utf8" })) {
        const found = lstatSync(join(session, name));
        findings.check(`${JSON.stringify(name)} is plain`, found.isFile() || found.isDirectory() || found.isSymbolicLink());
        findings.check(`${JSON.stringify(name)} has no set-id`, (found.mode & 0o6000) === 0, found.mode.toString(8));
        findings.check(`${JSON.stringify(name)} drives no terminal`, !/[\u0000-\u001f\u007f\u202e]/.test(name));
      }
      for (const marker of ["/etc/marker", "/root/marker", "/marker"]) findings.check(marker, !existsSync(marker));
    } finally {
      rmSync(outer, { recursive: true, force: true });
    }
    return findings.verdict();
  },
};
