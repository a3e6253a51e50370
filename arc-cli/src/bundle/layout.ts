//! A bundle as bytes: strict tar ▸ OCI image layout ▸ manifest and one code layer.
//!
//! Signatures will be further manifests in `index.json`, linked to the bundle's by `subject`; until they
//! exist the index holds exactly one descriptor and the reader refuses another.

import { digestOf, sha256Hex } from "./digest.ts";
import { BundleError } from "./error.ts";
import { isObject, parseJson, type Json, type JsonObject } from "./json.ts";
import { limits } from "./limits.ts";
import { readManifest, type Manifest } from "./manifest.ts";
import { byPathBytes, readTar, writeTar, type TarEntry } from "./tar.ts";
import { compress, decompress } from "./zstd.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const BUNDLE = "application/vnd.aria.bundle.v1";
const MANIFEST = "application/vnd.aria.manifest.v1+json";
const CODE_LAYER = "application/vnd.aria.code.v1.tar+zstd";
const LAYOUT = '{"imageLayoutVersion":"1.0.0"}';
const BLOB = /^blobs\/sha256\/([0-9a-f]{64})$/;

/** An opened bundle: the checked manifest, its identity, and the files of its code layers. */
export interface Bundle {
  readonly manifest: Manifest;
  /** Digest of the OCI manifest, `sha256:<hex>`. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly files: readonly TarEntry[];
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Writes a bundle. `manifest.files` is filled from `files`; the same arguments give the same bytes. */
export function writeBundle(manifest: Omit<Manifest, "files">, files: readonly TarEntry[]): { bytes: Uint8Array; digest: string } {
  const sorted = [...files].sort(byPathBytes);
  const whole = { ...manifest, files: sorted.map((file) => ({ path: file.path, size: file.bytes.length, sha256: sha256Hex(file.bytes) })) };
  const config = utf8(JSON.stringify(whole));
  const layer = compress(writeTar(sorted));
  const image = utf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      artifactType: BUNDLE,
      config: describe(MANIFEST, config),
      layers: [describe(CODE_LAYER, layer)],
    }),
  );
  const index = utf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [
        {
          ...describe(OCI_MANIFEST, image),
          annotations: { "org.opencontainers.image.ref.name": manifest.version, "org.opencontainers.image.title": manifest.name },
        },
      ],
    }),
  );
  const blobs = [config, layer, image].map((bytes) => ({ path: `blobs/sha256/${sha256Hex(bytes)}`, bytes })).sort(byPathBytes);
  const bytes = writeTar([{ path: "oci-layout", bytes: utf8(LAYOUT) }, { path: "index.json", bytes: index }, ...blobs]);
  return { bytes, digest: digestOf(image) };
}

/** Opens a bundle that came from anywhere. Everything is checked before anything is returned; nothing is written. */
export function openBundle(bytes: Uint8Array): Bundle {
  if (bytes.length > limits.fileBytes) throw new BundleError("BUNDLE_TOO_LARGE", `the file is ${bytes.length} bytes, limit is ${limits.fileBytes}`);
  const blobs = readLayout(readTar(bytes, "the bundle"));
  const index = readIndex(blobs.index);
  const image = readImage(blobs.take(index, "index.json"));
  const manifest = readManifest(parseJson(blobs.take(image.config, "the OCI manifest"), "the manifest"));
  const files = readLayers(image.layers.map((layer) => blobs.take(layer, "the OCI manifest")));
  blobs.finish();
  checkAnnotations(index.annotations, manifest);
  checkFiles(manifest, files);
  return { manifest, digest: index.digest, sizeBytes: bytes.length, files };
}

/** The blobs of one archive, each taken by its digest; what nobody refers to is refused at the end. */
class Blobs {
  readonly index: Uint8Array;
  readonly #blobs: Map<string, Uint8Array>;
  readonly #taken = new Set<string>();

  constructor(index: Uint8Array, blobs: Map<string, Uint8Array>) {
    this.index = index;
    this.#blobs = blobs;
  }

  take(descriptor: Descriptor, by: string): Uint8Array {
    const bytes = this.#blobs.get(descriptor.digest);
    if (!bytes) throw new BundleError("LAYOUT_INVALID", `${by} refers to ${descriptor.digest}, which is not in the bundle`);
    if (bytes.length !== descriptor.size) throw new BundleError("DIGEST_MISMATCH", `${by} says ${descriptor.digest} is ${descriptor.size} bytes, it is ${bytes.length}`);
    this.#taken.add(descriptor.digest);
    return bytes;
  }

