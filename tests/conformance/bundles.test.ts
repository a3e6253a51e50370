// Malformed bundles, sent as they are: each is refused with its own reason, nothing of it is listed or left in staging, and the
// same device accepts a good one right after.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { status } from "@grpc/grpc-js";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { startHost, type Host } from "../stand/host.ts";
import { bundle, file, parts, type Parts, sha256, signed, tar, trustAuthor, utf8 } from "./bundle-maker.ts";
import { raw, send, type Stub, stubs, unary } from "./device-client.ts";

let host: Host;
let stub: (service: string) => Stub;
beforeAll(async () => {
  host = await startHost({ context: "dev" });
  await trustAuthor(host);
  stub = await stubs(host);
}, 60_000);
afterAll(async () => {
  await host?.stop();
});

const upload = (bytes: Uint8Array, claimed?: { sha256?: string; size_bytes?: number }) => send(stub("Bundles"), "UploadBundle", bytes, claimed);
const names = async (): Promise<string[]> => {
  const listed = await unary(stub("Bundles"), "ListBundles", {});
  if (!listed.ok) throw new Error(listed.refusal.details);
  return (listed.value as { bundles: { name: string; version: string }[] }).bundles.map((one) => `${one.name}@${one.version}`);
};

/** What an upload left where bundles are unpacked before they count. */
function left(): string[] {
  const staging = join(host.dir, "aria/staging");
  return existsSync(staging) ? readdirSync(staging, { recursive: true, encoding: "utf8" }) : ["there is no staging directory"];
}

const with_ = (change: Partial<Parts>): Uint8Array => bundle({ ...parts("bad"), ...change });
const layer = (...extra: ReturnType<typeof file>[]): Uint8Array => {
  const good = parts("bad");
  return bundle({ ...good, layerEntries: (entries) => [...entries, ...extra] });
};
const listed = (...extra: ReturnType<typeof file>[]): Uint8Array => bundle({ ...parts("bad"), files: [...parts("bad").files, ...extra] });
const outer = (...extra: ReturnType<typeof file>[]): Uint8Array => with_({ entries: (entries) => [...entries, ...extra] });
const manifest = (change: Record<string, unknown>): Uint8Array => bundle({ ...parts("bad"), manifest: { ...parts("bad").manifest, ...change } });
const tool = (change: Record<string, unknown>): Uint8Array => {
  const [good] = parts("bad").manifest.tools as Record<string, unknown>[];
  return manifest({ tools: [{ ...good, ...change }] });
};
const zstd = (data: Uint8Array): Uint8Array => Bun.zstdCompressSync(data, { level: 3 });

