//! Shape to the codec of docs/formats.md: where Dates and bytes sit, and how to tell the members of a union apart.
//!
//! Codecs are written as source text of the tool's entry module, so a recursive type is simply an object that refers to itself.

import { children, resolve, type Property, type Shape, type Shapes } from "./shape.ts";

/** Two members of a union that JSON cannot tell apart although they are decoded differently. */
export interface Ambiguity {
  readonly first: string;
  readonly second: string;
}

export interface CodecSource {
  /** Statements that must stand before the expression. */
  readonly declarations: string;
  readonly expression: string;
}

/** `prefix` keeps the names of two codecs in one module apart. */
export function toCodecSource(shapes: Shapes, prefix: string): CodecSource {
  const writer = new Writer(shapes, prefix);
  const expression = writer.write(shapes.root);
  return { declarations: writer.declarations(), expression };
}

/** Checks every union that holds a Date or bytes. Empty when each value has one reading. */
export function ambiguities(shapes: Shapes): Ambiguity[] {
  const opaque = new Opaque(shapes);
  const found: Ambiguity[] = [];
  const visit = (shape: Shape): void => {
    if (shape.kind === "union" && opaque.in(shape)) found.push(...ambiguousPairs(shapes, opaque, shape.members));
    for (const child of children(shape)) visit(child);
  };
  visit(shapes.root);
  for (const shape of shapes.named.values()) visit(shape);
  return found;
}

/** Which shapes hold a Date or bytes anywhere inside. */
class Opaque {
  readonly #ids = new Set<string>();

  constructor(shapes: Shapes) {
    // The set only grows and is bounded by the number of names.
    for (let grew = true; grew; ) {
      grew = false;
      for (const [id, shape] of shapes.named) {
        if (this.#ids.has(id) || !this.in(shape)) continue;
        this.#ids.add(id);
        grew = true;
      }
    }
  }

  in(shape: Shape): boolean {
    if (shape.kind === "date" || shape.kind === "bytes") return true;
    if (shape.kind === "ref") return this.#ids.has(shape.id);
    return children(shape).some((child) => this.in(child));
  }
}

class Writer {
  readonly #shapes: Shapes;
  readonly #prefix: string;
  readonly #opaque: Opaque;
  readonly #names = new Map<string, string>();
  readonly #bodies: string[] = [];

  constructor(shapes: Shapes, prefix: string) {
    this.#shapes = shapes;
    this.#prefix = prefix;
    this.#opaque = new Opaque(shapes);
  }

  declarations(): string {
    const names = [...this.#names.values()];
    if (names.length === 0) return "";
    return `const ${names.map((name) => `${name} = {}`).join(", ")};\n${this.#bodies.join("")}`;
  }

  write(shape: Shape): string {
    if (!this.#opaque.in(shape)) return "null";
    switch (shape.kind) {
      case "date":
        return "{ date: 1 }";
      case "bytes":
        return "{ bytes: 1 }";
      case "array":
        return `{ array: ${this.write(shape.items)} }`;
      case "tuple":
        return this.#tuple(shape);
      case "object":
        return this.#object(shape);
      case "union":
        return this.#union(shape.members);
      case "ref":
        return this.#ref(shape.id);
      default:
        return "null";
    }
  }

  #ref(id: string): string {
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const target = this.#shapes.named.get(id);
    if (!target) return "null";
    const name = `${this.#prefix}${this.#names.size}`;
    this.#names.set(id, name);
    this.#bodies.push(`Object.assign(${name}, ${this.write(target)});\n`);
    return name;
  }

  #tuple(shape: Extract<Shape, { kind: "tuple" }>): string {
    const items = shape.items.map((item) => this.write(item));
    const rest = shape.rest ? this.write(shape.rest) : "null";
    if (shape.rest && items.length === 0) return `{ array: ${rest} }`;
    return `{ tuple: [${items.join(", ")}]${rest === "null" ? "" : `, rest: ${rest}`} }`;
  }

