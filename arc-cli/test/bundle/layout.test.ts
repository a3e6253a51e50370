//! The writer's bytes are the reader's, and every rule of the format refuses with its own reason.

import { describe, expect, test } from "bun:test";

import { authorityDigest, interfaceDigest, sha256Hex } from "../../src/bundle/digest.ts";
import { BundleError, type BundleReason } from "../../src/bundle/error.ts";
import { canonicalJson, parseJson } from "../../src/bundle/json.ts";
import { openBundle, writeBundle } from "../../src/bundle/layout.ts";
import type { Manifest, ToolManifest } from "../../src/bundle/manifest.ts";
import { readTar, writeTar, type TarEntry } from "../../src/bundle/tar.ts";
import { compress, decompress } from "../../src/bundle/zstd.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const entry = (path: string, text = "x"): TarEntry => ({ path, bytes: utf8(text) });

const tool: ToolManifest = {
  ...{ name: "go", title: "", description: "goes", input: { type: "object" }, output: {}, annotations: {}, tokens: ["kv:a:ro"], egress: [], secrets: [] },
  ...{ limits: {}, timeoutMs: 1000, approval: "never", spawn: false, runtime: "bun", entry: "code/go.js" },
};
const manifest: Omit<Manifest, "files"> = {
  ...{ format: 1, name: "good", version: "1.2.3", description: "", authors: [], license: "", engine: ">=0.1.0", tools: [tool], agents: [], teams: [], pipelines: [] },
  ...{ dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "arc", version: "0.1.0" } },
};
const files = [entry("code/go.js", "export const tool = 1;"), entry("src/go.ts", "// go")];
const good = writeBundle(manifest, files);

/** The reason of the refusal; a value that is accepted is a failure of the test. */
function reason(attempt: () => unknown): BundleReason | "accepted" {
  try {
    attempt();
    return "accepted";
  } catch (error) {
    if (error instanceof BundleError) return error.reason;
    throw error;
  }
}

test("what is written is read back", () => {
  const bundle = openBundle(good.bytes);
  expect(bundle.digest).toBe(good.digest);
  expect(bundle.manifest.tools).toEqual([tool]);
  expect(bundle.files.map(({ path, bytes }) => [path, new TextDecoder().decode(bytes)])).toEqual([["code/go.js", "export const tool = 1;"], ["src/go.ts", "// go"]]);
});

test("the same arguments give the same bytes, whatever the order of the files", () => {
  expect(sha256Hex(writeBundle(manifest, [...files].reverse()).bytes)).toBe(sha256Hex(good.bytes));
  expect(good.bytes.length % 10_240).toBe(0);
});

test("the digests follow what they are about and nothing else", () => {
  const of = (change: Partial<ToolManifest>, whole: Partial<Manifest> = {}): [string, string] => {
    const changed: Manifest = { ...manifest, ...whole, tools: [{ ...tool, ...change }], files: [] };
    return [interfaceDigest(changed), authorityDigest(changed)];
  };
  const [seen, may] = of({});
  expect(of({ timeoutMs: 5, entry: "code/other.js" }, { version: "9.9.9" })).toEqual([seen, may]);
  expect(of({ description: "other" })).toEqual([expect.not.stringMatching(seen), may]);
  expect(of({ tokens: ["kv:a:rw"] })).toEqual([seen, expect.not.stringMatching(may)]);
  expect(of({ tokens: ["kv:b:ro", "kv:a:ro"] })).toEqual(of({ tokens: ["kv:a:ro", "kv:b:ro"] }));
});

