//! Vector collections of the device: keep embeddings, find the nearest.

import { AriaError, request, toJson } from "./guest.ts";
import type { JsonObject, JsonValue } from "./json.ts";

/** A vector to keep. All of a collection have as many numbers as the first one. */
export interface VectorItem {
  readonly id: string;
  readonly vector: readonly number[] | Float32Array;
  /** What a search can filter by and gives back. */
  readonly metadata?: JsonObject;
}

/** A vector that was found. */
export interface VectorHit {
  readonly id: string;
  /** For `cosine` and `dot` more is nearer, for `l2` less. */
  readonly score: number;
  readonly metadata: JsonObject;
}

export interface VectorSearch {
  /** At most so many hits, 1 to 1,000; default 10. */
  readonly k?: number;
  /** Default `cosine`. */
  readonly metric?: "cosine" | "dot" | "l2";
  /** Only vectors whose metadata has these members with exactly these values. */
  readonly filter?: { readonly [key: string]: string | number | boolean | null };
}

/** One collection. Every method rejects with an `AriaError` when the device refuses. */
export interface Vectors {
  /** Makes or replaces vectors, all or none, durable when it resolves. Needs `vector:<collection>:rw`; for new ids `append` is enough. */
  upsert(...items: readonly VectorItem[]): Promise<void>;
  /** Removes a vector; whether there was one. Needs `rw`. */
  delete(id: string): Promise<boolean>;
  /** The nearest vectors, nearest first: exact, every vector is looked at. Needs `ro`. */
  search(vector: readonly number[] | Float32Array, options?: VectorSearch): Promise<readonly VectorHit[]>;
}

/** What fits one request with room for what is around it. */
const REQUEST_BYTES_MAX = 700 * 1024;
const ITEMS_MAX = 256;

/** A collection by the name its token has: `vector("docs")`. */
export function vector(collection: string): Vectors {
  return {
    upsert: async (...items) => {
      const wire = items.map(({ id, vector: numbers, metadata }) => ({ id, vector: base64(numbers), metadataJson: toJson(metadata ?? {}) }));
      const bytes = wire.reduce((sum, item) => sum + item.id.length + item.vector.length + item.metadataJson.length, 0);
      if (wire.length > ITEMS_MAX || bytes > REQUEST_BYTES_MAX) {
        throw new AriaError("TOO_LARGE", `one upsert takes ${ITEMS_MAX} vectors and ${REQUEST_BYTES_MAX} bytes; use several`);
      }
      if (wire.length > 0) await request("vectorUpsert", { collection, items: wire });
    },
    delete: async (id) => ((await request("vectorDelete", { collection, id })) as { count: number }).count > 0,
    search: async (numbers, options = {}) => {
      const answer = await request("vectorSearch", { collection, vector: base64(numbers), ...options });
      const hits = (answer as { hits: { id: string; score: number; metadataJson: string }[] }).hits;
      return hits.map(({ id, score, metadataJson }) => ({ id, score, metadata: JSON.parse(metadataJson) as { [key: string]: JsonValue } }));
    },
  };
}

/** 32-bit floats, little endian, as every machine Bun runs on has them. */
function base64(numbers: readonly number[] | Float32Array): string {
  const floats = numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  if (floats.some((number) => !Number.isFinite(number))) throw new AriaError("VALUE_NOT_JSON", "a vector has finite 32-bit numbers");
  return Buffer.from(floats.buffer, floats.byteOffset, floats.byteLength).toString("base64");
}