  #object(shape: Extract<Shape, { kind: "object" }>): string {
    const [rule] = shape.index;
    if (rule && shape.index.length === 1 && shape.properties.length === 0) return `{ record: ${this.write(rule.shape)} }`;
    const open = shape.index.some((other) => this.#opaque.in(other.shape));
    // Beside rules for further keys every member is named, lest a rule be taken for it.
    const named = shape.properties.filter((property) => open || this.#opaque.in(property.shape));
    const members = named.map((property) => `[${JSON.stringify(property.name)}]: ${this.write(property.shape)}`);
    const object = `object: { ${members.join(", ")} }`;
    if (!open) return `{ ${object} }`;
    // The rule without a pattern takes what no pattern takes, as `additionalProperties` does.
    const rules = [...shape.index.filter((other) => other.pattern !== undefined), ...shape.index.filter((other) => other.pattern === undefined)];
    return `{ ${object}, index: [${rules.map((other) => `[${JSON.stringify(other.pattern ?? null)}, ${this.write(other.shape)}]`).join(", ")}] }`;
  }

  #union(members: readonly Shape[]): string {
    const pairs = members.map((member) => `[${JSON.stringify(discriminator(this.#shapes, member))}, ${this.write(member)}]`);
    return `{ anyOf: [${pairs.join(", ")}] }`;
  }
}

interface Discriminator {
  readonly type?: string;
  readonly const?: string | number | boolean;
  readonly enum?: readonly (string | number | boolean)[];
  readonly properties?: { readonly [key: string]: Discriminator };
  readonly required?: readonly string[];
  readonly additionalProperties?: false;
}

/** A schema just strong enough to recognise the member: kinds, literals, keys; one level deep. */
function discriminator(shapes: Shapes, shape: Shape, depth = 0): Discriminator {
  const real = resolve(shapes, shape);
  switch (real.kind) {
    case "string":
    case "number":
    case "boolean":
    case "null":
      return { type: real.kind };
    case "date":
    case "bytes":
      return { type: "string" };
    case "literal":
      return { const: real.value };
    case "array":
    case "tuple":
      return { type: "array" };
    case "jsonObject":
      return { type: "object" };
    case "object":
      return depth > 0 ? { type: "object" } : objectDiscriminator(shapes, real);
    case "union":
      return unionDiscriminator(shapes, real.members);
    default:
      return {};
  }
}

function objectDiscriminator(shapes: Shapes, shape: Extract<Shape, { kind: "object" }>): Discriminator {
  return {
    type: "object",
    required: shape.properties.filter((property) => !property.optional).map((property) => property.name),
    properties: Object.fromEntries(shape.properties.map((property) => [property.name, discriminator(shapes, property.shape, 1)])),
    ...(shape.index.length === 0 ? { additionalProperties: false } : {}),
  };
}

function unionDiscriminator(shapes: Shapes, members: readonly Shape[]): Discriminator {
  const literals = members.map((member) => resolve(shapes, member)).flatMap((member) => (member.kind === "literal" ? [member.value] : []));
  return literals.length === members.length ? { enum: literals } : {};
}

function ambiguousPairs(shapes: Shapes, opaque: Opaque, members: readonly Shape[]): Ambiguity[] {
  const found: Ambiguity[] = [];
  const flat = members.map((member) => resolve(shapes, member));
  for (const [i, first] of flat.entries()) {
    for (const second of flat.slice(i + 1)) {
      if (!opaque.in(first) && !opaque.in(second)) continue;
      if (!distinct(shapes, first, second) && !sameCodec(shapes, first, second)) found.push({ first: nameOf(first), second: nameOf(second) });
    }
  }
  return found;
}

function sameCodec(shapes: Shapes, a: Shape, b: Shape): boolean {
  const text = (shape: Shape): string => {
    const source = toCodecSource({ root: shape, named: shapes.named }, "r");
    return source.declarations + source.expression;
  };
  return text(a) === text(b);
}

/** Whether no JSON value can be both. */
function distinct(shapes: Shapes, a: Shape, b: Shape): boolean {
  const jsonType = (shape: Shape): string | undefined => {
    if (shape.kind === "literal") return typeof shape.value;
    return discriminator(shapes, shape).type;
  };
  const [first, second] = [jsonType(a), jsonType(b)];
  if (first === undefined || second === undefined) return false;
  if (first !== second) return true;
  if (a.kind !== "object" || b.kind !== "object") return false;
  return hasKeyThatOtherLacks(a, b) || hasKeyThatOtherLacks(b, a) || a.properties.some((property) => differs(shapes, property, b));
}

function hasKeyThatOtherLacks(a: Extract<Shape, { kind: "object" }>, b: Extract<Shape, { kind: "object" }>): boolean {
  if (b.index.length > 0) return false;
  return a.properties.some((property) => !property.optional && !b.properties.some((other) => other.name === property.name));
}

function differs(shapes: Shapes, property: Property, other: Extract<Shape, { kind: "object" }>): boolean {
  const twin = other.properties.find((candidate) => candidate.name === property.name);
  if (!twin || property.optional || twin.optional) return false;
  const [a, b] = [discriminator(shapes, property.shape, 1), discriminator(shapes, twin.shape, 1)];
  const values = (d: Discriminator): readonly (string | number | boolean)[] | undefined => (d.const !== undefined ? [d.const] : d.enum);
  const [av, bv] = [values(a), values(b)];
  if (av && bv) return !av.some((value) => bv.includes(value));
  const types = (d: Discriminator, v: readonly (string | number | boolean)[] | undefined): readonly string[] | undefined => (v ? v.map((value) => typeof value) : d.type === undefined ? undefined : [d.type]);
  const [at, bt] = [types(a, av), types(b, bv)];
  return at !== undefined && bt !== undefined && !at.some((type) => bt.includes(type));
}

function nameOf(shape: Shape): string {
  switch (shape.kind) {
    case "date":
      return "Date";
    case "bytes":
      return "Uint8Array";
    case "literal":
      return JSON.stringify(shape.value);
    case "object":
      return `{ ${shape.properties.map((property) => property.name).slice(0, 4).join(", ")} }`;
    default:
      return shape.kind;
  }
}
