// Bundles on a stock OCI registry: Debian's docker-registry keeps them, Debian's skopeo moves them between registry and directory, and
// arc gets out what it put in, signatures included. Both tools are unpacked by setup into out/lib/oci, run as they are, and see
// loopback alone.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, run, type Run } from "../stand/host.ts";
import { bundle, file, parts, sha256 } from "./bundle-maker.ts";

const TOOLS = join(root, "out/lib/oci");
const env = { LD_LIBRARY_PATH: ["usr/lib", "lib"].map((dir) => join(TOOLS, dir, "x86_64-linux-gnu")).join(":") };
const scratch = mkdtempSync(join(tmpdir(), "shelf-"));
let registry: Bun.Subprocess | undefined;
let host = "";

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((ready) => server.once("listening", ready));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

beforeAll(async () => {
  host = `127.0.0.1:${await freePort()}`;
  const config = join(scratch, "registry.yml");
  writeFileSync(config, `version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: ${join(scratch, "registry")}\nhttp:\n  addr: ${host}\n`);
  registry = Bun.spawn([join(TOOLS, "usr/bin/docker-registry"), "serve", config], { env: { ...process.env, ...env }, stdin: "ignore", stdout: "ignore", stderr: "ignore" });
  const end = Date.now() + 30_000;
  while (!(await fetch(`http://${host}/v2/`).then((answer) => answer.ok, () => false))) {
    if (Date.now() > end || registry.exitCode !== null) throw new Error("the registry does not answer");
    await Bun.sleep(50);
  }
}, 60_000);
afterAll(async () => {
  registry?.kill();
  await registry?.exited;
  rmSync(scratch, { recursive: true, force: true });
});

const arc = (...args: string[]): Promise<Run> => run([join(root, "out/bin/arc"), "--json", ...args], { cwd: scratch, env: { XDG_CACHE_HOME: join(scratch, "cache"), ARC_CONFIG_DIR: join(scratch, "arc") } });
const data = (done: Run): any => {
  expect(done.code, done.stdout + done.stderr).toBe(0);
  return JSON.parse(done.stdout).data;
};
const skopeo = async (...args: string[]): Promise<string> => {
  const done = await run([join(TOOLS, "usr/bin/skopeo"), "--insecure-policy", ...args], { cwd: scratch, env });
  expect(done.code, done.stderr).toBe(0);
  return done.stdout;
};

/** A file that arc has signed. */
async function signed(name: string, version: string, dependencies: unknown[] = []): Promise<{ path: string; digest: string }> {
  const made = parts(name, version);
  const path = join(scratch, `${name}-${version}.aria`);
  writeFileSync(path, bundle({ ...made, manifest: { ...made.manifest, dependencies } }));
  await arc("key", "new");
  return { path, digest: data(await arc("sign", path)).digest };
}

test("a published bundle is installed from the registry with its identity and its signature, after what it needs", async () => {
  const base = await signed("base", "1.1.0");
  const top = await signed("top", "2.0.0", [{ name: "base", version: "^1.0.0" }]);
  for (const { path } of [base, top]) {
    expect(data(await arc("publish", path, "--to", `oci://${host}/team`)).published).toBe(true);
    expect(data(await arc("publish", path, "--to", `oci://${host}/team`)).published).toBe(false);
  }
  const placed = data(await arc("install", `oci://${host}/team/top@^2.0.0`, "--out", "got"));
  expect(placed).toMatchObject([{ name: "base", digest: base.digest }, { name: "top", version: "2.0.0", digest: top.digest }]);
  const inspected = data(await arc("inspect", "got/top-2.0.0.aria"));
  expect(inspected).toMatchObject({ digest: top.digest, signatures: [{ holds: true }] });
  expect(sha256(readFileSync(join(scratch, "got/top-2.0.0.aria")))).toBe(sha256(readFileSync(top.path)));
}, 120_000);

