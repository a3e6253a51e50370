//! A manifest with every kind of declaration: what the compiler makes of a project, what both readers take, and that arc and
//! the device compute the same digests of it. The device's half is `runtime/bundle/tests/composites.rs`, over the same file.

import { expect, test, setDefaultTimeout } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { authorityDigest, interfaceDigest } from "../../src/bundle/digest.ts";
import type { Json, JsonObject } from "../../src/bundle/json.ts";
import { readManifest } from "../../src/bundle/manifest.ts";
import { manifestOf } from "../../src/compiler/build.ts";
import { compile } from "../../src/compiler/compile.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(120_000);

const golden = join(import.meta.dir, "../../../runtime/bundle/tests/declared.json");
const compiled = compile(join(import.meta.dir, "../fixtures/declared"));
const entries = compiled.tools.map(({ name }) => ({ path: `code/${name}.js`, size: 0, sha256: "0".repeat(64) }));
const manifest = { ...manifestOf(compiled, []), builder: { name: "arc", version: "0.0.0" }, files: entries } as unknown as JsonObject;
const read = readManifest(manifest);
const made = { interfaceDigest: interfaceDigest(read), authorityDigest: authorityDigest(read), manifest };
if (process.env["UPDATE"] === "1") writeFileSync(golden, `${JSON.stringify(made, null, 2)}\n`);
const kept = JSON.parse(readFileSync(golden, "utf8")) as typeof made;

test("the project with every decorator, option and reference has no fault", () => {
  expect(compiled.diagnostics).toEqual([]);
  expect(compiled.warnings.map(({ id, span }) => `${id} ${span?.line}`)).toEqual(["ARC1142 65"]);
});

test("its manifest is the golden one, and reading it gives it back", () => {
  expect(JSON.parse(JSON.stringify(made))).toEqual(kept);
  expect(JSON.parse(JSON.stringify(read))).toEqual(kept.manifest);
});

/** Sets one value below the manifest; `undefined` removes it. */
function changed(path: string, value: Json | undefined): JsonObject {
  const copy = structuredClone(kept.manifest) as Record<string, any>;
  const keys = path.split("/");
  const last = keys.pop() ?? "";
  const parent = keys.reduce<any>((at, key) => at[key], copy);
  if (value === undefined) delete parent[last];
  else parent[last] = value;
  return copy as JsonObject;
}

const bad: readonly (readonly [path: string, value: Json | undefined])[] = [
  ...(["model", "fallback", "prompt", "tools", "tokens", "limits", "memory", "budget", "approval"] as const).map((key) => [`agents/0/${key}`, undefined] as const),
  ...(["members", "strategy", "rules", "limits", "budget"] as const).map((key) => [`teams/0/${key}`, undefined] as const),
  ...(["variables", "steps", "output", "concurrency", "timeoutMs"] as const).map((key) => [`pipelines/0/${key}`, undefined] as const),
  ...(["id", "kind", "uses", "input", "after", "retry", "onError"] as const).map((key) => [`pipelines/0/steps/0/${key}`, undefined] as const),
  ["agents/0/more", 1],
  ["agents/0/model", "Not A Model"],
  ["agents/0/tools/0", "price"],
  ["agents/0/tokens/0", "kv:*"],
  ["agents/0/limits/turns", 0],
  ["agents/0/limits/more", 1],
  ["agents/0/memory/scope", "world"],
  ["agents/0/name", "price"],
  ["agents/0/name", "crew"],
  ["teams/0/members", []],
  ["teams/0/strategy", "chaos"],
  ["teams/0/lead", "shop.nobody"],
  ["teams/0/rules/rounds", 101],
  ["pipelines/0/steps", []],
  ["pipelines/0/steps/0/after", ["answer"]],
  ["pipelines/0/steps/1/id", "order"],
  ["pipelines/0/steps/0/kind", "thing"],
  ["pipelines/0/steps/0/uses", "price"],
  ["pipelines/0/steps/0/retry/attempts", 11],
  ["pipelines/0/steps/0/compensate/uses", "x"],
  ["pipelines/0/steps/0/when", { value: "order", is: 1 }],
  ["pipelines/0/steps/0/when", { value: "$order", is: 1, not: 2 }],
  ["pipelines/0/steps/0/when", { all: [{ value: "$order.id" }] }],
  ["pipelines/0/concurrency", 65],
];
for (const [path, value] of bad) test(`a manifest with ${path} = ${JSON.stringify(value)} is refused`, () => expect(() => readManifest(changed(path, value))).toThrow());

test("each kind is part of the authority, prompts and words for people are not", () => {
  const authority = (path: string, value: Json): string => authorityDigest(readManifest(changed(path, value)));
  for (const [path, value] of [["agents/0/tokens", []], ["agents/0/tools", []], ["agents/0/approval", "never"], ["teams/0/members", ["shop.desk"]], ["pipelines/0/steps/0/uses", "shop.price"]] as const) {
    expect([path, authority(path, value as Json)]).not.toEqual([path, kept.authorityDigest]);
  }
  for (const [path, value] of [["agents/0/prompt", "other"], ["teams/0/title", "other"], ["pipelines/0/timeoutMs", 1]] as const) expect([path, authority(path, value)]).toEqual([path, kept.authorityDigest]);
});
