//! Key-value tables of the device. What one call wrote, every later call of the same owner can read.

import { AriaError, events, request, toJson } from "./guest.ts";
import type { JsonValue } from "./json.ts";

/** What `list` gives at most. */
const LIST_MAX = 10_000;
/** Entries in one answer at most. */
const PAGE_MAX = 1000;

/** A key with its value and the version of the change that made it. */
export interface KvEntry<T = JsonValue> {
  readonly key: string;
  readonly value: T;
  readonly version: number;
}

/** A change as a watcher sees it; without `value` the key was deleted. */
export interface KvChange<T = JsonValue> {
  readonly key: string;
  readonly value?: T;
  readonly version: number;
}

/** Some entries in order of their keys; with `cursor` there are more. */
export interface KvPage<T = JsonValue> {
  readonly entries: readonly KvEntry<T>[];
  readonly cursor?: string;
}

/**
 * One table. Every method rejects with an `AriaError` when the device refuses. Values are JSON; `T` is what the code says they
 * are, nothing checks that they still are when they are read.
 */
export interface Kv<T = JsonValue> {
  /** The value, or `undefined` when there is none. Needs `kv:<table>:ro`. */
  get<V = T>(key: string): Promise<V | undefined>;
  /** The value with its version. Needs `ro`. */
  entry<V = T>(key: string): Promise<KvEntry<V> | undefined>;
  /** Makes or replaces a value, durable when it resolves; gives its version. Needs `rw`; for a new key `append` is enough. */
  put(key: string, value: T): Promise<number>;
  /** Adds a value under a key the device makes; keys rise in the order of arrival. Needs `append`. */
  append(value: T): Promise<{ readonly key: string; readonly version: number }>;
  /** Removes a key; whether there was one. Needs `rw`. */
  delete(key: string): Promise<boolean>;
  /**
   * Writes only if the key still has version `expected`, 0 for no value; `undefined` as value removes it. Gives whether it did
   * and the version that is there now. Needs `rw`; for a new key `append` is enough.
   */
  cas(key: string, expected: number, value: T | undefined): Promise<{ readonly swapped: boolean; readonly version: number }>;
  /** All entries whose keys begin with `prefix`, in order of their keys; more than 10,000 reject with `TOO_MANY`. Needs `ro`. */
  list<V = T>(prefix?: string): Promise<KvEntry<V>[]>;
  /** Up to `limit` entries (at most 1,000, default 100) whose keys begin with `prefix`, after `cursor`. Needs `ro`. */
  page<V = T>(options?: { readonly prefix?: string; readonly limit?: number; readonly cursor?: string }): Promise<KvPage<V>>;
  /**
   * Changes in order as they happen, beginning after version `from` (default: now), until the loop is left or the call ends.
   * Needs `ro`. Changes too old to be kept reject with `CHANGES_GONE`: list, then watch from the newest version seen.
   */
  watch(options?: { readonly prefix?: string; readonly from?: number }): AsyncIterable<KvChange<T>>;
}

interface WireEntry {
  readonly key: string;
  readonly valueJson: string | null;
  readonly version: number;
}

/** A table by the name its token has: `kv("orders")`, or a part of it, `kv("orders:pending")`, which has keys of its own. */
export function kv<T = JsonValue>(table: string): Kv<T> {
  const entry = <V>(wire: WireEntry): KvEntry<V> => ({ key: wire.key, value: JSON.parse(wire.valueJson ?? "null") as V, version: wire.version });
  const found = async <V>(key: string): Promise<KvEntry<V> | undefined> => {
    const wire = (await request("kvGet", { table, key })) as WireEntry | null;
    return wire === null ? undefined : entry(wire);
  };
  const page = async <V>(options: { readonly prefix?: string; readonly limit?: number; readonly cursor?: string } = {}): Promise<KvPage<V>> => {
    const answer = (await request("kvList", { table, ...options })) as { entries: WireEntry[]; cursor: string | null };
    const entries = answer.entries.map((wire) => entry<V>(wire));
    return answer.cursor === null ? { entries } : { entries, cursor: answer.cursor };
  };
  return {
    get: async <V = T>(key: string) => (await found<V>(key))?.value,
    entry: found,
    put: async (key, value) => ((await request("kvPut", { table, key, valueJson: toJson(value) })) as { version: number }).version,
    append: async (value) => (await request("kvAppend", { table, valueJson: toJson(value) })) as { key: string; version: number },
    delete: async (key) => ((await request("kvDelete", { table, key })) as { deleted: boolean }).deleted,
    cas: async (key, expected, value) => {
      const body = value === undefined ? { table, key, expected } : { table, key, expected, valueJson: toJson(value) };
      return (await request("kvCas", body)) as { swapped: boolean; version: number };
    },
    list: async <V = T>(prefix: string = "") => {
      const all: KvEntry<V>[] = [];
      for (let cursor: string | undefined; ; ) {
        const { entries, cursor: next } = await page<V>({ prefix, limit: PAGE_MAX, ...(cursor === undefined ? {} : { cursor }) });
        all.push(...entries);
        if (all.length > LIST_MAX) throw new AriaError("TOO_MANY", `more than ${LIST_MAX} entries of ${table} begin with ${JSON.stringify(prefix)}; take them page by page`);
        if (next === undefined) return all;
        cursor = next;
      }
    },
    page,
    watch: (options = {}) => changes<T>(events("kvWatch", { table, ...options })),
  };
}

async function* changes<T>(stream: AsyncIterable<unknown>): AsyncGenerator<KvChange<T>, void, undefined> {
  for await (const event of stream) {
    const { key, valueJson, version } = event as Partial<WireEntry>;
    // The first event says from where on; it is no change.
    if (key === undefined || version === undefined) continue;
    yield valueJson == null ? { key, version } : { key, version, value: JSON.parse(valueJson) as T };
  }
}