describe("canonical JSON", () => {
  // The example of RFC 8785, section 3.2.3, and its numbers.
  test("sorts by UTF-16 code units", () => {
    const value = { "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis" };
    expect([...canonicalJson(value).matchAll(/:"([^"]*)"/g)].map(([, name]) => name)).toEqual(["Carriage Return", "One", "Control", "Latin Small Letter O With Diaeresis", "Euro Sign", "Emoji: Grinning Face", "Hebrew Letter Dalet With Dagesh"]);
  });
  test("writes numbers as ECMAScript does", () => expect(canonicalJson([333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001, -0])).toBe("[333333333.3333333,1e+30,4.5,0.002,1e-27,0]"));
  test("refuses what has no form", () => {
    expect(reason(() => canonicalJson("\ud800"))).toBe("JSON_INVALID");
    expect(reason(() => canonicalJson(Number.NaN))).toBe("JSON_INVALID");
  });
});

describe("strict JSON refuses", () => {
  const cases: readonly (readonly [string, string | Uint8Array])[] = [
    ["a key twice", '{"a":1,"b":{"c":1,"c":2}}'],
    ["a key twice, written differently", '{"a":1,"\\u0061":2}'],
    ["65 levels", "[".repeat(65) + "]".repeat(65)],
    ["100,000 levels", "[".repeat(100_000)],
    ["NaN", '{"a":NaN}'],
    ["a comment", '{"a":1}//'],
    ["bytes that are not UTF-8", new Uint8Array([0x22, 0xff, 0x22])],
    ["a byte order mark", "\ufeff{}"],
    ["more than 1 MiB", `"${"x".repeat(1024 * 1024)}"`],
    ["an open string", '{"a'],
  ];
  for (const [what, text] of cases) test(what, () => expect(reason(() => parseJson(typeof text === "string" ? utf8(text) : text, "it"))).toBe("JSON_INVALID"));
  test("and takes 64 levels and equal keys in different objects", () => expect(reason(() => parseJson(utf8(`[{"a":1},{"a":${"[".repeat(60)}${"]".repeat(60)}}]`), "it"))).toBe("accepted"));
});

/** A tar header made by hand, so that it can be wrong. */
function header(fields: { name?: string | Uint8Array; type?: string; mode?: string; size?: string; magic?: string; prefix?: string; link?: string; checksum?: string }): Uint8Array {
  const block = new Uint8Array(512);
  const put = (at: number, value: string | Uint8Array): void => block.set(typeof value === "string" ? utf8(value) : value, at);
  put(0, fields.name ?? "file");
  put(100, fields.mode ?? "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(124, fields.size ?? "00000000000\0");
  put(136, "00000000000\0");
  put(156, fields.type ?? "0");
  put(157, fields.link ?? "");
  put(257, fields.magic ?? "ustar\u000000");
  put(345, fields.prefix ?? "");
  put(148, "        ");
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, fields.checksum ?? `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

function archive(...blocks: Uint8Array[]): Uint8Array {
  const size = blocks.reduce((total, block) => total + block.length, 0);
  const out = new Uint8Array(Math.ceil((size + 1024) / 10_240) * 10_240);
  let at = 0;
  for (const block of blocks) {
    out.set(block, at);
    at += block.length;
  }
  return out;
}

const tarCases: readonly (readonly [string, Uint8Array, BundleReason])[] = [
  ["B01 ..", archive(header({ name: "../x" })), "PATH_ESCAPE"],
  ["B01 a/../../x", archive(header({ name: "a/../../x" })), "PATH_ESCAPE"],
  ["B01 absolute", archive(header({ name: "/x" })), "PATH_ESCAPE"],
  ["B01 drive", archive(header({ name: "C:\\x" })), "PATH_ESCAPE"],
  ["B01 empty", archive(header({ name: "" })), "PATH_ESCAPE"],
  ["B01 dot", archive(header({ name: "." })), "PATH_ESCAPE"],
  ["B01 through the prefix", archive(header({ prefix: "a/..", name: "../x" })), "PATH_ESCAPE"],
  ["B02 symlink", archive(header({ type: "2", link: "/etc" })), "LINK"],
  ["B02 link name on a file", archive(header({ link: "/etc" })), "LINK"],
  ["B03 hardlink", archive(header({ type: "1", link: "x" })), "LINK"],
  ...["3", "4", "6", "7", "9"].map((type) => [`B04 type ${type}`, archive(header({ type })), "ENTRY_TYPE"] as const),
  ["B05 set-uid", archive(header({ mode: "0004755\0" })), "MODE"],
  ["B05 sticky", archive(header({ mode: "0001755\0" })), "MODE"],
  ["B06 twice", archive(header({}), header({})), "DUPLICATE_PATH"],
  ["B06 file and directory", archive(header({ name: "a" }), header({ name: "a/b" })), "DUPLICATE_PATH"],
  ["B06 directory and file", archive(header({ name: "a/b" }), header({ name: "a" })), "DUPLICATE_PATH"],
  ["B07 case", archive(header({ name: "a" }), header({ name: "A" })), "PATH_COLLISION"],
  ["B07 case of a directory", archive(header({ name: "d/a" }), header({ name: "D/b" })), "PATH_COLLISION"],
  ["B07 ß and SS", archive(header({ name: "ß" }), header({ name: "SS" })), "PATH_COLLISION"],
  ["B07 not NFC", archive(header({ name: "e\u0301" })), "PATH_INVALID"],
  ["B08 depth", archive(header({ name: "a/".repeat(33) + "a" })), "PATH_TOO_LONG"],
  ["B09 not UTF-8", archive(header({ name: new Uint8Array([0xff, 0xfe]) })), "PATH_INVALID"],
  ["B09 NUL inside", archive(header({ name: "a\0b" })), "PATH_INVALID"],
  ["B09 newline", archive(header({ name: "a\nb" })), "PATH_INVALID"],
  ["B09 override", archive(header({ name: "a\u202eb" })), "PATH_INVALID"],
  ["B10 PAX", archive(header({ type: "x" })), "EXTENSION_HEADER"],
  ["B10 GNU long name", archive(header({ type: "L" })), "EXTENSION_HEADER"],
  ["B10 GNU magic", archive(header({ magic: "ustar  \0" })), "EXTENSION_HEADER"],
  ["B11 sparse", archive(header({ type: "S" })), "EXTENSION_HEADER"],
  ["B12 one entry too large", archive(header({ size: "01000000001\0" })), "ENTRY_TOO_LARGE"],
  ["B14 cut in a header", archive(header({})).subarray(0, 100), "TRUNCATED"],
  ["B14 cut in a file", archive(header({ size: "00000001000\0" })).subarray(0, 600), "TRUNCATED"],
  ["B14 no end", header({}), "TRUNCATED"],
  ["B15 bytes in the padding", (() => { const bytes = archive(header({})); bytes[10_239] = 1; return bytes; })(), "TRAILING_BYTES"],
  ["B15 a record too many", archive(header({}), new Uint8Array(10_240)), "TRAILING_BYTES"],
  ["B17 a second archive", archive(archive(header({})), archive(header({ name: "b" }))), "TRAILING_BYTES"],
  ["bytes after a file", archive(header({ size: "00000000001\0" }), new Uint8Array(512).fill(1)), "TRAILING_BYTES"],
  ["a wrong checksum", archive(header({ checksum: "000000\0 " })), "CHECKSUM"],
  ["a size that is no number", archive(header({ size: "\u0080\0\0\0\0\0\0\0\0\0\0\u0001" })), "CHECKSUM"],
  ["old tar", archive(header({ magic: "\0\0\0\0\0\0\0\0" })), "FORMAT_UNSUPPORTED"],
];

describe("a tar is refused:", () => {
  for (const [what, bytes, expected] of tarCases) test(what, () => expect(reason(() => readTar(bytes, "it"))).toBe(expected));
  test("B12 too many entries", () => {
    const many = Array.from({ length: 10_001 }, (_, i) => entry(`f${i}`, ""));
    expect(reason(() => readTar(writeTar(many), "it"))).toBe("TOO_MANY_ENTRIES");
  });
  test("and a good one is read by the same reader", () => expect(readTar(writeTar([entry("a/b", "hello")]), "it").map(({ path }) => path)).toEqual(["a/b"]));
  test("a long path goes into the prefix and comes back", () => {
    const path = `${"d".repeat(100)}/${"e".repeat(50)}/${"f".repeat(90)}.ts`;
    expect(readTar(writeTar([entry(path)]), "it")[0]?.path).toBe(path);
  });
});

describe("zstd is refused:", () => {
  const frame = compress(utf8("hello ".repeat(1000)));
  const join = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
  const cases: readonly (readonly [string, Uint8Array, BundleReason])[] = [
    ["B15 bytes after the frame", join(frame, utf8("x")), "TRAILING_BYTES"],
    ["B16 two frames", join(frame, frame), "TRAILING_BYTES"],
    ["B16 a skippable frame before", join(new Uint8Array([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]), frame), "ZSTD_FRAME"],
    ["B16 a dictionary", (() => { const bytes = frame.slice(); bytes[4] = (bytes[4] ?? 0) | 1; return bytes; })(), "ZSTD_FRAME"],
    ["B16 no content size", new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58, 0x01, 0x00, 0x00]), "ZSTD_FRAME"],
    ["B16 a window of 16 MiB", new Uint8Array([0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x70, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00]), "ZSTD_FRAME"],
    ["B13 a ratio bomb", new Uint8Array(Bun.zstdCompressSync(new Uint8Array(64 * 1024 * 1024))), "RATIO"],
    ["not zstd", utf8("hello world"), "ZSTD_FRAME"],
    ["empty", new Uint8Array(), "ZSTD_FRAME"],
  ];
  for (const [what, bytes, expected] of cases) test(what, () => expect(reason(() => decompress(bytes, "it"))).toBe(expected));
  test("B14 cut anywhere", () => {
    for (let length = 0; length < frame.length; length += 1) expect(reason(() => decompress(frame.subarray(0, length), "it"))).not.toBe("accepted");
  });
  test("and the whole frame is read", () => expect(decompress(frame, "it").length).toBe(6000));
});

/** A bundle put together from blobs, so that it can be wrong above the tar. */
function assemble(change: { config?: (manifest: Record<string, unknown>) => unknown; layer?: Uint8Array; index?: (index: Record<string, unknown>) => unknown; image?: (image: Record<string, unknown>) => unknown; extra?: TarEntry[]; first?: TarEntry }): Uint8Array {
  const listed = files.map(({ path, bytes }) => ({ path, size: bytes.length, sha256: sha256Hex(bytes) }));
  const json = (value: unknown): Uint8Array => utf8(JSON.stringify(value));
  const describe = (mediaType: string, bytes: Uint8Array): object => ({ mediaType, digest: `sha256:${sha256Hex(bytes)}`, size: bytes.length });
  const whole: Record<string, unknown> = { ...manifest, files: listed };
  const config = json(change.config ? change.config(whole) : whole);
  const layer = change.layer ?? compress(writeTar(files));
  const image: Record<string, unknown> = {
    ...{ schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", artifactType: "application/vnd.aria.bundle.v1" },
    ...{ config: describe("application/vnd.aria.manifest.v1+json", config), layers: [describe("application/vnd.aria.code.v1.tar+zstd", layer)] },
  };
  const imageBytes = json(change.image ? change.image(image) : image);
  const annotations = { "org.opencontainers.image.ref.name": "1.2.3", "org.opencontainers.image.title": "good" };
  const index: Record<string, unknown> = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [{ ...describe("application/vnd.oci.image.manifest.v1+json", imageBytes), annotations }] };
  const blobs = [config, layer, imageBytes].map((bytes) => ({ path: `blobs/sha256/${sha256Hex(bytes)}`, bytes }));
  const sorted = [...blobs, ...(change.extra ?? [])].sort((a, b) => (a.path < b.path ? -1 : 1));
  return writeTar([change.first ?? { path: "oci-layout", bytes: utf8('{"imageLayoutVersion":"1.0.0"}') }, { path: "index.json", bytes: json(change.index ? change.index(index) : index) }, ...sorted]);
}

const stray = utf8("stray");
const layoutCases: readonly (readonly [string, Uint8Array, BundleReason])[] = [
  ["B18 no oci-layout first", assemble({ first: entry("a", "{}") }), "LAYOUT_INVALID"],
  ["another layout version", assemble({ first: entry("oci-layout", '{"imageLayoutVersion":"2.0.0"}') }), "FORMAT_UNSUPPORTED"],
  ["B18 no manifest in the index", assemble({ index: (index) => ({ ...index, manifests: [] }) }), "LAYOUT_INVALID"],
  ["B18 two manifests in the index", assemble({ index: (index) => ({ ...index, manifests: [...(index["manifests"] as unknown[]), ...(index["manifests"] as unknown[])] }) }), "LAYOUT_INVALID"],
  ["the index names another bundle", assemble({ config: (whole) => ({ ...whole, name: "other" }) }), "LAYOUT_INVALID"],
  ["no layers", assemble({ image: (image) => ({ ...image, layers: [] }) }), "LAYOUT_INVALID"],
  ["another artifact", assemble({ image: (image) => ({ ...image, artifactType: "application/x" }) }), "FORMAT_UNSUPPORTED"],
  ["a blob nobody names", assemble({ extra: [{ path: `blobs/sha256/${sha256Hex(stray)}`, bytes: stray }] }), "LAYOUT_INVALID"],
  ["a file that is no blob", assemble({ extra: [entry("zzz")] }), "LAYOUT_INVALID"],
  ["a blob under a wrong name", assemble({ extra: [{ path: `blobs/sha256/${"f".repeat(64)}`, bytes: stray }] }), "DIGEST_MISMATCH"],
  ["a size that lies", assemble({ image: (image) => ({ ...image, config: { ...(image["config"] as object), size: 1 } }) }), "DIGEST_MISMATCH"],
  ["B19 listed and not there", assemble({ layer: compress(writeTar(files.slice(0, 1))) }), "FILES_MISMATCH"],
  ["B19 there and not listed", assemble({ layer: compress(writeTar([...files, entry("src/more.ts")])) }), "FILES_MISMATCH"],
  ["B20 other content", assemble({ layer: compress(writeTar([entry("code/go.js", "evil"), entry("src/go.ts", "// go")])) }), "DIGEST_MISMATCH"],
  ["an unknown key in the index", assemble({ index: (index) => ({ ...index, more: 1 }) }), "LAYOUT_INVALID"],
  ["an unknown key in the image", assemble({ image: (image) => ({ ...image, subject: 1 }) }), "LAYOUT_INVALID"],
  ["a limit out of range", assemble({ config: (whole) => ({ ...whole, tools: [{ ...tool, limits: { pids: 0 } }] }) }), "MANIFEST_INVALID"],
  ["an egress port out of range", assemble({ config: (whole) => ({ ...whole, tools: [{ ...tool, egress: ["a.example:65536"] }] }) }), "MANIFEST_INVALID"],
  ["an entry that is not below code/", assemble({ config: (whole) => ({ ...whole, tools: [{ ...tool, entry: "src/go.ts" }] }) }), "MANIFEST_INVALID"],
  ["tools beside a program", assemble({ config: (whole) => ({ ...whole, program: { entry: "code/go.js" } }) }), "MANIFEST_INVALID"],
  ["an unknown key", assemble({ config: (whole) => ({ ...whole, unknown: 1 }) }), "MANIFEST_INVALID"],
  ["another format", assemble({ config: (whole) => ({ ...whole, format: 2 }) }), "FORMAT_UNSUPPORTED"],
  ["a name that is none", assemble({ config: (whole) => ({ ...whole, name: "../x" }) }), "MANIFEST_INVALID"],
  ["a version that is none", assemble({ config: (whole) => ({ ...whole, version: "1" }) }), "MANIFEST_INVALID"],
  ["a missing key", assemble({ config: ({ license: _, ...rest }) => rest }), "MANIFEST_INVALID"],
  ["a malformed token (B29)", assemble({ config: (whole) => ({ ...whole, tools: [{ ...tool, tokens: ["kv:*"] }] }) }), "MANIFEST_INVALID"],
  ["two tools of one name", assemble({ config: (whole) => ({ ...whole, tools: [tool, tool] }) }), "MANIFEST_INVALID"],
  ["an entry that is not there", assemble({ config: (whole) => ({ ...whole, tools: [{ ...tool, entry: "code/no.js" }] }) }), "FILES_MISMATCH"],
];

describe("a bundle is refused:", () => {
  for (const [what, bytes, expected] of layoutCases) test(what, () => expect(reason(() => openBundle(bytes))).toBe(expected));
  test("B14 cut anywhere", () => {
    for (let length = 0; length < good.bytes.length; length += 97) expect(reason(() => openBundle(good.bytes.subarray(0, length)))).not.toBe("accepted");
  });
  test("any flipped bit of a small bundle", () => {
    const accepted: number[] = [];
    for (let at = 0; at < good.bytes.length; at += 7) {
      const bytes = good.bytes.slice();
      bytes[at] = (bytes[at] ?? 0) ^ 4;
      if (reason(() => openBundle(bytes)) === "accepted") accepted.push(at);
    }
    expect(accepted).toEqual([]);
  });
  test("and the same put together rightly is accepted; `x-` keys are ignored", () => {
    expect(openBundle(assemble({})).manifest.name).toBe("good");
    expect(openBundle(assemble({ config: (whole) => ({ ...whole, "x-note": 1 }) })).manifest.name).toBe("good");
  });
});
