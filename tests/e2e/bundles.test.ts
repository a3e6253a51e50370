// The hand-made bundles are good ones: arc's own strict reader opens them. And the disk that loses power does.

import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, ftruncateSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBundle } from "../../arc-cli/src/bundle/layout.ts";
import { qemuArgs } from "../stand/vm-args.ts";
import { brokeBeforeInit, readReady } from "../stand/vm-console.ts";
import { WriteCache } from "../stand/vm-disk.ts";
import { noise, versionBundle } from "./bundles.ts";

test("hand-made bundles are good bundles", () => {
  const bundle = openBundle(versionBundle("demo", "1.2.3", noise([1])));
  expect([bundle.manifest.name, bundle.manifest.version, bundle.files.length]).toEqual(["demo", "1.2.3", 2]);
});

describe("a disk that loses power", () => {
  const dirs: string[] = [];
  afterEach(() => dirs.splice(0).forEach((dir) => rmSync(dir, { recursive: true })));

  function disk(): string {
    const dir = mkdtempSync(join(tmpdir(), "aria-disk-"));
    dirs.push(dir);
    const fd = openSync(join(dir, "disk"), "w");
    ftruncateSync(fd, 64 * 1024);
    closeSync(fd);
    return join(dir, "disk");
  }

  const bytes = (value: number, length: number): Uint8Array => new Uint8Array(length).fill(value);

  test("reads see what was written, across pages", () => {
    const cache = new WriteCache(disk());
    cache.write(4090, bytes(7, 5000));
    expect([...cache.read(4089, 3), ...cache.read(9088, 4)]).toEqual([0, 7, 7, 7, 7, 0, 0]);
  });

  test("what was flushed stays, what was not is gone", () => {
    const file = disk();
    const cache = new WriteCache(file);
    cache.write(0, bytes(1, 512));
    cache.flush();
    cache.write(0, bytes(2, 256));
    cache.write(8192, bytes(3, 4096));
    expect(cache.cut()).toBe(8192);
    cache.write(0, bytes(9, 512));
    cache.flush();
    cache.close();
    const after = readFileSync(file);
    expect([after[0], after[511], after[8192]]).toEqual([1, 1, 0]);
  });

  test("some unflushed writes may survive, the same ones for the same seed", () => {
    const survivors = (seed: number): string => {
      const file = disk();
      const cache = new WriteCache(file);
      for (let page = 0; page < 16; page++) cache.write(page * 4096, bytes(page + 1, 4096));
      cache.cut({ survive: 0.5, seed });
      cache.close();
      return Array.from({ length: 16 }, (_, page) => (readFileSync(file)[page * 4096] === 0 ? "-" : "x")).join("");
    };
    expect(survivors(1)).toBe(survivors(1));
    expect(survivors(1)).toMatch(/x.*-|-.*x/);
    expect(survivors(1)).not.toBe(survivors(2));
  });

  test("a disk that ignores flushes loses everything", () => {
    const file = disk();
    const cache = new WriteCache(file, { ignoreFlush: true });
    cache.write(0, bytes(1, 4096));
    cache.flush();
    expect(cache.cut()).toBe(4096);
    cache.close();
    expect(readFileSync(file)[0]).toBe(0);
  });

  test("an orderly end keeps everything", () => {
    const file = disk();
    const cache = new WriteCache(file);
    cache.write(0, bytes(5, 10));
    cache.close();
    expect(readFileSync(file)[9]).toBe(5);
  });
});

test("whatever the machine is, its network leads nowhere else", () => {
  const machine = { memoryMb: 512, cpus: 2, image: "/i,mage", forwards: [{ host: 1234, guest: 7600 }], fwCfg: { "opt/x": "a,b" }, kernelWords: ["aria.x=1"], serial: "/s", qmp: "/q" };
  for (const more of [{}, { wholeDisk: "/w" }, { data: { file: "/d" } }, { data: { nbd: "/n" } }]) {
    const args = qemuArgs({ ...machine, ...more });
    expect(args.filter((arg) => arg.startsWith("user,"))).toEqual(["user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:1234-:7600"]);
    expect(args).toContain("name=opt/x,string=a,,b");
    expect(args.join(" ")).not.toContain("cache.no-flush");
  }
});

describe("the console", () => {
  const hash = "ab".repeat(32);
  const log = `aria: node n-1\naria: listen 0.0.0.0:7600\naria: ca-fingerprint sha256:${hash}\naria: ready after 3.25 s\n`;

  test("readiness is read when it is complete", () => {
    expect(readReady(log)).toEqual({ node: "n-1", fingerprint: hash, seconds: 3.25 });
    expect(readReady(log.split("\n").slice(0, 3).join("\n"))).toBeUndefined();
  });

  test("a service cannot claim readiness", () => {
    expect(readReady(log.replaceAll("aria: ", "ariad: aria: "))).toBeUndefined();
  });

  test("only a kernel that broke before PID 1 may be tried again", () => {
    expect(brokeBeforeInit("[ 0.1] BUG: kernel NULL pointer dereference")).toBe(true);
    expect(brokeBeforeInit("aria: root mounted\n[ 9.1] BUG: kernel NULL pointer dereference")).toBe(false);
    expect(brokeBeforeInit("")).toBe(false);
  });
});
