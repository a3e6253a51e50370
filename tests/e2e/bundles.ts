// Small and large bundles for the machine tests, put together by hand so that they need neither a project nor a compiler.

import { createHash, randomFillSync } from "node:crypto";
import { writeTar, type TarEntry } from "../../arc-cli/src/bundle/tar.ts";

export interface ToolSource {
  name: string;
  /** Body of `async run(input)`. */
  body: string;
  output?: unknown;
  timeoutMs?: number;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const byPath = (a: TarEntry, b: TarEntry): number => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));

/** One zstd frame of raw blocks: valid, uncompressed, and made at the speed of a copy. */
export function rawZstd(bytes: Uint8Array): Uint8Array {
  const blockMax = 128 * 1024;
  const blocks = Math.max(1, Math.ceil(bytes.length / blockMax));
  const out = new Uint8Array(14 + blocks * 3 + bytes.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, 0xfd2fb528, true);
  out[4] = 0xc0; // content size in eight bytes
  out[5] = 13 << 3; // window of 8 MiB
  view.setBigUint64(6, BigInt(bytes.length), true);
  let at = 14;
  for (let block = 0; block < blocks; block++) {
    const part = bytes.subarray(block * blockMax, (block + 1) * blockMax);
    const header = (part.length << 3) | (block === blocks - 1 ? 1 : 0);
    out.set([header & 255, (header >> 8) & 255, header >> 16], at);
    out.set(part, at + 3);
    at += 3 + part.length;
  }
  return out;
}

/** Bytes of files per layer: a layer is an entry of the outer archive, which may have 128 MiB. */
const layerBytesMax = 110 * 2 ** 20;

/** Sorted files in as few layers as fit. */
function layersOf(files: TarEntry[]): TarEntry[][] {
  const layers: TarEntry[][] = [[]];
  let bytes = 0;
  for (const file of files) {
    if (bytes > 0 && bytes + file.bytes.length > layerBytesMax) {
      layers.push([]);
      bytes = 0;
    }
    layers.at(-1)?.push(file);
    bytes += file.bytes.length;
  }
  return layers;
}

/** A whole `.aria` file. `extra` files go into the code layers beside the tools' modules. */
export function makeBundle(name: string, version: string, tools: ToolSource[], extra: TarEntry[] = []): Uint8Array {
  const modules = tools.map((tool) => ({
    path: `code/${tool.name}.js`,
    bytes: utf8(`export const tool = { name: ${JSON.stringify(tool.name)}, input: null, output: null, async run(input) { ${tool.body} } };\n`),
  }));
  const files = [...modules, ...extra].sort(byPath);
  const schema = (body: Record<string, unknown>): unknown => ({ $schema: "https://json-schema.org/draft/2020-12/schema", ...body });
  const config = utf8(JSON.stringify({
    format: 1, name, version, description: "", authors: [], license: "", engine: ">=0.1.0",
    tools: tools.map((tool) => ({
      name: tool.name, title: "", description: "", input: schema({ type: "object", properties: {}, additionalProperties: false }),
      output: schema((tool.output as Record<string, unknown> | undefined) ?? { type: "string" }),
      annotations: {}, tokens: [], egress: [], secrets: [], limits: {}, timeoutMs: tool.timeoutMs ?? 30_000, approval: "never", spawn: false, runtime: "bun",
      entry: `code/${tool.name}.js`,
    })),
    agents: [], teams: [], pipelines: [], dependencies: [], source: { digest: `sha256:${"0".repeat(64)}` }, builder: { name: "e2e", version: "0.1.0" },
    files: files.map((file) => ({ path: file.path, size: file.bytes.length, sha256: sha256(file.bytes) })),
  }));
  const layers = layersOf(files).map((part) => rawZstd(writeTar(part)));
  const describe = (mediaType: string, bytes: Uint8Array): Record<string, unknown> => ({ mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length });
  const image = utf8(JSON.stringify({
    schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", artifactType: "application/vnd.aria.bundle.v1",
    config: describe("application/vnd.aria.manifest.v1+json", config), layers: layers.map((layer) => describe("application/vnd.aria.code.v1.tar+zstd", layer)),
  }));
  const annotations = { "org.opencontainers.image.ref.name": version, "org.opencontainers.image.title": name };
  const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: [{ ...describe("application/vnd.oci.image.manifest.v1+json", image), annotations }] }));
  const blobs = [config, ...layers, image].map((bytes) => ({ path: `blobs/sha256/${sha256(bytes)}`, bytes })).sort(byPath);
  return writeTar([{ path: "oci-layout", bytes: utf8('{"imageLayoutVersion":"1.0.0"}') }, { path: "index.json", bytes: index }, ...blobs]);
}

/** A bundle whose one tool answers with its own version. */
export function versionBundle(name: string, version: string, extra: TarEntry[] = []): Uint8Array {
  return makeBundle(name, version, [{ name: "version", body: `return ${JSON.stringify(version)};` }], extra);
}

/** Files nothing can compress. */
export function noise(megabytes: number[]): TarEntry[] {
  return megabytes.map((size, index) => ({ path: `src/noise-${index}.bin`, bytes: randomFillSync(new Uint8Array(size * 2 ** 20)) }));
}
