//! A bundle as bytes: strict tar ▸ OCI image layout ▸ manifest and one code layer.
//!
//! Signatures are a second manifest in `index.json`, linked to the bundle's by `subject`.

import { authorityDigest, digestOf, interfaceDigest, sha256Hex } from "./digest.ts";
import { BundleError } from "./error.ts";
import { isObject, parseJson, type Json, type JsonObject } from "./json.ts";
import { limits } from "./limits.ts";
import { readManifest, type Manifest } from "./manifest.ts";
import { readEnvelope, signed, type Envelope, type Statement } from "./signature.ts";
import { byPathBytes, readTar, writeTar, type TarEntry } from "./tar.ts";
import { compress, decompress } from "./zstd.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
const BUNDLE = "application/vnd.aria.bundle.v1";
const MANIFEST = "application/vnd.aria.manifest.v1+json";
const CODE_LAYER = "application/vnd.aria.code.v1.tar+zstd";
const SIGNATURE = "application/vnd.aria.signature.v1";
const EMPTY = "application/vnd.oci.empty.v1+json";
const ENVELOPE = "application/vnd.dsse.envelope.v1+json";
const LAYOUT = '{"imageLayoutVersion":"1.0.0"}';
const BLOB = /^blobs\/sha256\/([0-9a-f]{64})$/;

/** An opened bundle: the checked manifest, its identity, and the files of its code layers. */
export interface Bundle {
  readonly manifest: Manifest;
  /** Digest of the OCI manifest, `sha256:<hex>`. */
  readonly digest: string;
  readonly sizeBytes: number;
  readonly files: readonly TarEntry[];
  /** Who signed it; read, checked to be about this bundle, not verified against any key. */
  readonly envelope: Envelope | undefined;
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
  return { bytes: writeLayout(image, [config, layer], manifest), digest: digestOf(image) };
}

/** The same bundle with one signature more. Ed25519 is deterministic, so the same key gives the same bytes. */
export function signBundle(bytes: Uint8Array, keyPem: string): Uint8Array {
  const { manifest, digest, envelope } = openBundle(bytes);
  const statement = statementOf(manifest, digest);
  const blobs = readLayout(readTar(bytes, "the bundle"));
  const image = blobs.take(readIndex(blobs.index).bundle, "index.json");
  const { config, layers } = readImage(image);
  const kept = [config, ...layers].map((descriptor) => blobs.take(descriptor, "the OCI manifest"));
  return writeLayout(image, kept, manifest, signed(statement, keyPem, envelope));
}

/** One blob or manifest of a bundle as a registry keeps it. */
export interface Part {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Uint8Array;
}

/** A bundle taken apart: every blob of its image, and of its signatures if it has any. */
export interface Parts {
  readonly image: Part;
  readonly blobs: readonly Part[];
  readonly signature: { readonly manifest: Part; readonly blobs: readonly Part[] } | undefined;
}

/** Takes a bundle apart that `openBundle` has accepted. */
export function takeApart(bytes: Uint8Array): Parts {
  const blobs = readLayout(readTar(bytes, "the bundle"));
  const index = readIndex(blobs.index);
  const part = (descriptor: Descriptor): Part => ({ mediaType: descriptor.mediaType, digest: descriptor.digest, bytes: blobs.take(descriptor, "the bundle") });
  const image = part(index.bundle);
  const { config, layers } = readImage(image.bytes);
  const own = [config, ...layers].map(part);
  if (index.signature === undefined) return { image, blobs: own, signature: undefined };
  const manifest = part(index.signature);
  const { config: empty, layers: envelopes } = JSON.parse(new TextDecoder().decode(manifest.bytes)) as { config: Descriptor; layers: Descriptor[] };
  return { image, blobs: own, signature: { manifest, blobs: [empty, ...envelopes].map(part) } };
}

/** What an image manifest from a registry refers to. */
export function partsOf(image: Uint8Array): readonly Descriptor[] {
  const { config, layers } = readImage(image);
  return [config, ...layers];
}

