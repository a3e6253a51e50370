//! Agents, teams, pipelines and dependencies in the manifest: their types and the strict check of what came from outside.

import { parseToken } from "../compiler/token.ts";
import type { Json, JsonObject } from "./json.ts";
import type { Approval } from "./manifest.ts";
import { invalid, NAME, Reader, TIMEOUT_MS_MAX } from "./reader.ts";

export interface RunLimits {
  readonly turns?: number;
  readonly toolCalls?: number;
  readonly timeoutMs?: number;
}

export interface RunBudget {
  readonly modelTokens?: number;
  readonly costMicros?: number;
}

export interface AgentMemory {
  readonly scope: "run" | "session" | "agent";
  readonly entries?: number;
  readonly ttlMs?: number;
}

interface Described {
  readonly name: string;
  readonly title: string;
  readonly description: string;
}

export interface AgentManifest extends Described {
  readonly model: string;
  readonly fallback: readonly string[];
  readonly prompt: string;
  /** `<bundle>.<tool>` */
  readonly tools: readonly string[];
  readonly tokens: readonly string[];
  readonly limits: RunLimits;
  readonly memory: AgentMemory;
  readonly budget: RunBudget;
  readonly approval: Approval;
}

export interface TeamManifest extends Described {
  /** `<bundle>.<agent>` */
  readonly members: readonly string[];
  readonly strategy: (typeof STRATEGIES)[number];
  readonly lead?: string;
  readonly rules: { readonly consensus: (typeof CONSENSUS)[number]; readonly rounds: number };
  readonly limits: RunLimits;
  readonly budget: RunBudget;
}

export interface CallManifest {
  readonly kind: (typeof CALL_KINDS)[number];
  /** `<bundle>.<name>` */
  readonly uses: string;
  readonly input: JsonObject;
}

export interface StepManifest extends CallManifest {
  readonly id: string;
  /** Every step that has to end before, earlier in the list. */
  readonly after: readonly string[];
  readonly when?: JsonObject;
  readonly retry: { readonly attempts: number; readonly backoffMs: number };
  readonly onError: (typeof ON_ERROR)[number];
  readonly compensate?: CallManifest;
  readonly timeoutMs?: number;
}

export interface PipelineManifest extends Described {
  /** JSON Schema of what it takes. */
  readonly variables: JsonObject;
  readonly steps: readonly StepManifest[];
  readonly output: Json;
  readonly concurrency: number;
  readonly timeoutMs: number;
}

export const STRATEGIES = ["parallel", "sequential", "hierarchical", "delegation", "adaptive"] as const;
export const CONSENSUS = ["first", "last", "majority", "all", "lead"] as const;
export const SCOPES = ["run", "session", "agent"] as const;
export const CALL_KINDS = ["tool", "agent", "team", "pipeline"] as const;
export const ON_ERROR = ["fail", "continue", "compensate"] as const;
/** A model as in `llm:<model>`. */
export const MODEL = /^[a-z0-9][a-z0-9._-]{0,62}(?::[a-z0-9][a-z0-9._-]{0,62}){0,5}$/;
const QUALIFIED = /^[a-z][a-z0-9-]{0,62}\.[a-z][a-z0-9-]{0,62}$/;
export const STEPS_MAX = 256;
export const MEMBERS_MAX = 64;
const CONDITION_DEPTH_MAX = 16;

/** Lowest and highest value of each number, both allowed. */
export const RANGES = {
  turns: [1, 1_000],
  toolCalls: [0, 10_000],
  timeoutMs: [1, TIMEOUT_MS_MAX],
  modelTokens: [1, 1_000_000_000],
  costMicros: [1, 1_000_000_000_000],
  entries: [1, 100_000],
  ttlMs: [1, TIMEOUT_MS_MAX],
  rounds: [1, 100],
  attempts: [1, 10],
  backoffMs: [1, 3_600_000],
  concurrency: [1, 64],
} as const satisfies Record<string, readonly [number, number]>;

export function readAgent(json: Json, where: string): AgentManifest {
  const at = new Reader(json, where);
  at.only(["name", "title", "description", "model", "fallback", "prompt", "tools", "tokens", "limits", "memory", "budget", "approval"]);
  const tokens = at.texts("tokens", /^/);
  for (const token of tokens) if ("error" in parseToken(token)) throw invalid(`${where}.tokens: ${JSON.stringify(token)} is not a token`);
  return {
    ...described(at),
    model: at.matching("model", MODEL),
    fallback: at.texts("fallback", MODEL),
    prompt: at.text("prompt"),
    tools: at.texts("tools", QUALIFIED),
    tokens,
    limits: numbers(at, "limits", ["turns", "toolCalls", "timeoutMs"], where),
    memory: readMemory(at.object("memory"), `${where}.memory`),
    budget: numbers(at, "budget", ["modelTokens", "costMicros"], where),
    approval: at.oneOf("approval", ["never", "always", "policy"]),
  };
}

