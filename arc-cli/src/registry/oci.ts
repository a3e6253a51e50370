//! An OCI registry as a shelf (distribution specification 1.1; signatures by `subject`, with the tag scheme where a registry has no
//! referrers). Without TLS only on this machine. Every answer is bounded; blobs may come from where the registry redirects to, because
//! their digests are checked.

import { BundleError } from "../bundle/error.ts";
import { sha256Hex } from "../bundle/digest.ts";
import { type Descriptor, envelopeOf, OCI_INDEX, OCI_MANIFEST, type Part, type Parts, SIGNATURE_TYPE } from "../bundle/layout.ts";
import { isObject, type Json, parseJson } from "../bundle/json.ts";
import { limits } from "../bundle/limits.ts";
import { Exit, UserError } from "../errors.ts";
import { tagOf, versionOf } from "./reference.ts";
import { checked, type Shelf } from "./shelf.ts";

const REQUEST_TIMEOUT_MS = 30_000;
const BLOB_TIMEOUT_MS = 10 * 60_000;
const TAGS_MAX = 10_000;
const PAGES_MAX = 100;
const REFERRERS_MAX = 16;

interface Asked {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array;
  readonly timeoutMs?: number;
}

export class OciShelf implements Shelf {
  readonly label: string;
  readonly #origin: string;
  readonly #repository: string;
  readonly #signal: AbortSignal;

  constructor(label: string, signal: AbortSignal) {
    this.label = label;
    const rest = label.slice("oci://".length);
    const cut = rest.indexOf("/");
    const host = cut === -1 ? rest : rest.slice(0, cut);
    // What never leaves this machine needs no TLS; everything else does.
    const local = /^(localhost|127\.0\.0\.1)(:\d+)?$/.test(host);
    this.#origin = `${local ? "http" : "https"}://${host}`;
    this.#repository = cut === -1 ? "" : `${rest.slice(cut + 1)}/`;
    this.#signal = signal;
  }

  async versions(name: string): Promise<string[]> {
    const found: string[] = [];
    let path: string | undefined = `${this.#path(name)}/tags/list?n=1000`;
    for (let page = 0; path !== undefined && page < PAGES_MAX && found.length < TAGS_MAX; page += 1) {
      const answer: Response = await this.#ask(path);
      if (answer.status === 404) return [];
      const json = parseJson(await this.#bytes(await this.#good(answer, path), limits.jsonBytes), "the list of tags");
      const tags: Json[] = isObject(json) && Array.isArray(json["tags"]) ? json["tags"] : [];
      found.push(...tags.flatMap((tag) => (typeof tag === "string" ? (versionOf(tag) ?? []) : [])));
      path = /^<(\/v2\/[^>]{1,2000})>;\s*rel="?next"?/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    return found;
  }

  async manifest(name: string, version: string): Promise<Uint8Array | undefined> {
    return await this.#manifest(name, tagOf(version), OCI_MANIFEST);
  }

  async blob(name: string, { digest, size }: Descriptor): Promise<Uint8Array> {
    const path = `${this.#path(name)}/blobs/${digest}`;
    return await this.#bytes(await this.#good(await this.#ask(path, { timeoutMs: BLOB_TIMEOUT_MS }), path), size);
  }

  async envelope(name: string, image: Uint8Array): Promise<Uint8Array | undefined> {
    const subject = `sha256:${sha256Hex(image)}`;
    let best: Uint8Array | undefined;
    for (const listed of await this.#referrers(name, subject)) {
      const bytes = await this.#manifest(name, listed.digest, OCI_MANIFEST);
      if (bytes === undefined) continue;
      const found = envelopeOf(checked(bytes, listed));
      if (found.subject !== subject) continue;
      const envelope = checked(await this.blob(name, found.envelope), found.envelope);
      // A later one holds what an earlier one held and one signature more.
      if (best === undefined || envelope.length > best.length) best = envelope;
    }
    return best;
  }

  async push(name: string, version: string, { image, blobs, signature }: Parts): Promise<void> {
    for (const blob of [...blobs, ...(signature?.blobs ?? [])]) await this.#putBlob(name, blob);
    if (signature !== undefined) {
      // Its image first: a registry may refuse a subject it does not have.
      await this.#putManifest(name, image.digest, image);
      const known = await this.#putManifest(name, signature.manifest.digest, signature.manifest);
      if (!known) await this.#nameReferrer(name, image, signature.manifest);
    }
    await this.#putManifest(name, tagOf(version), image);
  }

  /** Manifests of signatures that are about an image: by the registry's own list, or by the tag that stands for it. */
  async #referrers(name: string, subject: string): Promise<Descriptor[]> {
    const path = `${this.#path(name)}/referrers/${subject}?artifactType=${encodeURIComponent(SIGNATURE_TYPE)}`;
    const answer = await this.#ask(path, { headers: { accept: OCI_INDEX } });
    const listed = answer.ok && (answer.headers.get("content-type") ?? "").startsWith(OCI_INDEX);
    const bytes = listed ? await this.#bytes(answer, limits.jsonBytes) : await this.#manifest(name, referrersTag(subject), OCI_INDEX);
    if (!listed) await answer.body?.cancel();
    return bytes === undefined ? [] : descriptors(bytes);
  }

  async #nameReferrer(name: string, image: Part, signature: Part): Promise<void> {
    const tag = referrersTag(image.digest);
    const there = await this.#manifest(name, tag, OCI_INDEX);
    const listed = there === undefined ? [] : descriptors(there);
    if (listed.some(({ digest }) => digest === signature.digest)) return;
    const entry = (digest: string, size: number): object => ({ mediaType: OCI_MANIFEST, digest, size, artifactType: SIGNATURE_TYPE });
    const manifests = [...listed.slice(-(REFERRERS_MAX - 1)).map(({ digest, size }) => entry(digest, size)), entry(signature.digest, signature.bytes.length)];
    const bytes = new TextEncoder().encode(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
    await this.#putManifest(name, tag, { mediaType: OCI_INDEX, digest: `sha256:${sha256Hex(bytes)}`, bytes });
  }

  async #manifest(name: string, reference: string, accept: string): Promise<Uint8Array | undefined> {
    const path = `${this.#path(name)}/manifests/${reference}`;
    const answer = await this.#ask(path, { headers: { accept } });
    if (answer.status === 404) return undefined;
    return await this.#bytes(await this.#good(answer, path), limits.jsonBytes);
  }

