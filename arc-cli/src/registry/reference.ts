//! Where bundles are kept apart from devices, and how one of them is named there.
//!
//! A shelf is `dir:PATH` or `oci://HOST[:PORT]/REPOSITORY`; a bundle on it is `SHELF/NAME[@VERSION or RANGE]`. Each bundle is one
//! OCI repository (or one image layout directory) with its versions as tags.

import { RANGE } from "../bundle/manifest.ts";
import { NAME, SEMVER } from "../bundle/reader.ts";
import { UserError } from "../errors.ts";

/** What `[registry] shelf` and `--to` may be. */
export const SHELF = /^(?:dir:[^\0]{1,4000}|oci:\/\/[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*){1,16})$/;

export interface Reference {
  readonly shelf: string;
  readonly name: string;
  /** A range; absent: the newest version. */
  readonly range: string | undefined;
}

/** Reads `SHELF/NAME[@VERSION or RANGE]`. */
export function parseReference(text: string): Reference {
  const cut = text.lastIndexOf("/");
  const [name = "", version] = splitOnce(text.slice(cut + 1), "@");
  const shelf = text.slice(0, Math.max(cut, 0));
  if (cut < 1 || !SHELF.test(shelf) || !NAME.test(name)) {
    throw new UserError("ARC2200", `\`${text}\` is no reference to a bundle`, { hint: "write dir:PATH/NAME[@VERSION] or oci://HOST/REPOSITORY/NAME[@VERSION]" });
  }
  if (version === undefined) return { shelf, name, range: undefined };
  if (SEMVER.test(version)) return { shelf, name, range: `=${version}` };
  if (RANGE.test(version)) return { shelf, name, range: version };
  throw new UserError("ARC2200", `\`${version}\` is neither a version nor a range`, { hint: "a range is ^, ~, = or >= and a whole version, for example ^1.2.0" });
}

/** Checks what was given as a shelf. */
export function parseShelf(text: string): string {
  if (SHELF.test(text)) return text;
  throw new UserError("ARC2200", `\`${text}\` is no place for bundles`, { hint: "write dir:PATH or oci://HOST/REPOSITORY" });
}

/** A version as a tag, which cannot hold a `+` (the way Helm does it). */
export function tagOf(version: string): string {
  return version.replace("+", "_");
}

/** The version a tag stands for; undefined for tags that are no version. */
export function versionOf(tag: string): string | undefined {
  const version = tag.replace("_", "+");
  return SEMVER.test(version) ? version : undefined;
}

function splitOnce(text: string, at: string): [string, string?] {
  const index = text.indexOf(at);
  return index === -1 ? [text] : [text.slice(0, index), text.slice(index + 1)];
}