test("skopeo moves it from the registry to a directory and on to another place, byte for byte", async () => {
  const { path, digest } = await signed("moved", "0.1.0");
  data(await arc("publish", path, "--to", `oci://${host}/team`));
  expect(JSON.parse(await skopeo("inspect", "--raw", "--tls-verify=false", `docker://${host}/team/moved:0.1.0`)).artifactType).toBe("application/vnd.aria.bundle.v1");
  mkdirSync(join(scratch, "shelf"), { recursive: true });
  await skopeo("copy", "--preserve-digests", "--src-tls-verify=false", `docker://${host}/team/moved:0.1.0`, `oci:${join(scratch, "shelf/moved")}:0.1.0`);
  expect(data(await arc("install", `dir:${join(scratch, "shelf")}/moved`, "--out", "from-dir"))).toMatchObject([{ name: "moved", digest }]);
  await skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", `oci:${join(scratch, "shelf/moved")}:0.1.0`, `docker://${host}/other/moved:0.1.0`);
  expect(data(await arc("install", `oci://${host}/other/moved`, "--out", "from-copy"))).toMatchObject([{ name: "moved", digest }]);
}, 120_000);

test("what arc wrote into a directory, skopeo puts into the registry", async () => {
  const { path, digest } = await signed("written", "0.1.0");
  data(await arc("publish", path, "--to", `dir:${join(scratch, "own")}`));
  await skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", `oci:${join(scratch, "own/written")}:0.1.0`, `docker://${host}/third/written:0.1.0`);
  expect(data(await arc("install", `oci://${host}/third/written@0.1.0`, "--out", "third"))).toMatchObject([{ digest }]);
}, 120_000);

test("what the registry has damaged is refused, and nothing of it is kept", async () => {
  const { path } = await signed("spoilt", "0.1.0");
  data(await arc("publish", path, "--to", `oci://${host}/team`));
  const blobs = join(scratch, "registry/docker/registry/v2/blobs/sha256");
  const image = JSON.parse(await skopeo("inspect", "--raw", "--tls-verify=false", `docker://${host}/team/spoilt:0.1.0`)) as { layers: { digest: string }[] };
  const hex = image.layers[0]!.digest.slice("sha256:".length);
  const layer = join(blobs, hex.slice(0, 2), hex, "data");
  const bytes = readFileSync(layer);
  writeFileSync(layer, Buffer.from(bytes).fill(0, 10, 11));
  const refused = await arc("install", `oci://${host}/team/spoilt`, "--out", "spoilt");
  expect([refused.code, JSON.parse(refused.stdout).error.code]).toEqual([10, "ARC2203"]);
  expect(readdirSync(scratch)).not.toContain("spoilt");
  // The registry keeps equal blobs once, for all that have them.
  writeFileSync(layer, bytes);
}, 120_000);

test("another content of a published version, and what is not there", async () => {
  const made = parts("fixed", "1.0.0");
  const path = join(scratch, "fixed.aria");
  writeFileSync(path, bundle(made));
  data(await arc("publish", path, "--to", `oci://${host}/team`));
  writeFileSync(path, bundle({ ...made, files: [file("code/hello.js", "export const tool = null;\n")] }));
  const taken = await arc("publish", path, "--to", `oci://${host}/team`);
  expect([taken.code, JSON.parse(taken.stdout).error.code]).toEqual([6, "ARC2201"]);
  for (const ref of ["team/fixed@9.0.0", "team/none", "nowhere/fixed"]) expect((await arc("install", `oci://${host}/${ref}`, "--out", "x")).code).toBe(5);
}, 120_000);

test("a registry that is gone is said to be gone, and the lock and the cache do without it", async () => {
  const { path, digest } = await signed("kept", "1.0.0");
  data(await arc("publish", path, "--to", `oci://${host}/team`));
  writeFileSync(join(scratch, "arc.toml"), `[bundle]\nname = "own"\nversion = "0.1.0"\n\n[registry]\nshelf = "oci://${host}/team"\n\n[dependencies]\nkept = "^1.0.0"\n`);
  data(await arc("install", "--fetch-only"));
  registry?.kill();
  await registry?.exited;
  const gone = await arc("install", `oci://${host}/team/kept`, "--out", "gone");
  expect([gone.code, JSON.parse(gone.stdout).error.code]).toEqual([7, "ARC2205"]);
  expect(data(await arc("install", "--out", "offline"))).toMatchObject([{ name: "kept", digest }]);
}, 120_000);
