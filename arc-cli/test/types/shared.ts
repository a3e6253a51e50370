//! What cases of the corpus import, so that a type comes from another file.

/** A page of anything. */
export interface Page<T> {
  items: T[];
  next?: string;
}

/** A point on the map. */
export interface Point {
  /** Degrees north. @minimum -90 @maximum 90 */
  latitude: number;
  longitude: number;
}

export type Result<T, E = string> = { ok: true; value: T } | { ok: false; error: E };

export enum Weekday {
  Monday = "mon",
  Friday = "fri",
}

export interface Category {
  name: string;
  parent?: Category;
}

/** Share of a whole. @minimum 0 @maximum 1 */
export type Share = number;

export const levels = ["low", "high"] as const;

export const defaults = { retries: 3, mode: "fast" as "fast" | "slow", tags: [] as string[] };

export function load(name: string): Promise<{ name: string; size: number }> {
  return Promise.resolve({ name, size: name.length });
}
