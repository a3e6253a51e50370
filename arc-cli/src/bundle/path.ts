//! Which path an archive entry may have. The same rules hold in the outer file and in a layer.

import { BundleError } from "./error.ts";
import { limits } from "./limits.ts";

//! Control characters, and everything that reorders or hides text: bidi marks and overrides, zero-width
//! joiners of lines, the byte order mark.
const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ufeff\\]/u;

const encoder = new TextEncoder();

/** Refuses a path that leaves the root, that a file system or a person could read in two ways, or that is too long. */
export function checkPath(path: string): void {
  if (path === "") throw new BundleError("PATH_ESCAPE", "an entry has an empty name");
  if (path.startsWith("/") || /^[A-Za-z]:/.test(path)) throw new BundleError("PATH_ESCAPE", `entry ${show(path)} is not relative`);
  if (FORBIDDEN.test(path)) throw new BundleError("PATH_INVALID", `entry ${show(path)} has a control, direction or backslash character`);
  if (path.normalize("NFC") !== path) throw new BundleError("PATH_INVALID", `entry ${show(path)} is not in Unicode NFC`);
  const segments = path.split("/");
  for (const segment of segments) {
    if (segment === "" || segment === "." || segment === "..") throw new BundleError("PATH_ESCAPE", `entry ${show(path)} has a segment ${show(segment)}`);
    if (encoder.encode(segment).length > limits.segmentBytes) throw new BundleError("PATH_TOO_LONG", `entry ${show(path)} has a segment over ${limits.segmentBytes} bytes`);
  }
  if (segments.length > limits.pathSegments) throw new BundleError("PATH_TOO_LONG", `entry ${show(path)} has more than ${limits.pathSegments} segments`);
  if (encoder.encode(path).length > limits.pathBytes) throw new BundleError("PATH_TOO_LONG", `entry ${show(path)} is longer than ${limits.pathBytes} bytes`);
}

/** The paths seen so far in one archive; refuses duplicates, collisions and a file that is also a directory. */
export class PathSet {
  readonly #files = new Map<string, string>();
  readonly #directories = new Map<string, string>();
  readonly #listed = new Set<string>();

  add(path: string, kind: "file" | "directory"): void {
    const folded = fold(path);
    if (this.#listed.has(path)) throw new BundleError("DUPLICATE_PATH", `entry ${show(path)} appears twice`);
    this.#listed.add(path);
    const segments = path.split("/");
    for (let depth = 1; depth < segments.length; depth += 1) this.#directory(segments.slice(0, depth).join("/"));
    if (kind === "directory") {
      this.#directory(path);
      return;
    }
    const twin = this.#files.get(folded);
    if (twin !== undefined) throw new BundleError("PATH_COLLISION", `entries ${show(twin)} and ${show(path)} differ only in case`);
    if (this.#directories.has(folded)) throw new BundleError("DUPLICATE_PATH", `entry ${show(path)} is both a file and a directory`);
    this.#files.set(folded, path);
  }

  #directory(path: string): void {
    const folded = fold(path);
    const twin = this.#directories.get(folded);
    if (twin !== undefined && twin !== path) throw new BundleError("PATH_COLLISION", `directories ${show(twin)} and ${show(path)} differ only in case`);
    if (this.#files.has(folded)) throw new BundleError("DUPLICATE_PATH", `entry ${show(path)} is both a file and a directory`);
    this.#directories.set(folded, path);
  }
}

// Upper then lower approximates full case folding: it joins "ß" with "SS" and final sigma with sigma.
function fold(path: string): string {
  return path.toUpperCase().toLowerCase().normalize("NFC");
}

/** A name as it may be printed: quoted, escaped, cut. */
export function show(text: string): string {
  const cut = text.length > 80 ? `${text.slice(0, 77)}…` : text;
  return JSON.stringify(cut).replace(/[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\u061c\ufeff]/gu, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
