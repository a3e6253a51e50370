//! Values of a pipeline: literals and references, what type each has, and whether it fits where it goes. Pure.

import { didYouMean } from "../suggest.ts";
import type { Diagnostic, Span } from "./diagnostics.ts";
import type { Located } from "./options.ts";
import type { Flows, TypeHandle } from "./oracle.ts";

/** What is known of a value before it runs. `maybe`: it can be absent. */
export type Value =
  | { readonly kind: "type"; readonly type: TypeHandle; readonly maybe: boolean }
  | { readonly kind: "literal"; readonly value: string | number | boolean | null }
  | { readonly kind: "object"; readonly members: ReadonlyMap<string, Placed> }
  | { readonly kind: "array"; readonly items: readonly Placed[] }
  /** Of another bundle, of any JSON, or already blamed. */
  | { readonly kind: "unknown" };

export interface Placed {
  readonly value: Value;
  readonly span: Span;
}

/** A reference taken apart: `$input.customer` → root `input`, path `["customer"]`. */
export interface Reference {
  readonly text: string;
  readonly root: string;
  readonly path: readonly string[];
  readonly span: Span;
}

export const UNKNOWN: Value = { kind: "unknown" };
const REFERENCE = /^\$([a-z][a-z0-9-]{0,62})((?:\.[A-Za-z0-9_-]{1,63}){0,16})$/;

/** A text that begins with one `$`. Malformed ones are findings. */
export function referenceIn(at: Located, own: Diagnostic[]): Reference | undefined {
  const { value, span } = at;
  if (typeof value !== "string" || !value.startsWith("$") || value.startsWith("$$")) return undefined;
  const [, root, path = ""] = REFERENCE.exec(value) ?? [];
  if (root === undefined) {
    own.push({ id: "ARC1118", message: `${JSON.stringify(value)} is not a reference`, hint: `$input.member, $step or $step.member; the text itself is ${JSON.stringify(`$${value}`)}`, span });
    return undefined;
  }
  return { text: value, root, path: path.split(".").slice(1), span };
}

/** Every reference in a value. */
export function references(at: Located, own: Diagnostic[]): Reference[] {
  const inner = [...(at.items ?? []), ...(at.members?.values() ?? [])].flatMap((part) => references(part, own));
  const reference = referenceIn(at, own);
  return reference ? [reference, ...inner] : inner;
}

/** The value with its references followed by `follow`. */
export function valueOf(at: Located, follow: (reference: Reference) => Value): Placed {
  const { span, value } = at;
  if (at.items) return { span, value: { kind: "array", items: at.items.map((item) => valueOf(item, follow)) } };
  if (at.members) return { span, value: { kind: "object", members: new Map([...at.members].map(([key, member]) => [key, valueOf(member, follow)])) } };
  if (typeof value === "object") return { span, value: { kind: "literal", value: null } };
  // A malformed reference was blamed where it was collected.
  if (typeof value === "string" && value.startsWith("$") && !value.startsWith("$$")) {
    const reference = referenceIn(at, []);
    return { span, value: reference ? follow(reference) : UNKNOWN };
  }
  return { span, value: { kind: "literal", value: typeof value === "string" && value.startsWith("$$") ? value.slice(1) : value } };
}

export class Fitting {
  readonly #flows: Flows;
  readonly #own: Diagnostic[];

  constructor(flows: Flows, own: Diagnostic[]) {
    this.#flows = flows;
    this.#own = own;
  }

  /** A part of a value by path; a part that is not there is a finding at the reference. */
  walk(from: Value, { path, text, span }: Reference): Value {
    let at = from;
    for (const name of path) {
      const next = this.#step(at, name);
      if (!next) {
        const known = at.kind === "type" ? this.#flows.members(at.type) : at.kind === "object" ? [...at.members.keys()] : [];
        this.#own.push({ id: "ARC1118", message: `${text}: there is no ${JSON.stringify(name)}`, hint: didYouMean(name, known) ?? (known.length === 0 ? "the value has no members" : `known: ${known.slice(0, 10).join(", ")}`), span });
        return UNKNOWN;
      }
      at = next;
    }
    return at;
  }