export function readTeam(json: Json, where: string): TeamManifest {
  const at = new Reader(json, where);
  at.only(["name", "title", "description", "members", "strategy", "lead", "rules", "limits", "budget"]);
  const members = at.texts("members", QUALIFIED);
  if (members.length === 0 || members.length > MEMBERS_MAX) throw invalid(`${where}.members is not 1 to ${MEMBERS_MAX} agents`);
  const lead = at.has("lead") ? { lead: at.matching("lead", QUALIFIED) } : {};
  if (lead.lead !== undefined && !members.includes(lead.lead)) throw invalid(`${where}.lead is no member`);
  const rules = new Reader(at.object("rules"), `${where}.rules`);
  rules.only(["consensus", "rounds"]);
  return {
    ...described(at),
    members,
    strategy: at.oneOf("strategy", STRATEGIES),
    ...lead,
    rules: { consensus: rules.oneOf("consensus", CONSENSUS), rounds: rules.within("rounds", RANGES.rounds) },
    limits: numbers(at, "limits", ["turns", "toolCalls", "timeoutMs"], where),
    budget: numbers(at, "budget", ["modelTokens", "costMicros"], where),
  };
}

export function readPipeline(json: Json, where: string): PipelineManifest {
  const at = new Reader(json, where);
  at.only(["name", "title", "description", "variables", "steps", "output", "concurrency", "timeoutMs"]);
  const list = at.list("steps");
  if (list.length === 0 || list.length > STEPS_MAX) throw invalid(`${where}.steps is not 1 to ${STEPS_MAX} steps`);
  const steps: StepManifest[] = [];
  const known = new Set<string>();
  for (const [index, item] of list.entries()) {
    const step = readStep(item, `${where}.steps[${index}]`, known);
    if (known.has(step.id)) throw invalid(`${where} has two steps called ${step.id}`);
    known.add(step.id);
    steps.push(step);
  }
  const output = at.value("output");
  if (output === undefined) throw invalid(`${where}.output is missing`);
  return {
    ...described(at),
    variables: at.object("variables"),
    steps,
    output,
    concurrency: at.within("concurrency", RANGES.concurrency),
    timeoutMs: at.within("timeoutMs", RANGES.timeoutMs),
  };
}

function described(at: Reader): Described {
  return { name: at.matching("name", NAME), title: at.text("title"), description: at.text("description") };
}

function numbers<K extends keyof typeof RANGES>(at: Reader, key: string, keys: readonly K[], where: string): { readonly [key in K]?: number } {
  const inner = new Reader(at.object(key), `${where}.${key}`);
  inner.only(keys);
  return Object.fromEntries(keys.filter((name) => inner.has(name)).map((name) => [name, inner.within(name, RANGES[name])])) as { readonly [key in K]?: number };
}

function readMemory(json: JsonObject, where: string): AgentMemory {
  const at = new Reader(json, where);
  at.only(["scope", "entries", "ttlMs"]);
  return {
    scope: at.oneOf("scope", SCOPES),
    ...(at.has("entries") ? { entries: at.within("entries", RANGES.entries) } : {}),
    ...(at.has("ttlMs") ? { ttlMs: at.within("ttlMs", RANGES.ttlMs) } : {}),
  };
}

/** `earlier`: the ids of the steps before it; what a step waits for stands before it, so no cycle can be written. */
function readStep(json: Json, where: string, earlier: ReadonlySet<string>): StepManifest {
  const at = new Reader(json, where);
  at.only(["id", "kind", "uses", "input", "after", "when", "retry", "onError", "compensate", "timeoutMs"]);
  const after = at.texts("after", NAME);
  for (const id of after) if (!earlier.has(id)) throw invalid(`${where}.after names ${JSON.stringify(id)}, which is no earlier step`);
  const retry = new Reader(at.object("retry"), `${where}.retry`);
  retry.only(["attempts", "backoffMs"]);
  if (at.has("when")) checkCondition(at.object("when"), `${where}.when`, 0);
  return {
    id: at.matching("id", NAME),
    ...readCall(at),
    after,
    ...(at.has("when") ? { when: at.object("when") } : {}),
    retry: { attempts: retry.within("attempts", RANGES.attempts), backoffMs: retry.within("backoffMs", RANGES.backoffMs) },
    onError: at.oneOf("onError", ON_ERROR),
    ...(at.has("compensate") ? { compensate: compensation(at.object("compensate"), `${where}.compensate`) } : {}),
    ...(at.has("timeoutMs") ? { timeoutMs: at.within("timeoutMs", RANGES.timeoutMs) } : {}),
  };
}

function compensation(json: JsonObject, where: string): CallManifest {
  const at = new Reader(json, where);
  at.only(["kind", "uses", "input"]);
  return readCall(at);
}

function readCall(at: Reader): CallManifest {
  return { kind: at.oneOf("kind", CALL_KINDS), uses: at.matching("uses", QUALIFIED), input: at.object("input") };
}

function checkCondition(json: Json, where: string, depth: number): void {
  if (depth > CONDITION_DEPTH_MAX) throw invalid(`${where} is deeper than ${CONDITION_DEPTH_MAX}`);
  const at = new Reader(json, where);
  for (const key of ["all", "any"] as const) {
    if (!at.has(key)) continue;
    at.only([key]);
    at.list(key).forEach((item, index) => checkCondition(item, `${where}.${key}[${index}]`, depth + 1));
    return;
  }
  at.matching("value", /^\$[^$]/);
  const tests = (["is", "not", "above", "below"] as const).filter((key) => at.has(key));
  if (tests.length !== 1) throw invalid(`${where} has not exactly one test`);
  at.only(["value", ...tests]);
}
