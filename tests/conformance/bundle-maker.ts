// `.aria` files put together byte by byte, right and wrong. What is right comes from the description alone: nothing here shares code
// with arc's writer or the device's reader.

import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "../stand/host.ts";

export interface Entry {
  name: string;
  body: Uint8Array;
  /** Fields of the header, as they stand in it. */
  type?: string;
  mode?: string;
  link?: string;
  prefix?: string;
  magic?: string;
  size?: string;
  checksum?: string;
  /** The name as bytes, where it is no text. */
  nameBytes?: Uint8Array;
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const file = (name: string, body: Uint8Array | string): Entry => ({ name, body: typeof body === "string" ? utf8(body) : body });

const BLOCK = 512;

function header(entry: Entry): Uint8Array {
  const out = new Uint8Array(BLOCK);
  const put = (at: number, value: string | Uint8Array): void => out.set(typeof value === "string" ? utf8(value) : value, at);
  put(0, (entry.nameBytes ?? utf8(entry.name)).subarray(0, 100));
  put(100, entry.mode ?? "0000644\0");
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(124, entry.size ?? `${entry.body.length.toString(8).padStart(11, "0")}\0`);
  put(136, "00000000000\0");
  put(148, "        ");
  put(156, entry.type ?? "0");
  put(157, entry.link ?? "");
  put(257, entry.magic ?? "ustar\u000000");
  put(345, entry.prefix ?? "");
  const sum = out.reduce((total, byte) => total + byte, 0);
  put(148, entry.checksum ?? `${sum.toString(8).padStart(6, "0")}\0 `);
  return out;
}

export interface TarOptions {
  /** Zero blocks at the end (default 2). */
  zeroBlocks?: number;
  /** Bytes after the archive. */
  after?: Uint8Array;
  /** Padding to whole records (default yes). */
  pad?: boolean;
}

export function tar(entries: readonly Entry[], options: TarOptions = {}): Uint8Array {
  const parts = entries.flatMap((entry) => [header(entry), entry.body, new Uint8Array((BLOCK - (entry.body.length % BLOCK)) % BLOCK)]);
  parts.push(new Uint8Array((options.zeroBlocks ?? 2) * BLOCK));
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (options.pad !== false) parts.push(new Uint8Array((10_240 - (length % 10_240)) % 10_240));
  if (options.after !== undefined) parts.push(options.after);
  return Buffer.concat(parts);
}

const MODULE = "export const tool = { name: \"hello\", input: null, output: null, run(input) { return { hello: input.name }; } };\n";

/** The parts of a good bundle; a test changes one and puts them together. */
export interface Parts {
  /** The code layer before compression. */
  files: Entry[];
  manifest: Record<string, unknown>;
  layerTar?: (tar: Uint8Array) => Uint8Array;
  /** From the layer's tar to its blob. */
  compress?: (tar: Uint8Array) => Uint8Array;
  manifestText?: (text: string) => string | Uint8Array;
  image?: (image: Record<string, unknown>) => unknown;
  index?: (index: Record<string, unknown>) => unknown;
  indexText?: (text: string) => string | Uint8Array;
  /** The outer archive's entries, in order. */
  entries?: (entries: Entry[]) => Entry[];
  layerEntries?: (entries: Entry[]) => Entry[];
  outer?: TarOptions;
}

export function parts(name: string, version = "1.0.0"): Parts {
  const files = [file("code/hello.js", MODULE)];
  const schema = (properties: unknown, required: string[]): unknown => ({ $schema: "https://json-schema.org/draft/2020-12/schema", type: "object", properties, required, additionalProperties: false });
  return {
    files,
    manifest: {
      format: 1, name, version, description: "", authors: [], license: "", engine: ">=0.1.0",
      tools: [{
        name: "hello", title: "", description: "says hello", input: schema({ name: { type: "string" } }, ["name"]), output: schema({ hello: { type: "string" } }, ["hello"]),
        annotations: {}, tokens: [], egress: [], secrets: [], limits: {}, timeoutMs: 5000, approval: "never", spawn: false, runtime: "bun", entry: "code/hello.js",
      }],
      agents: [], teams: [], pipelines: [], dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "hand", version: "0.1.0" },
    },
  };
}

const describe = (mediaType: string, bytes: Uint8Array): Record<string, unknown> => ({ mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length });

/** A signature to be: by whom, and what stands in the signature instead of the right bytes. */
export interface Signer {
  key: KeyObject;
  signature?: Uint8Array;
  statement?: (statement: Record<string, unknown>) => unknown;
}

/** Whoever signs what is put together here. */
const author = generateKeyPairSync("ed25519");

/** A bundle with the author's signature. */
export const signed = (from: Parts): Uint8Array => bundle(from, [{ key: author.privateKey }]);

/** Has the device take the author's bundles. */
export async function trustAuthor(host: Host): Promise<void> {
  const pem = join(host.dir, "author.pem");
  writeFileSync(pem, author.publicKey.export({ type: "spki", format: "pem" }));
  const trusted = await host.arc(["key", "trust", "--file", pem, "--as", "hand"]);
  if (trusted.code !== 0) throw new Error(trusted.stderr);
}