/** What is wrong → reasons of which one is right (more than one only where the description leaves the order open). */
const WRONG: Record<string, [make: () => Uint8Array, ...reasons: string[]]> = {
  "B01 dot-dot": [() => listed(file("../x", "x")), "PATH_ESCAPE"],
  "B01 dot-dot inside": [() => listed(file("code/../../x", "x")), "PATH_ESCAPE"],
  "B01 absolute": [() => listed(file("/etc/x", "x")), "PATH_ESCAPE"],
  "B01 drive": [() => listed(file("C:\\x", "x")), "PATH_ESCAPE", "NAME_CHARS"],
  "B01 backslash": [() => listed(file("code\\..\\x", "x")), "PATH_ESCAPE", "NAME_CHARS"],
  "B01 dot": [() => listed(file("code/./x", "x")), "PATH_ESCAPE"],
  "B01 empty segment": [() => listed(file("code//x", "x")), "PATH_ESCAPE"],
  "B01 empty name": [() => layer(file("", "x")), "PATH_ESCAPE", "TAR_HEADER", "TRAILING_BYTES"],
  "B01 outer dot-dot": [() => outer(file("../x", "x")), "PATH_ESCAPE"],
  "B02 symlink": [() => layer({ ...file("code/link", ""), type: "2", link: "/etc/passwd" }), "LINK"],
  "B02 symlink inside": [() => layer({ ...file("code/link", ""), type: "2", link: "hello.js" }), "LINK"],
  "B03 hard link": [() => layer({ ...file("code/link", ""), type: "1", link: "/etc/passwd" }), "LINK"],
  "B03 outer hard link": [() => outer({ ...file("link", ""), type: "1", link: "index.json" }), "LINK"],
  "B04 character device": [() => layer({ ...file("code/dev", ""), type: "3" }), "ENTRY_TYPE"],
  "B04 block device": [() => layer({ ...file("code/dev", ""), type: "4" }), "ENTRY_TYPE"],
  "B04 fifo": [() => layer({ ...file("code/fifo", ""), type: "6" }), "ENTRY_TYPE"],
  "B04 contiguous": [() => layer({ ...file("code/x", ""), type: "7" }), "ENTRY_TYPE"],
  "B04 unknown type": [() => layer({ ...file("code/x", ""), type: "Z" }), "ENTRY_TYPE"],
  "B05 set-uid": [() => layer({ ...file("code/x", "x"), mode: "0004755\0" }), "MODE"],
  "B05 set-gid": [() => layer({ ...file("code/x", "x"), mode: "0002755\0" }), "MODE"],
  "B05 sticky": [() => layer({ ...file("code/x", "x"), mode: "0001755\0" }), "MODE"],
  "B06 twice": [() => layer(file("code/hello.js", "other")), "DUPLICATE"],
  "B06 file and directory": [() => layer(file("code/hello.js/x", "x")), "COLLISION", "DUPLICATE"],
  "B07 case": [() => listed(file("code/HELLO.js", "x")), "COLLISION"],
  "B07 normal form": [() => listed(file("src/e\u0301.ts", "x")), "NAME_CHARS", "COLLISION"],
  "B08 deep, listed nowhere": [() => layer(file(`${"d/".repeat(40)}x`, "x")), "NAME_TOO_LONG"],
  "B08 deep": [() => listed(file(`${"d/".repeat(33)}x`, "x")), "NAME_TOO_LONG"],
  "B09 control": [() => listed(file("code/a\u0001b", "x")), "NAME_CHARS"],
  "B09 newline": [() => listed(file("code/a\nb", "x")), "NAME_CHARS"],
  "B09 bidi": [() => listed(file("code/a\u202eb", "x")), "NAME_CHARS"],
  "B09 bad UTF-8": [() => layer({ ...file("x", "x"), nameBytes: Uint8Array.from([0x63, 0x2f, 0xff, 0xfe]) }), "NAME_CHARS"],
  "B10 PAX": [() => layer({ ...file("pax", "17 path=../escape\n"), type: "x" }), "TAR_EXTENSION"],
  "B10 PAX global": [() => layer({ ...file("pax", "17 path=../escape\n"), type: "g" }), "TAR_EXTENSION"],
  "B10 GNU long name": [() => layer({ ...file("././@LongLink", "x"), type: "L" }), "TAR_EXTENSION"],
  "B10 GNU long link": [() => layer({ ...file("././@LongLink", "x"), type: "K" }), "TAR_EXTENSION"],
  "B10 GNU magic": [() => layer({ ...file("code/x", "x"), magic: "ustar  \0" }), "TAR_HEADER", "TAR_EXTENSION"],
  "B10 no magic": [() => layer({ ...file("code/x", "x"), magic: "\0\0\0\0\0\0\0\0" }), "TAR_HEADER"],
  "B11 sparse": [() => layer({ ...file("code/x", ""), type: "S" }), "SPARSE"],
  "B12 many files": [() => bundle({ ...parts("bad"), layerEntries: (entries) => [...entries, ...Array.from({ length: 10_001 }, (_, i) => file(`src/${i}`, ""))] }), "TOO_MANY_FILES", "RATIO"],
  "B13 bomb": [() => bundle({ ...parts("bad"), layerTar: () => tar([file("src/zeros", new Uint8Array(100 << 20))]) }), "RATIO"],
  "B14 empty": [() => new Uint8Array(0), "TRUNCATED", "MANIFEST_MISSING", "FIELD_MISSING", "SIZE_MISMATCH", "MESSAGE_INVALID", "DIGEST_MISMATCH"],
  "B14 half": [() => with_({}).slice(0, 2000), "TRUNCATED"],
  "B14 without the end": [() => with_({ outer: { zeroBlocks: 0, pad: false } }), "TRUNCATED"],
  "B14 one zero block": [() => with_({ outer: { zeroBlocks: 1, pad: false } }), "TRUNCATED"],
  "B14 layer cut": [() => with_({ compress: (data) => zstd(data).slice(0, -10) }), "TRUNCATED", "ZSTD_FRAME"],
  "B15 bytes after the tar": [() => with_({ outer: { after: utf8("more") } }), "TRAILING_BYTES"],
  "B15 bytes after the frame": [() => with_({ compress: (data) => Buffer.concat([zstd(data), utf8("more")]) }), "TRAILING_BYTES", "ZSTD_FRAME"],
  "B16 two frames": [() => with_({ compress: (data) => Buffer.concat([zstd(data), zstd(utf8("x"))]) }), "TRAILING_BYTES", "ZSTD_FRAME"],
  "B16 skippable frame": [() => with_({ compress: (data) => Buffer.concat([Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0]), zstd(data)]) }), "ZSTD_FRAME"],
  "B16 no zstd": [() => with_({ compress: (data) => data }), "ZSTD_FRAME"],
  "B17 two archives": [() => with_({ outer: { after: with_({}) } }), "TRAILING_BYTES"],
  "B17 data after zero blocks in the layer": [() => with_({ layerTar: (data) => Buffer.concat([data, tar([file("code/x", "x")])]) }), "TRAILING_BYTES"],
  "B18 no index": [() => with_({ entries: (entries) => entries.filter((entry) => entry.name !== "index.json") }), "MANIFEST_MISSING", "MANIFEST_ORDER"],
  "B18 index twice": [() => with_({ entries: ([layout, index, ...rest]) => [layout!, index!, { ...index! }, ...rest] }), "MANIFEST_TWICE", "DUPLICATE"],
  "B18 index last": [() => with_({ entries: ([layout, index, ...rest]) => [layout!, ...rest, index!] }), "MANIFEST_ORDER"],
  "B18 two images": [() => with_({ index: (index) => ({ ...index, manifests: [...(index.manifests as unknown[]), ...(index.manifests as unknown[])] }) }), "MANIFEST_TWICE", "MANIFEST_INVALID"],
  "B18 no image": [() => with_({ index: (index) => ({ ...index, manifests: [] }) }), "MANIFEST_MISSING", "MANIFEST_INVALID"],
  "B18 config blob absent": [() => with_({ image: (image) => ({ ...image, config: { ...(image.config as object), digest: `sha256:${"1".repeat(64)}` } }) }), "MANIFEST_MISSING", "FILE_MISSING", "FILE_NOT_LISTED"],
  "B19 listed, not there": [() => manifest({ files: [...(goodFiles()), { path: "code/ghost.js", size: 1, sha256: "0".repeat(64) }] }), "FILE_MISSING"],
  "B19 there, not listed": [() => layer(file("code/extra.js", "x")), "FILE_NOT_LISTED"],
  "B19 blob nobody names": [() => with_({ entries: (entries) => [...entries, file(`blobs/sha256/${sha256(utf8("extra"))}`, "extra")].sort((a, b) => order(a.name) - order(b.name) || (a.name < b.name ? -1 : 1)) }), "FILE_NOT_LISTED"],
  "B20 file digest": [() => manifest({ files: goodFiles().map((one) => ({ ...one, sha256: "0".repeat(64) })) }), "DIGEST_MISMATCH"],
  "B20 file size": [() => manifest({ files: goodFiles().map((one) => ({ ...one, size: one.size + 1 })) }), "SIZE_MISMATCH"],
  "B20 blob digest": [() => with_({ entries: (entries) => entries.map((entry, i) => (i === 2 ? { ...entry, body: entry.body.map((byte, at) => (at === 5 ? byte ^ 1 : byte)) } : entry)) }), "DIGEST_MISMATCH"],
  "B27 duplicate keys": [() => with_({ manifestText: (text) => text.replace('"format":1', '"format":1,"format":1') }), "JSON_DUPLICATE_KEY"],
  "B27 deep": [() => with_({ manifestText: (text) => text.replace('"agents":[]', `"x-a":${"[".repeat(100)}${"]".repeat(100)},"agents":[]`) }), "JSON_DEPTH"],
  "B27 NaN": [() => with_({ manifestText: (text) => text.replace('"timeoutMs":5000', '"timeoutMs":NaN') }), "JSON_INVALID"],
  "B27 not JSON": [() => with_({ manifestText: () => "hello" }), "JSON_INVALID"],
  "B27 not UTF-8": [() => with_({ manifestText: () => Uint8Array.from([0x22, 0xff, 0x22]) }), "JSON_INVALID"],
  "B27 unknown key": [() => manifest({ surprise: true }), "MANIFEST_INVALID"],
  "B27 other format": [() => manifest({ format: 2 }), "FORMAT_UNSUPPORTED"],
  "B29 token syntax": [() => tool({ tokens: ["kv:*"] }), "MANIFEST_INVALID", "TOKEN_SYNTAX"],
  "name that is a path": [() => manifest({ name: "../evil" }), "MANIFEST_INVALID"],
  "name in capitals": [() => manifest({ name: "Evil" }), "MANIFEST_INVALID"],
  "version that is none": [() => manifest({ version: "latest" }), "MANIFEST_INVALID"],
  "entry outside": [() => tool({ entry: "../../bin/bun" }), "MANIFEST_INVALID", "PATH_ESCAPE"],
  "entry that is not there": [() => tool({ entry: "code/nope.js" }), "MANIFEST_INVALID", "FILE_MISSING"],
  "same tool twice": [() => manifest({ tools: [...(parts("bad").manifest.tools as unknown[]), ...(parts("bad").manifest.tools as unknown[])] }), "MANIFEST_INVALID"],
  "schema that is none": [() => tool({ input: { type: "nonsense" } }), "MANIFEST_INVALID"],
  "schema from elsewhere": [() => tool({ input: { $ref: "https://example.org/schema.json" } }), "MANIFEST_INVALID"],
  "bad checksum": [() => layer({ ...file("code/x", "x"), checksum: "000000\0 " }), "TAR_CHECKSUM"],
  "negative size": [() => layer({ ...file("code/x", "x"), size: "-0000000001\0" }), "TAR_HEADER"],
  "size in base 256": [() => layer({ ...file("code/x", "x"), size: "\u00ff\u00ff\u00ff\u00ff" }), "TAR_HEADER", "TAR_CHECKSUM", "TAR_EXTENSION"],
  "not a bundle": [() => utf8("#!/bin/sh\necho hello\n".repeat(100)), "TAR_HEADER", "TAR_CHECKSUM", "TRUNCATED"],
};

