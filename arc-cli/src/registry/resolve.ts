//! Which versions a list of needs comes to. For each need the newest version in its range, or the locked one where that is in it;
//! several versions of one bundle may come out, because a device keeps them side by side. Decides; fetching is `get`'s.

import type { Dependency } from "../bundle/manifest.ts";
import { Exit, UserError } from "../errors.ts";

export interface Resolved<T> {
  readonly name: string;
  readonly version: string;
  readonly found: T;
}

export interface Source<T> {
  /** Versions that could be taken, in no order. */
  versions(name: string): Promise<readonly string[]>;
  /** One version and what it needs in turn. */
  get(name: string, version: string): Promise<{ readonly found: T; readonly dependencies: readonly Dependency[] }>;
}

const BUNDLES_MAX = 256;

/** Everything that is needed, each after what it needs itself. */
export async function resolve<T>(needs: readonly Dependency[], source: Source<T>): Promise<Resolved<T>[]> {
  const done = new Map<string, Resolved<T>>();
  await add(needs, source, done, []);
  return [...done.values()];
}

async function add<T>(needs: readonly Dependency[], source: Source<T>, done: Map<string, Resolved<T>>, path: readonly string[]): Promise<void> {
  for (const { name, version: range } of needs) {
    const version = newest(await source.versions(name), range);
    if (version === undefined) {
      const asks = path.at(-1);
      throw new UserError("ARC2207", `no version of ${name} is in ${range}${asks === undefined ? "" : `, which ${asks} needs`}`, { exit: Exit.notFound, hint: "publish one, or widen the range" });
    }
    const title = `${name}@${version}`;
    if (done.has(title)) continue;
    if (path.includes(title)) throw new UserError("ARC2208", `bundles need each other in a circle: ${[...path.slice(path.indexOf(title)), title].join(" → ")}`, { exit: Exit.conflict });
    if (done.size + path.length >= BUNDLES_MAX) throw new UserError("ARC2208", `more than ${BUNDLES_MAX} bundles are needed`, { exit: Exit.conflict });
    const { found, dependencies } = await source.get(name, version);
    await add(dependencies, source, done, [...path, title]);
    done.set(title, { name, version, found });
  }
}

/** The newest version in a range; an empty range is every version but pre-releases, or those when there is nothing else. */
export function newest(versions: readonly string[], range: string): string | undefined {
  const inside = range === "" ? versions.filter((version) => !version.includes("-")) : versions.filter((version) => Bun.semver.satisfies(version, range));
  const candidates = range === "" && inside.length === 0 ? versions : inside;
  return [...candidates].sort(Bun.semver.order).at(-1);
}
