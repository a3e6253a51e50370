//! Pipelines from their options to their manifest entries: steps, what each waits for, and whether what flows fits. Pure.

import { ON_ERROR, RANGES, STEPS_MAX, type CallManifest, type PipelineManifest, type StepManifest } from "../bundle/composites.ts";
import type { Json, JsonObject } from "../bundle/json.ts";
import { NAME } from "../bundle/reader.ts";
import { didYouMean } from "../suggest.ts";
import { describe, type Named } from "./composites.ts";
import type { Diagnostic, Span } from "./diagnostics.ts";
import { Fitting, references, UNKNOWN, valueOf, type Reference, type Value } from "./flow.ts";
import { Members } from "./members.ts";
import type { Located } from "./options.ts";
import type { Flows, TypeHandle } from "./oracle.ts";
import type { Kind, References } from "./references.ts";
import { toSchema } from "./schema.ts";

const KINDS = ["tool", "agent", "team", "pipeline"] as const;
const STEP_KEYS = [...KINDS, "input", "after", "when", "retry", "onError", "compensate", "timeout"];
const CONDITION_DEPTH_MAX = 16;
const DAY_MS = 24 * 60 * 60 * 1000;

/** Types of what a step can call, by its plain name. A pipeline's answer may need other pipelines. */
export interface Callables {
  tool(name: string): { readonly input: TypeHandle | undefined; readonly output: TypeHandle } | undefined;
  /** `unknown`: it is in a circle, so nothing can be said about it. */
  pipeline(name: string): Pipeline | "unknown";
}

interface Step {
  readonly id: string;
  readonly at: Located;
  readonly members: Members;
  readonly call: Call | undefined;
  readonly compensate: Call | undefined;
  /** Steps it waits for, and where that is said. */
  readonly needs: ReadonlyMap<string, Span>;
  readonly onError: StepManifest["onError"];
  /** It may not run, or end without an answer. */
  readonly maybe: boolean;
}

interface Call {
  readonly kind: Kind;
  readonly qualified: string;
  readonly own: string | undefined;
  /** Where it is named. */
  readonly span: Span;
  readonly input: Located;
}

export class Pipeline {
  readonly named: Named;
  readonly #references: References;
  readonly #flows: Flows;
  readonly #callables: Callables;
  readonly #own: Diagnostic[];
  readonly #warnings: Diagnostic[];
  readonly #fitting: Fitting;
  readonly #steps: readonly Step[];
  readonly #output: Located | undefined;

  constructor(named: Named, context: { readonly references: References; readonly flows: Flows; readonly callables: Callables; readonly own: Diagnostic[]; readonly warnings: Diagnostic[] }) {
    this.named = named;
    this.#references = context.references;
    this.#flows = context.flows;
    this.#callables = context.callables;
    this.#own = context.own;
    this.#warnings = context.warnings;
    this.#fitting = new Fitting(context.flows, context.own);
    const steps = named.members.at("steps");
    const listed = [...(steps?.members ?? [])];
    if (steps && (!steps.members || listed.length === 0 || listed.length > STEPS_MAX)) this.#blame("ARC1047", steps.span, `steps is an object of 1 to ${STEPS_MAX} steps`);
    this.#steps = listed.map(([id, at]) => this.#step(id, at, listed.map(([name]) => name)));
    this.#output = named.members.at("output") ?? this.#lastStep();
  }

