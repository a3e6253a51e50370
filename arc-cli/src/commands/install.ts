//! `arc install`: bundles and what they need, from a shelf or the cache, onto a device or into a directory.

import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Dependency } from "../bundle/manifest.ts";
import { deliver } from "../client/deliver.ts";
import { contextOption } from "../client/session.ts";
import { type Context, command, flag, option, positional } from "../command.ts";
import { escapeLine } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";
import { BundleCache } from "../registry/cache.ts";
import { type Locked, readLock, writeLock } from "../registry/lock.ts";
import { projectNeeds } from "../registry/project.ts";
import { parseReference } from "../registry/reference.ts";
import { newest, resolve as resolveNeeds, type Resolved, type Source } from "../registry/resolve.ts";
import { believing, openShelf, pull, type Pulled, type Shelf } from "../registry/shelf.ts";
import { writeWhole } from "./build.ts";

export const install = command({
  name: "install",
  summary: "Get bundles and what they need",
  description: "With REF that bundle, without it the `[dependencies]` of the project; with either, all that those need. Every bundle is checked as a device checks it and kept in the cache. Sends them to the device, each after what it needs. In a project `arc.lock` remembers every digest, and the next install gets the same bytes or nothing.",
  args: {
    ref: positional({ value: "REF", help: "SHELF/NAME[@VERSION or RANGE], for example oci://registry.example.com/tools/weather@^0.1.0", optional: true }),
    out: option({ value: "DIR", help: "Save the files there instead of sending them to a device" }),
    fetchOnly: flag({ help: "Fill the cache and the lock file, send nothing" }),
    offline: flag({ help: "Take everything from the cache; fail where it lacks something" }),
    update: flag({ help: "Resolve anew, whatever the lock file says" }),
    context: contextOption,
  },
  examples: ["arc install", "arc install dir:../shelf/weather", "arc install oci://registry.example.com/tools/weather@^0.1.0 --out ."],
  async run({ ref, out, fetchOnly, offline, update, context: name }, context) {
    const { ui, cwd } = context;
    const wanted = wants(ref, cwd);
    const shelf = openShelf(wanted.shelf, wanted.cwd, context.signal);
    const locked = wanted.root === undefined || update ? [] : readLock(wanted.root);
    const source = new Bundles(shelf, locked, new BundleCache(context.env), offline);
    const found = await resolveNeeds(await wanted.needs(source), source);
    if (wanted.root !== undefined) writeLock(wanted.root, found.map((one) => ({ name: one.name, version: one.version, digest: one.found.bundle.digest, shelf: shelf.label })));
    const placed = await place(found, out === undefined ? undefined : resolve(cwd, out), fetchOnly, source.cache, name, context);
    ui.done(placed, () => (placed.length === 0 ? "nothing is needed" : placed.map((one) => `${escapeLine(`${one.name}@${one.version}`)} ${one.digest}${one.alreadyPresent ? " (already present)" : ""}`).join("\n")));
  },
});

interface Wanted {
  readonly shelf: string;
  readonly cwd: string;
  /** Where the lock file is; undefined: none. */
  readonly root: string | undefined;
  needs(source: Source<Pulled>): Promise<readonly Dependency[]>;
}

function wants(ref: string | undefined, cwd: string): Wanted {
  if (ref !== undefined) {
    const { shelf, name, range } = parseReference(ref);
    const needs = async (source: Source<Pulled>): Promise<readonly Dependency[]> => {
      if (range !== undefined) return [{ name, version: range }];
      const version = newest(await source.versions(name), "");
      if (version === undefined) throw new UserError("ARC2202", `${shelf}/${name} does not exist`, { exit: Exit.notFound });
      return [{ name, version: `=${version}` }];
    };
    return { shelf, cwd, root: undefined, needs };
  }
  const project = projectNeeds(cwd);
  if (project === undefined) throw new UserError("ARC2210", "there is no arc.toml here or above, and no REF was given", { hint: "arc install SHELF/NAME" });
  const { root, dependencies, shelf } = project;
  if (shelf === undefined) throw new UserError("ARC2210", "nothing says where the bundles are", { hint: "write `[registry] shelf` into arc.toml" });
  return { shelf, cwd: root, root, needs: async () => dependencies };
}

/** A shelf seen through the lock file and the cache: what both have is not asked for again. */
class Bundles implements Source<Pulled> {
  readonly cache: BundleCache;
  readonly #shelf: Shelf;
  readonly #locked: readonly Locked[];
  readonly #offline: boolean;

  constructor(shelf: Shelf, locked: readonly Locked[], cache: BundleCache, offline: boolean) {
    this.cache = cache;
    this.#shelf = shelf;
    this.#locked = locked.filter((one) => one.shelf === shelf.label);
    this.#offline = offline;
  }

  /** The locked ones alone, as long as there are any: a lock that no longer fits is an error and not a surprise. */
  async versions(name: string): Promise<readonly string[]> {
    const locked = this.#locked.filter((one) => one.name === name);
    if (locked.length > 0) return locked.map((one) => one.version);
    if (this.#offline) throw new UserError("ARC2211", `arc.lock does not name ${name}, and --offline forbids asking ${this.#shelf.label}`, { exit: Exit.unavailable, fix: ["arc install"] });
    return await believing(`${this.#shelf.label}/${name}`, () => this.#shelf.versions(name));
  }

  async get(name: string, version: string): Promise<{ found: Pulled; dependencies: readonly Dependency[] }> {
    const locked = this.#locked.find((one) => one.name === name && one.version === version);
    const cached = locked && this.cache.get(locked.digest);
    const found = cached ?? (await this.#fetch(name, version));
    if (locked !== undefined && found.bundle.digest !== locked.digest) {
      throw new UserError("ARC2212", `${name}@${version} on ${this.#shelf.label} is not what arc.lock has`, { exit: Exit.trust, hint: "somebody replaced a published version; find out who before `arc install --update`", details: { locked: locked.digest, found: found.bundle.digest } });
    }
    if (cached === undefined) this.cache.put(found);
    return { found, dependencies: found.bundle.manifest.dependencies };
  }

  async #fetch(name: string, version: string): Promise<Pulled> {
    if (this.#offline) throw new UserError("ARC2211", `${name}@${version} is not in the cache`, { exit: Exit.unavailable, fix: ["arc install"] });
    return await pull(this.#shelf, name, version);
  }
}

interface Placed {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly alreadyPresent: boolean;
}

async function place(found: readonly Resolved<Pulled>[], out: string | undefined, fetchOnly: boolean, cache: BundleCache, name: string | undefined, context: Context): Promise<Placed[]> {
  if (out !== undefined) mkdirSync(out, { recursive: true });
  const placed: Placed[] = [];
  for (const { name: bundle, version, found: { bundle: opened, bytes } } of found) {
    if (out !== undefined) writeWhole(join(out, `${bundle}-${version}.aria`), bytes);
    const alreadyPresent = out !== undefined || fetchOnly ? false : (await deliver(cache.path(opened.digest), name, context)).alreadyPresent;
    placed.push({ name: bundle, version, digest: opened.digest, alreadyPresent });
  }
  return placed;
}