/** The one envelope a manifest of signatures refers to, and the image it is about. */
export function envelopeOf(manifest: Uint8Array): { readonly envelope: Descriptor; readonly subject: string } {
  const what = "the manifest of the signatures";
  const json = parseJson(manifest, what);
  if (!isObject(json) || json["artifactType"] !== SIGNATURE || !Array.isArray(json["layers"])) throw new BundleError("LAYOUT_INVALID", `${what} is not one`);
  const subject = readBareDescriptor(json["subject"], OCI_MANIFEST, what);
  return { envelope: readBareDescriptor(json["layers"][0] as Json, ENVELOPE, what), subject: subject.digest };
}

/** The file of a bundle whose parts came from a registry. Nothing is judged here; `openBundle` does that. */
export function putTogether(image: Uint8Array, blobs: readonly Uint8Array[], named: { name: string; version: string }, envelope?: Uint8Array): Uint8Array {
  return writeLayout(image, blobs, named, envelope);
}

export { BUNDLE as BUNDLE_TYPE, SIGNATURE as SIGNATURE_TYPE, OCI_MANIFEST, OCI_INDEX, type Descriptor };

function statementOf(manifest: Manifest, digest: string): Statement {
  return { digest, name: manifest.name, version: manifest.version, interfaceDigest: interfaceDigest(manifest), authorityDigest: authorityDigest(manifest) };
}

function writeLayout(image: Uint8Array, blobs: readonly Uint8Array[], { name, version }: { name: string; version: string }, envelope?: Uint8Array): Uint8Array {
  const subject = describe(OCI_MANIFEST, image);
  const annotations = { "org.opencontainers.image.ref.name": version, "org.opencontainers.image.title": name };
  const manifests: object[] = [{ ...subject, annotations }];
  const all = [...blobs, image];
  if (envelope) {
    const empty = utf8("{}");
    const signature = utf8(
      JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, artifactType: SIGNATURE, config: describe(EMPTY, empty), layers: [describe(ENVELOPE, envelope)], subject }),
    );
    manifests.push({ ...describe(OCI_MANIFEST, signature), artifactType: SIGNATURE });
    all.push(empty, envelope, signature);
  }
  const index = utf8(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  const entries = all.map((bytes) => ({ path: `blobs/sha256/${sha256Hex(bytes)}`, bytes })).sort(byPathBytes);
  return writeTar([{ path: "oci-layout", bytes: utf8(LAYOUT) }, { path: "index.json", bytes: index }, ...entries]);
}

/** Opens a bundle that came from anywhere. Everything is checked before anything is returned; nothing is written. */
export function openBundle(bytes: Uint8Array): Bundle {
  if (bytes.length > limits.fileBytes) throw new BundleError("BUNDLE_TOO_LARGE", `the file is ${bytes.length} bytes, limit is ${limits.fileBytes}`);
  const blobs = readLayout(readTar(bytes, "the bundle"));
  const index = readIndex(blobs.index);
  const image = readImage(blobs.take(index.bundle, "index.json"));
  const manifest = readManifest(parseJson(blobs.take(image.config, "the OCI manifest"), "the manifest"));
  const files = readLayers(image.layers.map((layer) => blobs.take(layer, "the OCI manifest")));
  const envelope = index.signature && readSignature(blobs, index.signature, index.bundle);
  blobs.finish();
  checkAnnotations(index.annotations, manifest);
  checkFiles(manifest, files);
  const { digest } = index.bundle;
  if (envelope && JSON.stringify(envelope.statement) !== JSON.stringify(statementOf(manifest, digest))) throw new BundleError("SIGNATURE_INVALID", "the signature describes another bundle");
  return { manifest, digest, sizeBytes: bytes.length, files, envelope };
}