  #step(at: Value, name: string): Value | undefined {
    if (at.kind === "unknown") return at;
    if (at.kind === "object") return at.members.get(name)?.value;
    if (at.kind === "array") return at.items[Number(name)]?.value;
    if (at.kind === "literal") return undefined;
    const found = this.#flows.member(at.type, name);
    if (found === "unknown") return UNKNOWN;
    return found && { kind: "type", type: found.type, maybe: at.maybe || found.maybe };
  }

  /** Says what does not fit. `where` names the place: `orders of tool report`. */
  fit({ value, span }: Placed, target: TypeHandle, where: string, own: Diagnostic[] = this.#own): void {
    switch (value.kind) {
      case "unknown":
        return;
      case "type":
        return this.#fitType(value, span, target, where, own);
      case "literal":
        if (!this.#flows.acceptsLiteral(target, value.value)) own.push({ id: "ARC1117", message: `${where} is ${this.#flows.name(target)}, not ${JSON.stringify(value.value)}`, span });
        return;
      default:
        return this.#fitAny(value, span, target, where, own);
    }
  }

  #fitType(value: Extract<Value, { kind: "type" }>, span: Span, target: TypeHandle, where: string, own: Diagnostic[]): void {
    const absent = value.maybe && !this.#flows.acceptsNothing(target);
    if (!this.#flows.assignable(value.type, target)) own.push({ id: "ARC1117", message: `${where} is ${this.#flows.name(target)}, this is ${this.#flows.name(value.type)}`, span });
    else if (absent) own.push({ id: "ARC1122", message: `${where} is needed, and this may be absent`, hint: "make the member optional, or refer to a step that always runs", span });
  }

  /** An object or array fits a union when it fits one of its members; one candidate is blamed in detail. */
  #fitAny(value: Extract<Value, { kind: "object" | "array" }>, span: Span, target: TypeHandle, where: string, own: Diagnostic[]): void {
    const tries = this.#flows.alternatives(target).flatMap((candidate) => {
      const found: Diagnostic[] = [];
      return (value.kind === "object" ? this.#fitObject(value, span, candidate, where, found) : this.#fitArray(value, candidate, where, found)) ? [found] : [];
    });
    if (tries.some((found) => found.length === 0)) return;
    const [only] = tries;
    if (only && tries.length === 1) own.push(...only);
    else own.push({ id: "ARC1117", message: `${where} is ${this.#flows.name(target)}, this ${value.kind} does not fit`, span });
  }

  /** Whether the target is an object at all. */
  #fitObject(value: Extract<Value, { kind: "object" }>, span: Span, target: TypeHandle, where: string, own: Diagnostic[]): boolean {
    const wanted = this.#flows.object(target);
    if (wanted === undefined) return false;
    if (wanted === "any") return true;
    const names = wanted.members.map(({ name }) => name);
    for (const [key, member] of value.members) {
      const type = wanted.members.find(({ name }) => name === key)?.type ?? wanted.index;
      if (type) this.fit(member, type, `${JSON.stringify(key)} of ${where}`, own);
      else own.push({ id: "ARC1117", message: `${where} takes no ${JSON.stringify(key)}`, hint: didYouMean(key, names) ?? (names.length === 0 ? "it takes nothing" : `it takes: ${names.join(", ")}`), span: member.span });
    }
    for (const { name, type, optional } of wanted.members) {
      if (!optional && !value.members.has(name)) own.push({ id: "ARC1117", message: `${where} needs ${JSON.stringify(name)}: ${this.#flows.name(type)}`, hint: `write ${name}: …`, span });
    }
    return true;
  }

  #fitArray(value: Extract<Value, { kind: "array" }>, target: TypeHandle, where: string, own: Diagnostic[]): boolean {
    const items = value.items.map((item, i) => ({ item, type: this.#flows.item(target, i) }));
    if (items.some(({ type }) => type === undefined) || this.#flows.object(target) !== undefined && this.#flows.object(target) !== "any") return false;
    items.forEach(({ item, type }, i) => type && this.fit(item, type, `item ${i} of ${where}`, own));
    return true;
  }
}
