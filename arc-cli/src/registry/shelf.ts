//! A place that keeps bundles: a directory of OCI image layouts or an OCI registry. What comes from it is believed only as far as
//! digests reach; `pull` gives a bundle that the strict reader has accepted.

import { resolve } from "node:path";
import { BundleError } from "../bundle/error.ts";
import { type Bundle, openBundle, partsOf, putTogether, takeApart, type Descriptor, type Parts } from "../bundle/layout.ts";
import { limits } from "../bundle/limits.ts";
import { sha256Hex } from "../bundle/digest.ts";
import { Exit, UserError } from "../errors.ts";
import { DirectoryShelf } from "./directory.ts";
import { OciShelf } from "./oci.ts";

export interface Shelf {
  /** As it is written in references. */
  readonly label: string;
  /** Versions of one bundle, in no order; none when there is no such bundle. */
  versions(name: string): Promise<string[]>;
  /** The image manifest of one version, or undefined. */
  manifest(name: string, version: string): Promise<Uint8Array | undefined>;
  /** The bytes of one blob, at most as many as it is said to have. */
  blob(name: string, descriptor: Descriptor): Promise<Uint8Array>;
  /** The envelope of the signatures of an image, or undefined. */
  envelope(name: string, image: Uint8Array): Promise<Uint8Array | undefined>;
  /** Puts a bundle there; blobs first, names last. */
  push(name: string, version: string, parts: Parts): Promise<void>;
}

export interface Pulled {
  readonly bundle: Bundle;
  readonly bytes: Uint8Array;
}

export function openShelf(label: string, cwd: string, signal: AbortSignal): Shelf {
  if (label.startsWith("dir:")) return new DirectoryShelf(label, resolve(cwd, label.slice("dir:".length)));
  return new OciShelf(label, signal);
}

/** Fetches one version and puts it together; its digest is the image's, wherever it was. */
export async function pull(shelf: Shelf, name: string, version: string): Promise<Pulled> {
  const place = `${shelf.label}/${name}@${version}`;
  return await believing(place, async () => {
    const image = await shelf.manifest(name, version);
    if (image === undefined) throw new UserError("ARC2202", `${place} does not exist`, { exit: Exit.notFound });
    const descriptors = partsOf(image);
    const whole = descriptors.reduce((sum, { size }) => sum + size, 0);
    if (whole > limits.fileBytes) throw new BundleError("BUNDLE_TOO_LARGE", `its blobs are ${whole} bytes, limit is ${limits.fileBytes}`);
    const blobs: Uint8Array[] = [];
    for (const descriptor of descriptors) blobs.push(checked(await shelf.blob(name, descriptor), descriptor));
    const bytes = putTogether(image, blobs, { name, version }, await shelf.envelope(name, image));
    return { bundle: openBundle(bytes), bytes };
  });
}

/** Puts a bundle on a shelf; false when it is there already. A version that is there never changes its content. */
export async function publishTo(shelf: Shelf, bundle: Bundle, bytes: Uint8Array): Promise<boolean> {
  const { name, version } = bundle.manifest;
  const place = `${shelf.label}/${name}@${version}`;
  const parts = takeApart(bytes);
  return await believing(place, async () => {
    const there = await shelf.manifest(name, version);
    if (there !== undefined && `sha256:${sha256Hex(there)}` !== bundle.digest) {
      throw new UserError("ARC2201", `${place} is there with other content`, { exit: Exit.conflict, hint: "raise the version in arc.toml; a published version never changes" });
    }
    const own = parts.signature?.blobs.at(-1)?.bytes;
    const envelope = there === undefined || own === undefined ? undefined : await shelf.envelope(name, there);
    if (there !== undefined && (own === undefined || (envelope !== undefined && Buffer.compare(envelope, own) === 0))) return false;
    await shelf.push(name, version, parts);
    return true;
  });
}

/** What a shelf holds may break any rule; that is its publisher's or its keeper's fault and not arc's. */
export async function believing<T>(place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof BundleError)) throw cause;
    throw new UserError("ARC2203", `${place}: ${cause.message} (${cause.reason})`, { exit: Exit.trust, hint: "what is held there is no good bundle; ask its publisher", details: { reason: cause.reason }, cause });
  }
}

/** A blob is what its descriptor says or nothing. */
export function checked(bytes: Uint8Array, { digest, size }: Descriptor): Uint8Array {
  if (bytes.length !== size) throw new BundleError("DIGEST_MISMATCH", `blob ${digest} has ${bytes.length} bytes, ${size} are declared`);
  if (`sha256:${sha256Hex(bytes)}` !== digest) throw new BundleError("DIGEST_MISMATCH", `blob ${digest} has other content than its name says`);
  return bytes;
}