  /** Names of the pipelines of this bundle that it calls, and where. */
  calls(): Map<string, Span> {
    return new Map(this.#steps.flatMap(({ call, compensate }) => [call, compensate]).flatMap((call) => (call?.kind === "pipeline" && call.own !== undefined ? [[call.own, call.span] as const] : [])));
  }

  /** Everything that is wrong with the way values flow. Call once, and not on a pipeline that calls itself. */
  check(): void {
    for (const step of this.#steps) {
      this.#fitCall(step.call);
      this.#fitCall(step.compensate);
      const when = step.members.at("when");
      if (when) this.#condition(when, step.id, 0);
    }
    if (this.#output) for (const reference of references(this.#output, this.#own)) this.#knowStep(reference.root, reference.span) && this.#follow(reference, this.#own);
  }

  manifest(): PipelineManifest {
    const { members, found } = this.named;
    const order = this.#ordered();
    return {
      ...describe(this.named),
      variables: found.variables ? toSchema(found.variables.shapes) : { $schema: "https://json-schema.org/draft/2020-12/schema", type: "object", additionalProperties: false },
      steps: order.map((step) => this.#stepManifest(step)),
      output: (this.#output?.value ?? null) as Json,
      concurrency: members.integer("concurrency", RANGES.concurrency) ?? 8,
      timeoutMs: members.duration("timeout", [1, DAY_MS]) ?? 3_600_000,
    };
  }

  /** What it takes. */
  input(): TypeHandle | undefined {
    return this.named.found.variables?.type;
  }

  /** What it gives. */
  output(): Value {
    return this.#output ? valueOf(this.#output, (reference) => this.#follow(reference, [])).value : UNKNOWN;
  }

  #lastStep(): Located | undefined {
    const last = this.#steps.at(-1);
    return last && last.id !== "input" ? { value: `$${last.id}`, span: last.at.span } : undefined;
  }

  #step(id: string, at: Located, ids: readonly string[]): Step {
    const members = new Members(`step ${id}`, at.members ?? new Map(), at.span, STEP_KEYS, this.#own);
    if (!NAME.test(id)) this.#blame("ARC1048", at.span, `${JSON.stringify(id)} is not the id of a step`, "a-z, 0-9 and -, beginning with a letter, at most 63");
    if (id === "input") this.#blame("ARC1119", at.span, "`input` is what the pipeline was given and cannot be a step");
    const needs = new Map<string, Span>();
    for (const { text, span } of members.texts("after", STEPS_MAX)) if (this.#knowStep(text, span, ids)) needs.set(text, span);
    for (const part of [members.at("input"), members.at("when")]) {
      for (const { root, span } of part ? references(part, this.#own) : []) if (root !== "input" && this.#knowStep(root, span, ids)) needs.set(root, span);
    }
    const undo = members.at("compensate");
    for (const { root, span } of undo ? references(undo, this.#own) : []) {
      if (root !== "input" && root !== id && !needs.has(root) && this.#knowStep(root, span, ids)) this.#blame("ARC1118", span, `step ${id} does not wait for ${root}, so what it gave may not be there to undo with`, `add after: [${JSON.stringify(root)}]`);
    }
    const onError = members.oneOf("onError", ON_ERROR) ?? "fail";
    return {
      id,
      at,
      members,
      call: this.#call(members, `step ${id}`),
      compensate: undo && this.#call(new Members(`compensate of step ${id}`, undo.members ?? new Map(), undo.span, [...KINDS, "input"], this.#own), `compensate of step ${id}`),
      needs,
      onError,
      maybe: members.has("when") || onError === "continue",
    };
  }

  #knowStep(id: string, span: Span, ids: readonly string[] = this.#steps.map((step) => step.id)): boolean {
    if (id === "input" || ids.includes(id)) return true;
    this.#blame("ARC1114", span, `there is no step ${id}`, didYouMean(id, ids) ?? `known: ${ids.slice(0, 10).join(", ")}`);
    return false;
  }

  #call(members: Members, what: string): Call | undefined {
    const given = KINDS.filter((kind) => members.has(kind));
    const [kind] = given;
    if (!kind || given.length > 1) {
      this.#blame("ARC1047", members.span, `${what} calls exactly one tool, agent, team or pipeline`, "write one of tool, agent, team, pipeline");
      return undefined;
    }
    const name = members.text(kind);
    const span = members.at(kind)?.span ?? members.span;
    const resolved = name === undefined ? undefined : this.#references.resolve(kind, name, span);
    const input = members.at("input") ?? { value: {}, span, members: new Map() };
    if (!input.members) this.#blame("ARC1047", input.span, `input of ${what} is not an object`);
    return resolved && { kind, ...resolved, span, input };
  }

  #fitCall(call: Call | undefined): void {
    if (!call?.input.members) return;
    const placed = valueOf(call.input, (reference) => this.#follow(reference, this.#own));
    // What another bundle takes is in its manifest, which is not here.
    if (call.own === undefined) {
      if (call.kind === "tool" || call.kind === "pipeline") this.#warnings.push({ id: "ARC1142", message: `${call.qualified} is of another bundle, so what it takes and gives is checked when the step runs`, span: call.span });
      return;
    }
    const where = `${call.kind} ${call.own}`;
    const target = this.#inputOf(call);
    if (target === "unknown") return;
    if (target) return this.#fitting.fit(placed, target, where);
    for (const [key, { span }] of call.input.members) this.#blame("ARC1117", span, `${where} takes no ${JSON.stringify(key)}`, "it takes nothing");
  }

  #inputOf({ kind, own }: Call): TypeHandle | "unknown" | undefined {
    if (kind === "agent" || kind === "team") return this.#flows.sdk("AgentInput");
    if (own === undefined) return "unknown";
    if (kind === "pipeline") {
      const called = this.#callables.pipeline(own);
      return called === "unknown" ? called : called.input();
    }
    const found = this.#callables.tool(own);
    return found ? found.input : "unknown";
  }

  #outputOf(step: Step): Value {
    const { call, maybe } = step;
    if (!call) return UNKNOWN;
    const typed = (type: TypeHandle): Value => ({ kind: "type", type, maybe });
    if (call.kind === "agent" || call.kind === "team") return typed(this.#flows.sdk("AgentOutput"));
    if (call.own === undefined) return UNKNOWN;
    if (call.kind === "tool") {
      const found = this.#callables.tool(call.own);
      return found ? typed(found.output) : UNKNOWN;
    }
    const called = this.#callables.pipeline(call.own);
    const given = called === "unknown" ? UNKNOWN : called.output();
    return given.kind === "type" ? { ...given, maybe: given.maybe || maybe } : given;
  }

  /** What a reference gives; the finding is at the reference. */
  #follow(reference: Reference, own: Diagnostic[]): Value {
    const fitting = own === this.#own ? this.#fitting : new Fitting(this.#flows, own);
    if (reference.root === "input") {
      const type = this.input();
      if (type) return fitting.walk({ kind: "type", type, maybe: false }, reference);
      own.push({ id: "ARC1118", message: `${reference.text}: the pipeline takes nothing`, hint: `give it a type: ${this.named.found.sourceName} = definePipeline<{ … }>, or @pipeline<{ … }>`, span: reference.span });
      return UNKNOWN;
    }
    const step = this.#steps.find(({ id }) => id === reference.root);
    return step ? fitting.walk(this.#outputOf(step), reference) : UNKNOWN;
  }

  #condition(at: Located, step: string, depth: number): void {
    const keys = ["value", "is", "not", "above", "below", "all", "any"];
    const members = new Members(`when of step ${step}`, at.members ?? new Map(), at.span, keys, this.#own);
    const list = ["all", "any"].filter((key) => members.has(key));
    const tests = ["is", "not", "above", "below"].filter((key) => members.has(key));
    if (depth > CONDITION_DEPTH_MAX || list.length + tests.length !== 1 || (list.length === 1) === members.has("value")) {
      this.#blame("ARC1047", at.span, `when of step ${step} is { value: "$…", is | not | above | below: … }, or { all | any: [ … ] }`);
      return;
    }
    for (const item of members.at(list[0] ?? "")?.items ?? []) this.#condition(item, step, depth + 1);
    const [test] = tests;
    const value = members.at("value");
    const wanted = test === undefined ? undefined : members.at(test);
    if (!value || !wanted || test === undefined) return;
    const placed = valueOf(value, (reference) => this.#follow(reference, this.#own)).value;
    if (placed.kind === "literal") this.#blame("ARC1118", value.span, "a condition looks at a reference, this value is always the same", 'write value: "$step.member"');
    if (placed.kind !== "type") return;
    if (test === "above" || test === "below") {
      if (!this.#flows.comparable(placed.type, "number")) this.#blame("ARC1117", value.span, `\`${test}\` compares numbers, this is ${this.#flows.name(placed.type)}`, "use is or not");
      if (typeof wanted.value !== "number") this.#blame("ARC1047", wanted.span, `\`${test}\` takes a number`);
    } else if (!isScalar(wanted.value) || (wanted.value !== null && !this.#flows.acceptsLiteral(placed.type, wanted.value))) {
      this.#blame("ARC1117", wanted.span, `this is ${this.#flows.name(placed.type)} and never ${JSON.stringify(wanted.value)}`);
    }
  }

  /** Each step after those it waits for, otherwise as written. A circle is a finding at the reference that closes it. */
  #ordered(): Step[] {
    const byId = new Map(this.#steps.map((step) => [step.id, step]));
    const out: Step[] = [];
    const done = new Set<string>();
    const path: string[] = [];
    const visit = (step: Step): void => {
      if (done.has(step.id)) return;
      path.push(step.id);
      for (const [id, span] of step.needs) {
        const next = byId.get(id);
        if (path.includes(id)) this.#blame("ARC1115", span, `step ${id} waits for itself: ${[...path.slice(path.indexOf(id)), id].join(" → ")}`, "remove one of these references");
        else if (next) visit(next);
      }
      path.pop();
      done.add(step.id);
      out.push(step);
    };
    this.#steps.forEach(visit);
    return out;
  }

  #stepManifest({ id, members, call, compensate, needs, onError }: Step): StepManifest {
    const retry = members.inner("retry", `retry of step ${id}`, ["attempts", "backoff"]);
    const timeoutMs = members.duration("timeout", RANGES.timeoutMs);
    const when = members.at("when");
    return {
      id,
      ...callManifest(call),
      after: [...needs.keys()].sort(),
      ...(when ? { when: when.value as JsonObject } : {}),
      retry: { attempts: retry.integer("attempts", RANGES.attempts) ?? 1, backoffMs: retry.duration("backoff", RANGES.backoffMs) ?? 1000 },
      onError,
      ...(compensate ? { compensate: callManifest(compensate) } : {}),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    };
  }

  #blame(id: Diagnostic["id"], span: Span, message: string, hint?: string): void {
    this.#own.push({ id, message, span, ...(hint === undefined ? {} : { hint }) });
  }
}

function callManifest(call: Call | undefined): CallManifest {
  return { kind: call?.kind ?? "tool", uses: call?.qualified ?? "", input: (call?.input.value ?? {}) as JsonObject };
}

function isScalar(value: unknown): value is string | number | boolean | null {
  return value === null || typeof value !== "object";
}

/** Names of the pipelines that are in a circle of calls; each circle is told once, where it closes. */
export function circles(pipelines: ReadonlyMap<string, Pipeline>, own: Diagnostic[]): Set<string> {
  const done = new Set<string>();
  const path: string[] = [];
  const found = new Set<string>();
  const visit = (name: string): void => {
    if (done.has(name)) return;
    path.push(name);
    for (const [next, span] of pipelines.get(name)?.calls() ?? []) {
      const circle = path.includes(next) ? path.slice(path.indexOf(next)) : [];
      if (circle.length === 0) visit(next);
      else own.push({ id: "ARC1116", message: `pipeline ${name} calls itself: ${[...circle, next].join(" → ")}`, hint: "a pipeline has an end before it begins; remove one of these steps", span });
      for (const one of circle) found.add(one);
    }
    path.pop();
    done.add(name);
  };
  for (const name of pipelines.keys()) visit(name);
  return found;
}
