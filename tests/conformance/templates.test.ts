// Every template becomes a project that builds, uploads, and whose tool answers on a live device; what is no tool is said to be that.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, startHost, type Host } from "../stand/host.ts";

let host: Host;
const projects = mkdtempSync(join(tmpdir(), "templates-"));
beforeAll(async () => {
  host = await startHost({ context: "dev" });
}, 60_000);
afterAll(async () => {
  rmSync(projects, { recursive: true, force: true });
  await host?.stop();
});

const templates = readdirSync(join(root, "arc-cli/templates")).filter((name) => existsSync(join(root, "arc-cli/templates", name, "template.json"))).sort();

test("there is a template for each kind", () => expect(templates).toEqual(["agent", "pipeline", "team", "tool"]));

interface Built {
  tools: string[];
  agents: string[];
  teams: string[];
  pipelines: string[];
}

for (const name of templates) {
  describe(`the template ${name}`, () => {
    const project = join(projects, `my-${name}`);
    const file = join(projects, `${name}.aria`);
    let said = "";
    let built: Built;

    test("checks and builds without a network", async () => {
      const made = await host.arc(["new", project, "--template", name]);
      expect(made.code, made.stderr).toBe(0);
      said = made.stdout;
      const checked = await host.arc(["check", project]);
      expect([checked.code, checked.stderr]).toEqual([0, ""]);
      const done = await host.arc(["build", project, "--out", file, "--json"]);
      expect(done.code, done.stderr).toBe(0);
      built = (JSON.parse(done.stdout) as { data: Built }).data;
    }, 120_000);
    test("uploads, and the call that `arc new` names succeeds", async () => {
      const uploaded = await host.arc(["upload", file]);
      expect(uploaded.code, uploaded.stderr).toBe(0);
      const [, tool = "", input = ""] = /arc invoke (\S+) --input '(.*)'/.exec(said) ?? [];
      expect(built.tools).toContain(tool);
      const answer = await host.arc(["invoke", tool, "--input", input, "--json"]);
      expect(answer.code, answer.stderr + answer.stdout).toBe(0);
    }, 120_000);
    test("what the device cannot run yet is refused by name and nothing else is", async () => {
      for (const declared of [...built.agents, ...built.teams, ...built.pipelines]) {
        const answer = await host.arc(["invoke", declared, "--input", '{"task":"x"}', "--json"]);
        const { error } = JSON.parse(answer.stdout) as { error?: { code: string } };
        expect([declared, answer.code, error?.code]).toEqual([declared, 6, "KIND_NOT_BUILT"]);
      }
      const unknown = await host.arc(["invoke", `my-${name}.none`, "--input", "{}", "--json"]);
      expect((JSON.parse(unknown.stdout) as { error: { code: string } }).error.code).toBe("TOOL_UNKNOWN");
    }, 120_000);
  });
}
