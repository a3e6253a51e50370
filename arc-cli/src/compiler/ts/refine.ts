//! Writes into the shapes of parts (items, values of a record, members of a tuple or union) what the names they are
//! written with demand. A demand that finds no place is a finding: nothing is lost in silence.

import ts from "typescript";

import { chainOf, commentsOf, membersOf, mentions, type Alias } from "./alias.ts";
import { constraintsIn, docsOf } from "./docs.ts";
import { kindsOf, type Named } from "./fits.ts";
import type { Reporter } from "./place.ts";
import { NO_DOCS, resolve, type Docs, type Shape } from "../shape.ts";
import { integral, union } from "../union.ts";

type Union = Extract<Shape, { kind: "union" }>;

/** Knows the shapes that references lead to, which grow while it works. */
export class Refiner {
  readonly #checker: ts.TypeChecker;
  readonly #reporter: Reporter;
  readonly #named: Named;

  constructor(checker: ts.TypeChecker, reporter: Reporter, named: Named) {
    this.#checker = checker;
    this.#reporter = reporter;
    this.#named = named;
  }

  /** A shape with what its names say about the whole and its parts. */
  value(shape: Shape, written: ts.TypeNode): Shape {
    const { aliases, node } = chainOf(this.#checker, written);
    const parts = this.parts(shape, node);
    if (aliases.length === 0) return parts;
    return this.#documented(parts, aliases, written);
  }

  /** The same for a type that is no name itself. */
  parts(shape: Shape, node: ts.TypeNode): Shape {
    const found = mentions(this.#checker, node);
    if (found.length === 0) return shape;
    const refined = this.#present(shape, node) ?? this.#container(shape, node) ?? this.#members(shape, node);
    if (refined) return refined;
    for (const { tag, alias, node: at } of found) {
      this.#reporter.report("ARC1071", at, `@${tag} of ${alias} finds no value of its own here`, `write the type in place of the name ${alias}, or give it a member of its own`);
    }
    return shape;
  }

  #documented(shape: Shape, aliases: readonly Alias[], at: ts.Node): Shape {
    const docs = docsOf(commentsOf(this.#checker, aliases), shape, (id, message, hint) => this.#reporter.report(id, at, message, hint), this.#named);
    if (Object.keys(docs).length === 0) return shape;
    return attach(docs.integer ? integral(shape) : shape, docs);
  }

  /** A value that may be null, where null is not written. */
  #present(shape: Shape, node: ts.TypeNode): Shape | undefined {
    if (shape.kind !== "union" || ts.isUnionTypeNode(node)) return undefined;
    const [value, more] = shape.members.filter((member) => member.kind !== "null");
    if (!value || more || shape.members.length === 1) return undefined;
    return { ...shape, members: shape.members.map((member) => (member === value ? this.parts(value, node) : member)) };
  }

  /** Lists, tuples and records: one written type for each part. */
  #container(shape: Shape, node: ts.TypeNode): Shape | undefined {
    if (shape.kind === "array") {
      const items = itemsOf(node);
      return items && { ...shape, items: this.value(shape.items, items) };
    }
    if (shape.kind === "tuple" && ts.isTupleTypeNode(node)) return this.#tuple(shape, node);
    const target = resolve({ root: shape, named: this.#named }, shape);
    const [, values] = target.kind === "object" ? recordOf(node) : [];
    if (target.kind !== "object" || !values) return undefined;
    const properties = target.properties.map((property) => ({ ...property, shape: this.value(property.shape, values) }));
    return { ...target, properties, index: target.index.map((rule) => ({ ...rule, shape: this.value(rule.shape, values) })) };
  }

  #tuple(shape: Extract<Shape, { kind: "tuple" }>, node: ts.TupleTypeNode): Shape | undefined {
    const elements = node.elements.map(elementOf);
    if (elements.length !== shape.items.length + (shape.rest ? 1 : 0)) return undefined;
    const items = shape.items.map((item, i) => (elements[i] ? this.value(item, elements[i]) : item));
    const last = shape.rest && elements.at(-1);
    const list = last && chainOf(this.#checker, last);
    // A rule about the rest as a list has no place in a tuple.
    if (list && commentsOf(this.#checker, list.aliases).some((comment) => constraintsIn(comment).length > 0)) return undefined;
    const values = list && itemsOf(list.node);
    return { ...shape, items, rest: shape.rest && values ? this.value(shape.rest, values) : shape.rest };
  }

  /** The member of a union that a written part stands for, if its kind leaves no doubt. */
  #members(shape: Shape, node: ts.TypeNode): Shape | undefined {
    const parts = membersOf(node);
    const whole: Union = shape.kind === "union" ? shape : { kind: "union", members: [shape], docs: NO_DOCS };
    if (parts.length === 1 && parts[0] === node) return undefined;
    let members = whole.members;
    for (const part of parts.filter((candidate) => mentions(this.#checker, candidate).length > 0)) {
      const kinds = this.#kindsOf(part);
      const rivals = parts.filter((other) => other !== part && this.#kindsOf(other).some((kind) => kinds.includes(kind)));
      const fitting = members.filter((member) => [...kindsOf(member, this.#named)].some((kind) => kinds.includes(kind)));
      const [only] = fitting;
      if (rivals.length > 0 || fitting.length !== 1 || !only) return undefined;
      members = members.map((member) => (member === only ? this.value(member, part) : member));
    }
    return shape.kind === "union" ? { ...shape, members } : union(members);
  }

  /** The kinds of values that a written type has, as far as tags speak of them. */
  #kindsOf(node: ts.TypeNode): readonly string[] {
    const type = this.#checker.getTypeFromTypeNode(node);
    const F = ts.TypeFlags;
    if (this.#checker.isArrayType(type) || this.#checker.isTupleType(type)) return ["array"];
    if ((type.flags & F.StringLike) !== 0) return ["string"];
    if ((type.flags & F.NumberLike) !== 0) return ["number"];
    if ((type.flags & F.Object) !== 0) return ["object"];
    return type.isUnion() ? ["array", "string", "number", "object"] : [];
  }
}

/** A shape that says more; one that has no place for it becomes the only member of a union that has. */
function attach(shape: Shape, docs: Docs): Shape {
  switch (shape.kind) {
    case "string":
    case "number":
    case "array":
    case "tuple":
    case "object":
    case "union":
      return { ...shape, docs: merged(shape.docs ?? NO_DOCS, docs) };
    default:
      return { kind: "union", members: [shape], docs };
  }
}

/** What stands nearer to the value wins, so that is the second. */
function merged(inner: Docs, outer: Docs): Docs {
  const keywords = { ...inner.keywords, ...outer.keywords };
  return { ...inner, ...outer, ...(Object.keys(keywords).length > 0 ? { keywords } : {}) };
}

/** What the items of a list are written as. */
function itemsOf(node: ts.TypeNode): ts.TypeNode | undefined {
  if (ts.isArrayTypeNode(node)) return node.elementType;
  if (ts.isTypeOperatorNode(node)) return itemsOf(node.type);
  return isNamed(node, "Array", "ReadonlyArray") ? node.typeArguments?.[0] : undefined;
}

/** What the keys and values of a record are written as. */
function recordOf(node: ts.TypeNode): readonly ts.TypeNode[] {
  return isNamed(node, "Record") ? [...(node.typeArguments ?? [])] : [];
}

function isNamed(node: ts.TypeNode, ...names: readonly string[]): node is ts.TypeReferenceNode {
  return ts.isTypeReferenceNode(node) && ts.isIdentifier(node.typeName) && names.includes(node.typeName.text);
}

/** What a member of a tuple is written as, without its name and its marks. */
function elementOf(node: ts.TypeNode | ts.NamedTupleMember): ts.TypeNode {
  if (ts.isNamedTupleMember(node)) return node.type;
  return ts.isOptionalTypeNode(node) || ts.isRestTypeNode(node) ? node.type : node;
}
