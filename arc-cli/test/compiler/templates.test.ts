//! Every template is a project that checks without a warning, builds, passes its own tests and has no red marks in an editor.

import { afterAll, describe, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openBundle } from "../../src/bundle/layout.ts";
import { arc } from "../cli/drive.ts";
import { call, cleanUp } from "../sdk/host.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(300_000);

const scratch = mkdtempSync(join(tmpdir(), "arc-templates-"));
afterAll(() => {
  cleanUp();
  rmSync(scratch, { recursive: true });
});

const tsc = join(import.meta.dir, "../../node_modules/typescript/lib/tsc.js");

async function typeCheck(project: string): Promise<unknown> {
  const child = Bun.spawn([process.execPath, tsc, "--noEmit", "--project", project], { stdout: "pipe" });
  return [await new Response(child.stdout).text(), await child.exited];
}

/** What a template declares, and a call of its tool. */
const templates: readonly { readonly name: string; readonly declares: Record<string, string[]>; readonly answer: unknown }[] = [
  { name: "tool", declares: { tools: ["forecast"], agents: [], teams: [], pipelines: [] }, answer: { city: "Oslo", days: expect.any(Array) } },
  { name: "agent", declares: { tools: ["find"], agents: ["librarian"], teams: [], pipelines: [] }, answer: { books: [{ title: "Flour, Water, Salt" }, { title: "Rivers and Mills" }] } },
  { name: "team", declares: { tools: ["measure"], agents: ["reviewer", "writer"], teams: ["desk"], pipelines: [] }, answer: { words: 4, sentences: 2 } },
  { name: "pipeline", declares: { tools: ["table", "words"], agents: [], teams: [], pipelines: ["summary"] }, answer: { words: [{ word: "two", count: 2 }, { word: "one", count: 1 }], total: 3 } },
];

for (const { name, declares, answer } of templates) {
  describe(`the template ${name}`, () => {
    const project = join(scratch, `my-${name}`);
    test("says how to begin and tells an agent how to work here", async () => {
      const made = await arc(["new", project, "--template", name]);
      expect([made.code, made.stderr]).toEqual([0, ""]);
      const { tool, input } = invocation(made.stdout);
      expect(readdirSync(project).sort()).toEqual([".arc", ".gitignore", "AGENTS.md", "arc.toml", "src", "tsconfig.json"]);
      const agents = readFileSync(join(project, "AGENTS.md"), "utf8");
      for (const words of ["arc check", "bun test", "arc build", `arc invoke ${tool} --input '${input}'`]) expect(agents).toContain(words);
      for (const path of ["AGENTS.md", "arc.toml", `src/my-${name}.ts`]) expect(readFileSync(join(project, path), "utf8")).not.toContain("__");
    });
    test("checks without a warning", async () => {
      const checked = await arc(["check", project, "--json"]);
      expect(checked.json()).toMatchObject({ ok: true, warnings: [], data: { diagnostics: [] } });
    });
    test("builds what it declares, and its tool can be called", async () => {
      const file = join(scratch, `${name}.aria`);
      expect((await arc(["build", project, "--out", file])).code).toBe(0);
      const { manifest, files } = openBundle(new Uint8Array(readFileSync(file)));
      const names = Object.fromEntries((["tools", "agents", "teams", "pipelines"] as const).map((kind) => [kind, manifest[kind].map((one) => one.name)]));
      expect(names).toEqual(declares);
      const shown = await arc(["inspect", file]);
      for (const one of Object.values(declares).flat()) expect(shown.stdout).toContain(`my-${name}.${one}`);
      const { tool, input } = invocation((await arc(["new", join(scratch, `again-${name}`), "--template", name])).stdout);
      const module = join(scratch, `${name}.js`);
      writeFileSync(module, files.find(({ path }) => path === `code/${tool.split(".")[1]}.js`)?.bytes ?? "");
      const { frames } = await call(module, input);
      expect(JSON.parse(String(frames[0]?.["result"]?.["outputJson"]))).toMatchObject(answer as object);
    });
    test("passes its own tests", async () => {
      const child = Bun.spawn([process.execPath, "test"], { cwd: project, stdout: "pipe", stderr: "pipe" });
      expect(await child.exited).toBe(0);
    });
    test("has no red marks in an editor, with the project's settings", async () => expect(await typeCheck(project)).toEqual(["", 0]));
    test("nor with what an editor assumes by itself", async () => {
      // The settings of an implicit project; the paths are where the SDK lies.
      const compilerOptions = { module: "esnext", moduleResolution: "bundler", target: "es2022", lib: ["es2022"], strict: true, noEmit: true, skipLibCheck: true, allowImportingTsExtensions: true, typeRoots: ["./.arc/types", "./.arc/types/@types"], types: ["bun-types"], paths: { "@aria/sdk": ["./.arc/sdk/index.ts"] } };
      writeFileSync(join(project, "editor.json"), JSON.stringify({ compilerOptions, include: ["src"] }));
      expect(await typeCheck(join(project, "editor.json"))).toEqual(["", 0]);
      rmSync(join(project, "editor.json"));
    });
  });
}

test("no template is untested", async () => {
  const found = readdirSync(join(import.meta.dir, "../../templates")).filter((one) => existsSync(join(import.meta.dir, "../../templates", one, "template.json")));
  expect(found.sort()).toEqual(templates.map(({ name }) => name).sort());
});

/** The last line that `arc new` prints: a call to try. */
function invocation(said: string): { tool: string; input: string } {
  const [, tool = "", input = ""] = /arc invoke (\S+) --input '(.*)'/.exec(said) ?? [];
  return { tool, input };
}