  finish(): void {
    for (const digest of this.#blobs.keys()) {
      if (!this.#taken.has(digest)) throw new BundleError("LAYOUT_INVALID", `blob ${digest} belongs to nothing in the bundle`);
    }
  }
}

function readLayout(entries: readonly TarEntry[]): Blobs {
  const [layout, index, ...rest] = entries;
  if (layout?.path !== "oci-layout") throw new BundleError("LAYOUT_INVALID", "the first entry of a bundle is oci-layout");
  const marker = parseJson(layout.bytes, "oci-layout");
  if (!isObject(marker) || marker["imageLayoutVersion"] !== "1.0.0") throw new BundleError("FORMAT_UNSUPPORTED", "oci-layout does not say version 1.0.0");
  onlyKeys(marker, ["imageLayoutVersion"], "oci-layout");
  if (index?.path !== "index.json") throw new BundleError("LAYOUT_INVALID", "the second entry of a bundle is index.json");
  const blobs = new Map<string, Uint8Array>();
  let last = "";
  for (const entry of rest) {
    const hex = BLOB.exec(entry.path)?.[1];
    if (!hex) throw new BundleError("LAYOUT_INVALID", `entry ${JSON.stringify(entry.path.slice(0, 120))} does not belong in a bundle`);
    if (hex <= last) throw new BundleError("LAYOUT_INVALID", "blobs are not sorted by digest");
    if (sha256Hex(entry.bytes) !== hex) throw new BundleError("DIGEST_MISMATCH", `blob sha256:${hex} has other content than its name says`);
    blobs.set(`sha256:${hex}`, entry.bytes);
    last = hex;
  }
  return new Blobs(index.bytes, blobs);
}

function readIndex(bytes: Uint8Array): Descriptor & { annotations: JsonObject } {
  const index = parseJson(bytes, "index.json");
  if (!isObject(index) || index["schemaVersion"] !== 2 || (index["mediaType"] ?? OCI_INDEX) !== OCI_INDEX) throw new BundleError("LAYOUT_INVALID", "index.json is not an OCI index");
  onlyKeys(index, ["schemaVersion", "mediaType", "manifests"], "index.json");
  const manifests = index["manifests"];
  if (!Array.isArray(manifests) || manifests.length !== 1) throw new BundleError("LAYOUT_INVALID", "index.json does not hold exactly one manifest");
  const only = manifests[0] as Json;
  if (isObject(only)) onlyKeys(only, ["mediaType", "digest", "size", "annotations"], "index.json");
  const annotations = isObject(only) && isObject(only["annotations"]) ? only["annotations"] : {};
  return { ...readDescriptor(only, OCI_MANIFEST, "index.json"), annotations };
}

function readImage(bytes: Uint8Array): { config: Descriptor; layers: Descriptor[] } {
  const image = parseJson(bytes, "the OCI manifest");
  if (!isObject(image) || image["schemaVersion"] !== 2 || image["mediaType"] !== OCI_MANIFEST) throw new BundleError("LAYOUT_INVALID", "the OCI manifest is not one");
  if (image["artifactType"] !== BUNDLE) throw new BundleError("FORMAT_UNSUPPORTED", `the artifact is not ${BUNDLE}`);
  onlyKeys(image, ["schemaVersion", "mediaType", "artifactType", "config", "layers"], "the OCI manifest");
  const layers = image["layers"];
  if (!Array.isArray(layers) || layers.length === 0) throw new BundleError("LAYOUT_INVALID", "the OCI manifest has no layers");
  return {
    config: readBareDescriptor(image["config"], MANIFEST),
    layers: layers.map((layer: Json) => readBareDescriptor(layer, CODE_LAYER)),
  };
}

function readBareDescriptor(json: Json | undefined, mediaType: string): Descriptor {
  if (isObject(json)) onlyKeys(json, ["mediaType", "digest", "size"], "a descriptor of the OCI manifest");
  return readDescriptor(json, mediaType, "the OCI manifest");
}

function onlyKeys(json: JsonObject, keys: readonly string[], where: string): void {
  for (const key of Object.keys(json)) {
    if (!keys.includes(key) && !key.startsWith("x-")) throw new BundleError("LAYOUT_INVALID", `${where} has the unknown key ${JSON.stringify(key.slice(0, 80))}`);
  }
}

function readDescriptor(json: Json | undefined, mediaType: string, where: string): Descriptor {
  if (!isObject(json)) throw new BundleError("LAYOUT_INVALID", `${where} has a descriptor that is not an object`);
  const { digest, size } = json;
  if (json["mediaType"] !== mediaType) throw new BundleError("FORMAT_UNSUPPORTED", `${where} refers to a blob that is not ${mediaType}`);
  if (typeof digest !== "string" || !/^sha256:[0-9a-f]{64}$/.test(digest)) throw new BundleError("LAYOUT_INVALID", `${where} has a descriptor without a sha256 digest`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) throw new BundleError("LAYOUT_INVALID", `${where} has a descriptor without a size`);
  return { mediaType, digest, size };
}

function readLayers(layers: readonly Uint8Array[]): TarEntry[] {
  let unpacked = 0;
  const files: TarEntry[] = [];
  for (const layer of layers) {
    const tar = decompress(layer, "the code layer");
    unpacked += tar.length;
    if (unpacked > limits.unpackedBytes) throw new BundleError("BUNDLE_TOO_LARGE", `the layers unpack to more than ${limits.unpackedBytes} bytes`);
    files.push(...readTar(tar, "the code layer"));
  }
  return files;
}

function checkAnnotations(annotations: JsonObject, manifest: Manifest): void {
  if (annotations["org.opencontainers.image.title"] !== manifest.name || annotations["org.opencontainers.image.ref.name"] !== manifest.version) {
    throw new BundleError("LAYOUT_INVALID", "index.json names another bundle than the manifest");
  }
}

function checkFiles(manifest: Manifest, files: readonly TarEntry[]): void {
  const listed = new Map(manifest.files.map((file) => [file.path, file]));
  for (const file of files) {
    const entry = listed.get(file.path);
    if (!entry) throw new BundleError("FILES_MISMATCH", `file ${JSON.stringify(file.path)} is not listed in the manifest, or twice in the layers`);
    if (entry.size !== file.bytes.length || entry.sha256 !== sha256Hex(file.bytes)) {
      throw new BundleError("DIGEST_MISMATCH", `file ${JSON.stringify(file.path)} is not what the manifest says`);
    }
    listed.delete(file.path);
  }
  for (const path of listed.keys()) throw new BundleError("FILES_MISMATCH", `the manifest lists ${JSON.stringify(path)}, which is not in the bundle`);
}

function describe(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