  async #putBlob(name: string, { digest, bytes }: Part): Promise<void> {
    const path = `${this.#path(name)}/blobs/${digest}`;
    if ((await this.#ask(path, { method: "HEAD" })).ok) return;
    const begun = await this.#good(await this.#ask(`${this.#path(name)}/blobs/uploads/`, { method: "POST" }), path);
    const location = begun.headers.get("location");
    if (location === null) throw this.#refused(path, "it does not say where to upload");
    const target = new URL(location, this.#origin);
    // A blob is sent to the registry that was asked, not to wherever it points.
    if (target.origin !== this.#origin) throw this.#refused(path, `it wants the upload at ${target.origin}`);
    target.searchParams.set("digest", digest);
    const headers = { "content-type": "application/octet-stream" };
    await this.#good(await this.#ask(`${target.pathname}${target.search}`, { method: "PUT", headers, body: bytes, timeoutMs: BLOB_TIMEOUT_MS }), path);
  }

  /** Whether the registry lists it by its subject itself. */
  async #putManifest(name: string, reference: string, { mediaType, bytes }: Part): Promise<boolean> {
    const path = `${this.#path(name)}/manifests/${reference}`;
    const answer = await this.#good(await this.#ask(path, { method: "PUT", headers: { "content-type": mediaType }, body: bytes }), path);
    return answer.headers.has("oci-subject");
  }

  #path(name: string): string {
    return `/v2/${this.#repository}${name}`;
  }

  async #ask(path: string, { method = "GET", headers = {}, body, timeoutMs = REQUEST_TIMEOUT_MS }: Asked = {}): Promise<Response> {
    const signal = AbortSignal.any([this.#signal, AbortSignal.timeout(timeoutMs)]);
    try {
      return await fetch(`${this.#origin}${path}`, { method, headers, signal, ...(body === undefined ? {} : { body }) });
    } catch (cause) {
      this.#signal.throwIfAborted();
      throw new UserError("ARC2205", `${this.label} cannot be reached: ${(cause as Error).message}`, { exit: Exit.unavailable, retryable: true, hint: "with `arc.lock` and the cache, `arc install --offline` needs no registry", cause });
    }
  }

  async #good(answer: Response, path: string): Promise<Response> {
    if (answer.ok) return answer;
    await answer.body?.cancel();
    throw this.#refused(path, `it answers ${answer.status}`, answer.status);
  }

  #refused(path: string, why: string, status = 0): UserError {
    const exit = status === 401 || status === 403 ? Exit.denied : status === 404 ? Exit.notFound : Exit.unavailable;
    return new UserError("ARC2206", `${this.label}: ${why} (${path})`, { exit, retryable: status >= 500, hint: "arc speaks to registries that need no login" });
  }

  async #bytes(answer: Response, bytesMax: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of answer.body ?? []) {
      size += piece.length;
      if (size > bytesMax) throw new BundleError("BUNDLE_TOO_LARGE", `an answer is longer than the ${bytesMax} bytes it may have`);
      pieces.push(piece);
    }
    return new Uint8Array(Buffer.concat(pieces));
  }
}

function referrersTag(digest: string): string {
  return digest.replace(":", "-");
}

function descriptors(index: Uint8Array): Descriptor[] {
  const json = parseJson(index, "the list of signatures");
  const manifests: Json[] = isObject(json) && Array.isArray(json["manifests"]) ? json["manifests"] : [];
  return manifests.slice(0, REFERRERS_MAX).flatMap((one) => {
    if (!isObject(one) || (one["artifactType"] ?? SIGNATURE_TYPE) !== SIGNATURE_TYPE) return [];
    const { digest, size } = one;
    return typeof digest === "string" && /^sha256:[0-9a-f]{64}$/.test(digest) && typeof size === "number" ? [{ mediaType: OCI_MANIFEST, digest, size }] : [];
  });
}
