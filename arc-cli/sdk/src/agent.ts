//! Declaring agents: a model with instructions and the tools it may call. `@agent` on a class, or `defineAgent`.
//!
//! Like every declaration here it is read from the source, never run: all options are literals.

import type { Approval } from "./tool.ts";

/** Bounds of one run of an agent or a team. Absent means the device's default. */
export interface RunLimits {
  /** Answers of the model, 1 to 1,000. */
  readonly turns?: number;
  /** Calls of tools, 0 to 10,000. */
  readonly toolCalls?: number;
  /** Longest run: `"30s"`, `"10m"`, or milliseconds; at most 24 hours. */
  readonly timeout?: string | number;
}

/** What one run may use up. Absent means the device's default. */
export interface RunBudget {
  /** Tokens of the model, in and out together. */
  readonly modelTokens?: number;
  /** Money in millionths of the device's currency. */
  readonly costMicros?: number;
}

/** What an agent still knows when it is called again. */
export interface AgentMemory {
  /** `run`: nothing; `session`: what was said in the session; `agent`: everything, for all its callers of one owner. */
  readonly scope: "run" | "session" | "agent";
  /** Most entries kept, the oldest leave first. */
  readonly entries?: number;
  /** How long an entry is kept: `"12h"`, or milliseconds; at most 24 hours. */
  readonly ttl?: string | number;
}

/** What every agent and team takes. */
export type AgentInput = { readonly task: string };

/** What every agent and team gives. */
export type AgentOutput = { readonly text: string };

/** The options of an agent. All are literals: arc reads them without running the code. */
export interface AgentOptions {
  /** Name within the bundle. Default: the class or constant in kebab-case. */
  readonly name?: string;
  /** A short name for people. */
  readonly title?: string;
  /** What it is for. Default: the doc comment. */
  readonly description?: string;
  /** The model as its token names it, without the kind: `"openai:gpt-5"` for `llm:openai:gpt-5`. */
  readonly model: string;
  /** Models to try in this order when the first cannot answer. */
  readonly fallback?: readonly string[];
  /** What the model is told before anything else. */
  readonly prompt: string;
  /** Tools it may call: `"count-open"` of this bundle, `"orders.count-open"` of another. Tools of its own class need not be listed. */
  readonly tools?: readonly string[];
  /** More resource tokens. Those of its models and tools are implied. */
  readonly tokens?: readonly string[];
  readonly limits?: RunLimits;
  readonly memory?: AgentMemory;
  readonly budget?: RunBudget;
  /** When a person has to agree before it runs. Default `never`. */
  readonly approval?: Approval;
}

/** What `defineAgent` returns: the same object. */
export type Agent = AgentOptions;

/** A decorator of a class, also of an abstract one. */
export type ClassMark = (target: abstract new (...args: never[]) => unknown, context: ClassDecoratorContext) => void;

/**
 * Makes an exported class an agent; its methods marked `@tool` are tools of the agent.
 *
 * ```ts
 * /** Answers questions about orders. *\/
 * @agent({ model: "openai:gpt-5", prompt: "You answer questions about orders." })
 * export class Desk { … }
 * ```
 */
export function agent(_options: AgentOptions): ClassMark {
  return () => undefined;
}

/** Makes an exported constant an agent. */
export function defineAgent(options: AgentOptions): Agent {
  return options;
}
