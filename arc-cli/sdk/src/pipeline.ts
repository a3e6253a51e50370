//! Declaring pipelines: steps that use what earlier steps gave. `@pipeline` on a class, or `definePipeline`.
//!
//! A text that begins with `$` is a reference: `"$input.customer"` is what the pipeline was given, `"$orders.open"` is what the step
//! `orders` gave. Any other value is itself; `"$$5"` is the text `$5`. A step begins when the steps it refers to and those in
//! `after` have ended, so steps that need nothing of each other run at the same time.

import type { ClassMark } from "./agent.ts";
import type { JsonValue } from "./json.ts";

/** A value made of literals and references. */
export type Flow = JsonValue;

/** Whether a step runs. Exactly one test; `above` and `below` compare numbers. */
export type Condition =
  | { readonly value: string; readonly is: string | number | boolean | null }
  | { readonly value: string; readonly not: string | number | boolean | null }
  | { readonly value: string; readonly above: number }
  | { readonly value: string; readonly below: number }
  | { readonly all: readonly Condition[] }
  | { readonly any: readonly Condition[] };

/** What a step calls: exactly one of these. Names are `"count"` of this bundle or `"orders.count"` of another. */
export type Target = { readonly tool: string } | { readonly agent: string } | { readonly team: string } | { readonly pipeline: string };

export interface Retry {
  /** Tries in all, 1 to 10. */
  readonly attempts: number;
  /** Wait before the second try, doubled each time: `"500ms"`, `"1s"`. Default `"1s"`, at most an hour. */
  readonly backoff?: string | number;
}

/** One step. Agents and teams take `{ task: string }` and give `{ text: string }`. */
export type Step = Target & {
  /** Input of what is called, made of literals and references. Default `{}`. */
  readonly input?: { readonly [key: string]: Flow };
  /** Steps that must have ended, beside those referred to. */
  readonly after?: readonly string[];
  readonly when?: Condition;
  readonly retry?: Retry;
  /** After the last try: end the pipeline (`fail`, the default), go on without this step (`continue`), or undo what was done and end it (`compensate`). */
  readonly onError?: "fail" | "continue" | "compensate";
  /** Undoes this step when the pipeline is undone; may refer to what the step gave. */
  readonly compensate?: Target & { readonly input?: { readonly [key: string]: Flow } };
  /** Longest time of one try. */
  readonly timeout?: string | number;
};

/** The options of a pipeline. All are literals. */
export interface PipelineOptions {
  /** Name within the bundle. Default: the class or constant in kebab-case. */
  readonly name?: string;
  readonly title?: string;
  /** What it is for. Default: the doc comment. */
  readonly description?: string;
  /** Steps by their id (`a-z`, digits, `-`), at most 256. */
  readonly steps: { readonly [id: string]: Step };
  /** What it gives, made of literals and references. Default: what the last step gives. */
  readonly output?: Flow;
  /** Most steps at the same time, 1 to 64. Default 8. */
  readonly concurrency?: number;
  /** Longest run: `"10m"`, or milliseconds; at most 24 hours. Default one hour. */
  readonly timeout?: string | number;
}

/** What `definePipeline` returns: the same object. `Input` are its variables. */
export type Pipeline<Input> = PipelineOptions & { readonly input?: Input };

/**
 * Makes an exported class a pipeline. The type argument is what it takes, its variables.
 *
 * ```ts
 * @pipeline<{ customer: string }>({
 *   steps: {
 *     orders: { tool: "list-open", input: { customer: "$input.customer" } },
 *     report: { tool: "report", input: { orders: "$orders.open" } },
 *   },
 * })
 * export class Nightly {}
 * ```
 */
export function pipeline<Input = Record<string, never>>(_options: PipelineOptions): ClassMark & { readonly input?: Input } {
  return () => undefined;
}

/** Makes an exported constant a pipeline. The type argument is what it takes. */
export function definePipeline<Input = Record<string, never>>(options: PipelineOptions): Pipeline<Input> {
  return options;
}