function goodFiles(): { path: string; size: number; sha256: string }[] {
  return parts("bad").files.map((entry) => ({ path: entry.name, size: entry.body.length, sha256: sha256(entry.body) }));
}
function order(name: string): number {
  return ["oci-layout", "index.json"].indexOf(name) + (name.startsWith("blobs/") ? 3 : 0);
}

test("a bundle made by hand is accepted and runs", async () => {
  expect(await upload(signed(parts("good")))).toMatchObject({ ok: true });
  const done = await host.arc(["invoke", "good.hello", "--input", '{"name":"hand"}']);
  expect(done.stderr).toBe("");
  expect(JSON.parse(done.stdout)).toEqual({ hello: "hand" });
});

for (const [what, [make, ...reasons]] of Object.entries(WRONG)) {
  test(`${what} is refused`, async () => {
    const started = performance.now();
    const answer = await upload(make());
    if (answer.ok) throw new Error("was accepted");
    expect(reasons, answer.refusal.details).toContain(answer.refusal.reason);
    expect([status.INVALID_ARGUMENT, status.RESOURCE_EXHAUSTED, status.DATA_LOSS]).toContain(answer.refusal.code);
    expect(performance.now() - started).toBeLessThan(10_000);
    expect((await names()).some((name) => name.startsWith("bad@"))).toBe(false);
    expect(left()).toEqual([]);
  }, 60_000);
}

