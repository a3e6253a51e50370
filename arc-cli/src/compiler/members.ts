//! Reads the options of agents, teams and pipelines: places in, values and findings out. What is wrong becomes a finding and
//! falls back to something harmless, so that one run shows all faults.

import { didYouMean } from "../suggest.ts";
import type { Diagnostic, DiagnosticId, Span } from "./diagnostics.ts";
import { parseDuration, type Located } from "./options.ts";

export const TEXT_MAX = 4096;

export class Members {
  readonly span: Span;
  readonly #what: string;
  readonly #members: ReadonlyMap<string, Located>;
  readonly #found: Diagnostic[];

  /** `what` is the thing in messages: `an agent`, `limits`. Keys outside `keys` are findings. */
  constructor(what: string, members: ReadonlyMap<string, Located>, span: Span, keys: readonly string[], found: Diagnostic[]) {
    this.#what = what;
    this.#members = members;
    this.#found = found;
    this.span = span;
    for (const [key, at] of members) {
      if (keys.includes(key)) continue;
      this.report("ARC1046", at.span, `${what} has no option ${JSON.stringify(key)}`, didYouMean(key, keys) ?? `known: ${keys.join(", ")}`);
    }
  }

  has(key: string): boolean {
    return this.#members.has(key);
  }

  at(key: string): Located | undefined {
    return this.#members.get(key);
  }

  report(id: DiagnosticId, span: Span, message: string, hint?: string): void {
    this.#found.push({ id, message, span, ...(hint === undefined ? {} : { hint }) });
  }

  /** An object below this one; empty when it is absent. */
  inner(key: string, what: string, keys: readonly string[]): Members {
    const at = this.at(key);
    if (at && !at.members) this.#wrong(at, key, "an object");
    return new Members(what, at?.members ?? new Map(), at?.span ?? this.span, keys, this.#found);
  }

  text(key: string, max = TEXT_MAX): string | undefined {
    const at = this.at(key);
    if (!at) return undefined;
    if (typeof at.value === "string" && at.value.length <= max && at.value.isWellFormed()) return at.value;
    this.#wrong(at, key, `a text of at most ${max} characters`);
    return undefined;
  }

  matching(key: string, pattern: RegExp, wanted: string): string | undefined {
    const at = this.at(key);
    if (!at) return undefined;
    if (typeof at.value === "string" && pattern.test(at.value)) return at.value;
    this.#wrong(at, key, wanted);
    return undefined;
  }

  oneOf<T extends string>(key: string, allowed: readonly T[]): T | undefined {
    const at = this.at(key);
    if (!at) return undefined;
    const found = allowed.find((word) => word === at.value);
    if (found === undefined) this.#wrong(at, key, allowed.join(", "), typeof at.value === "string" ? didYouMean(at.value, allowed) : undefined);
    return found;
  }

  integer(key: string, [min, max]: readonly [number, number]): number | undefined {
    const at = this.at(key);
    if (!at) return undefined;
    if (typeof at.value === "number" && Number.isSafeInteger(at.value) && at.value >= min && at.value <= max) return at.value;
    this.#wrong(at, key, `a whole number from ${min} to ${max}`);
    return undefined;
  }

  /** Milliseconds, or a text like `"5s"`. */
  duration(key: string, [min, max]: readonly [number, number]): number | undefined {
    const at = this.at(key);
    if (!at) return undefined;
    const value = typeof at.value === "string" ? parseDuration(at.value) : at.value;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) return value;
    this.#wrong(at, key, `a time from ${min} ms to ${max / 1000} s, for example "5s"`);
    return undefined;
  }

  /** Texts with their places, none twice. */
  texts(key: string, max: number): { readonly text: string; readonly span: Span }[] {
    const at = this.at(key);
    if (!at) return [];
    if (!at.items || at.items.length > max) {
      this.#wrong(at, key, `an array of at most ${max} texts`);
      return [];
    }
    const seen = new Set<string>();
    return at.items.flatMap(({ value, span }) => {
      if (typeof value !== "string") this.report("ARC1047", span, `${key} holds ${JSON.stringify(value)}, which is not a text`);
      else if (seen.has(value)) this.report("ARC1120", span, `${JSON.stringify(value)} is listed twice in ${key}`, "remove one of the two");
      else {
        seen.add(value);
        return [{ text: value, span }];
      }
      return [];
    });
  }

  #wrong(at: Located, key: string, wanted: string, hint?: string): void {
    this.report("ARC1047", at.span, `${key} of ${this.#what} is not ${wanted}`, hint);
  }
}
