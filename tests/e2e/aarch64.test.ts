// The programs for the other architecture: they link statically, with SQLite, zstd and the crypto inside, and they start.

import { expect, test } from "bun:test";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
const bin = join(root, "out/bin/aarch64");

async function run(...argv: string[]): Promise<string> {
  const child = Bun.spawn(argv, { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "inherit", env: { ...process.env, ARCH: "aarch64" } });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return text;
}

test("every program is built for aarch64, static", async () => {
  await run(".ci/binaries", "ariad", "quiltd", "quilt-init", "aria-init");
  for (const program of ["ariad", "quiltd", "quilt-init", "aria-init"]) {
    const headers = await run("aarch64-linux-gnu-readelf", "--file-header", "--program-headers", join(bin, program));
    expect(headers).toContain("AArch64");
    expect(headers).not.toMatch(/INTERP|DYNAMIC/);
  }
}, 1_800_000);

test("the daemons start there", async () => {
  const { version } = (await import("../../arc-cli/package.json")).default;
  for (const daemon of ["ariad", "quiltd"]) expect(await run("qemu-aarch64-static", join(bin, daemon), "--version")).toBe(`${daemon} ${version}\n`);
});