test("after all of them a good bundle is accepted and the first still runs", async () => {
  expect(await upload(signed(parts("better")))).toMatchObject({ ok: true });
  expect(await names()).toEqual(["better@1.0.0", "good@1.0.0"]);
  expect((await host.arc(["invoke", "good.hello", "--input", '{"name":"again"}'])).code).toBe(0);
});

test("the same bytes again change nothing; another content of the same version is refused", async () => {
  expect(await upload(signed(parts("good")))).toMatchObject({ ok: true, value: { already_present: true } });
  const other = await upload(signed({ ...parts("good"), files: [file("code/hello.js", "export const tool = null;\n")] }));
  expect(other).toMatchObject({ ok: false, refusal: { code: status.ALREADY_EXISTS, reason: "VERSION_TAKEN" } });
});

test("lies about the whole file are refused", async () => {
  const bytes = signed(parts("liar"));
  for (const claimed of [{ sha256: "0".repeat(64) }, { size_bytes: bytes.length - 1 }, { size_bytes: bytes.length + 1 }, { sha256: "x" }, { sha256: "../../x" }, { size_bytes: 1 << 30 }]) {
    const answer = await upload(bytes, claimed);
    expect(answer.ok, JSON.stringify(claimed)).toBe(false);
  }
  expect((await names()).some((name) => name.startsWith("liar"))).toBe(false);
});

