//! A directory as a shelf: one OCI image layout for each bundle, its versions as references, so that `skopeo copy oci:DIR/NAME:VERSION`
//! moves them. Blobs are written before the index names them, and the index is replaced whole.

import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BundleError } from "../bundle/error.ts";
import { type Descriptor, envelopeOf, OCI_INDEX, OCI_MANIFEST, type Part, type Parts, SIGNATURE_TYPE } from "../bundle/layout.ts";
import { isObject, type JsonObject, parseJson } from "../bundle/json.ts";
import { limits } from "../bundle/limits.ts";
import { sha256Hex } from "../bundle/digest.ts";
import { Exit, UserError } from "../errors.ts";
import { versionOf, tagOf } from "./reference.ts";
import { checked, type Shelf } from "./shelf.ts";

const REF = "org.opencontainers.image.ref.name";
const LAYOUT = '{"imageLayoutVersion":"1.0.0"}';
const INDEX_BYTES_MAX = 4 * 1024 * 1024;

interface Listed extends Descriptor {
  readonly tag: string | undefined;
  readonly artifactType: string | undefined;
}

export class DirectoryShelf implements Shelf {
  readonly label: string;
  readonly #root: string;

  constructor(label: string, root: string) {
    this.label = label;
    this.#root = root;
  }

  async versions(name: string): Promise<string[]> {
    return this.#index(name).flatMap(({ tag }) => (tag === undefined ? [] : (versionOf(tag) ?? [])));
  }

  async manifest(name: string, version: string): Promise<Uint8Array | undefined> {
    const listed = this.#index(name).find(({ tag }) => tag === tagOf(version));
    return listed && checked(this.#read(name, listed.digest, limits.jsonBytes), listed);
  }

  async blob(name: string, { digest, size }: Descriptor): Promise<Uint8Array> {
    return this.#read(name, digest, size);
  }

  async envelope(name: string, image: Uint8Array): Promise<Uint8Array | undefined> {
    const subject = `sha256:${sha256Hex(image)}`;
    for (const listed of this.#index(name).filter(({ artifactType }) => artifactType === SIGNATURE_TYPE)) {
      const found = envelopeOf(checked(this.#read(name, listed.digest, limits.jsonBytes), listed));
      if (found.subject === subject) return checked(this.#read(name, found.envelope.digest, limits.jsonBytes), found.envelope);
    }
    return undefined;
  }

  async push(name: string, version: string, { image, blobs, signature }: Parts): Promise<void> {
    const dir = join(this.#root, name);
    try {
      mkdirSync(join(dir, "blobs/sha256"), { recursive: true });
      for (const part of [...blobs, image, ...(signature === undefined ? [] : [...signature.blobs, signature.manifest])]) put(dir, part);
      if (!existsSync(join(dir, "oci-layout"))) replace(join(dir, "oci-layout"), LAYOUT);
      const named = { mediaType: OCI_MANIFEST, digest: image.digest, size: image.bytes.length, annotations: { [REF]: tagOf(version), "org.opencontainers.image.title": name } };
      const signed = signature && { mediaType: OCI_MANIFEST, digest: signature.manifest.digest, size: signature.manifest.bytes.length, artifactType: SIGNATURE_TYPE };
      const others = this.#json(name).filter((one) => one["digest"] !== image.digest && !(signature !== undefined && this.#isAbout(name, one, image.digest)));
      replace(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [...others, named, ...(signed === undefined ? [] : [signed])] }));
    } catch (cause) {
      if (cause instanceof UserError || cause instanceof BundleError) throw cause;
      throw new UserError("ARC2204", `write ${dir}: ${(cause as Error).message}`, { exit: Exit.unexpected, cause });
    }
  }

  #isAbout(name: string, listed: JsonObject, digest: string): boolean {
    if (listed["artifactType"] !== SIGNATURE_TYPE) return false;
    return envelopeOf(this.#read(name, String(listed["digest"]), limits.jsonBytes)).subject === digest;
  }

  #json(name: string): JsonObject[] {
    const path = join(this.#root, name, "index.json");
    if (!existsSync(path)) return [];
    const index = parseJson(readBounded(path, INDEX_BYTES_MAX), path);
    if (!isObject(index) || !Array.isArray(index["manifests"])) throw new BundleError("LAYOUT_INVALID", `${path} is not an OCI index`);
    return index["manifests"].filter(isObject);
  }

  #index(name: string): Listed[] {
    return this.#json(name).map((json) => {
      const { digest, size, mediaType, artifactType, annotations } = json;
      if (typeof digest !== "string" || !/^sha256:[0-9a-f]{64}$/.test(digest) || typeof size !== "number" || typeof mediaType !== "string") {
        throw new BundleError("LAYOUT_INVALID", `the index of ${name} has a descriptor that is none`);
      }
      const tag = isObject(annotations) ? annotations[REF] : undefined;
      return { mediaType, digest, size, tag: typeof tag === "string" ? tag : undefined, artifactType: typeof artifactType === "string" ? artifactType : undefined };
    });
  }

  #read(name: string, digest: string, bytesMax: number): Uint8Array {
    const path = join(this.#root, name, "blobs/sha256", digest.slice("sha256:".length));
    if (!existsSync(path)) throw new BundleError("LAYOUT_INVALID", `blob ${digest} is not there`);
    return readBounded(path, bytesMax);
  }
}

function readBounded(path: string, bytesMax: number): Uint8Array {
  const found = statSync(path);
  if (!found.isFile() || found.size > bytesMax) throw new BundleError("LAYOUT_INVALID", `${path} is no file of at most ${bytesMax} bytes`);
  return new Uint8Array(readFileSync(path));
}

function put(dir: string, { digest, bytes }: Part): void {
  const path = join(dir, "blobs/sha256", digest.slice("sha256:".length));
  if (!existsSync(path) || statSync(path).size !== bytes.length) replace(path, bytes);
}

/** The file appears whole or not at all. */
function replace(path: string, content: string | Uint8Array): void {
  const draft = `${path}.${process.pid}`;
  try {
    writeFileSync(draft, content, { flag: "wx" });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}