function readSignature(blobs: Blobs, descriptor: Descriptor, bundle: Descriptor): Envelope {
  const what = "the manifest of the signatures";
  const json = parseJson(blobs.take(descriptor, "index.json"), what);
  if (!isObject(json) || json["schemaVersion"] !== 2 || json["mediaType"] !== OCI_MANIFEST || json["artifactType"] !== SIGNATURE) throw new BundleError("LAYOUT_INVALID", `${what} is not one`);
  onlyKeys(json, ["schemaVersion", "mediaType", "artifactType", "config", "layers", "subject"], what);
  const subject = readBareDescriptor(json["subject"], OCI_MANIFEST, what);
  if (subject.digest !== bundle.digest || subject.size !== bundle.size) throw new BundleError("SIGNATURE_INVALID", "the signature is about another bundle");
  const empty = blobs.take(readBareDescriptor(json["config"], EMPTY, what), what);
  if (new TextDecoder().decode(empty) !== "{}") throw new BundleError("SIGNATURE_INVALID", `${what} has a config that is not empty`);
  const layers = json["layers"];
  if (!Array.isArray(layers) || layers.length !== 1) throw new BundleError("SIGNATURE_INVALID", `${what} does not have exactly one envelope`);
  return readEnvelope(blobs.take(readBareDescriptor(layers[0] as Json, ENVELOPE, what), what));
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

function readIndex(bytes: Uint8Array): { bundle: Descriptor; signature: Descriptor | undefined; annotations: JsonObject } {
  const index = parseJson(bytes, "index.json");
  if (!isObject(index) || index["schemaVersion"] !== 2 || (index["mediaType"] ?? OCI_INDEX) !== OCI_INDEX) throw new BundleError("LAYOUT_INVALID", "index.json is not an OCI index");
  onlyKeys(index, ["schemaVersion", "mediaType", "manifests"], "index.json");
  const manifests = index["manifests"];
  if (!Array.isArray(manifests) || manifests.length === 0 || manifests.length > 2) throw new BundleError("LAYOUT_INVALID", "index.json does not hold one bundle and at most one manifest of signatures");
  const [bundle, signature] = manifests as [Json, Json?];
  if (isObject(bundle)) onlyKeys(bundle, ["mediaType", "digest", "size", "annotations"], "index.json");
  const annotations = isObject(bundle) && isObject(bundle["annotations"]) ? bundle["annotations"] : {};
  if (signature !== undefined) {
    if (!isObject(signature) || signature["artifactType"] !== SIGNATURE) throw new BundleError("LAYOUT_INVALID", `the second manifest in index.json is no ${SIGNATURE}`);
    onlyKeys(signature, ["mediaType", "digest", "size", "artifactType"], "index.json");
  }
  return { bundle: readDescriptor(bundle, OCI_MANIFEST, "index.json"), signature: signature && readDescriptor(signature, OCI_MANIFEST, "index.json"), annotations };
}

function readImage(bytes: Uint8Array): { config: Descriptor; layers: Descriptor[] } {
  const image = parseJson(bytes, "the OCI manifest");
  if (!isObject(image) || image["schemaVersion"] !== 2 || image["mediaType"] !== OCI_MANIFEST) throw new BundleError("LAYOUT_INVALID", "the OCI manifest is not one");
  if (image["artifactType"] !== BUNDLE) throw new BundleError("FORMAT_UNSUPPORTED", `the artifact is not ${BUNDLE}`);
  onlyKeys(image, ["schemaVersion", "mediaType", "artifactType", "config", "layers"], "the OCI manifest");
  const layers = image["layers"];
  if (!Array.isArray(layers) || layers.length === 0) throw new BundleError("LAYOUT_INVALID", "the OCI manifest has no layers");
  return {
    config: readBareDescriptor(image["config"], MANIFEST, "the OCI manifest"),
    layers: layers.map((layer: Json) => readBareDescriptor(layer, CODE_LAYER, "the OCI manifest")),
  };
}

function readBareDescriptor(json: Json | undefined, mediaType: string, where: string): Descriptor {
  if (isObject(json)) onlyKeys(json, ["mediaType", "digest", "size"], `a descriptor of ${where}`);
  return readDescriptor(json, mediaType, where);
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