test("the same bundle eight times at once is one bundle", async () => {
  const bytes = signed(parts("race"));
  const answers = await Promise.all(Array.from({ length: 8 }, () => upload(bytes)));
  // More at once than the device takes from one owner are told so; the others get the one bundle.
  expect(answers.filter((answer) => answer.ok).length).toBeGreaterThan(0);
  for (const answer of answers) if (!answer.ok) expect(answer.refusal).toMatchObject({ code: status.RESOURCE_EXHAUSTED, reason: "QUEUE_FULL" });
  expect((await names()).filter((name) => name.startsWith("race@"))).toEqual(["race@1.0.0"]);
  expect(left()).toEqual([]);
});

test("messages out of order are refused", async () => {
  const start = { start: { file: { sha256: "0".repeat(64), size_bytes: 4 } } };
  const orders: unknown[][] = [[], [{ chunk: utf8("data") }], [start, start], [start, {}], [start, { chunk: new Uint8Array(0) }], [start, { chunk: new Uint8Array((1 << 20) + 1) }], [start, { chunk: new Uint8Array(5 << 20) }]];
  for (const messages of orders) {
    const answer = await raw(stub("Bundles"), "UploadBundle", () => messages);
    expect(answer.ok).toBe(false);
    if (!answer.ok) expect([status.INVALID_ARGUMENT, status.OUT_OF_RANGE, status.RESOURCE_EXHAUSTED, status.DATA_LOSS]).toContain(answer.refusal.code);
  }
});

test("the truncation of a good bundle at any point is refused", async () => {
  const whole = signed(parts("cut"));
  const points = Array.from({ length: 60 }, (_, i) => Math.floor((whole.length * i) / 60));
  for (const point of points) {
    const answer = await upload(whole.slice(0, point));
    // Cut inside the final padding it is still whole, but then not of whole records.
    expect(answer.ok, `cut at ${point} of ${whole.length}`).toBe(false);
  }
  expect((await names()).some((name) => name.startsWith("cut"))).toBe(false);
}, 60_000);

test("one flipped bit anywhere is refused or changes nothing that counts", async () => {
  const whole = signed(parts("flip"));
  for (let at = 7; at < whole.length; at += Math.ceil(whole.length / 120)) {
    const bytes = Uint8Array.from(whole);
    bytes[at]! ^= 1 << (at % 8);
    const answer = await upload(bytes);
    if (answer.ok) expect(`${at}: ${sha256(bytes)}`).toBe("accepted");
  }
  expect(existsSync(join(host.dir, "aria"))).toBe(true);
}, 60_000);
