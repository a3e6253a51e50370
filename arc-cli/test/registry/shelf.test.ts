//! publish and install with a directory as the shelf: lock file, cache, ranges, and what must be refused.

import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBundle, signBundle, writeBundle } from "../../src/bundle/layout.ts";
import type { Dependency } from "../../src/bundle/manifest.ts";
import { parseReference } from "../../src/registry/reference.ts";
import { newest, resolve } from "../../src/registry/resolve.ts";
import { arc, cleanUp, newDir, type Ran } from "../cli/drive.ts";

afterAll(cleanUp);

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

function made(name: string, version: string, dependencies: Dependency[] = [], description = ""): Uint8Array {
  const manifest = {
    ...{ format: 1 as const, name, version, description, authors: [], license: "", engine: ">=0.1.0", tools: [], agents: [], teams: [], pipelines: [] },
    ...{ dependencies, source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } },
  };
  return writeBundle(manifest, [{ path: "code/go.js", bytes: utf8(`export const tool = "${name}";`) }]).bytes;
}

/** A shelf, a cache and a project that may need something. */
function place(toml = ""): { dir: string; project: string; run: (words: string[]) => Promise<Ran>; publish: (bytes: Uint8Array) => Promise<Ran> } {
  const dir = newDir();
  const env = { XDG_CACHE_HOME: join(dir, "cache"), ARC_CONFIG_DIR: join(dir, "arc") };
  writeFileSync(join(dir, "arc.toml"), `[bundle]\nname = "own"\nversion = "0.1.0"\n\n[registry]\nshelf = "dir:shelf"\n\n[dependencies]\n${toml}`);
  const run = (words: string[]): Promise<Ran> => arc([...words, "--json"], { env, cwd: dir });
  const publish = async (bytes: Uint8Array): Promise<Ran> => {
    writeFileSync(join(dir, "x.aria"), bytes);
    return await run(["publish", "x.aria"]);
  };
  return { dir, project: dir, run, publish };
}

const titles = (ran: Ran): string[] => ran.json().data.map(({ name, version }: { name: string; version: string }) => `${name}@${version}`);

test("what is published is installed again with the same identity, after what it needs", async () => {
  const { dir, run, publish } = place('top = "^1.0.0"\n');
  const top = made("top", "1.2.0", [{ name: "base", version: "~2.1.0" }]);
  for (const bytes of [made("base", "2.1.0"), made("base", "2.1.7"), made("base", "2.2.0"), made("top", "1.1.0"), top]) expect((await publish(bytes)).code).toBe(0);
  const got = await run(["install", "--out", "got"]);
  expect(got.code, got.stdout).toBe(0);
  expect(titles(got)).toEqual(["base@2.1.7", "top@1.2.0"]);
  expect(readdirSync(join(dir, "got")).sort()).toEqual(["base-2.1.7.aria", "top-1.2.0.aria"]);
  expect(readFileSync(join(dir, "got/top-1.2.0.aria")).equals(top)).toBe(true);
  const lock = readFileSync(join(dir, "arc.lock"), "utf8");
  expect(lock).toContain(`digest = "${openBundle(top).digest}"`);
  expect((await run(["install", "--fetch-only"])).code).toBe(0);
  expect(readFileSync(join(dir, "arc.lock"), "utf8")).toBe(lock);
});

test("a signature travels with its bundle, and one more is one more", async () => {
  const { generateKeyPairSync } = await import("node:crypto");
  const key = (): string => generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const { dir, run, publish } = place();
  const plain = made("top", "1.0.0");
  const once = signBundle(plain, key());
  const twice = signBundle(once, key());
  expect((await publish(plain)).json().data.published).toBe(true);
  for (const [bytes, signatures] of [[once, 1], [twice, 2]] as const) {
    expect((await publish(bytes)).json().data.published).toBe(true);
    expect((await publish(bytes)).json().data.published).toBe(false);
    expect((await run(["install", "dir:shelf/top", "--out", "got"])).code).toBe(0);
    expect(openBundle(new Uint8Array(readFileSync(join(dir, "got/top-1.0.0.aria")))).envelope?.signatures).toHaveLength(signatures);
  }
});

test("locked and cached, it is installed without the shelf; new versions do not move it until asked", async () => {
  const { dir, run, publish } = place('top = "^1.0.0"\n');
  await publish(made("top", "1.0.0"));
  expect((await run(["install", "--fetch-only"])).code).toBe(0);
  await publish(made("top", "1.5.0"));
  expect(titles(await run(["install", "--fetch-only"]))).toEqual(["top@1.0.0"]);
  renameSync(join(dir, "shelf"), join(dir, "gone"));
  expect(titles(await run(["install", "--offline", "--out", "got"]))).toEqual(["top@1.0.0"]);
  rmSync(join(dir, "cache"), { recursive: true });
  const empty = await run(["install", "--offline", "--out", "got"]);
  expect([empty.code, empty.json().error.code]).toEqual([7, "ARC2211"]);
  renameSync(join(dir, "gone"), join(dir, "shelf"));
  expect(titles(await run(["install", "--update", "--fetch-only"]))).toEqual(["top@1.5.0"]);
});

test("a damaged cache is as good as none", async () => {
  const { dir, run, publish } = place('top = "^1.0.0"\n');
  await publish(made("top", "1.0.0"));
  await run(["install", "--fetch-only"]);
  const [file = ""] = readdirSync(join(dir, "cache/arc/bundles"));
  writeFileSync(join(dir, "cache/arc/bundles", file), "damaged");
  expect((await run(["install", "--offline", "--fetch-only"])).json().error.code).toBe("ARC2211");
  expect((await run(["install", "--fetch-only"])).code).toBe(0);
  expect((await run(["install", "--offline", "--fetch-only"])).code).toBe(0);
});

