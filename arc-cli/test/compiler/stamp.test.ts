//! When a build may be skipped, and when it may not: every input that decides the bytes makes it build again.

import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { difference } from "../../src/compiler/reproduce.ts";
import { remember, unchanged, type Wanted } from "../../src/compiler/stamp.ts";
import { seal } from "../../src/compiler/build.ts";

const root = mkdtempSync(join(tmpdir(), "arc-stamp-"));
afterAll(() => rmSync(root, { recursive: true }));

const bundle = join(root, "a-0.1.0.aria");
const wanted: Wanted = { root, out: null, signer: null, arc: "one" };
const write = (path: string, text: string): void => {
  mkdirSync(join(root, path, ".."), { recursive: true });
  writeFileSync(join(root, path), text);
};

beforeEach(() => {
  rmSync(root, { recursive: true });
  mkdirSync(root);
  for (const [path, text] of Object.entries({ "arc.toml": "[bundle]", "src/a.ts": "1", "node_modules/x/index.d.ts": "2" })) write(path, text);
  writeFileSync(bundle, "bytes");
  remember(wanted, [join(root, "src/a.ts"), join(root, "node_modules/x/index.d.ts")], Buffer.from("bytes"), { file: bundle, said: 1 });
});

const known = (asked: Wanted = wanted): unknown => unchanged(asked);

test("nothing changed: the last result, also when only times changed", () => {
  utimesSync(join(root, "src/a.ts"), 1, 1);
  expect(known()).toEqual({ file: bundle, said: 1 });
});

test.each([
  ["a source", () => write("src/a.ts", "3")],
  ["a source that is gone", () => rmSync(join(root, "src/a.ts"))],
  ["a new file", () => write("src/b.ts", "")],
  ["a dependency", () => write("node_modules/x/index.d.ts", "3")],
  ["arc.toml", () => write("arc.toml", "[build]")],
  ["a tsconfig.json that was not there", () => write("tsconfig.json", "{}")],
  ["a lock file that was not there", () => write("bun.lock", "{}")],
  ["the bundle edited", () => writeFileSync(bundle, "other")],
  ["the bundle gone", () => rmSync(bundle)],
  ["the stamp damaged", () => write(".arc/build.json", '{"format":1}')],
])("%s: built again", (_what, change) => {
  change();
  expect(known()).toBeUndefined();
});

test.each([
  ["another arc", { arc: "two" }],
  ["another key", { signer: "sha256:1" }],
  ["another place", { out: "/elsewhere.aria" }],
])("%s: built again", (_what, other) => {
  expect(known({ ...wanted, ...other })).toBeUndefined();
});

test("the first difference of two bundles is named", () => {
  const manifest = { format: 1, name: "a", version: "0.1.0", description: "", authors: [], license: "", engine: ">=0.1.0", tools: [], agents: [], teams: [], pipelines: [], program: { entry: "code/main.js" }, dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } } as const;
  const made = (text: string, more: object = {}): Uint8Array => seal({ ...manifest, ...more } as never, [{ path: "code/main.js", bytes: Buffer.from(text) }]).bytes;
  expect(difference(made("a\nb"), made("a\nb"))).toBeUndefined();
  expect(difference(made("a\nb"), made("a\nc"))).toBe("code/main.js differs from byte 2 on (line 2)");
  expect(difference(made("a"), made("a", { description: "x" }))).toStartWith("the manifest differs from byte");
});
