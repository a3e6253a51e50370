//! Which version a hot-swapped build has. Pure.
//!
//! A version once installed is never replaced (VERSION_TAKEN), and a call goes to the highest one. So each save is a version of its
//! own, `<base>-dev.<milliseconds>.<tag>`, above everything released: the base is the project's version while that is higher than
//! what is installed, else the next patch. The release of the base is above its own dev versions, and takes over when it comes.
//! The tag names project and machine, so that two people at one device remove only what is theirs.

import { hostname } from "node:os";
import { sha256Hex } from "../bundle/digest.ts";

/** 9 characters; a letter first, because a number must not begin with zero. */
export function devTag(root: string): string {
  return `p${sha256Hex(`${hostname()}\0${root}`).slice(0, 8)}`;
}

/** `installed` are all versions of this bundle on the device. */
export function devVersion(project: string, installed: readonly string[], now: number, tag: string): string {
  const released = installed.filter((version) => !isDev(version));
  const highest = released.reduce((best, version) => (Bun.semver.order(version, best) > 0 ? version : best), "0.0.0-0");
  const base = Bun.semver.order(core(project), highest) > 0 ? core(project) : nextPatch(highest);
  return `${base}-dev.${now}.${tag}`;
}

/** Whether a version was made by `arc dev`; with a tag: by this project on this machine. */
export function isDev(version: string, tag?: string): boolean {
  const found = /^[0-9]+\.[0-9]+\.[0-9]+-dev\.[0-9]+\.(p[0-9a-f]{8})$/.exec(version);
  return found !== null && (tag === undefined || found[1] === tag);
}

const core = (version: string): string => version.split(/[-+]/)[0] ?? "0.0.0";

function nextPatch(version: string): string {
  const [major = "0", minor = "0", patch = "0"] = core(version).split(".");
  return `${major}.${minor}.${BigInt(patch) + 1n}`;
}