describe("refused", () => {
  test("a published version with other content", async () => {
    const { publish } = place();
    expect((await publish(made("top", "1.0.0"))).json().data.published).toBe(true);
    expect((await publish(made("top", "1.0.0"))).json().data.published).toBe(false);
    const other = await publish(made("top", "1.0.0", [], "other"));
    expect([other.code, other.json().error.code]).toEqual([6, "ARC2201"]);
  });

  test("a version that was replaced behind the lock file's back", async () => {
    const { dir, run, publish } = place('top = "^1.0.0"\n');
    await publish(made("top", "1.0.0"));
    await run(["install", "--fetch-only"]);
    for (const gone of ["shelf", "cache"]) rmSync(join(dir, gone), { recursive: true });
    await publish(made("top", "1.0.0", [], "another one"));
    const got = await run(["install", "--out", "got"]);
    expect([got.code, got.json().error.code]).toEqual([10, "ARC2212"]);
    expect(existsSync(join(dir, "got"))).toBe(false);
  });

  test("blobs that are not what their names say, or absent", async () => {
    for (const spoil of [(path: string) => writeFileSync(path, readFileSync(path).fill(0)), (path: string) => rmSync(path), (path: string) => writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.from("x")]))]) {
      const { dir, run, publish } = place();
      await publish(made("top", "1.0.0"));
      const blobs = join(dir, "shelf/top/blobs/sha256");
      for (const name of readdirSync(blobs)) {
        const path = join(blobs, name);
        const before = readFileSync(path);
        spoil(path);
        const got = await run(["install", "dir:shelf/top@1.0.0", "--out", "got"]);
        expect([got.code, got.json().error.code]).toEqual([10, "ARC2203"]);
        writeFileSync(path, before);
      }
      expect((await run(["install", "dir:shelf/top@1.0.0", "--out", "got"])).code).toBe(0);
    }
  });

  test("ranges that nothing is in, circles, and lock files that are none", async () => {
    const { dir, run, publish } = place('top = "^1.0.0"\n');
    const none = await run(["install", "--fetch-only"]);
    expect([none.code, none.json().error.code]).toEqual([5, "ARC2207"]);
    await publish(made("top", "1.0.0", [{ name: "base", version: "^1.0.0" }]));
    await publish(made("base", "1.0.0", [{ name: "top", version: "^1.0.0" }]));
    const circle = await run(["install", "--fetch-only"]);
    expect([circle.code, circle.json().error.code]).toEqual([6, "ARC2208"]);
    expect(existsSync(join(dir, "arc.lock"))).toBe(false);
    for (const text of ["version = 2", "= no toml", 'version = 1\n[[bundle]]\nname = "../x"\n', "version = 1\nbundle = 5\n"]) {
      writeFileSync(join(dir, "arc.lock"), text);
      const damaged = await run(["install", "--fetch-only"]);
      expect([damaged.code, damaged.json().error.code], text).toEqual([6, "ARC2209"]);
    }
  });

  test("references and tables that are none", async () => {
    const { run } = place();
    for (const ref of ["top", "oci://", "oci://Host/x/top", "dir:shelf/../../top@x", "oci://h/a b/top", "https://h/x/top", "oci://h/x/Top", "oci://h/x/top@1.x", "oci://user:pw@h/x/top"]) {
      const got = await run(["install", ref, "--fetch-only"]);
      expect([got.code, got.json().error.code], ref).toEqual([2, "ARC2200"]);
    }
    const bad = place('Top = "^1.0.0"\n');
    expect((await bad.run(["install", "--fetch-only"])).code).toBe(3);
    expect((await place('top = "1.x"\n').run(["install", "--fetch-only"])).code).toBe(3);
  });
});

test("references say shelf, name and range", () => {
  expect(parseReference("oci://127.0.0.1:5000/team/tools/weather@^0.1.0")).toEqual({ shelf: "oci://127.0.0.1:5000/team/tools", name: "weather", range: "^0.1.0" });
  expect(parseReference("dir:../shelf/weather@1.0.0-rc.1")).toEqual({ shelf: "dir:../shelf", name: "weather", range: "=1.0.0-rc.1" });
  expect(parseReference("dir:/shelf/weather").range).toBeUndefined();
});

test("the newest version in a range", () => {
  const versions = ["1.9.0", "1.10.0", "1.11.0-rc.1", "2.0.0", "0.2.9", "0.3.0"];
  for (const [range, expected] of [["^1.0.0", "1.10.0"], ["~1.9.0", "1.9.0"], [">=1.0.0", "2.0.0"], ["=1.9.0", "1.9.0"], ["^0.2.3", "0.2.9"], ["^1.11.0-rc.1", "1.11.0-rc.1"], ["^3.0.0", undefined], ["", "2.0.0"]] as const) {
    expect(newest(versions, range)).toBe(expected as string);
  }
  expect(newest(["1.0.0-rc.1"], "")).toBe("1.0.0-rc.1");
});

test("two needs may come to two versions of one bundle", async () => {
  const needs: Record<string, Dependency[]> = { "a@1.0.0": [{ name: "c", version: "^1.0.0" }], "b@1.0.0": [{ name: "c", version: "^2.0.0" }] };
  const found = await resolve([{ name: "a", version: "^1.0.0" }, { name: "b", version: "^1.0.0" }], {
    versions: async (name) => (name === "c" ? ["1.0.0", "2.0.0"] : ["1.0.0"]),
    get: async (name, version) => ({ found: null, dependencies: needs[`${name}@${version}`] ?? [] }),
  });
  expect(found.map(({ name, version }) => `${name}@${version}`)).toEqual(["c@1.0.0", "a@1.0.0", "c@2.0.0", "b@1.0.0"]);
});
