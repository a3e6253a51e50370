//! Reading a JSON object of a manifest member by member, and the texts every part of it uses.

import { BundleError } from "./error.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";

export const NAME = /^[a-z][a-z0-9-]{0,62}$/;
// The pattern of semver.org, bounded.
export const SEMVER =
  /^(0|[1-9]\d{0,15})\.(0|[1-9]\d{0,15})\.(0|[1-9]\d{0,15})(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$/;
export const TIMEOUT_MS_MAX = 24 * 60 * 60 * 1000;
/** Longest list of texts. */
export const LIST_MAX = 256;

/** Reads one object member by member; each refusal says where. */
export class Reader {
  readonly #object: JsonObject;
  readonly #where: string;

  constructor(json: Json, where: string) {
    if (!isObject(json)) throw invalid(`${where} is not an object`);
    this.#object = json;
    this.#where = where;
  }

  only(keys: readonly string[]): void {
    for (const key of Object.keys(this.#object)) {
      if (!keys.includes(key) && !key.startsWith("x-")) throw invalid(`${this.#where} has the unknown key ${JSON.stringify(key)}`);
    }
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#object, key);
  }

  value(key: string): Json | undefined {
    return this.has(key) ? this.#object[key] : undefined;
  }

  text(key: string): string {
    const value = this.value(key);
    if (typeof value !== "string") throw this.#wrong(key, "a string");
    return value;
  }

  matching(key: string, pattern: RegExp): string {
    const value = this.text(key);
    if (!pattern.test(value)) throw this.#wrong(key, `a text like ${pattern.source.slice(0, 60)}`);
    return value;
  }

  oneOf<T extends string>(key: string, allowed: readonly T[]): T {
    const value = this.text(key);
    const found = allowed.find((word) => word === value);
    if (found === undefined) throw this.#wrong(key, allowed.join(" | "));
    return found;
  }

  flag(key: string): boolean {
    const value = this.value(key);
    if (typeof value !== "boolean") throw this.#wrong(key, "true or false");
    return value;
  }

  integer(key: string): number {
    const value = this.value(key);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw this.#wrong(key, "a whole number");
    return value;
  }

  within(key: string, [min, max]: readonly [number, number]): number {
    const value = this.integer(key);
    if (value < min || value > max) throw this.#wrong(key, `from ${min} to ${max}`);
    return value;
  }

  object(key: string): JsonObject {
    const value = this.value(key);
    if (!isObject(value)) throw this.#wrong(key, "an object");
    return value;
  }

  list(key: string): readonly Json[] {
    const value = this.value(key);
    if (!Array.isArray(value)) throw this.#wrong(key, "an array");
    return value as readonly Json[];
  }

  texts(key: string, pattern?: RegExp): string[] {
    const list = this.list(key);
    if (pattern && list.length > LIST_MAX) throw this.#wrong(key, `at most ${LIST_MAX} items`);
    return list.map((item) => {
      if (typeof item !== "string" || (pattern && !pattern.test(item))) throw this.#wrong(key, "an array of valid texts");
      return item;
    });
  }

  #wrong(key: string, wanted: string): BundleError {
    return invalid(`${this.#where}.${key} is not ${wanted}`);
  }
}

export function invalid(message: string): BundleError {
  return new BundleError("MANIFEST_INVALID", message);
}