/** Canonical JSON of values that have neither fractions nor text beyond ASCII. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join(",")}}`;
}

/** `sha256:<hex>` of the DER SubjectPublicKeyInfo. */
export const keyId = (key: KeyObject): string => `sha256:${sha256(new Uint8Array((key.type === "private" ? createPublicKey(key) : key).export({ type: "spki", format: "der" })))}`;

interface Tool {
  name: string;
  tokens: string[];
  egress: string[];
  secrets: string[];
  [key: string]: unknown;
}

function digestOf(manifest: Record<string, unknown>, view: (tool: Tool) => unknown): string {
  const tools = [...(manifest.tools as Tool[])].sort((a, b) => (a.name < b.name ? -1 : 1));
  return `sha256:${sha256(utf8(canonical({ tools: tools.map(view) })))}`;
}

/** The authority digest, as the description has it. */
export const authority = (manifest: Record<string, unknown>): string =>
  digestOf(manifest, ({ name, tokens, egress, secrets, spawn, approval }) => ({ name, tokens: [...tokens].sort(), egress: [...egress].sort(), secrets: [...secrets].sort(), spawn, approval }));

/** The blobs of a bundle's signatures and the index entry that names them. */
function signatures(manifest: Record<string, unknown>, imageBytes: Uint8Array, signers: readonly Signer[]): { entry: Record<string, unknown>; blobs: Uint8Array[] } {
  const interfaceDigest = digestOf(manifest, ({ name, title, description, input, output, annotations }) => ({ name, title, description, input, output, annotations }));
  const statement = {
    _type: "https://in-toto.io/Statement/v1", subject: [{ name: `${manifest.name}@${manifest.version}`, digest: { sha256: sha256(imageBytes) } }],
    predicateType: "urn:aria:bundle:v1", predicate: { name: manifest.name, version: manifest.version, interfaceDigest, authorityDigest: authority(manifest) },
  };
  const payload = utf8(JSON.stringify(signers[0]?.statement?.(statement) ?? statement));
  const payloadType = "application/vnd.in-toto+json";
  const message = Buffer.concat([utf8(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `), payload]);
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  const signed = signers.map(({ key, signature }) => ({ keyid: keyId(key), sig: base64(signature ?? sign(null, message, key)) }));
  const envelope = utf8(JSON.stringify({ payloadType, payload: base64(payload), signatures: signed }));
  const empty = utf8("{}");
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const image = utf8(JSON.stringify({
    schemaVersion: 2, mediaType, artifactType: "application/vnd.aria.signature.v1", config: describe("application/vnd.oci.empty.v1+json", empty),
    layers: [describe("application/vnd.dsse.envelope.v1+json", envelope)], subject: describe(mediaType, imageBytes),
  }));
  return { entry: { ...describe(mediaType, image), artifactType: "application/vnd.aria.signature.v1" }, blobs: [image, envelope, empty] };
}

export function bundle(from: Parts, signers: readonly Signer[] = []): Uint8Array {
  const manifest = { ...from.manifest };
  manifest.files ??= from.files.filter((entry) => (entry.type ?? "0") === "0").map((entry) => ({ path: entry.name, size: entry.body.length, sha256: sha256(entry.body) }));
  const bytes = (value: string | Uint8Array): Uint8Array => (typeof value === "string" ? utf8(value) : value);
  const text = JSON.stringify(manifest);
  const config = bytes(from.manifestText?.(text) ?? text);
  const plain = tar(from.layerEntries?.(from.files) ?? from.files);
  const layer = (from.compress ?? ((data) => Bun.zstdCompressSync(data, { level: 3 })))(from.layerTar?.(plain) ?? plain);
  const image = {
    schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", artifactType: "application/vnd.aria.bundle.v1",
    config: describe("application/vnd.aria.manifest.v1+json", config), layers: [describe("application/vnd.aria.code.v1.tar+zstd", layer)],
  };
  const imageBytes = utf8(JSON.stringify(from.image?.(image) ?? image));
  const index = {
    schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [{ ...describe("application/vnd.oci.image.manifest.v1+json", imageBytes), annotations: { "org.opencontainers.image.ref.name": manifest.version, "org.opencontainers.image.title": manifest.name } }],
  };
  const vouched = signers.length === 0 ? undefined : signatures(manifest, imageBytes, signers);
  if (vouched !== undefined) (index.manifests as Record<string, unknown>[]).push(vouched.entry);
  const indexText = JSON.stringify(from.index?.(index) ?? index);
  const blobs = [imageBytes, config, layer, ...(vouched?.blobs ?? [])].map((blob) => file(`blobs/sha256/${sha256(blob)}`, blob)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const entries = [file("oci-layout", '{"imageLayoutVersion":"1.0.0"}'), file("index.json", bytes(from.indexText?.(indexText) ?? indexText)), ...blobs];
  return tar(from.entries?.(entries) ?? entries, from.outer);
}
